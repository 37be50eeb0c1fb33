//! A stop signal, and the process ends without finishing what it serves.

use nix::sys::signal::Signal;

use super::{NGINX, ONE_THREAD, OVERRUN, PYTHON, TERM, drained, overrun, runtime_default, unhandled};
use crate::table::{
    Act::{Block, Chunked, Half, Hang, Post, Quick, Sse},
    Case, Expect,
    Fate::{Early, Failed, Severed, Waiting},
    From, Hops, Python, Reports,
    Saw::{Complete, Cut, Eof, Reset, ResetCut},
    Server::{self, Go, Gunicorn, Hyper, Node, Raw},
    Step,
    Way::{Ask, Queue, Upload},
    Who, case,
};

const INTERRUPT: &[Step] = &[Step::Signal(Who::Main, Signal::SIGINT), Step::Gone];
const QUIT: &[Step] = &[Step::Signal(Who::Main, Signal::SIGQUIT), Step::Gone];
/// The handler waits for the release after it has closed the connections.
const CLOSES: &[Step] = &[
    Step::Signal(Who::Main, Signal::SIGTERM),
    Step::Stopping,
    Step::Release,
    Step::Gone,
];
/// A first signal begins the drain, a second one ends it.
const TWICE: &[Step] = &[
    Step::Signal(Who::Main, Signal::SIGTERM),
    Step::Stopping,
    Step::Signal(Who::Main, Signal::SIGTERM),
    Step::Grace(100),
    Step::Signal(Who::Main, Signal::SIGINT),
    Step::Gone,
];
/// The handler cannot run.
const STUCK: &[Step] = &[
    Step::Signal(Who::Main, Signal::SIGTERM),
    Step::Grace(1500),
    Step::Signal(Who::Main, Signal::SIGKILL),
    Step::Gone,
];

const SLOW_TO_BIND: Server = Server::Python(Python {
    http: "1.1",
    threads: "many",
    on_term: "default",
    slow_start: "bind",
});
const SLOW_TO_ACCEPT: Server = Server::Python(Python {
    http: "1.1",
    threads: "many",
    on_term: "default",
    slow_start: "accept",
});
const PYTHON_EXITS: Server = Server::Python(Python {
    http: "1.1",
    threads: "many",
    on_term: "exit",
    slow_start: "",
});

/// Endings without a drain.
pub fn cases() -> Vec<Case> {
    [default_action(), at_once(), stuck(), starting()].concat()
}

/// Nobody handles the signal.
fn default_action() -> Vec<Case> {
    let mixed = |case: Case| {
        case.row(Ask, Hang, Eof, Severed("unanswered"))
            .times(2)
            .row(Ask, Half, Cut, Severed("truncated"))
            .row(Ask, Quick, Complete(200), Early)
    };
    vec![
        mixed(case("python/term-default", PYTHON, TERM, unhandled())),
        mixed(case("hyper/term-default", Hyper("default"), TERM, unhandled())),
        case("hyper/int-default", Hyper("default"), INTERRUPT, {
            Expect::new("stop")
                .signal(Signal::SIGINT)
                .signals(&["SIGINT"])
                .disposition("default")
                .must(&["no_handler"])
        })
        .row(Ask, Hang, Eof, Severed("unanswered")),
        case("hyper/quit-default", Hyper("default"), QUIT, {
            Expect::new("stop")
                .signal(Signal::SIGQUIT)
                .signals(&["SIGQUIT"])
                .disposition("default")
                .must(&["no_handler"])
        })
        .row(Ask, Chunked, Cut, Severed("truncated")),
        case(
            "python-one-thread/term-default/accept-queue",
            ONE_THREAD,
            TERM,
            unhandled(),
        )
        .row(Ask, Hang, Eof, Severed("unanswered"))
        .row(Queue, Hang, Reset, Waiting("unaccepted"))
        .times(2),
        // Go's and Node's runtimes handle SIGTERM for themselves (Node restores the terminal), then raise it
        // again with the default action.
        mixed(case(
            "go/term-default",
            Go("default"),
            TERM,
            runtime_default().must(&["exit_without_drain"]),
        )),
        mixed(case("node/term-default", Node("default"), TERM, {
            runtime_default().must(&["exit_without_drain"])
        })),
        case("node/term-default/upload-and-sse", Node("default"), TERM, {
            runtime_default().must(&["exit_without_drain"])
        })
        .row(Upload, Post, Eof, Severed("upload"))
        .row(Ask, Sse, Cut, Severed("stream")),
        case("node/term-default/idle", Node("default"), TERM, runtime_default()).row(
            Ask,
            Quick,
            Complete(200),
            Early,
        ),
    ]
}

