//! What a search looks at: the words of a report that its reader sees.

use std::{
    collections::BTreeMap,
    fmt::{self, Formatter},
};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// The words of a search, each to be found somewhere.
pub fn terms(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// Every one of the terms is in this report.
pub fn finds(terms: &[String], json: &str) -> bool {
    if terms.is_empty() {
        return true;
    }
    let Ok(looked_at) = serde_json::from_str::<LookedAt>(json) else {
        return false;
    };
    let text = looked_at.text();
    terms.iter().all(|term| text.contains(term))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LookedAt {
    id: Texts,
    node: Texts,
    workload: Texts,
    trigger: Texts,
    reason: Texts,
    revision: Texts,
    verdict: Texts,
    severed: BTreeMap<String, u64>,
    findings: Texts,
    severed_requests: Texts,
    drained_requests: Texts,
}

impl LookedAt {
    fn text(self) -> String {
        let mut text = String::new();
        for Texts(texts) in [
            self.id,
            self.node,
            self.workload,
            self.trigger,
            self.reason,
            self.revision,
            self.verdict,
            self.severed_requests,
            self.drained_requests,
        ] {
            text += &texts;
        }
        for cause in self.severed.keys() {
            text.push_str(cause);
            text.push('\n');
        }
        // As its code, and as it is said.
        text += &self.findings.0;
        text += &self.findings.0.replace('_', " ");
        text.to_lowercase()
    }
}

/// Every text in a value, each on a line of its own; not the keys.
#[derive(Default)]
struct Texts(String);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Gathered)
    }
}

struct Gathered;

impl<'de> Visitor<'de> for Gathered {
    type Value = Texts;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
        Ok(Texts(format!("{text}\n")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Texts, A::Error> {
        let mut texts = Texts::default();
        while let Some(Texts(more)) = all.next_element()? {
            texts.0 += &more;
        }
        Ok(texts)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Texts, A::Error> {
        let mut texts = Texts::default();
        while let Some((IgnoredAny, Texts(more))) = all.next_entry()? {
            texts.0 += &more;
        }
        Ok(texts)
    }

    fn visit_unit<E>(self) -> Result<Texts, E> {
        Ok(Texts::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Texts, E> {
        Ok(Texts::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Texts, E> {
        Ok(Texts::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Texts, E> {
        Ok(Texts::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Texts, E> {
        Ok(Texts::default())
    }
}

#[cfg(test)]
mod tests {
    use drainwatch_core::{
        report::{Finding, FindingCode, Verdict},
        testing::report,
    };

    use super::*;

    #[test]
    fn given_a_report_when_searched_then_its_words_are_found_whatever_their_case_and_its_keys_are_not() {
        let mut report = report("0193-a", "Checkout", Verdict::Refused);
        report.workload.namespace = Some("shop".into());
        report.findings.push(Finding {
            code: FindingCode::NoHandler,
            summary: "It died at once.".into(),
            advice: String::new(),
        });
        let json = serde_json::to_string(&report).unwrap();
        for text in [
            "",
            "checkout",
            "SHOP check",
            "no_handler",
            "no handler",
            "died",
            "0193",
            "refused",
        ] {
            assert!(finds(&terms(text), &json), "{text}");
        }
        for text in ["severed_requests", "drain_ms", "checkout billing", "null"] {
            assert!(!finds(&terms(text), &json), "{text}");
        }
        assert!(!finds(&terms("a"), "no JSON"));
    }
}
