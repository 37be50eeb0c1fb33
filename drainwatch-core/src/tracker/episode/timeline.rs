//! The moments of one shutdown: a bounded list with room for those that must not be missing.

use crate::report::{MomentKind, TIMELINE_LISTED};

/// Places kept for moments that must not be missing (kill, oom, emptied).
const RESERVED_MOMENTS: usize = 8;

/// A moment of the timeline, time absolute.
#[derive(Debug, Clone)]
pub(in crate::tracker) struct MomentAt {
    pub at_ns: u64,
    pub what: MomentKind,
    pub detail: Option<String>,
    pub pid: Option<u32>,
}

/// The moments of one shutdown.
#[derive(Debug, Clone, Default)]
pub(in crate::tracker) struct Timeline(Vec<MomentAt>);

impl Timeline {
    /// As they were noted; by time only after [`Timeline::sort`].
    pub fn iter(&self) -> impl Iterator<Item = &MomentAt> {
        self.0.iter()
    }

    /// Notes a moment, where there is room for it.
    pub fn note(&mut self, moment: MomentAt) {
        let needed = matches!(
            moment.what,
            MomentKind::Emptied | MomentKind::Oom | MomentKind::Kill
        );
        let room = if needed {
            TIMELINE_LISTED
        } else {
            TIMELINE_LISTED - RESERVED_MOMENTS
        };
        if self.0.len() < room {
            self.0.push(moment);
        } else if moment.what == MomentKind::Emptied {
            self.0.pop();
            self.0.push(moment);
        }
    }

    /// Puts moments that came to light late into their places.
    pub fn sort(&mut self) {
        self.0.sort_by_key(|moment| moment.at_ns);
    }

    /// Takes over those of another shutdown that turned out to be part of this one. That its processes
    /// were gone was not the end of this one.
    pub fn absorb(&mut self, other: Self) {
        let moments = other.0.into_iter();
        self.0
            .extend(moments.filter(|moment| moment.what != MomentKind::Emptied));
        self.sort();
        self.0.truncate(TIMELINE_LISTED - RESERVED_MOMENTS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(at_ns: u64, what: MomentKind) -> MomentAt {
        MomentAt {
            at_ns,
            what,
            detail: None,
            pid: None,
        }
    }

    #[test]
    fn given_a_full_timeline_when_it_is_killed_and_empties_then_both_still_find_their_place() {
        let mut timeline = Timeline::default();
        for at_ns in 0..1000 {
            timeline.note(moment(at_ns, MomentKind::Exit));
        }
        assert_eq!(timeline.iter().count(), TIMELINE_LISTED - RESERVED_MOMENTS);
        for at_ns in 1000..1100 {
            timeline.note(moment(at_ns, MomentKind::Kill));
        }
        timeline.note(moment(2000, MomentKind::Emptied));
        let kinds: Vec<_> = timeline.iter().map(|moment| moment.what).collect();
        assert_eq!(kinds.len(), TIMELINE_LISTED);
        assert_eq!(
            kinds[TIMELINE_LISTED - 2..],
            [MomentKind::Kill, MomentKind::Emptied]
        );
    }

    #[test]
    fn given_a_part_that_was_over_when_it_is_taken_over_then_its_end_is_not_the_end_of_the_whole() {
        let (mut whole, mut part) = (Timeline::default(), Timeline::default());
        whole.note(moment(5, MomentKind::StopSignal));
        part.note(moment(3, MomentKind::Exit));
        part.note(moment(3, MomentKind::Emptied));
        whole.absorb(part);
        let kinds: Vec<_> = whole.iter().map(|moment| moment.what).collect();
        assert_eq!(kinds, [MomentKind::Exit, MomentKind::StopSignal]);
    }
}
