//! `drainwatch run`.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use drainwatch_core::{reading::Rules, workload::text::clean};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{oneshot, watch},
};

use super::{args::RunArgs, colour, log, print, recordings, service, start_kernel};
use crate::{
    agent::{
        self, Agent,
        config::{self, Flags, Settings},
        journal::{Journal, Past},
        source::Live,
    },
    cli::failure::{Exit, Failure},
    kernel::{Kernel, KernelOptions, memory},
    names::{self, node},
    outlets::{
        sinks::{self, Sink, otlp},
        store::{Retention, Store, StoreError},
        text::Colour,
        web,
    },
};

/// Runs the agent until SIGTERM or SIGINT.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    let settings = settings(&args.settings, args.config.as_deref())?;
    memory::keep_small();
    let ansi = colour(&io::stderr()) == Colour::Always;
    let log = log::start(settings.log_level, settings.log_format, ansi);
    let runtime = runtime()?;
    let served = runtime.block_on(serve(&settings));
    log.finish();
    // A name that is looked up, or a question about reports, on a thread of the runtime's must not hold up the
    // exit: whoever asked is gone.
    runtime.shutdown_background();
    served
}

/// Flags and environment before the file before the defaults.
pub fn settings(flags: &Flags, file: Option<&Path>) -> Result<Settings, Failure> {
    let flags = flags.layer().map_err(Failure::usage)?;
    let file = file.map(read_config).transpose()?.unwrap_or_default();
    Ok(Settings::resolve(flags, file))
}

/// Says whether `run --config` would take the file, or standard input where its name is `-`.
pub fn check_config(path: &Path) -> Result<(), Failure> {
    let (text, path) = text_of(path)?;
    read(&text, &path)?;
    print(&format!("{} is valid\n", clean(&path.display().to_string())))
}

/// Prints what `run` would run with.
pub fn print_config(args: &RunArgs) -> Result<(), Failure> {
    // What `run` refuses has nothing to print.
    args.settings.layer().map_err(Failure::usage)?;
    let file = args.config.as_deref().map(text_of).transpose()?;
    if let Some((text, path)) = &file {
        read(text, path)?;
    }
    let file = file.as_ref().map(|(text, path)| (text.as_str(), path.as_path()));
    print(&args.settings.in_force(file))
}

fn read_config(path: &Path) -> Result<config::Layer, Failure> {
    let (text, path) = text_of(path)?;
    read(&text, &path)
}

fn text_of(path: &Path) -> Result<(String, PathBuf), Failure> {
    config::text(path).map_err(|error| Failure::new(Exit::Config, error.to_string()))
}

fn read(text: &str, path: &Path) -> Result<config::Layer, Failure> {
    config::parse(text, path).map_err(|error| Failure::new(Exit::Config, error.to_string()))
}

/// One thread for everything: the agent waits far more than it works.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|why| Failure::internal("the runtime did not start", why))
}

