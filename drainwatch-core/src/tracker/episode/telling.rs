//! What is told of one shutdown while it goes on: under which id, how soon, and what is to be taken back.

use super::super::SECOND;

/// Least time between two updates of a report, for urgent and for other news.
const UPDATE_SOON_NS: u64 = SECOND / 20;
const UPDATE_NS: u64 = SECOND / 10;

/// How much there is to tell since the last [`crate::tracker::Effect::Updated`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::tracker) enum Urgency {
    /// All of it was told.
    Told,
    /// Drained requests and the like: can wait.
    Later,
    /// Signals, exits, severed requests: soon.
    Soon,
    /// At once.
    Now,
}

/// The report's id, and what is known of it outside.
#[derive(Debug, Clone)]
pub(in crate::tracker) struct Telling {
    id: String,
    urgency: Urgency,
    /// When it was last told of.
    told_ns: Option<u64>,
    /// Ids under which parts of it were reported before they turned out to be parts.
    superseded: Vec<String>,
}

impl Telling {
    /// A report that nobody heard of yet.
    pub fn new(id: String) -> Self {
        Self {
            id,
            urgency: Urgency::Now,
            told_ns: None,
            superseded: Vec::new(),
        }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Something happened that is to be told this soon.
    pub fn raise(&mut self, urgency: Urgency) {
        self.urgency = self.urgency.max(urgency);
    }

    /// Whether anything happened since it was last told of.
    pub fn has_news(&self) -> bool {
        self.urgency > Urgency::Told
    }

    /// Whether anybody may have heard of it.
    pub fn is_known(&self) -> bool {
        self.told_ns.is_some()
    }

    /// All of it was told.
    pub fn told(&mut self, at_ns: u64) {
        self.urgency = Urgency::Told;
        self.told_ns = Some(at_ns);
    }

    /// When what is new may be told: at once (`now_ns`) where nothing was yet.
    pub fn due_ns(&self, now_ns: u64) -> u64 {
        let wait = match self.urgency {
            Urgency::Now => 0,
            Urgency::Soon => UPDATE_SOON_NS,
            Urgency::Later | Urgency::Told => UPDATE_NS,
        };
        self.told_ns
            .map_or(now_ns, |told_ns| told_ns.saturating_add(wait))
    }

    /// Two reports turned out to be one. The id of the earlier shutdown stands.
    pub fn absorb(&mut self, other: Self, other_is_earlier: bool) {
        // Each id with the time at which it was last told of, if ever.
        let mut dropped = (other.id, other.told_ns);
        if other_is_earlier {
            std::mem::swap(&mut self.id, &mut dropped.0);
            std::mem::swap(&mut self.told_ns, &mut dropped.1);
        }
        // Only an id that somebody may have heard of needs to be taken back.
        self.superseded.extend(dropped.1.map(|_| dropped.0));
        self.urgency = Urgency::Now;
    }

    /// Ids that are to be taken back, each once.
    pub fn take_superseded(&mut self) -> Vec<String> {
        std::mem::take(&mut self.superseded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_what_was_told_when_news_come_then_their_urgency_says_when_they_are_due() {
        let mut telling = Telling::new("a".into());
        assert_eq!((telling.has_news(), telling.due_ns(7)), (true, 7));
        telling.told(SECOND);
        assert!(!telling.has_news() && telling.is_known());
        for (urgency, wait_ns) in [
            (Urgency::Later, UPDATE_NS),
            (Urgency::Soon, UPDATE_SOON_NS),
            (Urgency::Later, UPDATE_SOON_NS),
            (Urgency::Now, 0),
        ] {
            telling.raise(urgency);
            assert_eq!(telling.due_ns(2 * SECOND), SECOND + wait_ns, "{urgency:?}");
        }
    }

    #[test]
    fn given_two_reports_that_are_one_then_the_earlier_id_stands_and_only_a_known_one_is_taken_back() {
        for (other_is_earlier, known, stands, superseded) in [
            (true, true, "b", vec!["a"]),
            (true, false, "b", vec![]),
            (false, true, "a", vec![]),
        ] {
            let mut telling = Telling::new("a".into());
            if known {
                telling.told(1);
            }
            telling.absorb(Telling::new("b".into()), other_is_earlier);
            assert_eq!(telling.id(), stands);
            assert_eq!(telling.take_superseded(), superseded);
            assert!(telling.take_superseded().is_empty(), "each once");
        }
    }
}
