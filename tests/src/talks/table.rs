//! The table.

use nix::sys::signal::Signal;

use super::{Backend, By, Ended, Line, Talk, others, rpc, tls};

/// All of them.
pub fn all() -> Vec<Talk> {
    [
        postgres(),
        mariadb(),
        redis(),
        rabbitmq(),
        tls::all(),
        rpc::all(),
        others::all(),
    ]
    .concat()
}

/// Nothing is to be told of it.
pub(super) const fn idle(mode: &'static str) -> Line {
    Line {
        mode,
        cut: None,
        also: None,
        transaction: false,
        opaque: false,
        failed: false,
    }
}

/// Answered with an error after the stop signal.
pub(super) const fn fails(mode: &'static str) -> Line {
    Line {
        failed: true,
        ..idle(mode)
    }
}

pub(super) const fn cut(mode: &'static str, cause: &'static str, method: &'static str) -> Line {
    Line {
        cut: Some((cause, Some(method))),
        ..idle(mode)
    }
}

/// Known by its protocol, and nothing can be said of it.
pub(super) const fn unclear(mode: &'static str) -> Line {
    Line {
        opaque: true,
        ..idle(mode)
    }
}

pub(super) const fn outbound(mode: &'static str, method: &'static str) -> Line {
    cut(mode, "outbound", method)
}

/// Left open by a client that dies.
const fn transaction(mode: &'static str) -> Line {
    Line {
        transaction: true,
        ..outbound(mode, "TRANSACTION")
    }
}

/// Left open by a client whose server goes.
pub(super) const fn in_transaction(mode: &'static str) -> Line {
    Line {
        transaction: true,
        ..idle(mode)
    }
}

const IDLE: &[Line] = &[
    idle("idle"),
    idle("large"),
    idle("wide"),
    idle("committed"),
    idle("listen"),
];

pub(super) fn talk(
    name: &'static str,
    backend: Backend,
    ended: Ended,
    by: By,
    lines: &'static [Line],
) -> Talk {
    let (trigger, may): (_, &[_]) = match by {
        By::Signal(Signal::SIGKILL) | By::CgroupKill => ("kill", &["no_grace"]),
        By::Signal(_) => ("stop", &["exit_without_drain"]),
    };
    Talk {
        name,
        backend,
        lines,
        ended,
        by,
        trigger,
        may,
    }
}

fn postgres() -> Vec<Talk> {
    use Backend::Postgres;
    use Ended::{Clients, Server};
    const FINISHES: &[Line] = &[idle("finishes")];
    const BUSY: &[Line] = &[
        outbound("query", "SELECT"),
        outbound("rows", "SELECT"),
        outbound("copy", "COPY"),
        transaction("transaction"),
        transaction("failed"),
        idle("idle"),
        idle("large"),
        idle("wide"),
        idle("committed"),
        idle("listen"),
    ];
    const LOST: &[Line] = &[
        cut("query", "unanswered", "SELECT"),
        cut("rows", "truncated", "SELECT"),
        in_transaction("transaction"),
        in_transaction("failed"),
        idle("idle"),
        idle("large"),
        idle("wide"),
        idle("committed"),
        idle("listen"),
    ];
    vec![
        talk(
            "postgresql/clients/kill",
            Postgres,
            Clients,
            By::Signal(Signal::SIGKILL),
            BUSY,
        ),
        talk(
            "postgresql/clients/stop",
            Postgres,
            Clients,
            By::Signal(Signal::SIGTERM),
            IDLE,
        ),
        talk(
            "postgresql/server/fast-stop",
            Postgres,
            Server,
            By::Signal(Signal::SIGINT),
            LOST,
        ),
        talk(
            "postgresql/server/fast-stop-idle",
            Postgres,
            Server,
            By::Signal(Signal::SIGINT),
            IDLE,
        ),
        talk("postgresql/server/kill", Postgres, Server, By::CgroupKill, LOST),
        talk(
            "postgresql/server/smart-stop",
            Postgres,
            Server,
            By::Signal(Signal::SIGTERM),
            FINISHES,
        ),
    ]
}

