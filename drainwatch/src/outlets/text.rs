//! Strings for people: measured, cut, wrapped, coloured; spans of time, written and read.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Whether to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Escape sequences.
    Always,
    /// Plain text.
    Never,
}

/// What a piece of text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// Severed, killed.
    Bad,
    /// Drained, clean.
    Good,
    /// Unknown, advice.
    Doubt,
    /// Less important.
    Faint,
    /// A heading.
    Strong,
    /// As it is.
    Plain,
}

impl Colour {
    /// `text` in this ink.
    pub fn paint(self, ink: Ink, text: &str) -> String {
        let style = match ink {
            Ink::Bad => AnsiColor::Red.on_default(),
            Ink::Good => AnsiColor::Green.on_default(),
            Ink::Doubt => AnsiColor::Yellow.on_default(),
            Ink::Faint => Style::new().dimmed(),
            Ink::Strong => Style::new().bold(),
            Ink::Plain => Style::new(),
        };
        if self == Self::Never || ink == Ink::Plain || text.is_empty() {
            return text.into();
        }
        format!("{style}{text}{style:#}")
    }
}

/// Columns that `text` takes.
pub fn columns(text: &str) -> usize {
    text.width()
}

/// `text` in exactly `width` columns: cut with `…` or filled with spaces.
pub fn fit(text: &str, width: usize) -> String {
    let mut out = cut(text, width);
    out.push_str(&" ".repeat(width.saturating_sub(columns(&out))));
    out
}

/// `text` in at most `width` columns, its end cut with `…`.
pub fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.into();
    }
    let mut out = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        out.push(c);
    }
    if width > 0 {
        out.push('…');
    }
    out
}

/// `text` in at most `width` columns, its middle left out: names differ at both ends.
pub fn elide(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.into();
    }
    let tail_width = width.saturating_sub(1) / 2;
    let mut tail = String::new();
    for c in text.chars().rev() {
        if columns(&tail) + c.width().unwrap_or(0) > tail_width {
            break;
        }
        tail.insert(0, c);
    }
    cut(text, width.saturating_sub(columns(&tail))) + &tail
}

/// Lines of at most `width` columns, broken at spaces (within a word only where it is longer than a line).
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(8);
    let mut lines = Vec::new();
    let mut line = String::new();
    for mut word in text.split_whitespace() {
        if !line.is_empty() {
            if columns(&line) + 1 + columns(word) <= width {
                line.push(' ');
            } else {
                lines.push(std::mem::take(&mut line));
            }
        }
        while columns(&line) + columns(word) > width {
            let mut used = 0;
            let end = word
                .char_indices()
                .find(|(_, c)| {
                    used += c.width().unwrap_or(0);
                    used > width
                })
                .map_or(word.len(), |(at, _)| at);
            lines.push(word[..end].to_owned());
            word = &word[end..];
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// Milliseconds as people read them: `0.4 ms`, `40 ms`, `1.25 s`, `2 min 5 s`.
pub fn span(ms: f64) -> String {
    if ms.is_nan() {
        return "?".into();
    }
    let (sign, ms) = (if ms <= -0.05 { "-" } else { "" }, ms.abs());
    let short = |number: String| number.trim_end_matches('0').trim_end_matches('.').to_owned();
    if ms < 9.95 {
        format!("{sign}{} ms", short(format!("{ms:.1}")))
    } else if ms < 999.5 {
        format!("{sign}{ms:.0} ms")
    } else if ms < 59_950.0 {
        format!("{sign}{} s", short(format!("{:.2}", ms / 1000.0)))
    } else {
        let seconds = (ms / 1000.0).round();
        format!(
            "{sign}{:.0} min {:.0} s",
            (seconds / 60.0).floor(),
            seconds % 60.0
        )
    }
}

/// A whole number with its unit: `500ms`, `5s`, `15m`, `12h`, `30d`. The error says what to write.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || {
        format!("`{text}` is not a duration; write a number with ms, s, m, h or d, for example 15m or 30d")
    };
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let (number, unit) = text.split_at(unit_at);
    let ms_per: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(bad()),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    // A century: nothing beyond it is meant, and sums with it cannot overflow.
    let ms = number
        .checked_mul(ms_per)
        .filter(|ms| *ms <= 36_525 * 86_400_000)
        .ok_or_else(bad)?;
    Ok(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_wide_text_when_fitted_then_columns_count_and_not_characters() {
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 4), "日… ");
        assert_eq!(fit("ab", 4), "ab  ");
        assert_eq!(cut("abc", 0), "");
        assert_eq!(elide("shop/checkout-api", 11), "shop/…t-api");
        assert_eq!(elide("abc", 0), "");
    }

    #[test]
    fn given_long_text_when_wrapped_then_no_line_is_wider() {
        assert_eq!(wrap("raise the grace period", 12), ["raise the", "grace period"]);
        assert_eq!(wrap("abcdefghijkl m", 8), ["abcdefgh", "ijkl m"]);
        assert_eq!(wrap("", 8), [""]);
    }

    #[test]
    fn given_milliseconds_when_spelled_then_units_fit() {
        for (ms, text) in [
            (0.0, "0 ms"),
            (0.44, "0.4 ms"),
            (3.0, "3 ms"),
            (999.4, "999 ms"),
            (999.6, "1 s"),
            (1250.0, "1.25 s"),
            (59_950.0, "1 min 0 s"),
            (125_000.0, "2 min 5 s"),
            (-40.0, "-40 ms"),
            (f64::NAN, "?"),
        ] {
            assert_eq!(span(ms), text);
        }
    }

    #[test]
    fn given_a_duration_when_read_then_it_has_a_unit_and_is_no_longer_than_a_century() {
        assert_eq!(duration("15m"), Ok(Duration::from_mins(15)));
        for bad in [
            "",
            "15",
            "m",
            "-1s",
            "1w",
            "99999999999999999999s",
            "999999999999d",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
