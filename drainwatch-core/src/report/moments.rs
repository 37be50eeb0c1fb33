//! What a report's timeline says of its shutdown as a whole.

use super::{Moment, MomentKind, Report};

impl Report {
    /// It goes on: it has not ended, and the agent that saw it begin still watched when this was written.
    pub fn is_under_way(&self) -> bool {
        self.ended_at.is_none() && self.first(MomentKind::AgentStopped).is_none()
    }

    /// When the workload was gone, in ms since `started_at`, as far as its end was seen: `ended_at` has
    /// the linger in it, this has not.
    pub fn gone_ms(&self) -> Option<f64> {
        self.last(MomentKind::Emptied)
            .or_else(|| self.last(MomentKind::Exit))
            .or_else(|| self.last(MomentKind::Exec))
            .map(|moment| moment.at_ms)
    }

    /// The first moment of a kind.
    pub fn first(&self, what: MomentKind) -> Option<&Moment> {
        self.timeline.iter().find(|moment| moment.what == what)
    }

    /// The last moment of a kind.
    pub fn last(&self, what: MomentKind) -> Option<&Moment> {
        self.timeline.iter().rev().find(|moment| moment.what == what)
    }
}