fn mariadb() -> Vec<Talk> {
    use Backend::MariaDb;
    use Ended::{Clients, Server};
    const IDLE: &[Line] = &[idle("idle"), idle("large"), idle("wide"), idle("committed")];
    const BUSY: &[Line] = &[
        outbound("query", "SELECT"),
        outbound("rows", "SELECT"),
        transaction("transaction"),
        idle("idle"),
        idle("large"),
        idle("wide"),
        idle("committed"),
    ];
    const LOST: &[Line] = &[
        cut("query", "unanswered", "SELECT"),
        cut("rows", "truncated", "SELECT"),
        in_transaction("transaction"),
        idle("idle"),
        idle("large"),
        idle("wide"),
        idle("committed"),
    ];
    vec![
        talk(
            "mysql/clients/kill",
            MariaDb,
            Clients,
            By::Signal(Signal::SIGKILL),
            BUSY,
        ),
        talk(
            "mysql/clients/stop",
            MariaDb,
            Clients,
            By::Signal(Signal::SIGTERM),
            IDLE,
        ),
        talk(
            "mysql/server/stop",
            MariaDb,
            Server,
            By::Signal(Signal::SIGTERM),
            LOST,
        ),
        talk(
            "mysql/server/stop-idle",
            MariaDb,
            Server,
            By::Signal(Signal::SIGTERM),
            IDLE,
        ),
        talk(
            "mysql/server/kill",
            MariaDb,
            Server,
            By::Signal(Signal::SIGKILL),
            LOST,
        ),
    ]
}

fn redis() -> Vec<Talk> {
    use Backend::{Redis, Rq};
    use Ended::{Clients, Server};
    const IDLE: &[Line] = &[
        idle("idle"),
        idle("three"),
        idle("large"),
        idle("executed"),
        idle("blocked"),
        idle("subscribed"),
    ];
    const BUSY: &[Line] = &[
        outbound("script", "EVAL"),
        Line {
            also: Some(("unsent", "SET")),
            ..outbound("half", "INCR")
        },
        outbound("pipeline", "INCR"),
        transaction("multi"),
        idle("idle"),
        idle("three"),
        idle("large"),
        idle("executed"),
        idle("subscribed"),
    ];
    const LOST: &[Line] = &[
        cut("script", "unanswered", "EVAL"),
        cut("pipeline", "unanswered", "INCR"),
        in_transaction("multi"),
        idle("idle"),
        idle("three"),
        idle("large"),
        idle("executed"),
        idle("blocked"),
        idle("subscribed"),
    ];
    const JOB: &[Line] = &[outbound("job", "process"), idle("waiting")];
    // What a job's process says at its end is longer than what is kept.
    const SHORT: &[Line] = &[unclear("short"), idle("waiting")];
    vec![
        talk("rq/kill", Rq, Clients, By::CgroupKill, JOB),
        talk("rq/stop", Rq, Clients, By::Signal(Signal::SIGTERM), SHORT),
        talk(
            "redis/clients/kill",
            Redis,
            Clients,
            By::Signal(Signal::SIGKILL),
            BUSY,
        ),
        talk(
            "redis/clients/kill-idle",
            Redis,
            Clients,
            By::Signal(Signal::SIGKILL),
            IDLE,
        ),
        talk(
            "redis/clients/stop",
            Redis,
            Clients,
            By::Signal(Signal::SIGTERM),
            IDLE,
        ),
        talk(
            "redis/server/stop-idle",
            Redis,
            Server,
            By::Signal(Signal::SIGTERM),
            IDLE,
        ),
        talk(
            "redis/server/kill",
            Redis,
            Server,
            By::Signal(Signal::SIGKILL),
            LOST,
        ),
    ]
}

fn rabbitmq() -> Vec<Talk> {
    use Backend::{Celery, RabbitMq};
    use Ended::{Clients, Server};
    const BUSY: &[Line] = &[
        outbound("job", "process"),
        outbound("first", "process"),
        outbound("confirm", "publish"),
        idle("confirmed"),
        unclear("waiting"),
    ];
    const DRAINS: &[Line] = &[idle("drains"), idle("waiting"), idle("confirmed")];
    // What a consumer had not acknowledged is delivered again.
    const KILLED: &[Line] = &[
        cut("confirm", "unanswered", "publish"),
        idle("confirmed"),
        unclear("job"),
        unclear("first"),
        unclear("waiting"),
    ];
    // Who answers the broker's last words may be gone before it: then nothing is told of it.
    const LEFT: &[Line] = &[idle("confirmed"), unclear("first"), unclear("waiting")];
    const JOB: &[Line] = &[outbound("job", "process")];
    const SHORT: &[Line] = &[idle("short")];
    vec![
        talk("celery/kill", Celery, Clients, By::CgroupKill, JOB),
        talk("celery/stop", Celery, Clients, By::Signal(Signal::SIGTERM), SHORT),
        talk(
            "amqp/clients/kill",
            RabbitMq,
            Clients,
            By::Signal(Signal::SIGKILL),
            BUSY,
        ),
        talk(
            "amqp/clients/stop",
            RabbitMq,
            Clients,
            By::Signal(Signal::SIGTERM),
            DRAINS,
        ),
        talk("amqp/server/kill", RabbitMq, Server, By::CgroupKill, KILLED),
        talk(
            "amqp/server/stop",
            RabbitMq,
            Server,
            By::Signal(Signal::SIGTERM),
            LEFT,
        ),
    ]
}
