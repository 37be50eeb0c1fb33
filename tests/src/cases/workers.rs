//! Servers of several processes: recycled workers, reloads, upstreams that die behind a proxy.

use nix::sys::signal::Signal;

use super::{KILL, PYTHON, killed};
use crate::table::{
    Act::{Half, Hang, Quick},
    Case, Expect,
    Fate::{Drained, Early, Failed, Severed},
    Hops,
    Saw::{Complete, Cut, Eof},
    Server::{Gunicorn, Nginx, Uvicorn},
    Step, Upstream,
    Way::{Again, Ask},
    Who, case,
};

/// The worker finishes what it does, the master starts another.
const RECYCLE: &[Step] = &[
    Step::Signal(Who::Child, Signal::SIGTERM),
    Step::Release,
    Step::WorkerGone,
    Step::NewWorker,
];
const KILL_WORKER: &[Step] = &[
    Step::Signal(Who::Child, Signal::SIGKILL),
    Step::SignalledGone,
    Step::NewWorker,
];
/// uvicorn's supervisor does not tell us; its resource tracker is a third process.
const KILL_WORKER_UNTOLD: &[Step] = &[Step::Signal(Who::Serving, Signal::SIGKILL), Step::SignalledGone];
const QUIT_WORKER: &[Step] = &[
    Step::Signal(Who::Child, Signal::SIGQUIT),
    Step::SignalledGone,
    Step::NewWorker,
];
/// Nobody signals anybody: the worker recycles itself after its requests.
const SELF_RECYCLE: &[Step] = &[Step::Release, Step::WorkerGone, Step::NewWorker];
/// The master loses patience with a silent worker.
const TIMEOUT: &[Step] = &[Step::NewWorker];
/// nginx: HUP makes the master start a new worker and let the old one finish.
const RELOAD: &[Step] = &[
    Step::Note(Who::Child),
    Step::Signal(Who::Main, Signal::SIGHUP),
    Step::TwoWorkers,
    Step::Release,
    Step::NotedGone,
];
/// The old worker is not let finish: nginx's `worker_shutdown_timeout` cuts it.
const RELOAD_TIMEOUT: &[Step] = &[
    Step::Note(Who::Child),
    Step::Signal(Who::Main, Signal::SIGHUP),
    Step::NotedGone,
];
const WORKER_TERM: &[Step] = &[Step::Signal(Who::Child, Signal::SIGTERM), Step::SignalledGone];
const KILL_UPSTREAM: &[Step] = &[Step::Signal(Who::Upstream, Signal::SIGKILL), Step::SignalledGone];

/// Workers.
pub fn cases() -> Vec<Case> {
    [gunicorn(), nginx()].concat()
}

fn gunicorn() -> Vec<Case> {
    let worker = || Expect::new("worker");
    let sync = Gunicorn(&[]);
    let gthread = Gunicorn(&["-k", "gthread", "--threads", "4"]);
    let recycling = Gunicorn(&["-k", "gthread", "--threads", "4", "--max-requests", "3"]);
    vec![
        case(
            "gunicorn-sync/worker-recycled",
            sync,
            RECYCLE,
            worker().signals(&["SIGTERM"]),
        )
        .row(Ask, Hang, Complete(200), Drained),
        case(
            "gunicorn-gthread/worker-recycled",
            gthread,
            RECYCLE,
            worker().signals(&["SIGTERM"]),
        )
        .row(Ask, Hang, Complete(200), Drained)
        .times(3),
        case("gunicorn-sync/worker-killed", sync, KILL_WORKER, {
            worker().signals(&["SIGKILL"]).may(&["no_grace"])
        })
        .row(Ask, Hang, Eof, Severed("unanswered")),
        case("gunicorn-gthread/worker-killed", gthread, KILL_WORKER, {
            worker().signals(&["SIGKILL"]).may(&["no_grace"])
        })
        .row(Ask, Hang, Eof, Severed("unanswered"))
        .times(2)
        .row(Ask, Half, Cut, Severed("truncated")),
        // Both end in SystemExit inside the application, of which the worker makes a complete 500.
        case(
            "gunicorn-sync/worker-quit",
            sync,
            QUIT_WORKER,
            worker().signals(&["SIGQUIT"]),
        )
        .row(Ask, Hang, Complete(500), Failed),
        case(
            "gunicorn-sync/worker-timeout",
            Gunicorn(&["--timeout", "2"]),
            TIMEOUT,
            // Where the worker is slow to end itself, its master kills it.
            worker().may(&["crash", "no_grace"]),
        )
        .row(Ask, Hang, Complete(500), Early),
        // Nothing was outstanding when it went.
        case("gunicorn-gthread/max-requests", recycling, SELF_RECYCLE, worker())
            .row(Ask, Hang, Complete(200), Early)
            .row(Ask, Quick, Complete(200), Early),
        case(
            "uvicorn-workers/worker-killed",
            Uvicorn(&["--workers", "2"]),
            KILL_WORKER_UNTOLD,
            worker().signals(&["SIGKILL"]).may(&["no_grace"]),
        )
        .row(Ask, Hang, Eof, Severed("unanswered")),
    ]
}

fn nginx() -> Vec<Case> {
    let outside = |extra| Nginx {
        upstream: Upstream::Outside,
        extra,
    };
    let inside = Nginx {
        upstream: Upstream::Inside,
        extra: "",
    };
    vec![
        // nginx's master tells its old worker by a pipe, not by a signal: the first that anybody can see of
        // this shutdown is the worker's exit, with everything finished.
        case("nginx-proxy/reload", outside(""), RELOAD, Expect::new("worker"))
            .row(Ask, Hang, Complete(200), Early)
            .times(2)
            .row(Ask, Half, Complete(200), Early)
            .row(Again, Hang, Complete(200), Early)
            .row(Ask, Quick, Complete(200), Early),
        // What worker_shutdown_timeout cuts, a living process cuts that nobody has signalled: told at its exit.
        case(
            "nginx-proxy/reload-timeout",
            outside("worker_shutdown_timeout 1s;"),
            RELOAD_TIMEOUT,
            Expect::new("worker"),
        )
        .row(Ask, Hang, Eof, Severed("unanswered"))
        .row(Ask, Half, Cut, Severed("truncated")),
        case("nginx-proxy/worker-term", outside(""), WORKER_TERM, {
            Expect::new("worker")
                .signals(&["SIGTERM"])
                .must(&["exit_without_drain"])
        })
        .hops(Hops::CallsUpstream)
        .row(Ask, Hang, Eof, Severed("unanswered")),
        // One of the workload's processes dies; the proxy in front answers with a complete 502. What stood between the
        // two was nobody's request.
        case("nginx-proxy/upstream-inside-killed", inside, KILL_UPSTREAM, {
            Expect::new("worker").signals(&["SIGKILL"]).may(&["no_grace"])
        })
        .row(Ask, Hang, Complete(502), Early),
        // The proxy is a workload of its own, and is not stopped at all.
        case("python/kill/behind-nginx", PYTHON, KILL, killed())
            .hops(Hops::BehindNginx)
            .row(Ask, Hang, Complete(502), Severed("unanswered"))
            .times(2)
            .row(Ask, Half, Cut, Severed("truncated")),
    ]
}
