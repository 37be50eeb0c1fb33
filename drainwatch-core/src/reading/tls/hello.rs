//! What both sides say before they encrypt: for whom it is, and what will be spoken.

use super::{HANDSHAKE, records::begins};
use crate::{exchange::Tls, reading::text, record::Turn};

/// Types of handshakes.
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
/// Extensions (RFC 6066, RFC 7301, RFC 8446).
const SERVER_NAME: u16 = 0;
const PROTOCOLS: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
/// Most protocols that are shown.
const MOST: usize = 8;

/// What is known of a handshake.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Handshake {
    host: Option<String>,
    /// What the client would speak; `None` where that was not kept.
    offered: Option<Vec<Vec<u8>>>,
    /// What the server chose, where that is said in clear.
    chosen: Option<Vec<u8>>,
    version: Version,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Version {
    #[default]
    Unknown,
    /// 1.2, or older: types of records are true.
    Old,
    /// 1.3.
    New,
}

impl Handshake {
    pub(super) fn of(turn: &Turn) -> Self {
        let (client, server) = match &turn.hellos {
            Some(hellos) => (&hellos.client, &hellos.server),
            None if turn.number == 1 => (&turn.ask, &turn.answer),
            None => return Self::default(),
        };
        let mut handshake = Self::default();
        if let Some(hello) = Hello::of(client, CLIENT_HELLO) {
            handshake.host = hello.extension(SERVER_NAME).and_then(server_name);
            handshake.offered = match hello.extension(PROTOCOLS) {
                Some(list) => names(list),
                None => hello.whole.then(Vec::new),
            };
        }
        if let Some(hello) = Hello::of(server, SERVER_HELLO) {
            let new = hello.extension(SUPPORTED_VERSIONS) == Some(&[3, 4]);
            handshake.version = match (new, hello.whole) {
                (true, _) => Version::New,
                (false, true) => Version::Old,
                (false, false) => Version::Unknown,
            };
            handshake.chosen = hello
                .extension(PROTOCOLS)
                .and_then(names)
                .and_then(|mut names| (names.len() == 1).then(|| names.remove(0)));
        }
        handshake
    }

    /// Both sides know that it is HTTP/1: the server chose it, or the client would speak nothing else.
    pub(super) fn is_http1(&self) -> bool {
        let is = |name: &Vec<u8>| name.starts_with(b"http/1.");
        match (&self.chosen, &self.offered) {
            (Some(chosen), _) => is(chosen),
            (None, Some(offered)) => !offered.is_empty() && offered.iter().all(is),
            (None, None) => false,
        }
    }

    /// The client would speak something else, or that is not known of a connection that was seen from its beginning.
    pub(super) fn may_be_multiplexed(&self, turn: &Turn) -> bool {
        match &self.offered {
            Some(offered) => !offered.is_empty() || self.chosen.is_some(),
            None => turn.hellos.is_some(),
        }
    }

    /// TLS 1.2, or older: a record's type says what is in it.
    pub(super) fn is_1_2(&self) -> bool {
        self.version == Version::Old
    }

    /// For reports.
    pub(super) fn shown(&self) -> Tls {
        let names = match &self.chosen {
            Some(chosen) => std::slice::from_ref(chosen),
            None => self.offered.as_deref().unwrap_or_default(),
        };
        Tls {
            host: self.host.clone(),
            alpn: names.iter().take(MOST).map(|name| text::method(name)).collect(),
        }
    }
}

/// The extensions of a hello, as far as they were kept.
struct Hello<'a> {
    extensions: Vec<(u16, &'a [u8])>,
    /// There are no others.
    whole: bool,
}

impl<'a> Hello<'a> {
    /// A hello that one record begins with.
    fn of(bytes: &'a [u8], kind: u8) -> Option<Self> {
        let (&[HANDSHAKE, 3, _, _, _, is, high, middle, low], body) = bytes.split_first_chunk::<9>()? else {
            return None;
        };
        if is != kind || !begins(bytes) {
            return None;
        }
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let kept = body.len() >= length;
        let body = &body[..body.len().min(length)];
        // Version and random; then the session.
        let (_, body) = body.split_at_checked(2 + 32)?;
        let (_, body) = vector8(body)?;
        let body = if kind == CLIENT_HELLO {
            let (_, body) = vector16(body)?;
            vector8(body)?.1
        } else {
            body.get(2 + 1..)?
        };
        let Some((&[high, low], mut rest)) = body.split_first_chunk() else {
            return Some(Self {
                extensions: vec![],
                whole: kept && body.is_empty(),
            });
        };
        let promised = usize::from(u16::from_be_bytes([high, low]));
        rest = &rest[..rest.len().min(promised)];
        let mut extensions = vec![];
        while let Some((&[high, low], behind)) = rest.split_first_chunk()
            && let Some((value, next)) = vector16(behind)
        {
            extensions.push((u16::from_be_bytes([high, low]), value));
            rest = next;
        }
        Some(Self {
            extensions,
            whole: kept && rest.is_empty(),
        })
    }

    fn extension(&self, number: u16) -> Option<&'a [u8]> {
        let found = self.extensions.iter().find(|(is, _)| *is == number);
        found.map(|(_, value)| *value)
    }
}

fn vector8(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    rest.split_at_checked(length.into())
}

fn vector16(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(length).into())
}

/// The host among the names of this extension.
fn server_name(value: &[u8]) -> Option<String> {
    let (list, _) = vector16(value)?;
    let (&kind, rest) = list.split_first()?;
    let (name, _) = vector16(rest)?;
    (kind == 0 && !name.is_empty()).then(|| text::host(name))
}

/// The names of this extension; `None` where they contradict themselves.
fn names(value: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut list, _) = vector16(value)?;
    let mut names = vec![];
    while !list.is_empty() {
        let (name, rest) = vector8(list)?;
        names.push(name.to_vec());
        list = rest;
    }
    Some(names)
}
