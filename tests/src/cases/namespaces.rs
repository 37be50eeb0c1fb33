//! PID 1, shells, orphans, network namespaces, cgroups inside a container's.

use nix::sys::signal::Signal;

use super::{DRAIN, KILL, OVERRUN, TERM, drained, ignored, killed, lost, unhandled};
use crate::table::{
    Act::{Hang, Quick},
    Around, Case, Expect,
    Fate::{self, Drained, Early, Waiting},
    Saw::{Complete, Refused, Reset},
    Server::{Go, Hyper, Node},
    Step,
    Way::{Ask, Knock, Late},
    Who, case,
};

/// PID 1 does not care, the runtime loses patience.
const IGNORED: &[Step] = &[
    Step::Signal(Who::Main, Signal::SIGTERM),
    Step::Grace(400),
    Step::Signal(Who::Main, Signal::SIGKILL),
    Step::Gone,
];
/// The shell dies, its child serves on, until everything is killed.
const SHELL_DIES: &[Step] = &[
    Step::Signal(Who::Main, Signal::SIGTERM),
    Step::MainGone,
    Step::Grace(400),
    Step::CgroupKill,
    Step::Gone,
];
/// The shell dies, its child finishes and ends by itself.
const ORPHAN_DRAINS: &[Step] = &[
    Step::Signal(Who::Main, Signal::SIGTERM),
    Step::MainGone,
    Step::Signal(Who::Child, Signal::SIGTERM),
    Step::Stopping,
    Step::Release,
    Step::Gone,
];

/// PID 1 does not care, but nothing new comes, and what there is finishes before the runtime loses patience.
/// The first grace period lets the agent mark the cgroup that the signal did not go to.
const IGNORED_BUT_DRAINED: &[Step] = &[
    Step::Signal(Who::Main, Signal::SIGTERM),
    Step::Grace(400),
    Step::Release,
    Step::Signal(Who::Main, Signal::SIGKILL),
    Step::Gone,
];

/// Namespaces and shells.
pub fn cases() -> Vec<Case> {
    [pid1(), shells(), netns(), sub_cgroups()].concat()
}

fn pid1() -> Vec<Case> {
    vec![
        // Node's runtime takes the signal, raises it again with the default action, and the kernel drops
        // that: the best known of all PID 1s that ignore SIGTERM.
        lost(case(
            "node-pid1/term-ignored",
            Node("default"),
            IGNORED,
            ignored().disposition("handled"),
        ))
        .around(Around::PidNamespace),
        lost(case(
            "hyper-pid1/term-ignored",
            Hyper("default"),
            IGNORED,
            ignored(),
        ))
        .around(Around::PidNamespace),
        case("node-pid1/term-ignored/idle", Node("default"), IGNORED, {
            ignored()
                .disposition("handled")
                .may(&["hung_on_idle_connections"])
        })
        .around(Around::PidNamespace)
        .row(Ask, Quick, Complete(200), Early),
        case("hyper-pid1/drain", Hyper("drain"), DRAIN, drained())
            .around(Around::PidNamespace)
            .row(Ask, Hang, Complete(200), Drained),
        lost(case("go-pid1/drain-too-long", Go("drain"), OVERRUN, {
            super::overrun().must(&["killed_mid_drain"])
        }))
        .around(Around::PidNamespace),
        lost(case("node-pid1/kill", Node("default"), KILL, killed())).around(Around::PidNamespace),
    ]
}

fn shells() -> Vec<Case> {
    let trapped = || {
        Expect::new("stop")
            .code(0)
            .signals(&["SIGTERM"])
            .disposition("handled")
    };
    vec![
        lost(case(
            "shell-pid1/term-ignored",
            Node("drain"),
            IGNORED,
            ignored().may(&["not_forwarded"]),
        ))
        .around(Around::PidNamespaceShell),
        lost(case(
            "shell-pid1/trap-exits",
            Node("drain"),
            TERM,
            trapped().must(&["not_forwarded"]).may(&["exit_without_drain"]),
        ))
        .around(Around::PidNamespaceTrapShell),
        lost(case("shell/term-default", Node("drain"), SHELL_DIES, {
            Expect::new("stop")
                .signal(Signal::SIGTERM)
                .signals(&["SIGTERM", "SIGKILL"])
                .disposition("default")
                .must(&["not_forwarded"])
                .may(&["no_handler", "kept_accepting", "killed_mid_drain"])
        }))
        .around(Around::Shell),
        lost(case("shell/trap-exits", Hyper("drain"), SHELL_DIES, {
            trapped()
                .signals(&["SIGTERM", "SIGKILL"])
                .must(&["not_forwarded"])
                .may(&["kept_accepting", "killed_mid_drain"])
        }))
        .around(Around::TrapShell),
        case(
            "shell/orphan-drains",
            Hyper("drain"),
            ORPHAN_DRAINS,
            trapped().signals(&["SIGTERM", "SIGTERM"]),
        )
        .around(Around::TrapShell)
        .row(Ask, Hang, Complete(200), Drained)
        .times(2),
    ]
}

fn netns() -> Vec<Case> {
    vec![
        lost(case("netns/kill", Hyper("default"), KILL, killed())).around(Around::NetNamespace),
        lost(case("netns/term-default", Hyper("default"), TERM, unhandled())).around(Around::NetNamespace),
        case("netns/drain-refused-late", Node("drain"), DRAIN, drained())
            .around(Around::NetNamespace)
            .row(Ask, Hang, Complete(200), Drained)
            .row(Knock, Quick, Refused, Fate::Refused)
            .times(2)
            .row(Late, Quick, Reset, Waiting("late")),
    ]
}

/// The workload is the container, whichever of its cgroups the processes are in.
fn sub_cgroups() -> Vec<Case> {
    vec![
        case("container/drain", Hyper("drain"), DRAIN, drained())
            .around(Around::Container)
            .row(Ask, Hang, Complete(200), Drained)
            .times(2),
        lost(case(
            "container/term-ignored",
            Hyper("default"),
            IGNORED,
            ignored(),
        ))
        .around(Around::Container),
        lost(case("container/kill", Hyper("default"), KILL, killed())).around(Around::Container),
        lost(case("container-shells/term-ignored", Hyper("drain"), IGNORED, {
            ignored().may(&["not_forwarded"])
        }))
        .around(Around::ContainerShells),
        // The kernel marks PID 1 and its cgroup; the server is neither, nor PID 1's child. That its requests
        // are seen to finish is the agent's doing.
        case(
            "container-shells/term-ignored/drained",
            Hyper("drain"),
            IGNORED_BUT_DRAINED,
            ignored().may(&["not_forwarded", "hung_on_idle_connections", "busy_when_killed"]),
        )
        .around(Around::ContainerShells)
        .row(Ask, Hang, Complete(200), Drained)
        .times(3),
    ]
}
