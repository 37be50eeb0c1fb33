//! The comparison: what every client saw against what drainwatch said, request by request.

use std::{collections::BTreeMap, fmt::Write as _, net::SocketAddr};

use crate::{
    agent::{Drained, RefusedAttempts, Report, Sees, Severed, Workload},
    engine::{self, Contained},
    server::canonical,
    table::{Case, Engine, Expect, Fate, From, Hosted, Reports, Saw, Server},
};

/// One request in the ledger.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Path without query.
    pub path: String,
    /// The client's address; `None` behind a proxy, whose port we cannot know.
    pub peer: Option<SocketAddr>,
    /// What the client had to see.
    pub expected: Saw,
    /// What it saw.
    pub saw: Saw,
    /// What drainwatch has to make of it.
    pub fate: Fate,
    /// The class it has to be of, where it is no stream.
    pub class: &'static str,
}

/// What the oracle knows besides the requests.
#[derive(Debug)]
pub struct Known {
    /// The server's port.
    pub port: u16,
    /// The main process.
    pub main: u32,
    /// What can be seen on this kernel.
    pub sees: Sees,
}

/// Mismatches between what the clients saw and what the case says they must see.
pub fn clients(entries: &[Entry]) -> Vec<String> {
    entries
        .iter()
        .filter(|entry| entry.saw != entry.expected)
        .map(|entry| {
            format!(
                "{}: the client saw `{}`, must see `{}`",
                entry.path, entry.saw, entry.expected
            )
        })
        .collect()
}

/// The entries with what this kernel lets drainwatch see of them. Before 6.10 a reset without a socket is not
/// shown: no refused connection is seen, and a late request only while the closed socket still exists.
pub fn as_seen(entries: &[Entry], known: &Known, report: &Report) -> Vec<Entry> {
    let unseen = |entry: &Entry| match entry.fate {
        Fate::Refused => true,
        Fate::Waiting("late") => !report
            .severed_requests
            .iter()
            .any(|s| s.cause == "late" && same_peer(entry, &s.peer)),
        _ => false,
    };
    let seen = |entry: &Entry| {
        let mut entry = entry.clone();
        if !known.sees.resets && unseen(&entry) {
            entry.fate = Fate::Unstopped;
        }
        if let Fate::Waiting(cause) = entry.fate {
            let seen = if matches!(cause, "unaccepted" | "late") {
                known.sees.accept_queues
            } else {
                known.sees.receive_queues
            };
            if !seen {
                entry.fate = Fate::Pathless(cause);
            }
        }
        entry
    };
    entries.iter().map(seen).collect()
}

/// The cause that drainwatch must report for an entry.
fn cause(entry: &Entry) -> Option<&'static str> {
    match entry.fate {
        Fate::Severed(cause) | Fate::Pathless(cause) | Fate::Waiting(cause) => Some(cause),
        _ => None,
    }
}

/// How many severed requests the ledger expects of drainwatch.
pub fn severed(entries: &[Entry]) -> usize {
    entries.iter().filter(|entry| cause(entry).is_some()).count()
}

/// Mismatches between the ledger and the report.
pub fn report(of: &Case, entries: &[Entry], known: &Known, report: &Report) -> Vec<String> {
    let mut wrong = vec![];
    requests(of, entries, known, report, &mut wrong);
    counts(of, entries, report, &mut wrong);
    shutdown(&of.expect, entries, known, report, &mut wrong);
    findings(&of.expect, entries, report, &mut wrong);
    wrong
}

