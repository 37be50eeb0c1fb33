//! Real containers and units, started and stopped by Docker, Podman and systemd: what their users call them
//! is what reports call them.

use super::{drained, ignored, killed, lost, overrun, unhandled};
use crate::table::{
    Act::{Hang, Quick},
    Around, Case, Engine, Expect,
    Fate::{Drained, Early},
    From, Hosted,
    Saw::Complete,
    Server::{self, Hyper, Node},
    Step,
    Way::Ask,
    case,
};

/// The runtime stops it, what runs finishes.
const STOP: &[Step] = &[
    Step::Tell(&["stop"]),
    Step::Stopping,
    Step::Release,
    Step::Gone,
    Step::Told,
];
/// The runtime stops it, it ends or is killed.
const STOP_UNTOLD: &[Step] = &[Step::Tell(&["stop"]), Step::Gone, Step::Told];
/// The runtime is told to kill it.
const KILL: &[Step] = &[Step::Tell(&["kill"]), Step::Gone, Step::Told];
/// The same to a unit, all processes of which get it.
const KILL_UNIT: &[Step] = &[Step::Tell(&["kill", "--signal=SIGKILL"]), Step::Gone, Step::Told];
/// It stops and is started again. (Podman, when it is not told how long to wait, does not.)
const RESTART: &[Step] = &[
    Step::Tell(&["restart", "-t", "5"]),
    Step::Stopping,
    Step::Release,
    Step::MainGone,
    Step::Told,
];

/// The same to a unit.
const RESTART_UNIT: &[Step] = &[
    Step::Tell(&["restart"]),
    Step::Stopping,
    Step::Release,
    Step::MainGone,
    Step::Told,
];

/// Containers and units.
pub fn cases() -> Vec<Case> {
    [
        containers(Engine::Docker),
        docker(),
        containers(Engine::Podman),
        units(),
    ]
    .concat()
}

fn container(engine: Engine, options: &'static [&'static str]) -> Hosted {
    Hosted {
        engine,
        options,
        workload: "{}",
        namespace: None,
        stop_signal: "SIGTERM",
        grace_seconds: 10.0,
        kill_mode: None,
        reason: None,
        revision: None,
    }
}

/// Killed after one second.
fn hasty(engine: Engine, options: &'static [&'static str]) -> Hosted {
    Hosted {
        grace_seconds: 1.0,
        ..container(engine, options)
    }
}

/// What both runtimes of containers do.
fn containers(engine: Engine) -> Vec<Case> {
    fn either<T>(engine: Engine, docker: T, podman: T) -> T {
        if engine == Engine::Docker { docker } else { podman }
    }
    let named = |docker, podman| either(engine, docker, podman);
    let case = |docker, podman, server, ending, expect| case(named(docker, podman), server, ending, expect);
    vec![
        case(
            "docker/stop-drains",
            "podman/stop-drains",
            Hyper("drain"),
            STOP,
            drained(),
        )
        .hosted(container(engine, &[]))
        .row(Ask, Hang, Complete(200), Drained)
        .times(3)
        .row(Ask, Quick, Complete(200), Early),
        lost(case(
            "docker/no-handler",
            "podman/no-handler",
            Hyper("default"),
            STOP_UNTOLD,
            ignored().may(&["not_forwarded"]),
        ))
        .hosted(hasty(engine, &["--stop-timeout=1"])),
        lost(case(
            "docker/shell",
            "podman/shell",
            Hyper("drain"),
            STOP_UNTOLD,
            ignored().may(&["not_forwarded"]),
        ))
        .around(Around::Shell)
        .hosted(hasty(engine, &["--stop-timeout=1"])),
        lost(case(
            "docker/timeout",
            "podman/timeout",
            Hyper("drain"),
            STOP_UNTOLD,
            overrun().must(&["killed_mid_drain"]),
        ))
        .hosted(hasty(engine, &["--stop-timeout=1"])),
        lost(case("docker/kill", "podman/kill", Hyper("drain"), KILL, killed()))
            .hosted(container(engine, &[])),
        case(
            "docker/compose",
            "podman/compose",
            Hyper("drain"),
            STOP,
            drained(),
        )
        .hosted(Hosted {
            namespace: Some("shop"),
            workload: "{}-web",
            revision: Some("5d4f8c7b"),
            ..container(
                engine,
                &[
                    "--label=com.docker.compose.project=shop",
                    "--label=com.docker.compose.service={}-web",
                    "--label=com.docker.compose.config-hash=5d4f8c7b",
                ],
            )
        })
        .row(Ask, Hang, Complete(200), Drained),
        // The container is gone long before the report is.
        lost(case("docker/rm", "podman/rm", Hyper("drain"), KILL, killed()))
            .hosted(container(engine, &["--rm"])),
        case(
            "docker/restart",
            "podman/restart",
            Hyper("drain"),
            RESTART,
            drained(),
        )
        .hosted(Hosted {
            // Podman tells of no restart that it is asked for.
            reason: either(engine, Some("restart"), None),
            ..container(engine, &[])
        })
        .row(Ask, Hang, Complete(200), Drained)
        .times(2),
        case(
            "docker/stop-signal",
            "podman/stop-signal",
            Hyper("drain"),
            STOP,
            drained().signals(&["SIGUSR1"]),
        )
        .hosted(Hosted {
            stop_signal: "SIGUSR1",
            ..container(engine, &["--stop-signal=SIGUSR1", "--env=LEDGER_SIGNAL=10"])
        })
        .row(Ask, Hang, Complete(200), Drained)
        .times(2),
        brief(named("docker/brief", "podman/brief"), engine),
    ]
}

