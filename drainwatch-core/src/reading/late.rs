//! What came on a connection after its server had closed it: its first bytes say whether that was a request, and which.
//!
//! HTTP/1 is read. Of what else may begin a connection it is only said whether it asks for something.

use super::{Context, Ending, Rules, http1, preface};
use crate::{
    event::{Asked, Event, EventKind, Role},
    exchange::{Doubt, Exchange, ExchangeState},
    record::Turn,
};

/// The type of a handshake's record, and the first half of every version (RFC 8446 section 5.1).
const TLS_HANDSHAKE: &[u8] = &[0x16, 3];
/// How a client of HTTP/2 begins (RFC 9113 section 3.4).
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Header of a frame: the length in three bytes, then the type (RFC 9113 section 4.1).
const FRAME: usize = 9;
const HEADERS: u8 = 1;
/// Longest method that is registered (RFC 5323, RFC 3253: `BASELINE-CONTROL`).
const METHOD: usize = 16;

/// The event, with what was asked.
pub(super) fn read(mut event: Event, bytes: Vec<u8>, rules: &Rules) -> Event {
    if let EventKind::ResetSent {
        payload,
        local,
        peer,
        asked,
        ..
    } = &mut event.kind
    {
        let context = Context {
            role: Role::Server,
            local_port: local.port(),
            peer_port: peer.port(),
            ask_unread: 0,
            seeded: false,
            ending: Ending::Cut,
            rules: &rules.headers,
            pinned: None,
        };
        *asked = asks(bytes, *payload, &context);
    }
    event
}

/// What the bytes ask for that these are the first of.
fn asks(bytes: Vec<u8>, payload: u32, context: &Context<'_>) -> Asked {
    if bytes.is_empty() {
        return Asked::Unseen;
    }
    let turn = preface::without(Turn {
        number: 1,
        ask_bytes: u64::from(payload).max(bytes.len() as u64),
        ask: bytes,
        ..Turn::default()
    });
    let bytes = turn.ask.as_slice();
    // What some clients send behind a body.
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Asked::Nothing;
    }
    if let Some(frames) = bytes.strip_prefix(HTTP2) {
        return open_a_stream(frames, turn.ask_bytes > bytes.len() as u64);
    }
    let mut read = http1::read(&turn, context).map_or_else(Vec::new, |reading| reading.exchanges);
    let has_name = |exchange: &Exchange| exchange.operation.method().is_some();
    if read.iter().any(has_name) {
        // One or more, behind what was seen.
        for more in read.iter_mut().filter(|exchange| !has_name(exchange)) {
            more.state = ExchangeState::Unknown;
            more.doubt = more.doubt.or(Some(Doubt::Pipelined));
        }
        return Asked::Requests(read);
    }
    let begins_method = bytes.len() <= METHOD && bytes.iter().all(u8::is_ascii_uppercase);
    if begins_method || bytes.starts_with(TLS_HANDSHAKE) {
        return Asked::Unseen;
    }
    Asked::Unreadable
}