/// Whether the report calls a workload what its users call it, and knows how it was to be stopped: of one
/// that was gone before anybody could ask, its name alone has to be right.
pub fn names(case: &Case, hosted: &Hosted, contained: &Contained, report: &Report, wrong: &mut Vec<String>) {
    let mut differ = |what: &str, is: Option<&str>, must: Option<&str>| {
        if is != must {
            wrong.push(format!("workload.{what} is {is:?}, must be {must:?}"));
        }
    };
    let Workload {
        kind,
        namespace,
        name,
        container,
        container_id,
        image,
        ..
    } = &report.workload;
    let container_name = contained.id.as_ref().map(|_| contained.name.as_str());
    let image = image
        .as_deref()
        .map(|image| image.rsplit('/').next().unwrap_or(image));
    differ("kind", Some(kind), Some(hosted.engine.word()));
    differ("namespace", namespace.as_deref(), hosted.namespace);
    differ(
        "name",
        Some(name),
        Some(&hosted.workload.replace("{}", &contained.name)),
    );
    differ("container", container.as_deref(), container_name);
    differ("container_id", container_id.as_deref(), contained.id.as_deref());
    differ("image", image, contained.id.as_ref().map(|_| engine::IMAGE));
    let Some(configured) = &report.configured else {
        if case.from == From::Begun {
            return;
        }
        wrong.push("`configured` is missing".into());
        return;
    };
    let mut differ = |what: &str, is: Option<&str>, must: Option<&str>| {
        if is != must && !(is.is_none() && case.from == From::Begun) {
            wrong.push(format!("configured.{what} is {is:?}, must be {must:?}"));
        }
    };
    let seconds = configured.grace_seconds.map(|seconds| seconds.to_string());
    differ(
        "grace_seconds",
        seconds.as_deref(),
        Some(&hosted.grace_seconds.to_string()),
    );
    differ(
        "stop_signal",
        configured.stop_signal.as_deref(),
        Some(hosted.stop_signal),
    );
    differ("kill_mode", configured.kill_mode.as_deref(), hosted.kill_mode);
    let reason = report.json["reason"].as_str();
    if reason != hosted.reason {
        wrong.push(format!("reason is {reason:?}, must be {:?}", hosted.reason));
    }
    let revision = report.json["revision"]["id"].as_str();
    let right = match hosted.engine {
        Engine::Systemd => revision.is_some_and(|run| run.len() == 32),
        Engine::Docker | Engine::Podman => revision == hosted.revision,
    };
    if !right {
        wrong.push(format!("revision is {revision:?}"));
    }
}

fn same_peer(entry: &Entry, peer: &str) -> bool {
    entry.peer.is_none_or(|own| {
        peer.parse()
            .is_ok_and(|peer: SocketAddr| canonical(peer) == canonical(own))
    })
}

fn requests(of: &Case, entries: &[Entry], known: &Known, report: &Report, wrong: &mut Vec<String>) {
    let mut listed: Vec<Option<&Severed>> = report.severed_requests.iter().map(Some).collect();
    let mut take = |fits: &dyn Fn(&Severed) -> bool| {
        listed
            .iter_mut()
            .find(|slot| slot.is_some_and(fits))
            .and_then(Option::take)
    };
    for entry in entries {
        let Some(cause) = cause(entry) else {
            continue;
        };
        let path = matches!(entry.fate, Fate::Severed(_) | Fate::Waiting(_)).then_some(entry.path.as_str());
        let exact = take(&|s| same_peer(entry, &s.peer) && s.path.as_deref() == path && s.cause == cause);
        // Not found as it should be: perhaps it stands there under another cause or path.
        let found = exact.or_else(|| entry.peer.and_then(|_| take(&|s| same_peer(entry, &s.peer))));
        let Some(found) = found else {
            wrong.push(format!(
                "MISSED {}: the client saw `{}`, expected cause `{cause}`",
                entry.path, entry.saw
            ));
            continue;
        };
        let mut differ = |what: &str, is: &str, must: &str| {
            if is != must {
                wrong.push(format!("{}: {what} is `{is}`, must be `{must}`", entry.path));
            }
        };
        differ("cause", &found.cause, cause);
        differ(
            "path",
            found.path.as_deref().unwrap_or("null"),
            path.unwrap_or("null"),
        );
        differ(
            "role",
            &found.role,
            if cause == "outbound" { "client" } else { "server" },
        );
        differ(
            "class",
            &found.class,
            if cause == "stream" { "stream" } else { entry.class },
        );
        if path.is_some() {
            differ("evidence", &found.evidence, "exact");
            differ("protocol", &found.protocol, protocol(of, cause, &found.protocol));
            // When one came that nobody read is not known.
            let read = !matches!(entry.fate, Fate::Waiting(_));
            if read && found.age_ms.is_none_or(|age| age < 0.0) {
                differ("age_ms", &format!("{:?}", found.age_ms), "0 or more");
            }
        }
        if cause != "outbound" {
            let local = found.local.parse().map_or(0, |local: SocketAddr| local.port());
            differ("local port", &local.to_string(), &known.port.to_string());
        }
    }
    for invented in listed.into_iter().flatten() {
        let Severed {
            cause,
            role,
            path,
            peer,
            ..
        } = invented;
        let path = path.as_deref().unwrap_or("(no path)");
        wrong.push(format!(
            "INVENTED `{cause}` ({role}) {path} of {peer}: no client lost it"
        ));
    }
    for entry in entries
        .iter()
        .filter(|entry| matches!(entry.fate, Fate::Drained | Fate::Failed))
    {
        let failed = entry.fate == Fate::Failed;
        let listed = |d: &Drained| {
            same_peer(entry, &d.peer) && d.path.as_deref() == Some(&entry.path) && d.failed == failed
        };
        if !report.drained_requests.iter().any(listed) {
            wrong.push(format!(
                "{}: {:?}, and not so among drained_requests",
                entry.path, entry.fate
            ));
        }
    }
}

