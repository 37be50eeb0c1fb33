//! SIGKILL with no stop signal before it: every way of losing a request, on every server.

use super::{CGROUP_KILL, KILL, NGINX, ONE_THREAD, PYTHON, PYTHON_1_0, killed};
use crate::table::{
    Act,
    Act::{
        Big, Chunked, Half, Hang, Head, Huge, NoContent, NotModified, Post, Quick, Sse, Undelimited, Upgrade,
    },
    Case,
    Fate::{Early, Pathless, Queued, Severed, Unknown, Waiting},
    Hops, Net,
    Saw::{Complete, Cut, Eof, Reset, Vague},
    Server::{Go, Gunicorn, Hyper, Node, Raw, Uvicorn},
    Way::{Again, Ask, Ignored, Queue, QueueSilent, Slow, Upload, UploadContinue},
    case,
};

/// Everything that SIGKILL can do to a request.
pub fn cases() -> Vec<Case> {
    [
        unanswered(),
        unread(),
        truncated(),
        uploads(),
        unaccepted(),
        harmless(),
        others(),
    ]
    .concat()
}

/// Read, and no byte of an answer.
fn unanswered() -> Vec<Case> {
    let lost = |case: Case| case.row(Ask, Hang, Eof, Severed("unanswered"));
    let gthread = Gunicorn(&["-k", "gthread", "--threads", "4"]);
    vec![
        lost(case("hyper/kill/unanswered", Hyper("default"), KILL, killed())).times(3),
        lost(case("node/kill/unanswered", Node("default"), KILL, killed())).times(3),
        lost(case("go/kill/unanswered", Go("default"), KILL, killed())).times(3),
        lost(case("python/kill/unanswered", PYTHON, KILL, killed())).times(3),
        // Rules of the user's (`agent::CLASSES`): by a header's value, or by its name alone; then known senders.
        case("python/kill/classes-by-header", PYTHON, KILL, killed())
            .row(
                Ask,
                marked("x-tier: GOLD-plus", "gold"),
                Eof,
                Severed("unanswered"),
            )
            .row(
                Ask,
                marked("X-Tier: silver", "request"),
                Eof,
                Severed("unanswered"),
            )
            .row(
                Ask,
                marked("X-Partner-Signature-256: 7f", "partner"),
                Eof,
                Severed("unanswered"),
            )
            .row(
                Ask,
                marked("User-Agent: Acme-Bot/1.0", "partner"),
                Eof,
                Severed("unanswered"),
            )
            .row(
                Ask,
                marked(
                    "User-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)",
                    "webhook",
                ),
                Eof,
                Severed("unanswered"),
            )
            .row(
                Ask,
                marked("X-Hub-Signature-256: sha256=7f", "webhook"),
                Eof,
                Severed("unanswered"),
            )
            .row(Ask, Hang, Eof, Severed("unanswered")),
        lost(case("uvicorn/kill/unanswered", Uvicorn(&[]), KILL, killed())).times(3),
        lost(case(
            "gunicorn-gthread/cgroup-kill/unanswered",
            gthread,
            CGROUP_KILL,
            killed(),
        ))
        .times(3),
        lost(case(
            "gunicorn-sync/cgroup-kill/unanswered",
            Gunicorn(&[]),
            CGROUP_KILL,
            killed(),
        )),
        lost(
            case("nginx-proxy/cgroup-kill/unanswered", NGINX, CGROUP_KILL, killed())
                .hops(Hops::CallsUpstream),
        )
        .times(2),
        lost(case("hyper/kill/ipv6", Hyper("default"), KILL, killed()))
            .times(2)
            .net(Net::V6),
        lost(case("go/kill/ipv6", Go("default"), KILL, killed())).net(Net::V6),
        lost(case("node/kill/v4-mapped", Node("default"), KILL, killed()))
            .times(2)
            .net(Net::Mapped),
        case("hyper/kill/again-on-keep-alive", Hyper("default"), KILL, killed()).row(
            Again,
            Hang,
            Eof,
            Severed("unanswered"),
        ),
        case(
            "nginx-proxy/cgroup-kill/again-on-keep-alive",
            NGINX,
            CGROUP_KILL,
            killed(),
        )
        .hops(Hops::CallsUpstream)
        .row(Again, Hang, Eof, Severed("unanswered")),
    ]
}

/// Hangs, and is told by this header.
fn marked(header: &'static str, class: &'static str) -> Act {
    Act::Marked { header, class }
}

