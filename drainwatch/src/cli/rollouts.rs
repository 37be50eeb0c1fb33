//! `rollouts`: what the last deploys cost.

use drainwatch_core::rollout::Rollout;
use serde::{Deserialize, Serialize};

use super::{
    args::{Format, RolloutsArgs},
    print, print_json, print_lines, say, terminal,
};
use crate::cli::{client::Client, failure::Failure, render};

#[derive(Serialize, Deserialize)]
struct Listing {
    rollouts: Vec<Rollout>,
    #[serde(default)]
    more: bool,
}

/// Prints the last rollouts.
pub fn rollouts(args: &RolloutsArgs) -> Result<(), Failure> {
    let listing: Listing = Client::new(&args.client.agent)?.ask("/api/v1/rollouts", &args.parameters())?;
    match args.client.format.format {
        Format::Json => print_json(&listing, true),
        Format::Jsonl => print_lines(&listing.rollouts),
        Format::Table | Format::Wide if listing.rollouts.is_empty() => print("no rollouts\n"),
        format => {
            let width = if format == Format::Wide { None } else { terminal() };
            print(&render::rollouts(&listing.rollouts, width))?;
            if listing.more {
                say("… and more; raise --limit, or narrow it with --since or --workload");
            }
            Ok(())
        }
    }
}
