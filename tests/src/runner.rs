//! Runs the cases, several at a time, and counts.

use std::{
    fs,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use crate::{
    Options,
    compare::Entry,
    scene::{self, Outcome, World},
    server,
    table::{Case, Hops, Hosted, Server},
    talks,
};

/// How it went.
#[derive(Debug, Default)]
pub struct Tally {
    /// As the table says.
    pub passed: usize,
    /// Not so.
    pub failed: usize,
    /// Could not run here, with leave.
    pub skipped: usize,
    /// What the clients saw: index of the case, its requests.
    pub seen: Vec<(usize, Vec<Entry>)>,
}

impl Tally {
    fn note(&mut self, name: &str, outcome: &Outcome, begun: Instant) {
        match outcome {
            Outcome::Passed(entries) => {
                println!(
                    "ok   {name} ({} requests, {:.1?})",
                    entries.len(),
                    begun.elapsed()
                );
                self.passed += 1;
            }
            Outcome::Failed(why) => {
                println!("FAIL {name}: {why}");
                self.failed += 1;
            }
            Outcome::Skipped(why) => {
                println!("skip {name}: {why}");
                self.skipped += 1;
            }
        }
    }
}

/// Plays a conversation with a database, a cache or a queue, where its server is there.
fn talked(world: &World, talk: &talks::Talk, number: usize, options: &Options) -> Outcome {
    match talks::missing(talk, world) {
        Some((name, program)) if options.may_miss.iter().any(|allowed| allowed == name) => {
            Outcome::Skipped(format!("{program} is missing (--may-miss {name})"))
        }
        Some((name, program)) => Outcome::Failed(format!(
            "{program} is missing: install it, run `drainwatch-tests --prepare`, or allow it with `--may-miss {name}`"
        )),
        None => match talks::run(world, talk, number) {
            Ok(()) => Outcome::Passed(vec![]),
            Err(error) => Outcome::Failed(format!("{error:#}")),
        },
    }
}

/// Runs every case.
pub fn run(world: &World, cases: &[Case], talks: &[talks::Talk], options: &Options) -> anyhow::Result<Tally> {
    let all = cases.len() + talks.len();
    let runs = all * options.repeat;
    let next = AtomicUsize::new(0);
    let tally = Mutex::new(Tally::default());
    thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= runs {
                        return;
                    }
                    let index = number % all;
                    let begun = Instant::now();
                    // Without the agent every case fails alike: no need to play it.
                    let gone = world.agent.as_ref().and_then(|agent| agent.check_alive().err());
                    if let Some(talk) = index.checked_sub(cases.len()).map(|index| &talks[index]) {
                        let outcome = gone.map_or_else(
                            || talked(world, talk, number + 1, options),
                            |error| Outcome::Failed(format!("{error:#}")),
                        );
                        tally
                            .lock()
                            .expect("no thread panics while it holds the tally")
                            .note(talk.name, &outcome, begun);
                        continue;
                    }
                    let outcome = gone
                        .map(|error| Outcome::Failed(format!("{error:#}")))
                        .or_else(|| missing(world, &cases[index], options))
                        .unwrap_or_else(|| scene::run(world, &cases[index], number + 1));
                    let mut tally = tally.lock().expect("no thread panics while it holds the tally");
                    tally.note(cases[index].name, &outcome, begun);
                    if let Outcome::Passed(entries) = outcome {
                        tally.seen.push((index, entries));
                    }
                }
            });
        }
    });
    Ok(tally.into_inner()?)
}

/// Fails a case whose server is not there, or skips it where that was allowed.
fn missing(world: &World, case: &Case, options: &Options) -> Option<Outcome> {
    let absent = |hosted: &Hosted| world.absent.iter().find(|(engine, _)| *engine == hosted.engine);
    if let Some((engine, why)) = case.hosted.as_ref().and_then(absent) {
        let runtime = engine.word();
        return Some(if options.may_miss.iter().any(|allowed| allowed == runtime) {
            Outcome::Skipped(format!(
                "{runtime} does not run here (--may-miss {runtime}): {why}"
            ))
        } else {
            Outcome::Failed(format!("{runtime} does not run here: {why}"))
        });
    }
    let go = world.artefacts.go.display().to_string();
    let python = world.artefacts.venv.join("bin/python").display().to_string();
    let mut needs = match case.server {
        Server::Hyper(_) | Server::Raw(_) | Server::Brief => vec![],
        Server::Node(_) | Server::NodeHttp2(_) | Server::NodeHeads(..) => vec![("node", "node".to_owned())],
        Server::Go(_) => vec![("go", go)],
        Server::Python(_) | Server::Gunicorn(_) | Server::Uvicorn(_) | Server::Hypercorn(_) => {
            vec![("python", python)]
        }
        Server::Nginx { .. } => vec![("nginx", "nginx".to_owned()), ("python", python)],
    };
    if case.hops == Hops::BehindNginx {
        needs.push(("nginx", "nginx".to_owned()));
    }
    let (name, program) = needs
        .into_iter()
        .find(|(_, program)| !server::runnable(program))?;
    if options.may_miss.iter().any(|allowed| allowed == name) {
        return Some(Outcome::Skipped(format!(
            "{program} is missing (--may-miss {name})"
        )));
    }
    Some(Outcome::Failed(format!(
        "{program} is missing: install it, run `drainwatch-tests --prepare`, or allow it with `--may-miss {name}`"
    )))
}

/// Prints what the clients saw on this kernel.
pub fn kernel_notes(cases: &[Case], tally: &Tally) -> anyhow::Result<()> {
    println!(
        "\nWhat clients saw on {}:\n",
        fs::read_to_string("/proc/sys/kernel/osrelease")?.trim()
    );
    println!("| case | way | asked | client saw |\n|---|---|---|---|");
    let mut seen: Vec<_> = tally.seen.iter().collect();
    seen.sort_by_key(|(index, _)| *index);
    for (index, entries) in seen {
        let case = &cases[*index];
        let asks = case.rows.iter().flat_map(|row| {
            let asks = row.asks.iter().map(move |ask| (row.way, ask.act));
            std::iter::repeat_n(asks, row.times).flatten()
        });
        for ((way, act), entry) in asks.zip(entries) {
            println!("| {} | {way:?} | {act:?} | {} |", case.name, entry.saw);
        }
    }
    Ok(())
}
