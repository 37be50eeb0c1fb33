//! Heads of requests and responses, and how each says where its message ends (RFC 9112 section 6.3).

use httparse::{EMPTY_HEADER, Header, ParserConfig};

use crate::{
    exchange::{Http, Protocol},
    reading::{HeaderRules, polls, probes, senders, text},
    record::ASK_HEAD,
};

/// More header lines than fit in a capture (`x:\r\n` is the shortest).
const HEADERS: usize = ASK_HEAD / 4;

/// Methods that are believed before the version behind them is seen.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

/// A method longer than this is not one.
const METHOD_TOKEN: usize = 32;

/// How far a head was seen.
#[derive(Debug)]
pub(super) enum Seen<T> {
    /// All of it; it is so many bytes long.
    Whole(T, usize),
    /// Its beginning.
    Part(T),
    /// All of its first line, and then something that is not HTTP.
    Broken(T),
    /// Not an HTTP/1 head.
    Foreign,
}

/// Where a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// With its head.
    Empty,
    /// So many bytes after its head.
    Length(u64),
    /// With its last chunk.
    Chunked,
    /// With the connection.
    Close,
    /// It does not: what follows is no longer HTTP, or a response without end.
    Tunnel,
    /// Contradicting or unreadable length.
    Malformed,
}

/// What a request's head says.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a question of its own, and no two exclude each other by type"
)]
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// What it says that is fit to be shown; the method is `None` when its end was not seen.
    pub http: Http,
    /// HTTP/1.0 or 1.1, when the version was seen.
    pub protocol: Option<Protocol>,
    /// The method is `HEAD`: its response has no body.
    pub is_head: bool,
    /// The method is `CONNECT`: with a 2xx, bytes follow that are not HTTP.
    pub is_connect: bool,
    /// It asks to be answered when something changes.
    pub waits: bool,
    /// Its client asks for nothing behind it, and is owed no answer to what it sends all the same (RFC 9112 section 9.6).
    pub closes: bool,
    /// Enough was seen to be sure that this is HTTP.
    pub certain: bool,
    /// Where it ends; only of a whole head.
    pub framing: Framing,
}

/// What a 101 switched to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upgraded {
    /// `WebSocket`.
    WebSocket,
    /// HTTP/2 in clear (RFC 7540 section 3.2).
    H2c,
    /// Something else.
    Other,
}

/// What a response's head says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Response {
    /// Status; `None` when it was not seen.
    pub status: Option<u16>,
    /// An interim response: the final one is still to come.
    pub interim: bool,
    /// What it switched to; only of a 101.
    pub upgraded: Option<Upgraded>,
    /// `text/event-stream`: meant to be long-lived.
    pub event_stream: bool,
    /// Where it ends; only of a whole head.
    pub framing: Framing,
}

/// Reads the request that begins at `bytes`.
pub(super) fn request(bytes: &[u8], rules: &HeaderRules) -> Seen<Request> {
    let Some(line_end) = bytes.iter().position(|&byte| byte == b'\n') else {
        return partial_request_line(bytes);
    };
    let line = bytes[..line_end]
        .strip_suffix(b"\r")
        .unwrap_or(&bytes[..line_end]);
    let mut words = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Seen::Foreign;
    };
    let protocol = match version {
        b"HTTP/1.0" => Protocol::Http10,
        _ if version.len() == 8 && version.starts_with(b"HTTP/1.") => Protocol::Http11,
        _ => return Seen::Foreign,
    };
    if !is_token(method) {
        return Seen::Foreign;
    }
    let mut request = Request {
        protocol: Some(protocol),
        certain: true,
        ..with_target(method, target, true)
    };
    let mut headers = [EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let outcome = ParserConfig::default()
        .ignore_invalid_headers_in_requests(true)
        .allow_multiple_spaces_in_request_line_delimiters(true)
        .parse_request(&mut parsed, bytes);
    let http = &mut request.http;
    if http.host.is_none() {
        http.host = value(parsed.headers, "host").map(text::host);
    }
    http.sender = senders::of(parsed.headers).map(str::to_owned);
    let whole = matches!(outcome, Ok(httparse::Status::Complete(_)));
    let (method, path) = (http.method.as_deref(), http.path.as_deref());
    let prober = probes::of(method, path, protocol, parsed.headers, whole);
    http.prober = prober.map(str::to_owned);
    http.header_rules = rules.held(parsed.headers);
    request.closes = closes(parsed.headers);
    match outcome {
        Ok(httparse::Status::Complete(length)) => {
            request.framing = match (coding(parsed.headers), content_length(parsed.headers)) {
                (Coding::Chunked, _) => Framing::Chunked,
                (Coding::Other, _) | (_, Err(Contradiction)) => Framing::Malformed,
                (Coding::None, Ok(Some(length))) => Framing::Length(length),
                (Coding::None, Ok(None)) => Framing::Empty,
            };
            Seen::Whole(request, length)
        }
        Ok(httparse::Status::Partial) => Seen::Part(request),
        Err(_) => Seen::Broken(request),
    }
}

/// A request whose first line is not complete.
fn partial_request_line(bytes: &[u8]) -> Seen<Request> {
    let mut words = bytes.splitn(3, |&byte| byte == b' ');
    let method = words.next().unwrap_or_default();
    let Some(target) = words.next() else {
        let begins = METHODS.iter().any(|known| known.as_bytes().starts_with(method));
        return if begins {
            Seen::Part(unnamed())
        } else {
            Seen::Foreign
        };
    };
    if !METHODS.iter().any(|known| known.as_bytes() == method) {
        return Seen::Foreign;
    }
    let plausible = method == b"CONNECT" || b"http".starts_with(&target[..target.len().min(4)]);
    if !(plausible || target.starts_with(b"/") || target.starts_with(b"*")) {
        return Seen::Foreign;
    }
    let version = words.next();
    if let Some(version) = version {
        let version = version.strip_suffix(b"\r").unwrap_or(version);
        let known = &version[..version.len().min(7)];
        if version.len() > 8 || !b"HTTP/1.".starts_with(known) {
            return Seen::Foreign;
        }
    }
    Seen::Part(Request {
        certain: !target.is_empty(),
        ..with_target(method, target, version.is_some())
    })
}

