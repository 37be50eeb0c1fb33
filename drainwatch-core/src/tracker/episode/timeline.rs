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
