//! HTTP/2 in clear (RFC 9113), and gRPC on it.
//!
//! The kernel side has walked over the frames and kept who is open; here each stream becomes an exchange, and
//! the header blocks that were kept give it its name. Streams that the answering side promised not to have
//! looked at (those above the last one of its GOAWAY) were refused, and their client may ask again: nothing of
//! them was severed. What either side reset is over, and was its own doing.

mod answers;
mod hpack;
mod huffman;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use httparse::Header;

use self::{
    answers::{Answer, answers},
    hpack::{Fields, Table},
};
use super::{Context, HeaderRules, Reading, probes, senders, text};
use crate::{
    event::Role,
    exchange::{Doubt, Evidence, Exchange, ExchangeId, ExchangeState, Http, Operation, Protocol},
    record::{Http2, Lost, Stream, StreamState, Turn},
};

/// A frame's header and one byte: fewer unread bytes are no request.
const SHORTEST_REQUEST: u64 = 9 + 1;
/// The answer to a PING, by which a server finds out that its first GOAWAY has come (RFC 9113 section 6.8).
const PONG: u64 = 9 + 8;
/// The last stream that such a first GOAWAY names: none is refused yet.
const ALL_STREAMS: u32 = (1 << 31) - 1;

/// Reads the streams of a connection that began with the preface of HTTP/2.
pub(super) fn read(turn: &Turn, context: &Context<'_>) -> Option<Reading> {
    let http2 = turn.http2.as_deref()?;
    if let Some(lost) = http2.lost {
        return Some(unread(turn, lost));
    }
    let mut names = names(http2, context.rules);
    let answers = answers(http2);
    let exchanges = http2.streams.iter().filter_map(|stream| {
        let name = names.remove(&stream.id).unwrap_or_default();
        let answer = answers.get(&stream.id).copied();
        let state = state(http2, stream, answer, name.grpc, context.role)?;
        let doubt = match state {
            ExchangeState::Unknown => Some(Doubt::Gap),
            ExchangeState::Complete => hides_its_status(answer, name.grpc).then_some(Doubt::Status),
            _ => None,
        };
        Some(Exchange {
            id: ExchangeId::Stream { id: stream.id },
            protocol: Protocol::Http2,
            operation: Operation::Http(Http {
                status: answer.and_then(|answer| answer.status),
                grpc_status: answer.and_then(|answer| answer.grpc_status),
                ..name
            }),
            evidence: Evidence::Exact,
            state,
            doubt,
            uploading: false,
            reset: stream.answered == StreamState::Reset,
            unread: false,
            started_ns: stream.began_ns,
            last_ns: stream.last_ns,
        })
    });
    let mut exchanges: Vec<_> = exchanges.collect();
    // What the process did not read, or nobody looked at, may be a request, a PING or the rest of an upload.
    if http2.ask.unseen
        || context.ask_unread.saturating_sub(http2.ask.pending) > no_request(http2, context.role)
    {
        exchanges.push(nameless(turn, ExchangeState::Unknown, Some(Doubt::Gap)));
    }
    Some(Reading::of(exchanges))
}

/// How many bytes that the process did not read are no request for certain.
fn no_request(http2: &Http2, role: Role) -> u64 {
    match http2.answer.goaway.filter(|_| role == Role::Server) {
        None => SHORTEST_REQUEST - 1,
        Some(ALL_STREAMS..) => PONG,
        // Streams that come after it were refused unprocessed, and their client knows.
        Some(_) => u64::MAX,
    }
}

/// Who is open is not known: nothing is claimed. What our side had no memory for is nobody's protocol that cannot be
/// read, but evidence that is missing.
fn unread(turn: &Turn, lost: Lost) -> Reading {
    Reading::of(vec![match lost {
        Lost::Walk => nameless(turn, ExchangeState::Opaque, None),
        Lost::Storage => nameless(turn, ExchangeState::Unknown, Some(Doubt::NoStorage)),
    }])
}

/// Perhaps an exchange, of which nothing is known; no stream has its number.
fn nameless(turn: &Turn, state: ExchangeState, doubt: Option<Doubt>) -> Exchange {
    Exchange {
        id: ExchangeId::Stream { id: 0 },
        protocol: Protocol::Http2,
        operation: Operation::Opaque,
        evidence: Evidence::Inferred,
        state,
        doubt,
        uploading: false,
        reset: false,
        unread: false,
        started_ns: 0,
        last_ns: turn.last_ns(),
    }
}

