//! PID 1, shells, orphans, network namespaces.

use nix::sys::signal::Signal;

use super::{DRAIN, KILL, OVERRUN, TERM, drained, killed, unhandled};
use crate::table::{
    Act::{Half, Hang, Quick},
    Around, Case, Expect,
    Fate::{Drained, Early, Pathless, Severed},
    Saw::{Complete, Cut, Eof, Refused, Reset},
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

/// Namespaces and shells.
pub fn cases() -> Vec<Case> {
    let lost = |case: Case| {
        case.row(Ask, Hang, Eof, Severed("unanswered")).times(2).row(Ask, Half, Cut, Severed("truncated"))
    };
    let ignored = || {
        Expect::new("stop")
            .signal(Signal::SIGKILL)
            .signals(&["SIGTERM", "SIGKILL"])
            .disposition("default")
            .must(&["ignored_by_pid1"])
            .may(&["kept_accepting", "killed_mid_drain"])
    };
    let trapped = Expect::new("stop").code(0).signals(&["SIGTERM"]).disposition("handled");
    let not_forwarded = || trapped.clone().must(&["not_forwarded"]).may(&["exit_without_drain"]);
    vec![
        lost(case("node-pid1/term-ignored", Node("default"), IGNORED, ignored())).around(Around::PidNamespace),
        lost(case("hyper-pid1/term-ignored", Hyper("default"), IGNORED, ignored()))
            .around(Around::PidNamespace),
        case("node-pid1/term-ignored/idle", Node("default"), IGNORED, {
            ignored().may(&["hung_on_idle_connections"])
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
        lost(case("shell-pid1/term-ignored", Node("drain"), IGNORED, ignored().may(&["not_forwarded"])))
            .around(Around::PidNamespaceShell),
        lost(case("shell-pid1/trap-exits", Node("drain"), TERM, not_forwarded()))
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
            trapped
                .clone()
                .signals(&["SIGTERM", "SIGKILL"])
                .must(&["not_forwarded"])
                .may(&["kept_accepting", "killed_mid_drain"])
        }))
        .around(Around::TrapShell),
        case("shell/orphan-drains", Hyper("drain"), ORPHAN_DRAINS, trapped.clone().signals(&["SIGTERM", "SIGTERM"]))
            .around(Around::TrapShell)
            .row(Ask, Hang, Complete(200), Drained)
            .times(2),
        lost(case("netns/kill", Hyper("default"), KILL, killed())).around(Around::NetNamespace),
        lost(case("netns/term-default", Node("default"), TERM, unhandled())).around(Around::NetNamespace),
        case("netns/drain-refused-late", Node("drain"), DRAIN, drained())
            .around(Around::NetNamespace)
            .row(Ask, Hang, Complete(200), Drained)
            .row(Knock, Quick, Refused, Pathless("refused"))
            .times(2)
            .row(Late, Quick, Reset, Pathless("late")),
    ]
}
