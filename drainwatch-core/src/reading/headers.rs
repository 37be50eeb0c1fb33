//! The user's rules on headers. They are matched here, where the head is read, and only which rules
//! held goes any further: headers carry credentials, and events are recorded and sent.

use httparse::Header;
use wildmatch::WildMatch;

/// Longest pattern.
const PATTERN: usize = 256;

/// A header that a rule asks for: `x-hub-signature*`, or `user-agent: *stripe*`. In both parts `*` is
/// anything and `?` one character; upper and lower case are the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern {
    name: WildMatch,
    value: Option<WildMatch>,
}

/// `NAME` or `NAME: VALUE`.
impl std::str::FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (text.trim(), None),
        };
        // What names of fields are made of (RFC 9110 section 5.6.2), where `*` stands for itself as well.
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~?".contains(c);
        let fits = !name.is_empty()
            && text.len() <= PATTERN
            && name.chars().all(token)
            && value.is_none_or(|value| !value.is_empty() && !value.contains(char::is_control));
        if !fits {
            return Err(format!(
                "`{}` is not a header or header pattern; write for example x-hub-signature* or user-agent: *stripe* (at \
                 most {PATTERN} characters)",
                text.escape_debug()
            ));
        }
        Ok(Self {
            name: WildMatch::new_case_insensitive(name),
            value: value.map(WildMatch::new_case_insensitive),
        })
    }
}

impl Pattern {
    fn holds(&self, header: &Header<'_>) -> bool {
        // What is not UTF-8 is seen as the replacement character, which `?` and `*` match.
        self.name.matches(header.name)
            && self
                .value
                .as_ref()
                .is_none_or(|value| value.matches(String::from_utf8_lossy(header.value).trim()))
    }
}

/// The rules that ask for headers: number of the rule, and its patterns, of which one must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HeaderRules(Vec<(u8, Vec<Pattern>)>);

impl HeaderRules {
    /// No rule asks for headers.
    pub const NONE: &Self = &Self(Vec::new());

    /// Of rules in their order, each with its patterns; those that are none are left away, their reader
    /// has refused them. A rule without patterns asks for no header.
    pub fn new<'a>(rules: impl IntoIterator<Item = &'a [String]>) -> Self {
        let rules = (0..=u8::MAX).zip(rules).filter(|(_, header)| !header.is_empty());
        Self(
            rules
                .map(|(rule, header)| (rule, header.iter().filter_map(|text| text.parse().ok()).collect()))
                .collect(),
        )
    }

    /// The rules that hold of these headers, by number.
    pub(super) fn held(&self, headers: &[Header<'_>]) -> Vec<u8> {
        let seen = || headers.iter().filter(|header| !header.name.is_empty());
        self.0
            .iter()
            .filter(|(_, patterns)| {
                patterns
                    .iter()
                    .any(|pattern| seen().any(|header| pattern.holds(header)))
            })
            .map(|(rule, _)| *rule)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(rules: &[&[&str]]) -> HeaderRules {
        let rules: Vec<Vec<String>> = rules
            .iter()
            .map(|rule| rule.iter().map(|&text| text.to_owned()).collect())
            .collect();
        HeaderRules::new(rules.iter().map(Vec::as_slice))
    }

    fn held(of: &[&[&str]], headers: &[(&str, &[u8])]) -> Vec<u8> {
        let headers: Vec<_> = headers
            .iter()
            .map(|&(name, value)| Header { name, value })
            .collect();
        rules(of).held(&headers)
    }

    #[test]
    fn given_patterns_when_matched_then_only_what_they_mean_holds() {
        let github: &[(&str, &[u8])] = &[
            ("User-Agent", b"GitHub-Hookshot/044aadd"),
            ("X-Hub-Signature-256", b"sha256=1"),
        ];
        assert_eq!(held(&[&["x-hub-signature*"]], github), [0]);
        assert_eq!(held(&[&["x-hub-signature"]], github), [] as [u8; 0]);
        assert_eq!(
            held(&[&[], &["user-agent: *hookshot/*"], &["user-agent:*"]], github),
            [1, 2]
        );
        assert_eq!(
            held(&[&["user-agent: hookshot"]], github),
            [] as [u8; 0],
            "the whole value"
        );
        assert_eq!(
            held(&[&["x-no", "x-hub-signature-256: SHA256=?"]], github),
            [0],
            "one of several"
        );
        assert_eq!(
            held(&[&["*: *"]], &[("", b""), ("", b"")]),
            [] as [u8; 0],
            "no header at all"
        );
    }

    #[test]
    fn given_text_that_is_no_pattern_when_read_then_it_is_refused_in_one_line() {
        for bad in [
            "",
            " ",
            ": x",
            "x y",
            "x:",
            "x: ",
            "x: a\nb",
            "é",
            &"x".repeat(257),
        ] {
            let why = bad.parse::<Pattern>().unwrap_err();
            assert!(
                why.contains("user-agent: *stripe*") && !why.contains('\n'),
                "{why}"
            );
        }
    }

    proptest! {
        #[test]
        fn given_any_headers_when_matched_then_nothing_panics_and_only_numbers_of_rules_come_out(
            pattern in "[a-z*?]{1,12}(: [ -~]{1,40})?",
            name in "[!-~]{0,40}",
            value in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let held = held(&[&["never-there"], &[&pattern], &["*"]], &[(&name, &value)]);
            prop_assert!(held.iter().all(|rule| [1, 2].contains(rule)));
            prop_assert_eq!(held.contains(&2), !name.is_empty());
        }
    }
}