/// Responses of an HTTP/1.0 server and upgraded connections may be named by what was spoken last.
fn protocol(of: &Case, cause: &str, found: &str) -> &'static str {
    match (of.server, cause) {
        (_, "stream") if found == "websocket" => "websocket",
        (Server::Python(python), _) if python.http == "1.0" && found == "http/1.0" => "http/1.0",
        // What it asks others it asks as they speak.
        (_, cause) if of.server.speaks_http2() && cause != "outbound" => "http/2",
        _ => "http/1.1",
    }
}

fn counts(of: &Case, entries: &[Entry], report: &Report, wrong: &mut Vec<String>) {
    let mut causes = BTreeMap::<String, u64>::new();
    for entry in entries {
        if let Some(cause) = cause(entry) {
            *causes.entry(cause.into()).or_default() += 1;
        }
    }
    if report.severed != causes {
        wrong.push(format!(
            "severed by cause is {:?}, must be {causes:?}",
            report.severed
        ));
    }
    let count = |fate: Fate| entries.iter().filter(|entry| entry.fate == fate).count() as u64;
    let severed: u64 = causes.values().sum();
    let (drained, queued) = (count(Fate::Drained), count(Fate::Queued));
    let must = [
        ("drained", drained, drained + queued),
        ("failed", count(Fate::Failed), count(Fate::Failed)),
        ("severed", severed, severed),
        ("aborted", count(Fate::Aborted), count(Fate::Aborted)),
        ("unknown", count(Fate::Unknown), count(Fate::Unknown)),
        ("opaque", count(Fate::Opaque), count(Fate::Opaque)),
    ];
    let probes = count(Fate::Probe);
    if report.probes != probes {
        wrong.push(format!("probes is {}, must be {probes}", report.probes));
    }
    let refused = count(Fate::Refused);
    let RefusedAttempts { attempts, clients } = report.refused;
    // All clients of the ledger ask from one address.
    if (attempts, clients) != (refused, refused.min(1)) {
        wrong.push(format!(
            "refused is {attempts} attempts of {clients} clients, must be {refused} of {}",
            refused.min(1)
        ));
    }
    for (outcome, least, most) in must {
        match report.requests.get(outcome) {
            Some(n) if (least..=most).contains(n) => {}
            Some(n) => wrong.push(format!("requests.{outcome} is {n}, must be {least}..={most}")),
            None => wrong.push(format!("requests.{outcome} is missing")),
        }
    }
    let verdict = match (severed, refused + count(Fate::Failed), count(Fate::Unknown)) {
        // A job, as far as anybody knows: how far it had come nobody does.
        (0, 0, 0) if of.expect.reports == Reports::AtMostOne => "unknown",
        (0, 0, 0) => "clean",
        (0, 0, _) => "unknown",
        (0, ..) => "refused",
        _ => "severed",
    };
    if report.verdict != verdict {
        wrong.push(format!("verdict is `{}`, must be `{verdict}`", report.verdict));
    }
    if report.severed_requests_omitted != 0 || report.events_lost != 0 {
        let Report {
            severed_requests_omitted,
            events_lost,
            ..
        } = report;
        wrong.push(format!(
            "severed_requests_omitted {severed_requests_omitted}, events_lost {events_lost}: must be 0"
        ));
    }
}

