//! Which exchanges of one connection were told of already, and which of them are settled.

use std::collections::VecDeque;

use crate::exchange::ExchangeId;

/// Most exchanges remembered of one connection: the latest. One that is told of again after so many
/// others counts as new. Of HTTP/2 up to 128 are told at once.
const EXCHANGES: usize = 256;

/// The exchanges of one connection that were told of, by identity: what began first need not end first.
#[derive(Debug, Clone, Default)]
pub(super) struct Told(VecDeque<(ExchangeId, bool)>);

impl Told {
    /// Nothing was told of.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it is known what became of this one.
    pub fn is_settled(&self, id: ExchangeId) -> bool {
        self.0.contains(&(id, true))
    }

    /// This one was told of; once settled it stays so.
    pub fn note(&mut self, id: ExchangeId, settled: bool) {
        if let Some((_, was)) = self.0.iter_mut().find(|(known, _)| *known == id) {
            *was |= settled;
            return;
        }
        if self.0.len() >= EXCHANGES {
            self.0.pop_front();
        }
        self.0.push_back((id, settled));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(turn: u64) -> ExchangeId {
        ExchangeId::Turn { turn, index: 0 }
    }

    #[test]
    fn given_one_that_goes_on_when_a_later_one_is_settled_then_the_older_one_is_not() {
        let mut told = Told::default();
        told.note(id(1), false);
        told.note(id(2), true);
        assert!(!told.is_settled(id(1)) && told.is_settled(id(2)));
        told.note(id(1), true);
        told.note(id(1), false);
        assert!(told.is_settled(id(1)), "once settled it stays so");
    }

    #[test]
    fn given_more_than_are_remembered_then_the_oldest_are_forgotten() {
        let mut told = Told::default();
        for turn in 0..1000 {
            told.note(id(turn), true);
        }
        assert_eq!(told.0.len(), EXCHANGES);
        assert!(told.is_settled(id(999)) && !told.is_settled(id(0)));
    }
}
