//! What the agent takes of the node's memory.

use procfs::process::Process;
use testkit::{Agent, agent, within};

use crate::{BINARY, runs_here};

/// Of a debug build that has nothing to report, in KiB; it was twice that with a heap for each thread.
const MOST: u64 = 10 << 10;

#[test]
fn given_an_agent_when_it_is_asked_for_everything_then_it_stays_small_and_takes_no_huge_page() {
    if !runs_here() {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let mut run = agent::run(BINARY);
    run.arg("--state-dir").arg(state.path());
    let agent = Agent::start(run).unwrap();
    within("the agent to be ready", || agent.get("/readyz").ok());
    for _ in 0..10 {
        for path in ["/metrics", "/api/v1/shutdowns", "/"] {
            agent.get(path).unwrap();
        }
    }
    let status = Process::new(agent.pid().as_raw()).unwrap().status().unwrap();
    assert_eq!(status.thp_enabled, Some(false));
    let anonymous = status.rssanon.unwrap();
    assert!(anonymous < MOST, "{anonymous} KiB");
}
