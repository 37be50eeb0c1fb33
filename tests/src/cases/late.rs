//! Traffic that comes too late: refused connections, requests on connections that are closed.

use nix::sys::signal::Signal;

use super::{DRAIN, KILL, PYTHON, TERM, drained, killed, runtime_default, unhandled};
use crate::table::{
    Act::{Hang, Quick},
    Case,
    Fate::{self, Drained, Severed, Waiting},
    Net,
    Saw::{Complete, Eof, Refused, Reset},
    Server::{Go, Hyper, Node},
    Step,
    Way::{Again, Ask, Knock, Late},
    Who, case,
};

/// The process lives on after its drain, for preStop's sake or a slow exit.
const HOLD: &[Step] = &[
    Step::Signal(Who::Main, Signal::SIGTERM),
    Step::ListenerClosed,
    Step::During,
    Step::Release,
    Step::Gone,
];

/// Late traffic.
pub fn cases() -> Vec<Case> {
    let refused = |case: Case| case.row(Knock, Quick, Refused, Fate::Refused);
    let late = |case: Case| case.row(Late, Quick, Reset, Waiting("late"));
    vec![
        refused(case(
            "hyper/refused-during-drain",
            Hyper("drain"),
            HOLD,
            drained(),
        ))
        .times(2)
        .row(Ask, Hang, Complete(200), Drained),
        refused(case("node/refused-during-drain", Node("drain"), DRAIN, drained()))
            .times(3)
            .row(Ask, Hang, Complete(200), Drained),
        refused(case("go/refused-during-drain-ipv6", Go("drain"), HOLD, drained()))
            .net(Net::V6)
            .row(Ask, Hang, Complete(200), Drained),
        refused(case("node/refused-after-kill", Node("default"), KILL, killed())).times(2),
        refused(case("python/refused-after-term", PYTHON, TERM, unhandled())).row(
            Ask,
            Hang,
            Eof,
            Severed("unanswered"),
        ),
        late(case("node/late-during-drain", Node("drain"), DRAIN, drained()))
            .times(2)
            .row(Ask, Hang, Complete(200), Drained),
        late(case("go/late-during-drain", Go("drain"), DRAIN, drained())).row(
            Ask,
            Hang,
            Complete(200),
            Drained,
        ),
        late(case(
            "hyper/late-during-hold",
            Hyper("drain-hold"),
            HOLD,
            drained(),
        )),
        late(case("hyper/late-after-kill", Hyper("default"), KILL, killed())).times(2),
        late(case("node/late-after-term-default", Node("default"), TERM, {
            runtime_default().must(&["exit_without_drain"])
        }))
        .net(Net::V6)
        .row(Again, Hang, Eof, Severed("unanswered")),
        refused(late(case(
            "python/late-and-refused-after-kill",
            PYTHON,
            KILL,
            killed(),
        ))),
    ]
}
