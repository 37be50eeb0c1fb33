//! The PROXY protocol's preface: what a balancer says of the client before the client's own first byte
//! (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>). It belongs to no protocol and asks for nothing.

use crate::record::Turn;

/// Version 1: one line of text, no longer than this.
const V1: &[u8] = b"PROXY ";
const V1_MOST: usize = 107;
/// Version 2: the signature, then version and command, family, and the length of the rest.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_HEAD: usize = 16;

/// The turn without it, where it begins its connection.
pub(super) fn without(mut turn: Turn) -> Turn {
    if turn.number == 1
        && let Some(length) = length(&turn.ask)
    {
        let length = length.min(turn.ask.len());
        turn.ask.drain(..length);
        turn.ask_bytes = turn.ask_bytes.saturating_sub(length as u64);
    }
    turn
}

/// How long the preface is that the bytes begin with; all of them while its end was not seen.
fn length(bytes: &[u8]) -> Option<usize> {
    if bytes.starts_with(V1) {
        let line = &bytes[..bytes.len().min(V1_MOST)];
        return match line.windows(2).position(|two| two == b"\r\n") {
            Some(end) => Some(end + 2),
            None => (line.len() < V1_MOST).then_some(bytes.len()),
        };
    }
    if !bytes.starts_with(V2) {
        return None;
    }
    match bytes.get(V2.len()..V2_HEAD) {
        Some(&[version, _, high, low]) if version >> 4 == 2 => {
            Some(V2_HEAD + usize::from(u16::from_be_bytes([high, low])))
        }
        Some(_) => None,
        None => Some(bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_preface_when_a_turn_begins_with_it_then_it_is_no_part_of_the_request() {
        let v2 = |rest: &[u8]| [V2, b"\x21\x11\0\x0c", &[7; 12], rest].concat();
        let long = [b"PROXY ", &[b'x'; 200][..]].concat();
        let table: &[(Vec<u8>, &[u8])] = &[
            (b"PROXY TCP4 192.0.2.7 127.0.0.1 56324 443\r\nGET".into(), b"GET"),
            (b"PROXY UNKNOWN\r\n".into(), b""),
            (b"PROXY TCP4 192.0.2.7".into(), b""),
            (long.clone(), &long),
            (v2(b"GET"), b"GET"),
            (v2(b""), b""),
            (V2.into(), b""),
            ([V2, b"\x21\x11\xff\xff"].concat(), b""),
            ([V2, b"\x31\x11\0\0"].concat(), &[V2, b"\x31\x11\0\0"].concat()),
            (b"GET / HTTP/1.1\r\n".into(), b"GET / HTTP/1.1\r\n"),
            (b"".into(), b""),
        ];
        for (ask, left) in table {
            let turn = Turn {
                number: 1,
                ask_bytes: ask.len() as u64,
                ask: ask.clone(),
                ..Turn::default()
            };
            let later = Turn {
                number: 2,
                ..turn.clone()
            };
            assert_eq!(without(later.clone()), later, "{}", ask.escape_ascii());
            let turn = without(turn);
            assert_eq!((&turn.ask[..], turn.ask_bytes), (*left, left.len() as u64));
        }
    }
}
