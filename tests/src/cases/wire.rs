//! What stands on the wire besides a request and its response: prefaces, hints, trailers, other protocols.

use super::{DRAIN, KILL, drained, killed};
use crate::table::{
    Act::{Echo, Half, HalfVectored, Hang, Hints, Pieces, Quick, Trailers, Vectored},
    Case,
    Fate::{Drained, Early, Opaque, Severed},
    Saw::{Complete, Cut, Eof},
    Server::{Node, Raw},
    Way::{Again, Ask, Duplex, Lines, Prefaced},
    case,
};

/// All of it.
pub fn cases() -> Vec<Case> {
    vec![
        // Read, acknowledged, and nobody owes an answer.
        case("raw/kill/one-way-lines", Raw("default"), KILL, killed())
            .row(Lines, Quick, Eof, Opaque)
            .times(2),
        case("raw/kill/behind-a-preface", Raw("default"), KILL, killed())
            .row(Prefaced, Hang, Eof, Severed("unanswered"))
            .row(Prefaced, Half, Cut, Severed("truncated"))
            .row(Prefaced, Quick, Complete(200), Early),
        case("node/kill/early-hints", Node("default"), KILL, killed()).row(
            Ask,
            Hints,
            Eof,
            Severed("unanswered"),
        ),
        case("node/drain/early-hints", Node("drain"), DRAIN, drained()).row(
            Ask,
            Hints,
            Complete(200),
            Drained,
        ),
        case("node/drain/duplex", Node("drain"), DRAIN, drained()).row(Duplex, Echo, Complete(200), Drained),
        case("raw/kill/head-in-pieces", Raw("default"), KILL, killed()).row(
            Ask,
            Pieces,
            Complete(200),
            Early,
        ),
        case("raw/kill/trailers", Raw("default"), KILL, killed()).row(Ask, Trailers, Complete(200), Early),
        // As Erlang writes: cowboy, inets, and all that is built on them.
        vectored("raw/kill/first-vector-empty", "empty-first"),
        vectored("raw/kill/head-in-three-vectors", "head-in-three"),
    ]
}

/// Answers in vectors: some of them whole, on connections that are idle since, and some cut.
fn vectored(name: &'static str, how: &'static str) -> Case {
    case(name, Raw("default"), KILL, killed())
        .row(Ask, Vectored(how), Complete(200), Early)
        .times(2)
        .row(Again, Vectored(how), Complete(200), Early)
        .row(Ask, HalfVectored(how), Cut, Severed("truncated"))
        .times(2)
}
