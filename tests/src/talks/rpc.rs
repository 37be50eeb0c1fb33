//! gRPC: calls of every kind.

use std::process::Command;

use nix::sys::signal::Signal;
use testkit::Cgroup;

use super::{
    Backend, By, Ended, Line, Talk,
    table::{cut, fails, idle, talk},
};
use crate::prepare::Artefacts;

/// The command that starts the server in this cgroup.
pub fn command(cgroup: &Cgroup, port: &str) -> Command {
    let artefacts = Artefacts::locate();
    let mut command = cgroup.command(&artefacts.venv.join("bin/python").display().to_string());
    command.arg(artefacts.servers.join("grpc_server.py")).arg(port);
    command
}

/// All of them.
pub fn all() -> Vec<Talk> {
    const LOST: &[Line] = &[
        cut("unary", "unanswered", "ledger.Calls/Hang"),
        cut("server", "stream", "ledger.Calls/Some"),
        cut("client", "stream", "ledger.Calls/Gather"),
        cut("bidi", "stream", "ledger.Calls/Talk"),
        idle("idle"),
    ];
    // It says GOAWAY, and waits.
    const DRAINED: &[Line] = &[idle("finishes"), idle("idle")];
    // What its handlers say; and what the library says of calls that outlast its patience.
    const FAILED: &[Line] = &[
        fails("fails"),
        fails("again"),
        fails("breaks"),
        idle("missing"),
        idle("finishes"),
        idle("idle"),
    ];
    const GIVEN_UP: &[Line] = &[
        fails("unary"),
        fails("server"),
        fails("client"),
        fails("bidi"),
        idle("idle"),
    ];
    const IDLE: &[Line] = &[idle("idle")];
    const CALLS: &[Line] = &[
        cut("unary", "outbound", "ledger.Calls/Hang"),
        cut("client", "outbound", "ledger.Calls/Gather"),
        idle("server"),
        idle("bidi"),
        idle("idle"),
    ];
    let row = |name, ended, by, lines| talk(name, Backend::Grpc, ended, by, lines);
    vec![
        row(
            "grpc/server/kill",
            Ended::Server,
            By::Signal(Signal::SIGKILL),
            LOST,
        ),
        row(
            "grpc/server/stop",
            Ended::Server,
            By::Signal(Signal::SIGTERM),
            DRAINED,
        ),
        row(
            "grpc/server/stop-failing",
            Ended::Server,
            By::Signal(Signal::SIGTERM),
            FAILED,
        ),
        row(
            "grpc/server/stop-impatient",
            Ended::Server,
            By::Signal(Signal::SIGTERM),
            GIVEN_UP,
        ),
        row(
            "grpc/server/stop-idle",
            Ended::Server,
            By::Signal(Signal::SIGTERM),
            IDLE,
        ),
        row(
            "grpc/clients/kill",
            Ended::Clients,
            By::Signal(Signal::SIGKILL),
            CALLS,
        ),
    ]
}
