//! A real Kubernetes node on this machine, and the table of rollouts: what clients saw against what the agent says,
//! request by request.
//!
//! Not part of the test command: the first run builds Kubernetes for minutes. Everything is cached under target/cluster;
//! nothing is installed, and nothing of the machine's own network, mounts or cgroups is used.

mod account;
mod compare;
mod node;
mod play;
mod service;
mod table;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use self::node::Node;
use self::play::{Played, Stage};
use self::table::{Row, Traffic};
use crate::shell;

/// Options of `cargo xtask cluster`.
#[derive(clap::Args)]
pub struct Options {
    /// Only rows whose name begins so; docs/clusters.md is then left alone
    #[arg(long, value_delimiter = ',', value_name = "ROW")]
    only: Vec<String>,
    /// How often each of the three correct services is deployed in a row
    #[arg(long, value_name = "N", default_value_t = 10)]
    deploys: u32,
    /// Rows that are played at the same time
    #[arg(long, value_name = "N", default_value_t = 4)]
    jobs: usize,
    /// Agent to test instead of the workspace's own release build
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,
    /// Bring it up, print how to talk to it, and wait for a line on stdin
    #[arg(long)]
    hold: bool,
}

/// Plays the table and writes docs/clusters.md.
pub fn run(options: &Options) -> Result<()> {
    for program in [
        "unshare", "nsenter", "ip", "iptables", "openssl", "curl", "cc", "strip",
    ] {
        ensure!(
            shell::find_program(program).is_some(),
            "{program} is missing: apt-get install util-linux iproute2 iptables openssl curl gcc binutils"
        );
    }
    let cache = shell::target().join("cluster");
    fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
    if !cache.join("bin").exists() {
        println!("building Kubernetes; this takes minutes, once");
        shell::run(
            Command::new("bash")
                .arg(node::sources().join("build.sh"))
                .arg(&cache),
        )?;
    }
    let agent = if let Some(path) = &options.agent {
        path.clone()
    } else {
        shell::run(shell::cargo().args(["build", "--release", "--locked", "--package", "drainwatch"]))?;
        shell::target().join("release/drainwatch")
    };
    ensure!(agent.is_file(), "no agent at {}", agent.display());
    shell::run(Command::new("bash").arg(node::sources().join("images.sh")).args([
        &cache,
        &node::sources(),
        &agent,
    ]))?;
    let evidence = cache.join("evidence");
    if evidence.exists() {
        fs::remove_dir_all(&evidence).with_context(|| format!("removing {}", evidence.display()))?;
    }
    fs::create_dir_all(&evidence).with_context(|| format!("creating {}", evidence.display()))?;
    println!("bringing up the node");
    let stage = Stage {
        node: Node::start(&cache)?,
        evidence,
    };
    stage.install_agent(&shell::root().join("deploy/kustomize").display().to_string())?;
    if options.hold {
        println!("{} …", shell::line(&stage.node.kubectl(&[])));
        std::io::stdin()
            .read_line(&mut String::new())
            .context("reading stdin")?;
        return Ok(());
    }
    let rows: Vec<Row> = table::rows(options.deploys)
        .into_iter()
        .filter(|row| {
            options.only.is_empty()
                || options
                    .only
                    .iter()
                    .any(|start| row.name.starts_with(start.as_str()))
        })
        .collect();
    let results = play_all(&stage, &rows, options.jobs.max(1));
    let nameless = stage.nameless()?;
    drop(stage);
    let text = markdown(&rows, &results, &nameless)?;
    println!("{text}");
    if options.only.is_empty() {
        let path = shell::root().join("docs/clusters.md");
        fs::write(&path, &text).with_context(|| format!("writing {}", path.display()))?;
    }
    let wrong: Vec<&str> = rows
        .iter()
        .filter(|row| !matches!(results.get(row.name), Some(Ok(played)) if played.holds(row)))
        .map(|row| row.name)
        .collect();
    ensure!(
        nameless.is_empty(),
        "pods without a name: {}",
        nameless.join(", ")
    );
    if !wrong.is_empty() {
        bail!(
            "reports and clients do not say the same: {}; the evidence is in {}",
            wrong.join(", "),
            cache.join("evidence").display()
        );
    }
    Ok(())
}

type Results = BTreeMap<&'static str, Result<Played>>;

/// Those that disturb others come last, one by one.
fn play_all(stage: &Stage, rows: &[Row], jobs: usize) -> Results {
    let results = Mutex::new(Results::new());
    let next = Mutex::new(rows.iter().filter(|row| !row.alone()));
    let take = || next.lock().expect("nobody panics with this lock").next();
    let play = |row: &Row| {
        let played = stage.play(row);
        let word = match &played {
            Ok(played) if played.holds(row) => "ok".to_owned(),
            Ok(played) => describe(played),
            Err(error) => format!("{error:#}"),
        };
        println!("{}: {word}", row.name);
        results
            .lock()
            .expect("nobody panics with this lock")
            .insert(row.name, played);
    };
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(row) = take() {
                    play(row);
                }
            });
        }
    });
    rows.iter().filter(|row| row.alone()).for_each(play);
    results.into_inner().expect("nobody panics with this lock")
}

