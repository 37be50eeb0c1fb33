//! Evidence that was lost of what has yet to be told.
//!
//! A ring that runs full loses what comes last, and holds what came before. Whoever reads it knows of the loss before
//! having come to the place where it happened: so a shutdown that is told only then, and was there before the loss was
//! known, may be the one that lost it.

/// More than so many are one.
const MOST: usize = 16;

/// What was lost, and when that was known.
#[derive(Debug, Default)]
pub struct LostAhead {
    /// Time and number, oldest first.
    lost: Vec<(u64, u64)>,
}

impl LostAhead {
    /// So many, which was known at `until_ns`; the telling has come to `now_ns`.
    pub fn add(&mut self, now_ns: u64, until_ns: u64, count: u64) {
        self.lost.retain(|(until_ns, _)| *until_ns > now_ns);
        if until_ns <= now_ns {
            return;
        }
        let is_full = self.lost.len() >= MOST;
        match self.lost.last_mut() {
            Some((last_ns, sum)) if is_full => {
                (*last_ns, *sum) = (until_ns.max(*last_ns), sum.saturating_add(count));
            }
            _ => self.lost.push((until_ns, count)),
        }
    }

    /// How many of what began at this time.
    pub fn of(&self, at_ns: u64) -> u64 {
        let concern = self.lost.iter().filter(|(until_ns, _)| at_ns <= *until_ns);
        concern.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_loss_when_the_telling_is_behind_then_what_began_before_it_was_known_has_lost_it() {
        let mut lost = LostAhead::default();
        lost.add(100, 500, 7);
        assert_eq!((lost.of(99), lost.of(500), lost.of(501)), (7, 7, 0));
        lost.add(300, 600, 2);
        assert_eq!((lost.of(400), lost.of(550)), (9, 2));
    }

    #[test]
    fn given_a_telling_that_has_caught_up_then_only_what_is_under_way_has_lost_anything() {
        let mut lost = LostAhead::default();
        lost.add(100, 100, 7);
        assert_eq!(lost.of(100), 0);
        lost.add(100, 500, 7);
        lost.add(600, 600, 1);
        assert_eq!(lost.of(400), 0, "it is told already");
    }

    #[test]
    fn given_losses_without_end_then_the_list_is_bounded_and_none_is_forgotten() {
        let mut lost = LostAhead::default();
        for number in 0..1000 {
            lost.add(0, 1000 + number, 1);
        }
        assert_eq!((lost.lost.len(), lost.of(5)), (MOST, 1000));
    }
}
