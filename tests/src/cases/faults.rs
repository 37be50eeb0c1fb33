//! Not a deploy: crashes, unasked exits, the OOM killer.

use nix::sys::signal::Signal;

use super::{POISON, PYTHON};
use crate::table::{
    Act::{Half, Hang, Poison, Quick},
    Case, Expect,
    Fate::{Early, Severed},
    Saw::{Complete, Cut, Eof},
    Server::{Go, Hyper, Node, Raw},
    Step,
    Way::{Ask, Finally},
    Who, case,
};

const USR1: &[Step] = &[Step::Signal(Who::Main, Signal::SIGUSR1), Step::Gone];

/// A request that ends its own server, beside others.
pub fn cases() -> Vec<Case> {
    [ended(), unasked()].concat()
}

/// By an exit, a crash, or the kernel.
fn ended() -> Vec<Case> {
    let beside = |case: Case, kind| {
        case.row(Ask, Hang, Eof, Severed("unanswered"))
            .times(2)
            .row(Ask, Half, Cut, Severed("truncated"))
            .row(Ask, Quick, Complete(200), Early)
            .row(Finally, Poison(kind), Eof, Severed("unanswered"))
    };
    let crash = || Expect::new("crash").must(&["crash"]);
    vec![
        beside(
            case(
                "hyper/abort",
                Hyper("default"),
                POISON,
                crash().signal(Signal::SIGABRT),
            ),
            "abort",
        ),
        beside(
            case(
                "node/abort",
                Node("default"),
                POISON,
                crash().signal(Signal::SIGABRT),
            ),
            "abort",
        ),
        beside(
            case("python/segv", PYTHON, POISON, crash().signal(Signal::SIGSEGV)),
            "segv",
        ),
        beside(
            case("node/throw", Node("default"), POISON, crash().code(1)),
            "throw",
        ),
        beside(case("go/panic", Go("default"), POISON, crash().code(2)), "panic"),
        beside(
            case("hyper/exit-1", Hyper("default"), POISON, crash().code(1)),
            "exit1",
        ),
        beside(
            case("node/exit-1", Node("drain"), POISON, crash().code(1)),
            "exit1",
        ),
        beside(
            case(
                "hyper/exit-0",
                Hyper("default"),
                POISON,
                Expect::new("exit").code(0),
            ),
            "exit0",
        ),
        beside(
            case("go/exit-0", Go("default"), POISON, Expect::new("exit").code(0)),
            "exit0",
        ),
        beside(
            case("python/exit-0", PYTHON, POISON, Expect::new("exit").code(0)),
            "exit0",
        ),
        beside(
            case("python/oom", PYTHON, POISON, {
                Expect::new("oom")
                    .signal(Signal::SIGKILL)
                    .signals(&["SIGKILL"])
                    .must(&["oom"])
            })
            .memory_max(100 << 20),
            "oom",
        ),
    ]
}

/// Cut by a living process that nobody had asked to end, or by a signal without a handler.
fn unasked() -> Vec<Case> {
    vec![
        // Half a second before its exit.
        case(
            "raw/exit/closes-first",
            Raw("close"),
            POISON,
            Expect::new("exit").code(0),
        )
        .row(Ask, Hang, Eof, Severed("unanswered"))
        .times(2)
        .row(Ask, Half, Cut, Severed("truncated"))
        .row(Ask, Quick, Complete(200), Early)
        .row(Finally, Poison("leave"), Eof, Severed("unanswered")),
        // Threads that close at the same moment, on several CPUs.
        case(
            "raw/exit/closes-at-once",
            Raw("close"),
            POISON,
            Expect::new("exit").code(0),
        )
        .row(Ask, Hang, Eof, Severed("unanswered"))
        .times(40)
        .row(Finally, Poison("leave"), Eof, Severed("unanswered")),
        // The new program's exit comes a second later.
        case("raw/exec", Raw("default"), POISON, Expect::new("exit").code(0))
            .row(Ask, Hang, Eof, Severed("unanswered"))
            .times(2)
            .row(Ask, Half, Cut, Severed("truncated"))
            .row(Ask, Quick, Complete(200), Early)
            .row(Finally, Poison("exec"), Eof, Severed("unanswered")),
        // A log rotation's signal, say: no fault of the program.
        case("raw/usr1-default", Raw("default"), USR1, {
            Expect::new("stop")
                .signal(Signal::SIGUSR1)
                .signals(&["SIGUSR1"])
                .must(&["no_handler"])
        })
        .row(Ask, Hang, Eof, Severed("unanswered")),
    ]
}