async fn serve(settings: &Settings) -> Result<(), Failure> {
    let access = match settings.web_config.as_deref() {
        None => web::Access::default(),
        Some(path) => web::Access::read(path)
            .map_err(|why| Failure::new(Exit::Config, format!("--web.config.file: {}", clean(&why))))?,
    };
    // In this order, so that what fails has changed nothing: the port first, the kernel last.
    let listener = bind(*settings.listen).await?;
    let mut stop = pin!(stop_signal()?);
    let store = match settings.state_dir.as_deref() {
        None => None,
        Some(dir) => tokio::select! {
            store = open_store(dir, settings) => Some(store?),
            _ = &mut stop => {
                tracing::info!("stopped before it was attached");
                return Ok(());
            }
        },
    };
    let tape = settings
        .record
        .as_deref()
        .map(|path| recordings::create(path, settings))
        .transpose()?;
    let collector = collector(settings)?;
    let journal = settings.state_dir.as_deref().and_then(open_journal);
    let options = KernelOptions {
        capture: settings.capture,
        stop_signals: settings.stop_signals.to_vec(),
        pin_dir: settings.pin_dir.path().map(Path::to_owned),
        ..KernelOptions::default()
    };
    let Some(kernel) = unless_stopped(&mut stop, options).await else {
        tracing::info!("stopped before it was attached");
        return Ok(());
    };
    let mut kernel = kernel?;
    // Before any other thread is started: each has its own.
    let kept = kernel
        .drop_privileges()
        .map_err(|why| Failure::internal("privileges could not be dropped", why))?;
    announce(&kept, &listener, store.is_some());

    let whom = settings.names();
    let owners = if settings.kubernetes_events {
        names::kubernetes::Owners::kept()
    } else {
        names::kubernetes::Owners::default()
    };
    let sinks = collector.into_iter().chain(events(settings, &whom, &owners));
    let options = agent::Options {
        node: whom.node_name.clone().unwrap_or_else(node),
        linger: *settings.linger,
        classes: Arc::clone(&settings.classes),
        processes: settings.processes,
        memory_reports: settings.memory_reports.get().into(),
        store,
        tape,
        journal,
        names: names::start(&whom, &owners),
        sinks: sinks.collect(),
    };
    let rules = Rules {
        headers: settings.classes.header_rules(),
        protocols: Arc::clone(&settings.protocols),
    };
    let source = Live::new(kernel, rules);
    let (mut agent, handle) =
        Agent::new(source, options).map_err(|why| Failure::internal("the metrics did not start", why))?;
    let (stop_web, web_stopped) = watch::channel(false);
    let web_options = web::Options {
        telemetry_path: settings.telemetry_path.to_string(),
        max_requests: *settings.max_requests,
        allowed_hosts: settings.allowed_hosts.to_vec(),
        node: node(),
        access,
    };
    service::spawn(handle.clone());
    let web = tokio::spawn(web::serve(listener, handle, web_options, web_stopped));

    let stopped = agent.run(stop).await;
    tracing::info!("stopping");
    service::stopping();
    // The web server may have ended by itself only through a panic, which its task has reported.
    let _ = stop_web.send(true);
    let stored = agent.close(async { drop(web.await) }).await;
    if !stored {
        tracing::error!("the store was too slow: the last reports may be missing from it");
    }
    // A service that is stopped may be about to be started again, and where it keeps its state it goes on there. Who
    // ends it by hand, or gave it no place to go on from, is left with nothing.
    let goes_on = stopped == Stopped::ByService && settings.state_dir.is_some();
    agent.source_mut().stop(!goes_on);
    Ok(())
}

/// Binds the address; an occupied port is a [`Failure`] of one line.
async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|why| {
        let (exit, advice) = match why.kind() {
            io::ErrorKind::AddrInUse => (
                Exit::Unavailable,
                "stop what listens there, or give another --web.listen-address",
            ),
            io::ErrorKind::PermissionDenied => (
                Exit::Privilege,
                "give --web.listen-address a port above 1023, or add CAP_NET_BIND_SERVICE",
            ),
            _ => (
                Exit::Unavailable,
                "give an address of this host to --web.listen-address",
            ),
        };
        Failure::new(exit, format!("cannot listen on {address}: {why}; {advice}"))
    })
}

fn collector(settings: &Settings) -> Result<Option<Sink>, Failure> {
    let Settings {
        otlp_endpoint,
        otlp_headers,
        ..
    } = settings;
    let Some(endpoint) = otlp_endpoint else {
        if !otlp_headers.is_empty() {
            tracing::warn!("--otlp.headers has no effect without --otlp.endpoint");
        }
        return Ok(None);
    };
    let sink = otlp::start(endpoint, otlp_headers.clone())
        .map_err(|why| Failure::new(Exit::Unavailable, why.to_string()))?;
    Ok(Some(sink))
}

/// The sink of Kubernetes Events, where they are wanted and there is a cluster.
fn events(settings: &Settings, whom: &names::Options, owners: &names::kubernetes::Owners) -> Option<Sink> {
    if !settings.kubernetes_events {
        return None;
    }
    let options = names::kubernetes::Options::find(whom);
    if options.is_none() {
        tracing::warn!("no Kubernetes Events are written: no cluster was found, see `drainwatch doctor`");
    }
    options.map(|options| sinks::kubernetes::sink(options, owners.clone()))
}

