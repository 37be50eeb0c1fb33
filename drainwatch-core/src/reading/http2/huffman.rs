//! The Huffman code of HPACK (RFC 7541 appendix B). It is canonical: codes follow from their lengths.

/// Length in bits of each byte's code.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, //
];

const LONGEST: usize = 30;

/// What follows from the lengths.
struct Code {
    /// Bytes by the length of their code, then by value: the order of the codes.
    bytes: [u8; 256],
    /// First code of each length.
    first: [u32; LONGEST + 1],
    /// How many codes have each length.
    count: [u32; LONGEST + 1],
    /// Where the bytes of each length begin.
    start: [usize; LONGEST + 1],
}

static CODE: Code = code();

#[expect(clippy::cast_possible_truncation, reason = "256 bytes")]
const fn code() -> Code {
    let mut code = Code {
        bytes: [0; 256],
        first: [0; LONGEST + 1],
        count: [0; LONGEST + 1],
        start: [0; LONGEST + 1],
    };
    let (mut length, mut at, mut next) = (1, 0, 0_u32);
    while length <= LONGEST {
        next <<= 1;
        code.first[length] = next;
        code.start[length] = at;
        let mut byte = 0;
        while byte < 256 {
            if LENGTHS[byte] as usize == length {
                code.bytes[at] = byte as u8;
                at += 1;
                next += 1;
                code.count[length] += 1;
            }
            byte += 1;
        }
        length += 1;
    }
    code
}

/// Decodes a string; `None` where it is none.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut bits, mut length) = (0_u32, 0);
    for byte in bytes {
        for place in (0..8).rev() {
            bits = bits << 1 | u32::from(byte >> place & 1);
            length += 1;
            if length > LONGEST {
                return None;
            }
            let offset = bits.wrapping_sub(CODE.first[length]);
            if offset < CODE.count[length] {
                out.push(CODE.bytes[CODE.start[length] + offset as usize]);
                (bits, length) = (0, 0);
            }
        }
    }
    // Padding: at most seven bits, all ones (RFC 7541 section 5.2).
    let padded = length < 8 && bits == (1 << length) - 1;
    padded.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541 appendix C.4 and C.6.
    #[test]
    fn given_the_examples_of_the_rfc_when_decoded_then_they_say_what_they_say_there() {
        let table: &[(&[u8], &[u8])] = &[
            (
                b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
                b"www.example.com",
            ),
            (b"\xa8\xeb\x10\x64\x9c\xbf", b"no-cache"),
            (b"\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f", b"custom-key"),
            (b"\x64\x02", b"302"),
            (b"", b""),
        ];
        for &(coded, text) in table {
            assert_eq!(decode(coded).unwrap(), text);
        }
    }

    #[test]
    fn given_bad_padding_when_decoded_then_it_is_no_string() {
        assert_eq!(decode(b"\xa8\xeb\x10\x64\x9c\xb0"), None, "zeroes");
        assert_eq!(decode(b"\x64\x02\xff"), None, "too much");
        assert_eq!(
            decode(&[0xff; 8]),
            None,
            "the end of strings is none of its symbols"
        );
    }
}
