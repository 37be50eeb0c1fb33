//! Events and wake-ups of the agent while workloads merely serve: there must be none that come from the traffic.

use anyhow::Result;

use super::agent::Agent;
use super::load::{Nginx, Traffic};
use super::{Setup, Table};

/// Events in the ring buffer, and context switches of the agent's threads, with and without traffic.
pub fn measure(setup: &Setup) -> Result<Table> {
    let nginx = Nginx::start()?;
    let agent = Agent::start(setup)?;
    let seconds = setup.load.as_secs_f64();
    let mut rows = Vec::new();
    for traffic in [None, Some(Traffic::kept(16)), Some(Traffic::new_each(16))] {
        // Asking wakes the agent, so the switches are read inside of the two questions.
        let events = agent.metric("drainwatch_kernel_events_total")?;
        let switches = agent.context_switches()?;
        let requests = if let Some(traffic) = traffic {
            nginx.drive(setup.load, traffic)?.requests
        } else {
            std::thread::sleep(setup.load);
            0.0
        };
        let switches = agent.context_switches()?.saturating_sub(switches);
        let events = agent.metric("drainwatch_kernel_events_total")? - events;
        #[expect(clippy::cast_precision_loss, reason = "counts of seconds")]
        let switches = switches as f64;
        rows.push(vec![
            traffic.map_or_else(|| "none".to_owned(), |traffic| traffic.kind().to_owned()),
            format!("{:.0}", requests / seconds),
            format!("{:.2}", events / seconds),
            format!("{:.2}", switches / seconds),
        ]);
    }
    Ok(Table {
        title: "The agent while workloads merely serve".to_owned(),
        columns: vec!["traffic", "requests/s", "kernel events/s", "context switches/s"],
        rows,
        notes: vec![
            "Context switches are voluntary and involuntary ones of all the agent's threads. Those without traffic \
             are its own timers; wrk's start and end are a process's, so they may count as events."
                .to_owned(),
        ],
    })
}