fn shutdown(expect: &Expect, entries: &[Entry], known: &Known, report: &Report, wrong: &mut Vec<String>) {
    if report.trigger != expect.trigger {
        wrong.push(format!(
            "trigger is `{}`, must be `{}`",
            report.trigger, expect.trigger
        ));
    }
    if let Some((code, signal)) = expect.exit {
        match &report.exit {
            Some(exit) if exit.code == code && exit.signal == signal && exit.pid == known.main => {}
            other => wrong.push(format!(
                "exit is {other:?}, must be pid {} code {code:?} signal {signal:?}",
                known.main
            )),
        }
    }
    let mut seen = report.signals.iter();
    for signal in &expect.signals {
        if !seen.any(|s| s.signal == *signal) {
            wrong.push(format!(
                "signals are {:?}, must contain {:?} in this order",
                report.signals, expect.signals
            ));
            break;
        }
    }
    if let (Some(must), Some(first)) = (expect.disposition, report.signals.first())
        && first.disposition != must
    {
        wrong.push(format!(
            "the first signal's disposition is `{}`, must be `{must}`",
            first.disposition
        ));
    }
    if !report.timeline.is_sorted_by(|a, b| a.at_ms <= b.at_ms) {
        wrong.push("the timeline is not in order".into());
    }
    let first = if expect.trigger == "stop" {
        "stop_signal"
    } else {
        "exit"
    };
    if expect.reports == Reports::One
        && (expect.trigger == "stop" || !entries.is_empty())
        && !report.timeline.iter().any(|moment| moment.what == first)
    {
        wrong.push(format!("the timeline has no `{first}`"));
    }
}

fn findings(expect: &Expect, entries: &[Entry], report: &Report, wrong: &mut Vec<String>) {
    let has = |word: &str| entries.iter().any(|entry| cause(entry) == Some(word));
    let mut must = expect.must.clone();
    let mut may = expect.may.clone();
    if has("unaccepted") {
        must.push("backlog_dropped");
    }
    if has("late") {
        must.push("keepalive_race");
        may.push("traffic_after_stop");
    }
    let fated = |fate: Fate| entries.iter().any(|entry| entry.fate == fate);
    if fated(Fate::Refused) {
        must.push("refused_after_close");
        may.push("traffic_after_stop");
    }
    if fated(Fate::Failed) {
        must.push("errors_while_draining");
    }
    let codes: Vec<_> = report
        .findings
        .iter()
        .map(|finding| finding.code.as_str())
        .collect();
    for code in &must {
        if !codes.contains(code) {
            wrong.push(format!("finding `{code}` is missing; there are {codes:?}"));
        }
    }
    for finding in &report.findings {
        let code = finding.code.as_str();
        if !must.contains(&code) && !may.contains(&code) {
            wrong.push(format!("finding `{code}` is wrong here: {}", finding.summary));
        }
        if finding.summary.is_empty() || finding.advice.is_empty() {
            wrong.push(format!("finding `{code}` says nothing"));
        }
        if codes.iter().filter(|other| **other == code).count() > 1 {
            wrong.push(format!("finding `{code}` stands there twice"));
        }
    }
}

/// The ledger beside the report, for people.
pub fn table(entries: &[Entry], report: Option<&Report>) -> String {
    let mut text = format!(
        "    {:<52} {:<22} {:<22} drainwatch said\n",
        "request", "client", "client saw"
    );
    for entry in entries {
        let Entry { path, peer, saw, .. } = entry;
        let peer_text = peer.map_or_else(|| "behind a proxy".into(), |peer| peer.to_string());
        let said: Vec<_> = report
            .iter()
            .flat_map(|report| &report.severed_requests)
            .filter(|s| match &s.path {
                Some(named) => named == path && same_peer(entry, &s.peer),
                None => peer.is_some() && same_peer(entry, &s.peer),
            })
            .map(|s| format!("{} {}", s.cause, s.path.as_deref().unwrap_or("(no path)")))
            .collect();
        let said = if said.is_empty() {
            format!("– ({:?} expected)", entry.fate)
        } else {
            said.join("; ")
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "    {path:<52} {peer_text:<22} {:<22} {said}",
            saw.to_string()
        );
    }
    text
}