/// What stands on a stream; `None` where it is nobody's request any more, or was told of.
fn state(
    http2: &Http2,
    stream: &Stream,
    answer: Option<Answer>,
    grpc: bool,
    role: Role,
) -> Option<ExchangeState> {
    // Of a head whose CONTINUATION is to come, or a frame that has not moved to its end, the last is not there.
    let ended = stream.answered == StreamState::Ended && http2.answer.continues != Some(stream.id)
        || http2.answer.ends == Some(stream.id);
    if ended {
        return (stream.last_ns > http2.told_ns).then_some(ExchangeState::Complete);
    }
    if stream.asked == StreamState::Reset
        || (stream.answered == StreamState::Reset && !(stream.cut && role == Role::Server))
    {
        return None;
    }
    let begun = answer.is_some_and(Answer::is_final);
    let refused = http2.answer.goaway.is_some_and(|last| stream.id > last);
    if refused && !begun {
        return None;
    }
    let asked = stream.asked == StreamState::Ended && http2.ask.continues != Some(stream.id)
        || http2.ask.ends == Some(stream.id);
    Some(match (begun, asked) {
        // What was not looked at may have ended it.
        _ if http2.answer.unseen || (http2.ask.unseen && !asked) => ExchangeState::Unknown,
        // Both sides still speak; or the server does, where calls that are no streams end as they begin.
        (true, false) => ExchangeState::Stream,
        (true, true) if grpc => ExchangeState::Stream,
        // A call whose client has one thing to say says it at once.
        (false, false) if grpc && role != Role::Client => ExchangeState::Stream,
        (true, true) => ExchangeState::ResponseIncomplete,
        (false, false) => ExchangeState::RequestIncomplete,
        (false, true) => ExchangeState::Unanswered,
    })
}

/// Whether it is not known if the server said that it failed.
fn hides_its_status(answer: Option<Answer>, grpc: bool) -> bool {
    answer.is_none_or(|answer| {
        answer.status.is_none() || (answer.hides_grpc_status && (grpc || answer.trailers))
    })
}

/// The names of streams, as far as their header blocks and what those refer to are known.
fn names(http2: &Http2, rules: &HeaderRules) -> BTreeMap<u32, Http> {
    let mut table = Table::default();
    let mut names = BTreeMap::new();
    // A stream that keeps its block itself is read where that would stand: before what was logged there.
    let mut short: Vec<_> = http2
        .streams
        .iter()
        .filter(|stream| !stream.block.is_empty())
        .collect();
    short.sort_by_key(|stream| (stream.block_at, stream.id));
    let mut short = short.into_iter().peekable();
    for block in &http2.blocks {
        while let Some(stream) = short.next_if(|stream| stream.block_at <= block.at) {
            names.insert(stream.id, name(&table.read(&stream.block, false), rules));
        }
        let fields = table.read(&block.bytes, block.cut);
        let own = |stream: &Stream| stream.id == block.stream && stream.block_at == block.at;
        if http2.streams.iter().any(own) {
            names.insert(block.stream, name(&fields, rules));
        }
    }
    for stream in short {
        names.insert(stream.id, name(&table.read(&stream.block, false), rules));
    }
    names
}

/// What a request's header block says.
fn name(fields: &Fields, rules: &HeaderRules) -> Http {
    let value = |name: &str| fields.value(name.as_bytes());
    let headers: Vec<_> = fields
        .fields
        .iter()
        .filter_map(|field| {
            let name = std::str::from_utf8(field.name.as_deref()?).ok()?;
            (!name.starts_with(':')).then_some(Header {
                name,
                value: field.value.as_deref()?,
            })
        })
        .collect();
    let connect = value(":method") == Some(b"CONNECT");
    let path = value(":path").and_then(|path| text::target(path, false, true).0);
    let method = value(":method").map(text::method);
    let prober = probes::of(
        method.as_deref(),
        path.as_deref(),
        Protocol::Http2,
        &headers,
        fields.whole,
    );
    let grpc = value("content-type").is_some_and(|media| media.starts_with(b"application/grpc"));
    Http {
        // An extended CONNECT has a path (RFC 8441), a plain one has none.
        path: path.filter(|_| !connect || value(":protocol").is_some()),
        host: value(":authority").or_else(|| value("host")).map(text::host),
        status: None,
        grpc_status: None,
        sender: senders::of(&headers).map(str::to_owned),
        prober: prober.map(str::to_owned),
        header_rules: rules.held(&headers),
        grpc,
        method,
    }
}