/// Not read: the kernel answers with a reset.
fn unread() -> Vec<Case> {
    let lost = |case: Case| case.freeze().row(Ignored, Hang, Reset, Waiting("unanswered"));
    vec![
        lost(case("hyper/kill/unread", Hyper("default"), KILL, killed())).times(2),
        lost(case("node/kill/unread", Node("default"), KILL, killed())),
        lost(case("go/kill/unread", Go("default"), KILL, killed())),
        lost(case(
            "uvicorn/kill/unread-beside-idle",
            Uvicorn(&[]),
            KILL,
            killed(),
        ))
        .row(Ask, Quick, Complete(200), Early),
    ]
}

/// Begun and not finished.
fn truncated() -> Vec<Case> {
    let half = |case: Case| case.row(Ask, Half, Cut, Severed("truncated"));
    let chunked = |case: Case| case.row(Ask, Chunked, Cut, Severed("truncated"));
    vec![
        half(case(
            "hyper/kill/truncated-length",
            Hyper("default"),
            KILL,
            killed(),
        )),
        half(case(
            "node/kill/truncated-length",
            Node("default"),
            KILL,
            killed(),
        )),
        half(case("go/kill/truncated-length", Go("default"), KILL, killed())).times(2),
        half(case("python/kill/truncated-length", PYTHON, KILL, killed())),
        half(case(
            "uvicorn/kill/truncated-length",
            Uvicorn(&[]),
            KILL,
            killed(),
        )),
        half(
            case(
                "nginx-proxy/cgroup-kill/truncated-length",
                NGINX,
                CGROUP_KILL,
                killed(),
            )
            .hops(Hops::CallsUpstream),
        ),
        chunked(case(
            "hyper/kill/truncated-chunked",
            Hyper("default"),
            KILL,
            killed(),
        )),
        chunked(case(
            "node/kill/truncated-chunked",
            Node("default"),
            KILL,
            killed(),
        ))
        .times(2),
        chunked(case("go/kill/truncated-chunked", Go("default"), KILL, killed())),
        chunked(case(
            "uvicorn/kill/truncated-chunked",
            Uvicorn(&[]),
            KILL,
            killed(),
        )),
        chunked(case(
            "gunicorn-sync/cgroup-kill/truncated-chunked",
            Gunicorn(&[]),
            CGROUP_KILL,
            killed(),
        )),
        // Complete in the application, far from complete on the wire.
        case(
            "nginx-static/cgroup-kill/truncated-sendfile",
            NGINX,
            CGROUP_KILL,
            killed(),
        )
        .row(Slow, Huge, Cut, Severed("truncated")),
        case("python/kill/truncated-slow-reader", PYTHON, KILL, killed()).row(
            Slow,
            Big(20_000_000),
            Cut,
            Severed("truncated"),
        ),
    ]
}

/// The body was still arriving.
fn uploads() -> Vec<Case> {
    let cut = |case: Case| case.row(Upload, Post, Eof, Severed("upload"));
    let asked = |case: Case| case.row(UploadContinue, Post, Eof, Severed("upload"));
    vec![
        cut(case("node/kill/upload", Node("default"), KILL, killed())),
        cut(case("go/kill/upload", Go("default"), KILL, killed())),
        cut(case("python/kill/upload", PYTHON, KILL, killed())),
        cut(case("uvicorn/kill/upload", Uvicorn(&[]), KILL, killed())),
        cut(case(
            "gunicorn-sync/cgroup-kill/upload",
            Gunicorn(&[]),
            CGROUP_KILL,
            killed(),
        )),
        asked(case(
            "hyper/kill/upload-continue",
            Hyper("default"),
            KILL,
            killed(),
        )),
        asked(case("raw/kill/upload-continue", Raw("default"), KILL, killed())),
        asked(case("node/kill/upload-continue", Node("default"), KILL, killed())),
    ]
}

/// Never accepted.
fn unaccepted() -> Vec<Case> {
    let queue = |case: Case| case.row(Queue, Hang, Reset, Waiting("unaccepted"));
    vec![
        queue(case("hyper/kill/accept-queue", Hyper("default"), KILL, killed()))
            .times(2)
            .freeze()
            .row(QueueSilent, Hang, Reset, Pathless("unaccepted"))
            .times(2),
        queue(case("node/kill/accept-queue", Node("default"), KILL, killed())).freeze(),
        queue(case("go/kill/ipv6-accept-queue", Go("default"), KILL, killed()))
            .freeze()
            .net(Net::V6),
        // Nobody froze these: they answer one request at a time.
        queue(
            case(
                "python-one-thread/kill/accept-queue-behind-busy",
                ONE_THREAD,
                KILL,
                killed(),
            )
            .row(Ask, Hang, Eof, Severed("unanswered")),
        )
        .times(3)
        .row(QueueSilent, Hang, Reset, Pathless("unaccepted")),
        queue(
            case(
                "gunicorn-sync/cgroup-kill/accept-queue-behind-busy",
                Gunicorn(&[]),
                CGROUP_KILL,
                killed(),
            )
            .row(Ask, Hang, Eof, Severed("unanswered")),
        )
        .times(2),
    ]
}

