//! Heads of responses that are longer than what a record keeps of them: frameworks' default headers.

use super::{DRAIN, KILL, drained, killed};
use crate::table::{
    Act::{Big, Chunked, Half, Hang, Head, NoContent, Pieces, Quick, Sse},
    Case,
    Fate::{Drained, Early, Severed},
    Saw::{Complete, Cut, Eof},
    Server::NodeHeads,
    Way::{Again, Ask},
    case,
};

/// Each with helmet's headers, and with those and 4 KiB of cookies.
pub fn cases() -> Vec<Case> {
    [
        ["heads/helmet/kill/idle", "heads/cookies/kill/idle"],
        ["heads/helmet/kill/cut", "heads/cookies/kill/cut"],
        ["heads/helmet/drain", "heads/cookies/drain"],
    ]
    .concat()
    .into_iter()
    .map(|name| {
        let heads = if name.contains("helmet") {
            "helmet"
        } else {
            "cookies"
        };
        if name.ends_with("idle") {
            idle(case(name, NodeHeads("default", heads), KILL, killed()))
        } else if name.ends_with("cut") {
            cut(case(name, NodeHeads("default", heads), KILL, killed()))
        } else {
            finished(case(name, NodeHeads("drain", heads), DRAIN, drained()))
        }
    })
    .collect()
}

/// Nothing is outstanding, and that is known.
fn idle(case: Case) -> Case {
    case.row(Ask, Quick, Complete(200), Early)
        .times(3)
        .row(Again, Quick, Complete(200), Early)
        .row(Ask, Head, Complete(200), Early)
        .row(Ask, NoContent, Complete(204), Early)
        .row(Ask, Big(20_000), Complete(200), Early)
        .row(Ask, Pieces, Complete(200), Early)
}

fn cut(case: Case) -> Case {
    case.row(Ask, Half, Cut, Severed("truncated"))
        .times(2)
        .row(Ask, Chunked, Cut, Severed("truncated"))
        .row(Ask, Sse, Cut, Severed("stream"))
        .row(Again, Hang, Eof, Severed("unanswered"))
        .row(Again, Half, Cut, Severed("truncated"))
        .row(Ask, Quick, Complete(200), Early)
}

fn finished(case: Case) -> Case {
    case.row(Ask, Half, Complete(200), Drained)
        .times(2)
        .row(Ask, Chunked, Complete(200), Drained)
        .row(Ask, Hang, Complete(200), Drained)
        .row(Again, Hang, Complete(200), Drained)
        .row(Ask, Quick, Complete(200), Early)
}