/// Named, though nobody could ask about it while it lived.
fn brief(name: &'static str, engine: Engine) -> Case {
    let expect = Expect::new("crash").must(&["crash"]);
    case(name, Server::Brief, &[Step::Gone], expect)
        .from(From::Begun)
        .hosted(container(engine, &["--rm"]))
}

/// What one runtime is enough for.
fn docker() -> Vec<Case> {
    let trapped = Expect::new("stop")
        .code(0)
        .signals(&["SIGTERM"])
        .disposition("handled")
        .must(&["not_forwarded"])
        .may(&["exit_without_drain"]);
    vec![
        lost(case("docker/trap-shell", Hyper("drain"), STOP_UNTOLD, trapped))
            .around(Around::TrapShell)
            .hosted(container(Engine::Docker, &[])),
        lost(case("docker/node-ignores", Node("default"), STOP_UNTOLD, {
            ignored().may(&["not_forwarded"]).disposition("handled")
        }))
        .hosted(hasty(Engine::Docker, &["--stop-timeout=1"])),
    ]
}

fn units() -> Vec<Case> {
    let unit = |options, stop_signal, grace_seconds, kill_mode| Hosted {
        engine: Engine::Systemd,
        options,
        workload: "{}",
        namespace: None,
        stop_signal,
        grace_seconds,
        kill_mode: Some(kill_mode),
        reason: None,
        revision: None,
    };
    vec![
        case("systemd/stop-drains", Hyper("drain"), STOP, drained())
            .hosted(unit(&[], "SIGTERM", 90.0, "control-group"))
            .row(Ask, Hang, Complete(200), Drained)
            .times(2),
        case("systemd/restart", Hyper("drain"), RESTART_UNIT, drained())
            .hosted(Hosted {
                reason: Some("restart"),
                ..unit(&[], "SIGTERM", 90.0, "control-group")
            })
            .row(Ask, Hang, Complete(200), Drained)
            .times(2),
        lost(case(
            "systemd/no-handler",
            Hyper("default"),
            STOP_UNTOLD,
            unhandled(),
        ))
        .hosted(unit(&[], "SIGTERM", 90.0, "control-group")),
        lost(case("systemd/timeout", Hyper("drain"), STOP_UNTOLD, {
            overrun().must(&["killed_mid_drain"])
        }))
        .hosted(unit(
            &["--property=TimeoutStopSec=1", "--property=KillMode=mixed"],
            "SIGTERM",
            1.0,
            "mixed",
        )),
        lost(case("systemd/kill", Hyper("drain"), KILL_UNIT, killed())).hosted(unit(
            &["--property=KillMode=process"],
            "SIGTERM",
            90.0,
            "process",
        )),
        case(
            "systemd/stop-signal",
            Hyper("drain"),
            STOP,
            drained().signals(&["SIGUSR1"]),
        )
        .hosted(unit(
            &[
                "--property=KillSignal=SIGUSR1",
                "--property=TimeoutStopSec=2",
                "--setenv=LEDGER_SIGNAL=10",
            ],
            "SIGUSR1",
            2.0,
            "control-group",
        ))
        .row(Ask, Hang, Complete(200), Drained)
        .times(2),
    ]
}
