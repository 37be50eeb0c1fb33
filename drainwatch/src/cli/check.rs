//! `drainwatch check -- CMD`, `drainwatch check --container IMAGE`: starts a service, sends it traffic, stops it as an
//! orchestrator would, and says whether that cost anybody anything.

mod container;
mod outcome;
mod service;
mod traffic;

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use drainwatch_core::{
    description::{Description, Origin},
    report::Report,
};
use tokio::sync::watch;

use crate::{
    cli::{
        args::{CheckArgs, Like, StopSignal},
        failure::{Exit, Failure},
        inside,
    },
    kernel::KernelOptions,
    names::Teller,
    outlets::{listing::Filter, questions::Handle},
};
use container::Container;
use outcome::Outcome;
use service::Service;
use traffic::{Clients, Phase, Plan};

/// Late arrivals come from this program alone, which has ended its traffic by then.
const LINGER: Duration = Duration::from_millis(500);
/// How long the report may take once the service has ended.
const REPORTED_WITHIN: Duration = Duration::from_secs(10);
/// How long requests may still take once the service has ended.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// Runs the check and prints what it found. Whatever keeps it from an answer exits with 2.
pub fn check(args: &CheckArgs) -> Result<(), Failure> {
    let outcome = run(args).map_err(|failure| match failure.exit {
        Exit::Usage | Exit::Interrupted => failure,
        _ => Failure::new(Exit::NotChecked, failure.message),
    })?;
    outcome.print(args.format)?;
    outcome.judge()
}

fn run(args: &CheckArgs) -> Result<Outcome, Failure> {
    let plan = Plan::new(args).map_err(Failure::usage)?;
    let cgroup_root = &inside::cgroup_root()?;
    let options = KernelOptions {
        stop_signals: args.stop_signal.map(StopSignal::number).into_iter().collect(),
        ..KernelOptions::default()
    };
    let Some(image) = &args.container else {
        return inside::run(&options, LINGER, None, async |handle| {
            let service = Service::start(cgroup_root, &args.command)?;
            play(args, plan, handle, service).await
        });
    };
    // It is told which container is ours; what else runs here keeps its cgroup's name, for nobody looks at it.
    let (tellers, news) = Teller::channel(&[Origin::Docker, Origin::Podman]);
    inside::run(&options, LINGER, Some(news), async |handle| {
        let container = started(args, image).await?;
        if let Some(teller) = tellers.first() {
            let description = container.description(image, args.grace());
            teller.described(Description::Container(description)).await;
        }
        let service = Service::of_container(cgroup_root, container);
        play(args, plan, handle, service).await
    })
}

/// Starts the image while the agent reads on. Where the check is interrupted meanwhile, the container goes as soon as it is
/// there.
async fn started(args: &CheckArgs, image: &str) -> Result<Container, Failure> {
    let (args, image) = (args.clone(), image.to_owned());
    tokio::task::spawn_blocking(move || Container::start(&args, &image))
        .await
        .map_err(|why| Failure::internal("the container was not started", why))?
}

async fn play(
    args: &CheckArgs,
    plan: Plan,
    handle: &Handle,
    mut service: Service,
) -> Result<Outcome, Failure> {
    let address = service.listening(args.port, *args.start_within).await?;
    say(&format!(
        "process {} listens at {address}; sending {}",
        service.pid(),
        plan.description()
    ));
    let (phase, told) = watch::channel(Phase::Serving);
    let clients = Clients::start(address, plan, &told);
    tokio::time::sleep(*args.warmup).await;
    service.check_alive()?;

    let begun = Instant::now();
    let grace = args.grace();
    let lag = args.lag();
    phase.send_replace(if lag.is_zero() {
        Phase::Quiet
    } else {
        Phase::Stopping
    });
    // An endpoint is taken out of rotation while its preStop hook runs and the signal is handled.
    let quiet = async {
        tokio::time::sleep(lag).await;
        phase.send_replace(Phase::Quiet);
    };
    let stop = async {
        tokio::time::sleep(*args.prestop).await;
        let signal = args.stop_signal.unwrap_or_else(|| service.stop_signal());
        say(&format!("stopping it with {signal}"));
        service.signal(signal, args.like == Like::Systemd)?;
        let left = grace.saturating_sub(begun.elapsed());
        if !service.ended(left).await {
            say(&format!(
                "it is still there after {} s: SIGKILL",
                grace.as_secs_f64()
            ));
            service.kill();
            service.ended(ANSWERED_WITHIN).await;
        }
        Ok::<(), Failure>(())
    };
    let ((), stopped) = tokio::join!(quiet, stop);
    stopped?;
    let seen = clients.finish(ANSWERED_WITHIN).await;
    let report = report_of(handle, &service.workload()).await?;
    Ok(Outcome { report, seen })
}

/// The final report of the service: of the whole, where single processes of it have reports too.
async fn report_of(handle: &Handle, cgroup: &str) -> Result<Report, Failure> {
    let deadline = Instant::now() + REPORTED_WITHIN;
    let filter = Filter {
        workload: Some(cgroup.into()),
        ..Filter::default()
    };
    while Instant::now() < deadline {
        let matches = handle
            .list(filter.clone())
            .await
            .map_err(|why| Failure::internal("the agent did not answer", why))?;
        let reports: Vec<Report> = matches
            .found()
            .iter()
            .filter_map(|json| serde_json::from_str(json).ok())
            .collect();
        let all_ended = reports.iter().all(|report| report.ended_at.is_some());
        let newest = reports.into_iter().max_by(|a, b| a.started_at.cmp(&b.started_at));
        if let Some(report) = newest.filter(|_| all_ended) {
            return Ok(report);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(Failure::internal(
        "no report came",
        format!("of {cgroup}; `drainwatch doctor` says which probes work"),
    ))
}

/// Progress, for people; who closed standard error does not want it.
fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "drainwatch: {what}");
}