/// A handler ends the process at once, or cuts the connections.
fn at_once() -> Vec<Case> {
    let exits = || drained().must(&["exit_without_drain"]);
    let mixed = |case: Case| {
        case.row(Ask, Hang, Eof, Severed("unanswered"))
            .times(2)
            .row(Ask, Half, Cut, Severed("truncated"))
    };
    vec![
        mixed(case("hyper/term-exit-at-once", Hyper("exit"), TERM, exits())),
        mixed(case("node/term-exit-at-once", Node("exit"), TERM, exits())),
        mixed(case("python/term-exit-at-once", PYTHON_EXITS, TERM, exits())),
        case("node/term-exit-at-once/idle", Node("exit"), TERM, drained()).row(
            Ask,
            Quick,
            Complete(200),
            Early,
        ),
        // nginx's fast shutdown.
        case("nginx-proxy/term", NGINX, TERM, exits())
            .hops(Hops::CallsUpstream)
            .row(Ask, Hang, Eof, Severed("unanswered"))
            .row(Ask, Half, Cut, Severed("truncated")),
        // gunicorn's handler raises SystemExit inside the application; the worker makes a 500 of it.
        case("gunicorn-sync/quit", Gunicorn(&[]), QUIT, {
            Expect::new("stop")
                .code(0)
                .signals(&["SIGQUIT"])
                .disposition("handled")
        })
        .row(Ask, Hang, Complete(500), Failed),
        // Alive, it resets what it serves: SO_LINGER 0.
        case(
            "raw/term-linger0",
            Raw("linger0"),
            CLOSES,
            drained().may(&["exit_without_drain"]),
        )
        .row(Ask, Hang, Reset, Severed("unanswered"))
        .row(Ask, Half, ResetCut, Severed("truncated")),
        // Alive, it closes what it serves; unread requests make the kernel reset.
        case(
            "raw/term-close",
            Raw("close"),
            CLOSES,
            drained().may(&["exit_without_drain"]),
        )
        .row(Ask, Hang, Eof, Severed("unanswered"))
        .pipeline(
            Ask,
            &[
                (Hang, Reset, Severed("unanswered")),
                (Hang, Reset, Waiting("unanswered")),
            ],
        ),
        case("node/term-twice-then-int", Node("drain-then-int"), TWICE, {
            drained()
                .signals(&["SIGTERM", "SIGTERM", "SIGINT"])
                .must(&["exit_without_drain"])
        })
        .row(Ask, Hang, Eof, Severed("unanswered"))
        .times(2),
        case("hyper/term-twice-then-int", Hyper("drain-then-int"), TWICE, {
            drained()
                .signals(&["SIGTERM", "SIGTERM", "SIGINT"])
                .must(&["exit_without_drain"])
        })
        .row(Ask, Half, Cut, Severed("truncated")),
    ]
}

/// The handler runs and does nothing, or cannot run.
fn stuck() -> Vec<Case> {
    vec![
        case("raw/term-handler-does-nothing", Raw("ignore"), OVERRUN, {
            overrun().must(&["killed_mid_drain"]).may(&["kept_accepting"])
        })
        .row(Ask, Hang, Eof, Severed("unanswered"))
        .times(2),
        case("node/term-blocked-event-loop", Node("drain"), STUCK, {
            overrun()
                .must(&["killed_mid_drain"])
                .may(&["kept_accepting", "handler_late"])
        })
        .row(Ask, Block, Eof, Severed("unanswered"))
        .row(Queue, Hang, Reset, Waiting("unaccepted")),
    ]
}

/// Stopped before it was ready.
fn starting() -> Vec<Case> {
    vec![
        case("python/term-before-listening", SLOW_TO_BIND, TERM, {
            unhandled()
                .reports(Reports::AtMostOne)
                .may(&["no_handler", "busy_when_killed"])
        })
        .from(From::Running),
        case("python/term-before-accepting", SLOW_TO_ACCEPT, TERM, unhandled())
            .from(From::Listening)
            .row(Queue, Hang, Reset, Waiting("unaccepted"))
            .times(2),
    ]
}
