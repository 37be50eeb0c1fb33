//! `WebSocket` (RFC 6455) after its upgrade: whether a goodbye was said.
//!
//! The upgrade itself is HTTP and read there. A close frame is the protocol's goodbye (section 5.5.1):
//! a stream that ends after one was not cut.

/// Final close frame, opcode 8.
const CLOSE: u8 = 0x88;

/// Whether a direction that is known from its first frame on says goodbye.
///
/// After a close frame nothing but its answer follows, so one anywhere will do; it must be whole.
pub(super) fn says_goodbye(mut frames: &[u8]) -> bool {
    loop {
        let Some((&[first, second], rest)) = frames.split_first_chunk::<2>() else {
            return false;
        };
        let (length, rest) = match second & 0x7f {
            126 => match rest.split_first_chunk::<2>() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
                None => return false,
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return false,
            },
            length => (u64::from(length), rest),
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let Some(payload) = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_add(mask))
        else {
            return false;
        };
        if rest.len() < payload {
            return false;
        }
        if first == CLOSE {
            return true;
        }
        frames = &rest[payload..];
    }
}

/// Whether the last bytes that a server wrote are a close frame (a server's frames are unmasked).
///
/// Used where the frames before are not known. A frame whose reason is longer than the tail is missed.
pub(super) fn ends_in_goodbye(tail: &[u8]) -> bool {
    if tail.ends_with(&[CLOSE, 0]) {
        return true;
    }
    (2..=tail.len().saturating_sub(2)).any(|length| {
        let frame = &tail[tail.len() - length - 2..];
        let plausible = (1000..=4999).contains(&u16::from_be_bytes([frame[2], frame[3]]));
        frame[0] == CLOSE
            && usize::from(frame[1]) == length
            && plausible
            && std::str::from_utf8(&frame[4..]).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_frames_from_the_first_on_when_walked_then_only_a_whole_close_frame_is_a_goodbye() {
        let text = b"\x81\x05hello".as_slice();
        let masked = b"\x81\x82\x01\x02\x03\x04ab".as_slice();
        let long = [b"\x82\x7e\x01\x00".as_slice(), &[0x88; 256]].concat();
        let close = b"\x88\x02\x03\xe9".as_slice();
        let table: &[(&[&[u8]], bool)] = &[
            (&[], false),
            (&[text], false),
            (&[text, close], true),
            (&[text, b"\x88\x00"], true),
            (&[masked, b"\x88\x82\x01\x02\x03\x04\x02\xeb"], true),
            (&[&long], false),
            (&[&long, close], true),
            (&[text, &close[..3]], false),
            (&[b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", close], false),
            (&[b"\x81\x04\x88\x00\x88\x00"], false),
        ];
        for (parts, goodbye) in table {
            assert_eq!(says_goodbye(&parts.concat()), *goodbye, "{parts:02x?}");
        }
    }

    #[test]
    fn given_only_the_last_bytes_when_looked_at_then_a_plausible_close_frame_exactly_at_the_end_is_a_goodbye()
    {
        let table: &[(&[u8], bool)] = &[
            (b"", false),
            (b"\x88", false),
            (b"\x88\x00", true),
            (b"some text\x88\x00", true),
            (b"\x88\x02\x03\xe9", true),
            (b"xx\x88\x0e\x03\xe9going away.", false),
            (b"\x88\x0e\x03\xe9going away..", true),
            (b"\x88\x02\x03\xe9x", false),
            (b"\x88\x02\x00\x01", false),
            (b"\x88\x02\xff\xff", false),
            (b"\x88\x04\x03\xe9\xff\xfe", false),
            (b"\x81\x02\x03\xe9", false),
        ];
        for (tail, goodbye) in table {
            assert_eq!(ends_in_goodbye(tail), *goodbye, "{tail:02x?}");
        }
    }
}
