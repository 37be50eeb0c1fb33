//! The table, by theme.

use nix::sys::signal::Signal;

use crate::table::{
    Act::{Half, Hang},
    Case, Expect,
    Fate::Severed,
    Python,
    Saw::{Cut, Eof},
    Server, Step, Upstream,
    Way::Ask,
    Who,
};

mod clients;
mod drains;
mod faults;
mod heads;
mod http2;
mod kills;
mod late;
mod namespaces;
mod probes;
mod runtimes;
mod stops;
mod wire;
mod workers;

/// Every case.
pub fn all() -> Vec<Case> {
    [
        kills::cases(),
        stops::cases(),
        drains::cases(),
        late::cases(),
        probes::cases(),
        clients::cases(),
        faults::cases(),
        workers::cases(),
        wire::cases(),
        namespaces::cases(),
        runtimes::cases(),
        heads::cases(),
        http2::cases(),
    ]
    .concat()
}

// Endings that several themes use.

/// SIGKILL to the main process, nothing before it.
const KILL: &[Step] = &[Step::Signal(Who::Main, Signal::SIGKILL), Step::Gone];
/// `cgroup.kill`: what ends servers of several processes at once.
const CGROUP_KILL: &[Step] = &[Step::CgroupKill, Step::Gone];
/// SIGTERM, and the process ends by it, or by its handler, without waiting for anything.
const TERM: &[Step] = &[Step::Signal(Who::Main, Signal::SIGTERM), Step::Gone];
/// SIGTERM, handlers may finish, the process ends by itself.
const DRAIN: &[Step] = &[
    Step::Signal(Who::Main, Signal::SIGTERM),
    Step::Stopping,
    Step::During,
    Step::Release,
    Step::Gone,
];
/// The same for servers that do not tell us when their handler runs.
const DRAIN_UNTOLD: &[Step] = &[
    Step::Signal(Who::Main, Signal::SIGTERM),
    Step::During,
    Step::Release,
    Step::Gone,
];
/// SIGTERM is handled, the grace period runs out, SIGKILL.
const OVERRUN: &[Step] = &[
    Step::Signal(Who::Main, Signal::SIGTERM),
    Step::Stopping,
    Step::During,
    Step::Grace(400),
    Step::Signal(Who::Main, Signal::SIGKILL),
    Step::Gone,
];
/// A request that ends its own server.
const POISON: &[Step] = &[Step::Poison, Step::Gone];

// Servers that several themes use.

/// Python's `http.server`, HTTP/1.1, a thread per connection, SIGTERM's default action.
const PYTHON: Server = Server::Python(Python {
    http: "1.1",
    threads: "many",
    on_term: "default",
    slow_start: "",
});
/// The same with HTTP/1.0.
const PYTHON_1_0: Server = Server::Python(Python {
    http: "1.0",
    threads: "many",
    on_term: "default",
    slow_start: "",
});
/// The same with HTTP/1.1 and one thread: a busy one accepts nobody.
const ONE_THREAD: Server = Server::Python(Python {
    http: "1.1",
    threads: "one",
    on_term: "default",
    slow_start: "",
});
/// nginx with its upstream elsewhere.
const NGINX: Server = Server::Nginx {
    upstream: Upstream::Outside,
    extra: "",
};

/// SIGKILL out of the blue.
fn killed() -> Expect {
    Expect::new("kill")
        .signal(Signal::SIGKILL)
        .signals(&["SIGKILL"])
        .must(&["no_grace"])
}

/// A stop signal that is handled, and an exit with code 0.
fn drained() -> Expect {
    Expect::new("stop")
        .code(0)
        .signals(&["SIGTERM"])
        .disposition("handled")
}

/// A stop signal that is handled, and SIGKILL after the grace period.
fn overrun() -> Expect {
    Expect::new("stop")
        .signal(Signal::SIGKILL)
        .signals(&["SIGTERM", "SIGKILL"])
        .disposition("handled")
}

/// A stop signal that only the language's runtime handles, by raising it again with the default action.
fn runtime_default() -> Expect {
    Expect::new("stop")
        .signal(Signal::SIGTERM)
        .signals(&["SIGTERM"])
        .disposition("handled")
        .may(&["no_handler"])
}

/// A stop signal that nobody handles.
fn unhandled() -> Expect {
    Expect::new("stop")
        .signal(Signal::SIGTERM)
        .signals(&["SIGTERM"])
        .disposition("default")
        .must(&["no_handler"])
}

// Cases that several themes have.

/// PID 1 never gets the stop signal; SIGKILL ends it.
fn ignored() -> Expect {
    Expect::new("stop")
        .signal(Signal::SIGKILL)
        .signals(&["SIGTERM", "SIGKILL"])
        .disposition("default")
        .must(&["ignored_by_pid1"])
        .may(&["kept_accepting", "killed_mid_drain"])
}

/// Two requests unanswered, one begun.
fn lost(case: Case) -> Case {
    case.row(Ask, Hang, Eof, Severed("unanswered"))
        .times(2)
        .row(Ask, Half, Cut, Severed("truncated"))
}