/// Nothing is lost: the answer is complete in the send queue, or nothing was outstanding.
fn harmless() -> Vec<Case> {
    let queued = |case: Case| case.row(Slow, Big(300_000), Complete(200), Queued);
    let idle = |case: Case| case.row(Ask, Quick, Complete(200), Early);
    vec![
        queued(case("raw/kill/queued", Raw("default"), KILL, killed())),
        queued(case("node/kill/queued", Node("default"), KILL, killed())),
        queued(case("python/kill/queued", PYTHON, KILL, killed())),
        queued(case(
            "nginx-static/cgroup-kill/queued-sendfile",
            NGINX,
            CGROUP_KILL,
            killed(),
        )),
        idle(case("node/kill/idle", Node("default"), KILL, killed())).times(3),
        idle(case(
            "nginx-static/cgroup-kill/bodiless-idle",
            NGINX,
            CGROUP_KILL,
            killed(),
        ))
        .row(Ask, Head, Complete(200), Early),
        case("go/kill/bodiless-idle", Go("default"), KILL, killed())
            .row(Ask, Head, Complete(200), Early)
            .row(Ask, NoContent, Complete(204), Early)
            .row(Ask, NotModified, Complete(304), Early)
            .pipeline(
                Ask,
                &[(Head, Complete(200), Early), (NotModified, Complete(304), Early)],
            ),
    ]
}

/// Several on one connection, streams, undelimited bodies, everything at once.
fn others() -> Vec<Case> {
    let stream = |case: Case, act| case.row(Ask, act, Cut, Severed("stream"));
    vec![
        case("node/kill/pipelined-two", Node("default"), KILL, killed()).pipeline(
            Ask,
            &[
                (Hang, Eof, Severed("unanswered")),
                (Hang, Eof, Severed("unanswered")),
            ],
        ),
        case(
            "go/kill/pipelined-three-first-answered",
            Go("default"),
            KILL,
            killed(),
        )
        .pipeline(
            Ask,
            &[
                (Quick, Complete(200), Early),
                (Hang, Eof, Severed("unanswered")),
                (Hang, Eof, Severed("unanswered")),
            ],
        ),
        case(
            "hyper/kill/pipelined-second-truncated",
            Hyper("default"),
            KILL,
            killed(),
        )
        .pipeline(
            Ask,
            &[(Quick, Complete(200), Early), (Half, Cut, Severed("truncated"))],
        ),
        case("raw/kill/pipelined-second-unread", Raw("default"), KILL, killed()).pipeline(
            Ask,
            &[
                (Hang, Reset, Severed("unanswered")),
                (Hang, Reset, Waiting("unanswered")),
            ],
        ),
        stream(case("node/kill/sse", Node("default"), KILL, killed()), Sse).times(2),
        stream(case("uvicorn/kill/sse", Uvicorn(&[]), KILL, killed()), Sse),
        stream(case("hyper/kill/sse", Hyper("default"), KILL, killed()), Sse),
        stream(case("go/kill/sse", Go("default"), KILL, killed()), Sse),
        stream(
            case("node/kill/upgraded", Node("default"), KILL, killed()),
            Upgrade,
        ),
        stream(case("raw/kill/upgraded", Raw("default"), KILL, killed()), Upgrade),
        // Delimited by the end of the connection: complete or not, nobody can say.
        case("python-1.0/kill/close-delimited", PYTHON_1_0, KILL, killed()).row(
            Ask,
            Undelimited,
            Vague,
            Unknown,
        ),
        case("raw/kill/close-delimited", Raw("default"), KILL, killed()).row(
            Ask,
            Undelimited,
            Vague,
            Unknown,
        ),
        case(
            "python-1.0/kill/unanswered-and-truncated",
            PYTHON_1_0,
            KILL,
            killed(),
        )
        .row(Ask, Hang, Eof, Severed("unanswered"))
        .row(Ask, Half, Cut, Severed("truncated")),
        case("node/kill/crowd", Node("default"), KILL, killed())
            .row(Ask, Hang, Eof, Severed("unanswered"))
            .times(20)
            .row(Ask, Half, Cut, Severed("truncated"))
            .times(10)
            .row(Ask, Chunked, Cut, Severed("truncated"))
            .times(10)
            .row(Upload, Post, Eof, Severed("upload"))
            .times(5)
            .row(Ask, Sse, Cut, Severed("stream"))
            .times(5)
            .row(Ask, Quick, Complete(200), Early)
            .times(20),
    ]
}
