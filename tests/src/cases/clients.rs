//! Clients that leave first, or half.

use super::{DRAIN, KILL, OVERRUN, PYTHON, drained, killed, overrun};
use crate::table::{
    Act::{AfterFin, Half, Hang, Quick},
    Case,
    Fate::{Aborted, Drained, Early, Gone, Severed, Waiting},
    Reports,
    Saw::{Complete, Cut, Eof, Left, Reset},
    Server::{Go, Hyper, Node, Raw},
    Way::{Ask, HalfClose, LeaveBefore, LeaveDuring, Queue, QueueLeft, ResetBefore, ResetDuring},
    case,
};

/// Clients that leave.
pub fn cases() -> Vec<Case> {
    vec![
        // The server has not noticed: its end still waits for an answer when it dies.
        case("python/kill/left-by-fin", PYTHON, KILL, killed())
            .row(LeaveBefore, Hang, Left, Aborted)
            .times(2)
            .row(Ask, Hang, Eof, Severed("unanswered")),
        case("raw/kill/left-by-fin", Raw("default"), KILL, killed()).row(LeaveBefore, Hang, Left, Aborted),
        // A reset ends the connection in the kernel: nothing is left to be cut.
        case("python/kill/left-by-reset", PYTHON, KILL, killed())
            .row(ResetBefore, Hang, Left, Gone)
            .row(Ask, Hang, Eof, Severed("unanswered")),
        case("python/kill/left-halfway", PYTHON, KILL, killed()).row(ResetBefore, Half, Left, Gone),
        // Tired of waiting to be accepted, as a probe is: only who still waits is dropped.
        case("hyper/kill/left-accept-queue", Hyper("default"), KILL, killed())
            .freeze()
            .row(QueueLeft, Hang, Left, Aborted)
            .row(Queue, Hang, Reset, Waiting("unaccepted")),
        // In the middle of a drain.
        case("node/drain/left-by-reset", Node("drain"), DRAIN, drained())
            .row(ResetDuring, Hang, Left, Aborted)
            .times(2)
            .row(Ask, Hang, Complete(200), Drained),
        case("node/drain/left-by-fin", Node("drain"), DRAIN, drained())
            .row(LeaveDuring, Hang, Left, Aborted)
            .row(Ask, Hang, Complete(200), Drained),
        case("raw/drain-too-long/left-by-fin", Raw("wait-all"), OVERRUN, {
            overrun().must(&["killed_mid_drain"])
        })
        .row(LeaveDuring, Hang, Left, Aborted)
        .row(Ask, Hang, Eof, Severed("unanswered")),
        // Half-closed. A FIN before any byte of the answer counts as leaving; an answer that begins
        // after it shows that the connection is in use.
        case("python/kill/half-closed-unanswered", PYTHON, KILL, killed()).row(
            HalfClose,
            Hang,
            Eof,
            Severed("unanswered"),
        ),
        case(
            "raw/kill/half-closed-answer-begun",
            Raw("default"),
            KILL,
            killed(),
        )
        .row(HalfClose, AfterFin, Cut, Severed("truncated")),
        case("raw/kill/half-closed-complete", Raw("default"), KILL, killed()).row(
            HalfClose,
            Quick,
            Complete(200),
            Early,
        ),
        case("go/kill/left-idle", Go("default"), KILL, killed()).row(
            LeaveBefore,
            Quick,
            Complete(200),
            Early,
        ),
        // Nobody stops anything: clients come, go and reset, and there is nothing to report.
        case(
            "node/serving",
            Node("default"),
            &[],
            killed().reports(Reports::None),
        )
        .row(Ask, Quick, Complete(200), Early)
        .row(LeaveBefore, Quick, Complete(200), Early)
        .row(LeaveBefore, Hang, Left, Gone)
        .row(ResetBefore, Hang, Left, Gone)
        .row(ResetBefore, Half, Left, Gone),
    ]
}
