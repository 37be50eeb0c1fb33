//! Drains: done right, longer than the grace period, held by idle connections.

use nix::sys::signal::Signal;

use super::{DRAIN, DRAIN_UNTOLD, NGINX, OVERRUN, TERM, drained, overrun};
use crate::table::{
    Act::{Big, Chunked, Half, Hang, HangHead, Post, Quick, Sse, Upgrade},
    Case, Expect,
    Fate::{Drained, Early, Queued, Severed},
    Python,
    Saw::{Complete, Cut, Eof},
    Server::{self, Go, Gunicorn, Hyper, Node, Raw, Uvicorn},
    Step,
    Way::{Again, Arrive, Ask, Slow, Upload},
    Who, case,
};

/// nginx's graceful stop.
const QUIT: &[Step] = &[
    Step::Signal(Who::Main, Signal::SIGQUIT),
    Step::ListenerClosed,
    Step::During,
    Step::Release,
    Step::Gone,
];
/// The listener is seen to be closed before anything is let go.
const DRAIN_CLOSED: &[Step] = &[
    Step::Signal(Who::Main, Signal::SIGTERM),
    Step::ListenerClosed,
    Step::During,
    Step::Release,
    Step::Gone,
];
const PYTHON_DRAINS: Server = Server::Python(Python {
    http: "1.1",
    threads: "many",
    on_term: "drain",
    slow_start: "",
});

/// Endings with a drain.
pub fn cases() -> Vec<Case> {
    [right(), too_long(), held()].concat()
}

/// Nothing is lost.
fn right() -> Vec<Case> {
    let mixed = |case: Case| {
        case.row(Ask, Hang, Complete(200), Drained)
            .times(3)
            .row(Ask, Half, Complete(200), Drained)
            .row(Ask, Quick, Complete(200), Early)
    };
    let gthread = Gunicorn(&["-k", "gthread", "--threads", "4"]);
    let quit = Expect::new("stop")
        .code(0)
        .signals(&["SIGQUIT"])
        .disposition("handled");
    vec![
        mixed(case("hyper/drain", Hyper("drain"), DRAIN, drained())),
        mixed(case("node/drain", Node("drain"), DRAIN, drained())),
        mixed(case("go/drain", Go("drain"), DRAIN, drained())),
        case("python/drain", PYTHON_DRAINS, DRAIN, drained())
            .row(Ask, Hang, Complete(200), Drained)
            .times(3),
        // uvicorn drains, then ends itself by the signal that it got.
        mixed(case("uvicorn/drain", Uvicorn(&[]), DRAIN_CLOSED, {
            Expect::new("stop")
                .signal(Signal::SIGTERM)
                .signals(&["SIGTERM"])
                .disposition("handled")
        })),
        case("gunicorn-sync/drain", Gunicorn(&[]), DRAIN_UNTOLD, drained()).row(
            Ask,
            Hang,
            Complete(200),
            Drained,
        ),
        case("gunicorn-gthread/drain", gthread, DRAIN_UNTOLD, drained())
            .row(Ask, Hang, Complete(200), Drained)
            .times(2)
            .row(Ask, Chunked, Complete(200), Drained),
        mixed(case("nginx-proxy/quit", NGINX, QUIT, quit.clone())),
        case("nginx-static/quit-queued", NGINX, QUIT, quit).row(Slow, Big(300_000), Complete(200), Queued),
        case("hyper/drain/head", Hyper("drain"), DRAIN, drained()).row(Ask, HangHead, Complete(200), Drained),
        case(
            "hyper/drain/again-on-keep-alive",
            Hyper("drain"),
            DRAIN,
            drained(),
        )
        .row(Again, Hang, Complete(200), Drained),
        case("node/drain/chunked-and-sse", Node("drain"), DRAIN, drained())
            .row(Ask, Chunked, Complete(200), Drained)
            .times(2)
            .row(Ask, Sse, Complete(200), Drained),
        case("node/drain/nothing-to-do", Node("drain"), DRAIN, drained()),
    ]
}

/// Longer than the grace period.
fn too_long() -> Vec<Case> {
    let killed = || overrun().must(&["killed_mid_drain"]);
    let mixed = |case: Case| {
        case.row(Ask, Hang, Eof, Severed("unanswered"))
            .times(2)
            .row(Ask, Half, Cut, Severed("truncated"))
    };
    vec![
        mixed(case("hyper/drain-too-long", Hyper("drain"), OVERRUN, killed())),
        mixed(case("node/drain-too-long", Node("drain"), OVERRUN, killed())),
        mixed(case("go/drain-too-long", Go("drain"), OVERRUN, killed())),
        case("node/drain-too-long/streams", Node("drain"), OVERRUN, killed())
            .row(Ask, Sse, Cut, Severed("stream"))
            .row(Ask, Upgrade, Cut, Severed("stream"))
            .row(Upload, Post, Eof, Severed("upload")),
        // Requests that come and go while the drain is under way.
        case("raw/serve-on-too-long", Raw("serve-on"), OVERRUN, {
            killed().may(&["kept_accepting", "traffic_after_stop"])
        })
        .row(Ask, Hang, Eof, Severed("unanswered"))
        .row(Arrive, Quick, Complete(200), Drained)
        .times(3)
        .row(Arrive, Hang, Eof, Severed("unanswered")),
        // gunicorn's own grace period: the master kills the worker and exits 0.
        case(
            "gunicorn-sync/graceful-timeout",
            Gunicorn(&["--graceful-timeout", "1"]),
            TERM,
            {
                drained()
                    .signals(&["SIGTERM", "SIGTERM", "SIGKILL"])
                    .must(&["killed_mid_drain"])
                    // The master closes its listener, the worker keeps it.
                    .may(&["kept_accepting"])
            },
        )
        .row(Ask, Hang, Eof, Severed("unanswered")),
    ]
}

/// Goes on serving, or is held by connections that have nothing to do.
fn held() -> Vec<Case> {
    vec![
        case("raw/serve-on", Raw("serve-on"), DRAIN, {
            drained().must(&["traffic_after_stop"]).may(&["kept_accepting"])
        })
        .row(Ask, Hang, Complete(200), Drained)
        .row(Arrive, Quick, Complete(200), Drained)
        .times(3),
        case(
            "raw/hung-on-idle",
            Raw("wait-all"),
            OVERRUN,
            overrun().must(&["hung_on_idle_connections"]),
        )
        .row(Ask, Quick, Complete(200), Early)
        .times(2),
    ]
}
