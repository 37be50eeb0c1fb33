//! Frames, and the methods in them, as far as they were kept.

const METHOD: u8 = 1;
pub(super) const HEADER: u8 = 2;
pub(super) const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
const END: u8 = 0xce;
/// Bytes of a frame before its payload.
pub(super) const BEFORE: u64 = 7;

/// A frame, whose payload may not have been kept to its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub kind: u8,
    pub channel: u16,
    /// Where it begins.
    pub at: u64,
    /// Length of its payload.
    pub size: u64,
    pub payload: &'a [u8],
}

/// A method.
#[derive(Debug, Clone, Copy)]
pub(super) struct Method<'a> {
    pub number: (u16, u16),
    pub arguments: &'a [u8],
}

/// The frames.
pub(super) fn frames(bytes: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..)?;
        let (&[kind, c, d, s0, s1, s2, s3], behind) = rest.split_first_chunk()?;
        if !matches!(kind, METHOD..=BODY | HEARTBEAT) {
            at = bytes.len();
            return None;
        }
        let size = u32::from_be_bytes([s0, s1, s2, s3]);
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        let frame = Frame {
            kind,
            channel: u16::from_be_bytes([c, d]),
            at: at as u64,
            size: size.into(),
            payload: &behind[..behind.len().min(length)],
        };
        at = match behind.get(length) {
            Some(&END) => bytes.len() - behind.len() + length + 1,
            _ => bytes.len(),
        };
        Some(frame)
    })
}

/// The methods among them.
pub(super) fn methods(bytes: &[u8]) -> impl Iterator<Item = Method<'_>> {
    frames(bytes).filter_map(|frame| frame.method())
}

impl<'a> Frame<'a> {
    /// The method that it carries.
    pub fn method(&self) -> Option<Method<'a>> {
        if self.kind != METHOD {
            return None;
        }
        let (&[c0, c1, m0, m1], arguments) = self.payload.split_first_chunk()?;
        Some(Method {
            number: (u16::from_be_bytes([c0, c1]), u16::from_be_bytes([m0, m1])),
            arguments,
        })
    }

    /// Too little of it was kept to say which method it carries.
    pub fn may_be_method(&self) -> bool {
        self.kind == METHOD
    }

    /// Where it ends.
    pub fn end(&self) -> u64 {
        self.at + BEFORE + self.size + 1
    }
}

/// The short string at `at`, and where the next argument stands.
pub(super) fn short(arguments: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let begin = at + 1;
    let end = begin + usize::from(*arguments.get(at)?);
    Some((arguments.get(begin..end)?, end))
}
