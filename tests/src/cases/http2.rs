//! HTTP/2 in clear: streams, any number of them, cut at every point of their lives, drained and idle.

use nix::sys::signal::Signal;

use super::{CGROUP_KILL, DRAIN, KILL, TERM, drained, killed};
use crate::table::{
    Act::{self, Chunked, Half, HalfPost, Hang, Quick},
    Case, Expect,
    Fate::{self, Drained, Early, Failed, Severed},
    HTTP2, Hops,
    Saw::{self, Complete, Cut, Eof},
    Server::{Hypercorn, Nginx, NodeHttp2},
    Step, Upstream,
    Way::{Streams, StreamsAgain},
    Who, case,
};

/// All of it.
pub fn cases() -> Vec<Case> {
    [cut(), finished(), elsewhere()].concat()
}

/// Told in a way of its own to end.
const LEAVES: &[Step] = &[Step::Signal(Who::Main, Signal::SIGUSR2), Step::Gone];

const LOST: (Act, Saw, Fate) = (Hang, Eof, Severed("unanswered"));

fn default_action() -> Expect {
    Expect::new("stop").must(&["exit_without_drain"])
}

/// Streams that are open when the server ends.
fn cut() -> Vec<Case> {
    let node = NodeHttp2("default");
    vec![
        case("http2/node/kill/one", node, KILL, killed()).pipeline(Streams, &[LOST]),
        case("http2/node/kill/eight", node, KILL, killed()).pipeline(Streams, &[LOST; 8]),
        case("http2/node/kill/a-hundred", node, KILL, killed()).pipeline(Streams, &[LOST; 100]),
        case("http2/node/kill/eight-on-each-of-three", node, KILL, killed())
            .pipeline(Streams, &[LOST; 8])
            .times(3),
        case("http2/node/kill/after-another", node, KILL, killed()).pipeline(StreamsAgain, &[LOST; 3]),
        // At every point of their lives at once, beside some that are over.
        case("http2/node/kill/every-state", node, KILL, killed()).pipeline(
            Streams,
            &[
                (Quick, Complete(200), Early),
                LOST,
                (Half, Cut, Severed("truncated")),
                (HalfPost, Eof, Severed("upload")),
                (Chunked, Cut, Severed("truncated")),
                (Quick, Complete(200), Early),
                LOST,
            ],
        ),
        // Cut by a living process that no stop signal had reached, half a second before its exit.
        case(
            "http2/node/leave/every-state",
            node,
            LEAVES,
            Expect::new("exit").code(0),
        )
        .pipeline(
            Streams,
            &[
                (Quick, Complete(200), Early),
                LOST,
                (Half, Cut, Severed("truncated")),
                (HalfPost, Eof, Severed("upload")),
                LOST,
            ],
        ),
        case("http2/node/leave/idle", node, LEAVES, Expect::new("exit").code(0))
            .pipeline(Streams, &[(Quick, Complete(200), Early); 8]),
        case(
            "http2/node/exit/every-state",
            NodeHttp2("exit"),
            TERM,
            default_action(),
        )
        .pipeline(
            Streams,
            &[
                LOST,
                (Half, Cut, Severed("truncated")),
                (HalfPost, Eof, Severed("upload")),
                (Quick, Complete(200), Early),
            ],
        ),
    ]
}

/// Nothing is lost: what came last were SETTINGS, `WINDOW_UPDATE` and PING.
fn finished() -> Vec<Case> {
    let done = (Quick, Complete(200), Early);
    vec![
        case("http2/node/kill/idle", NodeHttp2("default"), KILL, killed()).pipeline(Streams, &[done]),
        case(
            "http2/node/kill/idle-after-many",
            NodeHttp2("default"),
            KILL,
            killed(),
        )
        .pipeline(Streams, &[done; 100]),
        case("http2/node/drain", NodeHttp2("drain"), DRAIN, drained()).pipeline(
            Streams,
            &[
                done,
                (Hang, Complete(200), Drained),
                (Half, Complete(200), Drained),
                (Hang, Complete(200), Drained),
            ],
        ),
        // The first error says its status, the others refer to it.
        case("http2/node/drain/failing", NodeHttp2("fail"), DRAIN, drained()).pipeline(
            Streams,
            &[
                done,
                (Hang, Complete(503), Failed),
                (Half, Complete(200), Drained),
                (Hang, Complete(503), Failed),
                (Hang, Complete(503), Failed),
            ],
        ),
        case(
            "http2/node/drain/a-hundred-failing",
            NodeHttp2("fail"),
            DRAIN,
            drained(),
        )
        .pipeline(Streams, &[(Hang, Complete(503), Failed); 100]),
        case("http2/node/drain/a-hundred", NodeHttp2("drain"), DRAIN, drained())
            .pipeline(Streams, &[(Hang, Complete(200), Drained); 100]),
    ]
}

/// Other servers, whose frames and headers are cut in other ways.
fn elsewhere() -> Vec<Case> {
    let done = (Quick, Complete(200), Early);
    let nginx = Nginx {
        upstream: Upstream::Outside,
        extra: HTTP2,
    };
    let hypercorn = Hypercorn(&["--graceful-timeout", "30"]);
    vec![
        case("http2/hypercorn/kill", hypercorn, CGROUP_KILL, killed()).pipeline(
            Streams,
            &[done, LOST, LOST, (Half, Cut, Severed("truncated")), done],
        ),
        case("http2/hypercorn/kill/idle", hypercorn, CGROUP_KILL, killed()).pipeline(Streams, &[done; 8]),
        case("http2/nginx/kill", nginx, CGROUP_KILL, killed())
            .hops(Hops::CallsUpstream)
            .pipeline(Streams, &[done, LOST, LOST, LOST, done]),
        case("http2/nginx/kill/idle", nginx, CGROUP_KILL, killed()).pipeline(Streams, &[done; 8]),
    ]
}