/// What does not hold.
fn describe(played: &Played) -> String {
    let comparison = &played.comparison;
    let mut parts = Vec::new();
    for (what, list) in [
        ("missed", &comparison.missed),
        ("invented", &comparison.invented),
        ("alarms", &comparison.alarms),
        ("unreported", &played.unreported),
        ("with a wrong reason or revision", &played.misjudged),
    ] {
        if !list.is_empty() {
            let shown: Vec<&str> = list.iter().take(4).map(String::as_str).collect();
            parts.push(format!("{} {what} ({})", list.len(), shown.join("; ")));
        }
    }
    if played.unseen_refused > 0 {
        parts.push(format!(
            "{} refused connections in no report",
            played.unseen_refused
        ));
    }
    if !played.lacking.is_empty() {
        parts.push(format!("without {}", played.lacking.join(", ")));
    }
    parts.join("; ")
}

fn markdown(rows: &[Row], results: &Results, nameless: &[String]) -> Result<String> {
    let mut text = String::from(HEAD);
    let kernel = fs::read_to_string(Path::new("/proc/sys/kernel/osrelease"))
        .context("reading the kernel's release")?;
    writeln!(
        text,
        "\nLinux {}, Kubernetes 1.20.2, containerd 1.6, runc 1.1.\n",
        kernel.trim()
    )?;
    text += "| service | traffic | pods ended | requests | cut: clients / reports | refused: clients / reports | 5xx: clients / reports | missed | invented | false alarms | unknown | probes apart | reasons | findings |\n";
    text +=
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |\n";
    for row in rows {
        let traffic = match row.traffic {
            Traffic::None => "probes only",
            Traffic::Clients => "clients",
            Traffic::Outside => "from outside",
        };
        match results.get(row.name) {
            Some(Ok(played)) => {
                let c = &played.comparison;
                let counted = |counts: &BTreeMap<String, usize>| {
                    let counts: Vec<String> = counts.iter().map(|(word, n)| format!("{n} {word}")).collect();
                    counts.join(", ")
                };
                writeln!(
                    text,
                    "| {} | {traffic} | {} | {} | {} / {} | {} / {} | {} / {} | {} | {} | {} | {} | {} | {} | {} |",
                    row.what,
                    played.ended,
                    c.requests,
                    c.cut,
                    c.severed,
                    c.refused,
                    c.turned_away,
                    c.failed,
                    c.errors,
                    c.missed.len() + played.unreported.len() + usize::try_from(played.unseen_refused)?,
                    c.invented.len(),
                    c.alarms.len(),
                    c.verdicts.get("unknown").copied().unwrap_or_default(),
                    c.probes,
                    counted(&c.reasons),
                    counted(&c.findings),
                )?;
            }
            Some(Err(error)) => writeln!(text, "| {} | {traffic} | not played: {error:#} |", row.what)?,
            None => {}
        }
    }
    writeln!(
        text,
        "\nReports of pods' cgroups that do not say whose pod it was: {}.",
        nameless.len()
    )?;
    Ok(text)
}

const HEAD: &str = "\
# On a real cluster

Written by `cargo xtask cluster` from what it measured. One real node (API server, controller manager, scheduler, kubelet,
kube-proxy, containerd, runc), the agent as deploy/kustomize ships it, readiness probes of one second everywhere. Clients
keep account of every request by an id in its path; the table compares their account with the agent's reports, request by
request.

- *cut*: the request was sent, and the connection ended before a complete answer.
- *missed*: clients saw it cut and no report has it, or a pod ended without a report.
- *invented*: a report calls it severed, and its client got an answer.
- *false alarms*: reports with a verdict that is worse than what clients saw, `unknown` included.
- *refused*: while a service has no endpoint at all, kube-proxy refuses in the pods' place; so clients may see more than
  reports have, never fewer. Clients *from outside* bear the node's address, as the kubelet does: as many of them as the
  kubelet could have asked count as probes.
- A request that waited unread on an accepted connection has no path where the probe `socket_close` is refused, as on
  this machine: where clients come *from outside*, so that their ports are not known, it is taken for one that was cut
  and that no report names.
- *probes apart*: health checks that met a shutdown; they are in no other number.
- *reasons*: why reports say that they were stopped. Kubernetes 1.20 marks neither evictions nor preemptions.
- Pods of services that nobody asks (*probes only*) must end without an alarm, whatever they do with their signal.
";
