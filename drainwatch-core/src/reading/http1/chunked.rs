//! The chunked coding (RFC 9112 section 7.1), as far as it was seen.

/// Shortest end of a chunked body: the last chunk, no trailers.
const LAST_CHUNK: u64 = 5; // "0\r\n\r\n"

/// What a body, known from its first byte on, says of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunks {
    /// It ended after so many bytes.
    Complete(usize),
    /// It needs at least so many more bytes.
    Needs(u64),
    /// It is not chunked coding.
    Malformed,
}

/// Walks the chunks of `body`.
pub(super) fn walk(body: &[u8]) -> Chunks {
    let mut at = 0;
    loop {
        let rest = &body[at..];
        let Some(first) = rest.first() else {
            return Chunks::Needs(LAST_CHUNK);
        };
        if !first.is_ascii_hexdigit() {
            return Chunks::Malformed; // httparse takes an empty size for 0
        }
        let (line, size) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => {
                return Chunks::Needs(if rest.ends_with(b"\r") { 3 } else { 4 });
            }
            Err(httparse::InvalidChunkSize) => return Chunks::Malformed,
        };
        at += line;
        if size == 0 {
            return trailers(body, at);
        }
        let have = (body.len() - at) as u64;
        let need = size.saturating_add(2);
        if have < need {
            return Chunks::Needs((need - have).saturating_add(LAST_CHUNK));
        }
        let Ok(size) = usize::try_from(size) else {
            return Chunks::Malformed; // cannot be: `have` is at least as large
        };
        if body.get(at + size..at + size + 2) != Some(b"\r\n") {
            return Chunks::Malformed;
        }
        at += size + 2;
    }
}

/// The trailer fields, which end with an empty line.
fn trailers(body: &[u8], mut at: usize) -> Chunks {
    loop {
        let rest = &body[at..];
        match rest.windows(2).position(|window| window == b"\r\n") {
            Some(0) => return Chunks::Complete(at + 2),
            Some(end) => at += end + 2,
            None => {
                return Chunks::Needs(match rest {
                    [] => 2,
                    b"\r" => 1,
                    [.., b'\r'] => 3,
                    _ => 4,
                });
            }
        }
    }
}

/// What the last bytes written say, where the bytes before them are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TailSays {
    /// The last chunk was written.
    Complete,
    /// It was not.
    Incomplete,
    /// It may have been: these may be trailers, or data.
    Unknown,
}

/// Reads a tail. What looks like a last chunk on a line of its own, with nothing but trailers behind it, is
/// believed to be one.
pub(super) fn tail(tail: &[u8]) -> TailSays {
    let Some(lines) = tail.strip_suffix(b"\r\n\r\n") else {
        // Too short to tell: the end of a message that was written in small pieces.
        let open = tail.len() < 4 && b"\r\n\r\n".ends_with(tail);
        return if open {
            TailSays::Unknown
        } else {
            TailSays::Incomplete
        };
    };
    let mut rest = lines;
    loop {
        let (before, line) = match rest.iter().rposition(|&byte| byte == b'\n') {
            Some(end) => (Some(&rest[..end]), &rest[end + 1..]),
            None => (None, rest),
        };
        if line.is_empty() && before.is_some() {
            return TailSays::Incomplete; // an empty line before the empty line: data that ends so
        }
        let last_chunk = !line.is_empty() && line.iter().all(|&byte| byte == b'0');
        match before {
            Some(_) if last_chunk => return TailSays::Complete,
            Some(before) if is_field(line) => rest = before.strip_suffix(b"\r").unwrap_or(before),
            Some(_) => return TailSays::Incomplete, // a line of data
            // A tail that begins with the zero is a write of its own.
            None if last_chunk && tail.len() < crate::record::TAIL => return TailSays::Complete,
            None => return TailSays::Unknown,
        }
    }
}

/// Whether the line may be a trailer: a name, a colon, a value.
fn is_field(line: &[u8]) -> bool {
    line.iter()
        .position(|&byte| byte == b':')
        .is_some_and(|colon| colon > 0 && line[..colon].iter().all(u8::is_ascii_graphic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_body_from_its_first_byte_on_when_walked_then_its_end_or_its_need_is_known() {
        let table: &[(&[u8], Chunks)] = &[
            (b"", Chunks::Needs(5)),
            (b"0\r\n\r\n", Chunks::Complete(5)),
            (b"0\r\n\r\nHTTP/1.1", Chunks::Complete(5)),
            (b"0\r\n\r", Chunks::Needs(1)),
            (b"0\r\n", Chunks::Needs(2)),
            (b"0\r", Chunks::Needs(3)),
            (b"0", Chunks::Needs(4)),
            (b"5\r\nhello\r\n0\r\n\r\n", Chunks::Complete(15)),
            (b"5;name=value\r\nhello\r\n000\r\n\r\n", Chunks::Complete(28)),
            (b"5\r\nhello\r\n", Chunks::Needs(5)),
            (b"5\r\nhel", Chunks::Needs(9)),
            (b"A\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", Chunks::Complete(20)),
            (b"0\r\nChecksum: 1\r\n\r\n", Chunks::Complete(18)),
            (b"0\r\nChecksum: 1\r\n", Chunks::Needs(2)),
            (b"0\r\nChecksum: 1\r", Chunks::Needs(3)),
            (b"0\r\nChecksum", Chunks::Needs(4)),
            (b"ffffffffffffffff\r\nx", Chunks::Needs(u64::MAX)),
            (b"fffffffffffffffff\r\n", Chunks::Malformed),
            (b"\r\n\r\n", Chunks::Malformed),
            (b"5\r\nhelloworld", Chunks::Malformed),
            (b"hello", Chunks::Malformed),
        ];
        for (body, said) in table {
            assert_eq!(walk(body), *said, "{}", body.escape_ascii());
        }
    }

    #[test]
    fn given_only_the_last_bytes_when_looked_at_then_the_last_chunk_is_told_from_data_and_doubt() {
        let table: &[(&[u8], TailSays)] = &[
            (b"lorem ipsum\r\n0\r\n\r\n", TailSays::Complete),
            (b"0\r\n\r\n", TailSays::Complete),
            (b"lorem ip\r\n000\r\n\r\n", TailSays::Complete),
            (b"lorem ipsum dolor", TailSays::Incomplete),
            (b"lorem ipsum\r\n", TailSays::Incomplete),
            (b"lorem ipsum\r\n0\r\n", TailSays::Incomplete),
            (b"lorem ipsum\r\n0\r\n\r", TailSays::Incomplete),
            (b"data: 1\r\n\r\n\r\n", TailSays::Incomplete),
            (b"Checksum: abc\r\n\r\n", TailSays::Unknown),
            (b"total is 1.000\r\n\r\n", TailSays::Unknown),
            (&[&[b'0'; 70][..], b"\r\n\r\n"].concat(), TailSays::Unknown),
            (b"lorem ipsum\r\n0\r\nChecksum: abc\r\n\r\n", TailSays::Complete),
            (
                b"lorem\r\n0\r\nServer-Timing: db;dur=53\r\nA: b\r\n\r\n",
                TailSays::Complete,
            ),
            (b"lorem\r\nipsum dolor\r\n\r\n", TailSays::Incomplete),
            (b"x\r\n12\r\nevent: x\r\n\r\n", TailSays::Incomplete),
            (b"\r\n", TailSays::Unknown),
            (b"", TailSays::Unknown),
        ];
        for (last, said) in table {
            let last = &last[last.len().saturating_sub(crate::record::TAIL)..];
            assert_eq!(tail(last), *said, "{}", last.escape_ascii());
        }
    }
}
