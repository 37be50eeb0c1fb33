//! Names and paths that other people chose, made fit to be shown: bounded, without control characters.

use std::fmt::Write as _;

/// Most bytes of a name: what a Kubernetes object may have, and a unit nearly.
pub const NAME: usize = 253;
/// Most bytes of a path: `PATH_MAX`.
pub const PATH: usize = 4096;

/// Takes `\xNN` out of a unit's name: `systemd.unit(5)`, "String escaping for inclusion in unit names". A
/// name that would not be text stays as it is.
pub fn unescape(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, after @ ..] = rest {
        if let [b'\\', b'x', high, low, after @ ..] = rest
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            bytes.push(high << 4 | low);
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| name.to_owned())
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// A name as it may be shown: without control characters, and of one that is too long the end, which
/// says more than the beginning.
pub fn shown_name(name: &str) -> String {
    const CUT: &str = "…";
    let text = escape(tail(name, NAME + 1));
    if text.len() <= NAME {
        return text;
    }
    format!("{CUT}{}", tail(&text, NAME - CUT.len()))
}

/// A path as it may be shown; of one that is too long the beginning, which still tells what it is below.
pub fn shown_path(path: &str) -> String {
    let mut text = escape(&path[..path.floor_char_boundary(PATH)]);
    text.truncate(text.floor_char_boundary(PATH));
    text
}

fn tail(text: &str, most: usize) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(most))..]
}

/// Writes what a terminal or a log would act on as `\x1b` or `\u{202e}`.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if !is_harmful(c) {
            out.push(c);
        } else if c.is_ascii() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{:02x}", u32::from(c));
        } else {
            let _ = write!(out, "{}", c.escape_unicode());
        }
    }
    out
}

/// Text as a terminal may be given it. Strings of a report come from whoever named a process or sent a request: nothing
/// in them may move the cursor, change colours or reverse the line. Such characters become `\u{1b}`.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) {
            let _ = write!(out, "{}", c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Control characters, and the format characters that reorder, break or hide text.
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_hostile_text_when_cleaned_then_nothing_in_it_acts() {
        assert_eq!(
            clean("a\u{1b}[31mb\r\n\u{9b}c\u{202e}d"),
            "a\\u{1b}[31mb\\u{d}\\u{a}\\u{9b}c\\u{202e}d"
        );
        assert_eq!(clean("/größe/日本"), "/größe/日本");
    }
}