/// Starts the kernel side, which takes seconds on a busy machine; `None` when `stop` is ready before. On a thread that
/// ends afterwards, and with it what capabilities it has.
async fn unless_stopped(
    stop: &mut (impl Future<Output = Stopped> + Unpin),
    options: KernelOptions,
) -> Option<Result<Kernel, Failure>> {
    let runtime = tokio::runtime::Handle::current();
    let (done, started) = oneshot::channel();
    let thread = std::thread::spawn(move || {
        let _context = runtime.enter();
        // Nobody waits for it any more when it was stopped.
        let _ = done.send(start_kernel(&options));
    });
    tokio::select! {
        _ = stop => None,
        kernel = started => {
            let ended = thread.join();
            Some(kernel.unwrap_or_else(|_| Err(Failure::internal("the kernel side did not start", format!("{ended:?}")))))
        }
    }
}

/// Who stops the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// SIGTERM: what starts and stops services.
    ByService,
    /// SIGINT: somebody at a terminal.
    ByHand,
}

/// Ready at the first SIGTERM or SIGINT. Installed early, so that a stop during the start is not lost.
pub fn stop_signal() -> Result<impl Future<Output = Stopped>, Failure> {
    let listen = |kind| signal(kind).map_err(|why| Failure::internal("signals cannot be handled", why));
    let (mut term, mut int) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => Stopped::ByService,
            _ = int.recv() => Stopped::ByHand,
        }
    })
}

/// How long the store may be that of an agent which this one replaces: longer than an agent takes to stop.
const HANDOVER: Duration = Duration::from_secs(5);
/// How often it is tried meanwhile.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// Opens the store, once an agent that is on its way out has let go of it.
async fn open_store(dir: &Path, settings: &Settings) -> Result<Arc<Store>, Failure> {
    let retention = Retention {
        reports: settings.max_reports.get().into(),
        age: *settings.max_age,
    };
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let began = Instant::now();
    let mut opened = Store::open(dir, retention, now_ms);
    if let Err(StoreError::InUse { path }) = &opened {
        tracing::info!(path = %path.display(), "another agent uses the store: waiting a moment in case it is stopping");
    }
    while matches!(opened, Err(StoreError::InUse { .. })) && began.elapsed() < HANDOVER {
        tokio::time::sleep(TRY_AGAIN).await;
        opened = Store::open(dir, retention, now_ms);
    }
    let opened = opened.map_err(|error| {
        let exit = match &error {
            StoreError::Io { why, .. } if why.kind() == io::ErrorKind::PermissionDenied => Exit::Privilege,
            StoreError::InUse { .. } | StoreError::Io { .. } | StoreError::Closed => Exit::Unavailable,
            StoreError::Corrupt(_) | StoreError::Database(_) => Exit::Data,
        };
        Failure::new(exit, error.to_string())
    })?;
    if let Some((aside, why)) = opened.quarantined {
        tracing::error!(
            kept = %aside.display(), why,
            "the store was damaged: it was set aside and a new one created"
        );
    }
    Ok(Arc::new(opened.store))
}

/// What the last agent wrote down, and where this one does. Without it the agent runs all the same.
fn open_journal(dir: &Path) -> Option<(Journal, Past)> {
    let opened = Kernel::boot().and_then(|boot| Journal::open(dir, &boot));
    opened
        .inspect_err(
            |why| tracing::error!(%why, "no journal: a restart of the agent loses what is under way"),
        )
        .ok()
}

fn announce(kept: &[(String, String)], listener: &TcpListener, stores: bool) {
    for (capability, why) in kept {
        tracing::info!(capability, why, "a capability was kept");
    }
    tracing::info!(
        kept = kept.len(),
        "attached; all other capabilities were given up"
    );
    let address = listener
        .local_addr()
        .map_or_else(|why| why.to_string(), |address| address.to_string());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        address,
        "watching every workload of this node"
    );
    if !stores {
        tracing::info!("reports are in memory only; --state-dir keeps them");
    }
}
