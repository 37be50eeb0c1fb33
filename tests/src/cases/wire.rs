//! What stands on the wire besides a request and its response: prefaces, hints, trailers, other protocols.

use super::{DRAIN, KILL, drained, killed};
use crate::table::{
    Act::{Echo, Half, Hang, Hints, Pieces, Quick, Trailers},
    Case,
    Fate::{Drained, Early, Opaque, Severed},
    Saw::{Complete, Cut, Eof},
    Server::{Node, Raw},
    Way::{Ask, Duplex, Lines, Prefaced},
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
    ]
}
