//! Nanoseconds of each program's run while nginx serves, less those of an empty program on the same hook.
//!
//! The kernel's own statistics time every run; that timing, and the call of a program as such, cost as much as a short
//! program. So an empty program is attached beside each, and what it takes for the same events is taken off.

use std::collections::BTreeMap;
use std::fs;
use std::thread;

use anyhow::{Context, Result, ensure};
use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};

use super::agent::Agent;
use super::empty::Empties;
use super::load::{Nginx, Traffic, raise_limit};
use super::{Setup, Table};
use crate::shell;

/// The kernel keeps this many characters of a program's name.
const NAME_LENGTH: usize = 15;
/// Programs that run less often for a request are only in the sum.
const SELDOM: f64 = 0.01;

/// What is measured on a machine as it is.
const TRAFFIC: [Traffic; 8] = [
    Traffic::kept(16),
    Traffic::kept(1000),
    Traffic::kept(10_000),
    Traffic::new_each(16),
    Traffic::kept(16).at_server(),
    Traffic::kept(1000).at_server(),
    Traffic::kept(10_000).at_server(),
    Traffic::new_each(16).at_server(),
];
/// What is measured where instructions are counted.
const COUNTED: [Traffic; 2] = [Traffic::kept(32), Traffic::new_each(32)];

/// Runs and nanoseconds of one program during a load.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cost {
    runs: f64,
    nanoseconds: f64,
}

impl Cost {
    fn per_run(self) -> f64 {
        if self.runs > 0.0 {
            self.nanoseconds / self.runs
        } else {
            0.0
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            runs: self.runs - before.runs,
            nanoseconds: self.nanoseconds - before.nanoseconds,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            runs: self.runs + other.runs,
            nanoseconds: self.nanoseconds + other.nanoseconds,
        }
    }
}

/// Under every kind of traffic.
pub fn measure(setup: &Setup) -> Result<Table> {
    let traffic: &[Traffic] = if setup.counted { &COUNTED } else { &TRAFFIC };
    let most = traffic.iter().map(|traffic| traffic.connections).max();
    raise_limit(most.unwrap_or_default())?;
    let _statistics =
        enable_stats(Stats::RunTime).context("turning the kernel's statistics of programs on")?;
    let hooks = hooks()?;
    let nginx = Nginx::start()?;
    let empties = Empties::attach(hooks.values())?;
    let mut rows = Vec::new();
    for traffic in traffic {
        eprintln!("  {traffic}");
        // A new one each time: what it saw of the clients before, it would go on to act on.
        let agent = Agent::start(setup)?;
        let ids = agent.program_ids()?;
        ensure!(!ids.is_empty(), "the agent holds no BPF program");
        let run = run(setup, &nginx, *traffic).with_context(|| traffic.to_string())?;
        rows.extend(rows_of(*traffic, &run, &ids, &hooks, &empties));
    }
    Ok(Table {
        title: "Time of the BPF programs".to_owned(),
        columns: vec![
            "traffic",
            "connections",
            "ends here",
            "program",
            "hook",
            "runs per request",
            "ns per run",
            "empty, ns per run",
            "net, ns per run",
            "net, ns per request",
        ],
        rows,
        notes: vec![
            "By the kernel's statistics, less an empty program's, which is attached to the same hook at the same time. \
             What runs less than once in a hundred requests is only in the sum."
                .to_owned(),
            "Both ends: wrk on the loopback, so that each request counts the client's send and receive as well. The \
             server's end: clients whose TCP is in the bench's own process, behind a TUN device, so that the kernel \
             has no socket of theirs. It is measured once all connections are open. Sockets of whoever else is busy on \
             the machine count as well: then there are more runs of a request than its two of each end."
                .to_owned(),
        ],
    })
}

/// What all programs took while so many requests were served.
struct Run {
    requests: f64,
    costs: BTreeMap<u32, (String, Cost)>,
}