/// Whether one of these frames begins a request; `more`: others come behind them.
fn open_a_stream(mut frames: &[u8], more: bool) -> Asked {
    while let Some((head, rest)) = frames.split_at_checked(FRAME) {
        let &[a, b, c, kind, ..] = head else { break };
        if kind == HEADERS {
            return Asked::Unseen;
        }
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        frames = rest.get(length..).unwrap_or_default();
    }
    if more { Asked::Unseen } else { Asked::Nothing }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;
    use crate::{
        exchange::{Evidence, Protocol},
        reading,
        record::Fact,
    };

    const WEBHOOK: &str = "POST /webhooks/7?secret=1 HTTP/1.1\r\nHost: shop\r\nX-GitHub-Event: push\r\nContent-Length: 2\r\n\r\nhi";

    fn came_late(bytes: &[u8], payload: usize) -> Asked {
        let end = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let event = Event {
            at_ns: 7,
            kind: EventKind::ResetSent {
                cgroup: 1,
                pid: 2,
                syn: false,
                payload: u32::try_from(payload).expect("small"),
                local: end(80),
                peer: end(40_000),
                netns: 3,
                same_cgroup: false,
                asked: Asked::Unseen,
            },
        };
        let bytes = bytes.to_vec();
        let Event { at_ns, kind } = reading::event(Fact::Late { event, bytes }, &Rules::default());
        assert_eq!(at_ns, 7);
        match kind {
            EventKind::ResetSent { asked, .. } => asked,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn given_a_request_that_came_late_when_its_head_was_seen_then_it_is_told_by_that() {
        let Asked::Requests(requests) = came_late(WEBHOOK.as_bytes(), WEBHOOK.len()) else {
            panic!("a request");
        };
        assert_eq!(requests.len(), 1);
        let [request] = requests.as_slice() else {
            unreachable!()
        };
        assert_eq!(
            (request.operation.method(), request.operation.path()),
            (Some("POST"), Some("/webhooks/7"))
        );
        assert_eq!(request.operation.sender(), Some("github"));
        assert_eq!(
            (request.protocol, request.evidence),
            (Protocol::Http11, Evidence::Exact)
        );
    }

    #[test]
    fn given_several_requests_in_one_segment_when_they_came_late_then_each_is_told() {
        let two = format!("GET /a HTTP/1.1\r\nHost: x\r\n\r\n{WEBHOOK}");
        let Asked::Requests(requests) = came_late(two.as_bytes(), two.len()) else {
            panic!("requests");
        };
        let paths: Vec<_> = requests.iter().map(|request| request.operation.path()).collect();
        assert_eq!(paths, [Some("/a"), Some("/webhooks/7")]);
    }

    #[test]
    fn given_more_requests_than_were_seen_when_they_came_late_then_that_is_said() {
        // Thirty-two bytes each.
        let many = "GET /a-req HTTP/1.1\r\nHost: x\r\n\r\n".repeat(30);
        let Asked::Requests(requests) = came_late(&many.as_bytes()[..512], many.len()) else {
            panic!("requests");
        };
        assert_eq!(requests.len(), 17);
        let last = requests.last().expect("requests");
        assert_eq!(
            (last.state, last.doubt),
            (ExchangeState::Unknown, Some(Doubt::Pipelined))
        );
    }

    #[test]
    fn given_a_head_that_is_longer_than_what_was_kept_when_it_came_late_then_it_is_a_request() {
        let long = format!("GET /long HTTP/1.1\r\nCookie: {}\r\n\r\n", "c".repeat(2000));
        let Asked::Requests(requests) = came_late(&long.as_bytes()[..512], long.len()) else {
            panic!("a request");
        };
        assert_eq!(requests[0].operation.path(), Some("/long"));
    }

    #[test]
    fn given_what_asks_for_nothing_when_it_came_late_then_it_is_no_request() {
        let settings = [HTTP2, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
        for bytes in [
            b"\r\n".as_slice(),
            HTTP2,
            &settings,
            b"PROXY TCP4 192.0.2.7 127.0.0.1 5 443\r\n",
        ] {
            assert_eq!(came_late(bytes, bytes.len()), Asked::Nothing, "{bytes:?}");
        }
    }

    #[test]
    fn given_what_nobody_can_read_when_it_came_late_then_that_is_said() {
        for bytes in [b"QUIT\r\n".as_slice(), &[0x15, 3, 3, 0, 2], b"hello", &[0; 40]] {
            assert_eq!(came_late(bytes, bytes.len()), Asked::Unreadable, "{bytes:?}");
        }
    }

    #[test]
    fn given_what_may_begin_a_request_when_it_came_late_then_its_length_has_to_do() {
        let headers = [HTTP2, &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 5, 1, 5, 0, 0, 0, 1]].concat();
        for bytes in [b"".as_slice(), b"GE", &[0x16, 3, 1, 2, 0, 1], &headers] {
            assert_eq!(came_late(bytes, bytes.len()), Asked::Unseen, "{bytes:?}");
        }
        assert_eq!(came_late(HTTP2, 4000), Asked::Unseen);
    }
}
