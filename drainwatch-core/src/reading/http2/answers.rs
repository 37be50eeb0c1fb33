//! What responses of HTTP/2 say of themselves: the status at their beginning, and the status of gRPC at their end.

use std::collections::BTreeMap;

use super::hpack::{Fields, Table};
use crate::record::{ANSWER_BLOCK, Http2, Stream, StreamState};

/// What the header blocks of one response say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// Its status, where it is known.
    pub status: Option<u16>,
    /// The status of a call of gRPC, where it is known.
    pub grpc_status: Option<u8>,
    /// It ended with trailers.
    pub trailers: bool,
    /// What ended it is not known by name: where that was a call of gRPC, it had a status.
    pub hides_grpc_status: bool,
}

impl Answer {
    /// A response that is more than an interim one.
    pub fn is_final(self) -> bool {
        self.status.is_none_or(|status| status >= 200)
    }
}

/// The answers of all streams on which one has begun.
pub(super) fn answers(http2: &Http2) -> BTreeMap<u32, Answer> {
    let mut table = Table::default();
    let mut answers = BTreeMap::new();
    let mut begun: Vec<_> = http2
        .streams
        .iter()
        .filter(|stream| !stream.answer.is_empty())
        .collect();
    // What is not in the log itself is read where it would stand: before what was logged there.
    begun.sort_by_key(|stream| (stream.answer_at, stream.id));
    let mut begun = begun.into_iter().peekable();
    for block in &http2.answers {
        let own = |stream: &Stream| stream.id == block.stream && stream.answer_at == block.at;
        let mut logged = None;
        while let Some(stream) = begun.next_if(|stream| stream.answer_at <= block.at) {
            if own(stream) {
                logged = Some(stream);
            } else {
                answers.insert(stream.id, beginning(stream, &table));
            }
        }
        let fields = table.read(&block.bytes, block.cut);
        if let Some(stream) = logged {
            answers.insert(stream.id, answer(stream, &fields, fields.whole));
        }
    }
    for stream in begun {
        answers.insert(stream.id, beginning(stream, &table));
    }
    answers
}

/// Of a header block that only its stream kept.
fn beginning(stream: &Stream, table: &Table) -> Answer {
    let fields = table.look(&stream.answer);
    // The log has the heads that end a response; this one was followed by something.
    let followed = stream.before.is_none();
    let whole = fields.whole && stream.answer.len() < ANSWER_BLOCK;
    answer(stream, &fields, whole || followed)
}

fn answer(stream: &Stream, fields: &Fields, whole: bool) -> Answer {
    const NAME: &[u8] = b":status";
    let ended = stream.answered == StreamState::Ended;
    let first = fields.fields.first();
    let is_head = match first.map(|field| field.name.as_deref()) {
        Some(Some(name)) => name == NAME,
        // Its first field is not known: behind another head it need not be one.
        Some(None) | None => stream.before.is_none(),
    };
    let status = if is_head {
        first.and_then(|field| number(field.value.as_deref()?))
    } else {
        stream
            .before
            .and_then(|first| number(Table::default().look(&[first]).fields.first()?.value.as_deref()?))
    };
    let said = || {
        fields
            .value(b"grpc-status")
            .and_then(number)
            .and_then(|status| u8::try_from(status).ok())
    };
    let grpc_status = stream.grpc_status.or_else(said);
    Answer {
        status: status.filter(|status| (100..600).contains(status)),
        grpc_status: grpc_status.filter(|_| ended),
        trailers: !is_head,
        hides_grpc_status: ended && grpc_status.is_none() && !whole,
    }
}

fn number(text: &[u8]) -> Option<u16> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
