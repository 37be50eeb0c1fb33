//! Which of several findings is named first where there is room for one.

use super::{FindingCode, Report};

impl FindingCode {
    /// All of them, the worst first: what cut requests, then what turned somebody away, then what is merely late.
    pub const WORST_FIRST: &[Self] = &[
        Self::ExitWithoutDrain,
        Self::KilledMidDrain,
        Self::NoHandler,
        Self::NotForwarded,
        Self::IgnoredByPid1,
        Self::NoGrace,
        Self::TransactionOpen,
        Self::Oom,
        Self::Crash,
        Self::BusyWhenKilled,
        Self::KeptAccepting,
        Self::HungOnIdleConnections,
        Self::RefusedAfterClose,
        Self::ErrorsWhileDraining,
        Self::BacklogDropped,
        Self::KeepaliveRace,
        Self::HandlerLate,
        Self::TrafficAfterStop,
        Self::PrestopCut,
        Self::HandedOver,
    ];

    /// Its place among them; the smaller, the worse.
    pub fn rank(self) -> usize {
        Self::WORST_FIRST
            .iter()
            .position(|code| *code == self)
            .unwrap_or(Self::WORST_FIRST.len())
    }
}

impl Report {
    /// Codes of its findings, the worst first.
    pub fn findings_by_rank(&self) -> Vec<FindingCode> {
        let mut codes: Vec<_> = self.findings.iter().map(|finding| finding.code).collect();
        codes.sort_by_key(|code| code.rank());
        codes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_the_closed_list_then_every_finding_has_one_rank() {
        let mut ranks: Vec<_> = FindingCode::ALL.iter().map(|code| code.rank()).collect();
        ranks.sort_unstable();
        assert_eq!(ranks, (0..FindingCode::ALL.len()).collect::<Vec<_>>());
    }
}