/// Nothing but that there is a request.
fn unnamed() -> Request {
    Request {
        http: Http::default(),
        protocol: None,
        is_head: false,
        is_connect: false,
        waits: false,
        closes: false,
        certain: false,
        framing: Framing::Malformed,
    }
}

/// A request of which the method, and the target or its beginning, are known.
fn with_target(method: &[u8], target: &[u8], whole: bool) -> Request {
    let is_connect = method == b"CONNECT";
    let (path, host) = text::target(target, is_connect, whole);
    Request {
        http: Http {
            method: Some(text::method(method)),
            path: path.filter(|_| !target.is_empty()),
            host: host.filter(|_| whole),
            ..Http::default()
        },
        is_head: method == b"HEAD",
        is_connect,
        waits: whole && polls::waits(method, target),
        closes: false,
        ..unnamed()
    }
}

/// Reads the response that begins at `bytes`, to a request with these properties.
pub(super) fn response(bytes: &[u8], is_head: bool, is_connect: bool) -> Seen<Response> {
    const VERSION: &[u8] = b"HTTP/1.";
    let known = bytes.len().min(VERSION.len());
    if bytes[..known] != VERSION[..known] {
        return Seen::Foreign;
    }
    let mut headers = [EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Response::new(&mut headers);
    let outcome = ParserConfig::default()
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_multiple_spaces_in_response_status_delimiters(true)
        .ignore_invalid_headers_in_responses(true)
        .parse_response(&mut parsed, bytes);
    let status = parsed.code;
    let to = value(parsed.headers, "upgrade").unwrap_or_default();
    let upgraded = match to {
        _ if to.eq_ignore_ascii_case(b"websocket") => Upgraded::WebSocket,
        _ if to.eq_ignore_ascii_case(b"h2c") => Upgraded::H2c,
        _ => Upgraded::Other,
    };
    let mut response = Response {
        status,
        interim: match status {
            Some(status) => (100..200).contains(&status) && status != 101,
            // Cut within the status: a 1 begins an interim response, unless it may be a 101.
            None => matches!(
                bytes.get(9..),
                Some([b'1', b'1'..=b'9', ..] | [b'1', b'0', b'0' | b'2'..=b'9', ..])
            ),
        },
        upgraded: (status == Some(101)).then_some(upgraded),
        event_stream: value(parsed.headers, "content-type").is_some_and(is_event_stream),
        framing: Framing::Malformed,
    };
    match outcome {
        Ok(httparse::Status::Complete(length)) => {
            response.framing = match status {
                Some(101) => Framing::Tunnel,
                Some(200..=299) if is_connect => Framing::Tunnel,
                Some(100..=199 | 204 | 304) => Framing::Empty,
                _ if is_head => Framing::Empty,
                _ => match (coding(parsed.headers), content_length(parsed.headers)) {
                    (Coding::Chunked, _) => Framing::Chunked,
                    (Coding::None, Err(Contradiction)) => Framing::Malformed,
                    (Coding::None, Ok(Some(length))) => Framing::Length(length),
                    (Coding::Other, _) | (Coding::None, Ok(None)) => Framing::Close,
                },
            };
            Seen::Whole(response, length)
        }
        Ok(httparse::Status::Partial) => Seen::Part(response),
        Err(_) => Seen::Broken(response),
    }
}

/// The last transfer coding.
enum Coding {
    None,
    Chunked,
    Other,
}

fn coding(headers: &[Header<'_>]) -> Coding {
    let last = headers
        .iter()
        .rfind(|header| header.name.eq_ignore_ascii_case("transfer-encoding"))
        .and_then(|header| header.value.rsplit(|&byte| byte == b',').next());
    match last {
        None => Coding::None,
        Some(coding) if coding.trim_ascii().eq_ignore_ascii_case(b"chunked") => Coding::Chunked,
        Some(_) => Coding::Other,
    }
}

/// Lengths that are not numbers, or not the same.
struct Contradiction;

fn content_length(headers: &[Header<'_>]) -> Result<Option<u64>, Contradiction> {
    let mut found = None;
    let values = headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("content-length"))
        .flat_map(|header| header.value.split(|&byte| byte == b','));
    for value in values {
        let digits = std::str::from_utf8(value.trim_ascii()).map_err(|_| Contradiction)?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Contradiction);
        }
        let length: u64 = digits.parse().map_err(|_| Contradiction)?;
        if found.is_some_and(|other| other != length) {
            return Err(Contradiction);
        }
        found = Some(length);
    }
    Ok(found)
}

fn value<'b>(headers: &[Header<'b>], name: &str) -> Option<&'b [u8]> {
    headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value.trim_ascii())
}

/// Whether the connection ends with the answer.
fn closes(headers: &[Header<'_>]) -> bool {
    let options = value(headers, "connection").unwrap_or_default();
    options
        .split(|&byte| byte == b',')
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

fn is_event_stream(value: &[u8]) -> bool {
    let kind = value.split(|&byte| byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

/// `token` of RFC 9110 section 5.6.2, of a length that a method may have.
fn is_token(bytes: &[u8]) -> bool {
    (1..=METHOD_TOKEN).contains(&bytes.len())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}