fn run(setup: &Setup, nginx: &Nginx, traffic: Traffic) -> Result<Run> {
    let mut driven = nginx.driven(traffic)?;
    let (before, requests) = (costs()?, nginx.status()?.requests);
    thread::sleep(setup.load);
    let (after, served) = (costs()?, nginx.status()?.requests - requests);
    driven.check_alive()?;
    let costs = after.into_iter().map(|(id, (name, cost))| {
        let before = before.get(&id).map(|(_, cost)| *cost).unwrap_or_default();
        (id, (name, cost.since(before)))
    });
    // The last question for the status is one of them.
    ensure!(served > 1, "nothing was served");
    #[expect(clippy::cast_precision_loss, reason = "a bench's counts")]
    let requests = (served - 1) as f64;
    Ok(Run {
        requests,
        costs: costs.collect(),
    })
}

/// A row for each of the agent's programs, and one for all.
fn rows_of(
    traffic: Traffic,
    run: &Run,
    ids: &[u32],
    hooks: &BTreeMap<String, String>,
    empties: &Empties,
) -> Vec<Vec<String>> {
    let mut agents: BTreeMap<&str, Cost> = BTreeMap::new();
    for (id, (name, cost)) in &run.costs {
        if ids.contains(id) {
            let sum = agents.entry(name).or_default();
            *sum = sum.plus(*cost);
        }
    }
    let columns = |rest: [String; 7]| {
        [
            traffic.kind(),
            &traffic.connections.to_string(),
            traffic.ends.here(),
        ]
        .map(str::to_owned)
        .into_iter()
        .chain(rest)
        .collect::<Vec<String>>()
    };
    let mut rows = Vec::new();
    let mut sum = 0.0;
    for (name, cost) in agents {
        let hook = hooks
            .iter()
            .find(|(symbol, _)| truncated(symbol) == name)
            .map(|(_, hook)| hook.as_str());
        let empty = hook.and_then(|hook| run.costs.get(&empties.on(hook)?));
        let base = empty.map(|(_, cost)| cost.per_run());
        let net = cost.per_run() - base.unwrap_or_default();
        let [runs, per_request] = [cost.runs, net * cost.runs].map(|sum| sum / run.requests);
        sum += per_request;
        if runs >= SELDOM {
            rows.push(columns([
                name.to_owned(),
                hook.unwrap_or("unknown").to_owned(),
                format!("{runs:.2}"),
                format!("{:.0}", cost.per_run()),
                base.map_or_else(|| "not measured".to_owned(), |base| format!("{base:.0}")),
                format!("{net:.0}"),
                format!("{per_request:.0}"),
            ]));
        }
    }
    let empty = String::new;
    let all = "all programs".to_owned();
    rows.push(columns([
        all,
        empty(),
        empty(),
        empty(),
        empty(),
        empty(),
        format!("{sum:.0}"),
    ]));
    rows
}

/// Programs by their names, and what they are attached to, as the object says.
fn hooks() -> Result<BTreeMap<String, String>> {
    use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};
    let path = shell::root().join("drainwatch/bpf/drainwatch.bpf.o");
    let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let file = object::File::parse(&*bytes).with_context(|| format!("reading {}", path.display()))?;
    let symbols = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text);
    Ok(symbols
        .filter_map(|symbol| {
            let section = file.section_by_index(symbol.section_index()?).ok()?;
            Some((symbol.name().ok()?.to_owned(), section.name().ok()?.to_owned()))
        })
        .filter(|(_, section)| section.contains('/'))
        .collect())
}

fn truncated(name: &str) -> String {
    name.chars().take(NAME_LENGTH).collect()
}

/// What programs took so far, by id, with their names.
fn costs() -> Result<BTreeMap<u32, (String, Cost)>> {
    let mut found = BTreeMap::new();
    // Others' programs come and go while we look.
    for program in loaded_programs().flatten() {
        let name = program.name_as_str().context("a program's name is plain")?;
        #[expect(clippy::cast_precision_loss, reason = "a bench's counts")]
        let runs = program.run_count() as f64;
        let nanoseconds = program.run_time().as_secs_f64() * 1e9;
        found.insert(program.id(), (name.to_owned(), Cost { runs, nanoseconds }));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_no_run_when_the_cost_of_one_is_asked_for_then_it_is_nothing() {
        assert!(Cost::default().per_run().abs() < f64::EPSILON);
        assert!(
            (Cost {
                runs: 4.0,
                nanoseconds: 100.0
            }
            .per_run()
                - 25.0)
                .abs()
                < f64::EPSILON
        );
    }
}
