//! Stages of their own beside the cases: steps that share what they stand on.

use std::{path::PathBuf, process::ExitCode, time::Instant};

/// Its name, and what it does.
pub type Step<S> = (&'static str, fn(&mut S) -> anyhow::Result<()>);

/// Plays the steps in their order, all of them even if one fails: each relies on what the ones before it left behind.
///
/// `keep` leaves evidence of a failure, the first being number 0, and says where; a stage may have none.
pub fn play<S>(stage: &mut S, steps: &[Step<S>], keep: impl Fn(&S, usize) -> Option<PathBuf>) -> ExitCode {
    let (mut passed, mut failed) = (0, 0);
    for (name, step) in steps {
        let begun = Instant::now();
        match step(stage) {
            Ok(()) => {
                println!("ok   {name} ({:.1?})", begun.elapsed());
                passed += 1;
            }
            Err(error) => {
                let see = keep(stage, failed).map(|file| format!("; see {}", file.display()));
                println!("FAIL {name}: {error:#}{}", see.unwrap_or_default());
                failed += 1;
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
