//! t
#[derive(clap::Args)]
pub struct Options {}
pub fn run(_: &Options) -> anyhow::Result<()> {
    Ok(())
}

/// How many cases passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Cases that passed.
    pub passed: u64,
    /// Cases that failed.
    pub failed: u64,
}

impl Tally {
    /// Of a line `N passed, N failed`, whatever comes before or after it.
    pub fn of_line(line: &str) -> Option<Self> {
        let words: Vec<&str> = line
            .split(|c: char| c.is_whitespace() || ",;".contains(c))
            .filter(|word| !word.is_empty())
            .collect();
        words.windows(4).find_map(|window| match window {
            [passed, "passed", failed, "failed"] => Some(Self {
                passed: passed.parse().ok()?,
                failed: failed.parse().ok()?,
            }),
            _ => None,
        })
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}
