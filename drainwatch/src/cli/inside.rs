//! An agent inside a command, for as long as the command plays something to it: `demo` and `check`.

use std::{path::PathBuf, time::Duration};

use drainwatch_core::reading::Rules;
use tokio::sync::mpsc;

use super::{
    failure::{Exit, Failure},
    refusal,
    run::{runtime, stop_signal},
    start_kernel,
};
use crate::{
    agent::{Agent, Options, source::Live},
    kernel::{Kernel, KernelOptions},
    names::{News, node},
    outlets::questions::Handle,
};

/// Reports that it keeps.
const REPORTS: usize = 100;

/// Below it the command makes cgroups of its own; a refusal where no agent can run here.
pub fn cgroup_root() -> Result<PathBuf, Failure> {
    let diagnosis = Kernel::diagnose(None);
    if let Some(failure) = refusal(&diagnosis, None) {
        return Err(failure);
    }
    diagnosis.cgroup_root.map(PathBuf::from).ok_or_else(|| {
        Failure::unavailable(
            "no unified cgroup hierarchy is mounted; mount cgroup2 on /sys/fs/cgroup/unified",
        )
    })
}

/// Runs an agent until the play has ended, or is interrupted: it is dropped then, and cleans up by that. What the play
/// itself knows of its workloads it may tell by `names`.
pub fn run<T>(
    options: &KernelOptions,
    linger: Duration,
    names: Option<mpsc::Receiver<News>>,
    play: impl AsyncFnOnce(&Handle) -> Result<T, Failure>,
) -> Result<T, Failure> {
    runtime()?.block_on(async {
        let interrupted = stop_signal()?;
        let kernel = start_kernel(options)?;
        let options = Options {
            node: node(),
            linger,
            memory_reports: REPORTS,
            names,
            ..Options::default()
        };
        let (mut agent, handle) = Agent::new(Live::new(kernel, Rules::default()), options)
            .map_err(|why| Failure::internal("the metrics did not start", why))?;
        let mut outcome = Err(Failure::new(
            Exit::Interrupted,
            "interrupted; everything was cleaned up",
        ));
        let played = async {
            let play = async {
                // The loop answers once it has read what was there before it.
                handle
                    .beat()
                    .await
                    .map_err(|why| Failure::internal("the agent did not start", why))?;
                play(&handle).await
            };
            tokio::select! {
                played = play => outcome = played,
                _ = interrupted => {}
            }
        };
        agent.run(played).await;
        outcome
    })
}
