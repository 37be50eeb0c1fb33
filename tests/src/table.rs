//! What a row of the ledger can say: server, ways of asking, ending, expectation.

use std::fmt;

use nix::sys::signal::Signal;

/// One case: a server, what is asked of it, how it ends, what must be reported.
#[derive(Debug, Clone)]
pub struct Case {
    /// Unique; `--filter` matches against it.
    pub name: &'static str,
    /// The server.
    pub server: Server,
    /// How it is wrapped.
    pub around: Around,
    /// The runtime that starts and stops it; the harness itself without one.
    pub hosted: Option<Hosted>,
    /// Addresses.
    pub net: Net,
    /// What stands between the clients and the process that loses the requests.
    pub hops: Hops,
    /// SIGSTOP the server's processes before the ways that need a server that does not read.
    pub freeze: bool,
    /// What is waited for before the case begins.
    pub from: From,
    /// Limit of the cgroup's memory.
    pub memory_max: Option<u64>,
    /// Connections.
    pub rows: Vec<Row>,
    /// How it ends.
    pub ending: &'static [Step],
    /// What must be reported.
    pub expect: Expect,
}

/// A runtime that starts and stops servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// dockerd.
    Docker,
    /// Podman's service.
    Podman,
    /// systemd as PID 1.
    Systemd,
}

impl Engine {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Docker, Self::Podman, Self::Systemd];

    /// Its name: what reports call the kind, and the agent's flags begin with.
    pub fn word(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Systemd => "systemd",
        }
    }
}

/// How a runtime is told to run a server, and what the report must say of it. `{}` stands for the name of the
/// case's container or unit.
#[derive(Debug, Clone, Copy)]
pub struct Hosted {
    /// Which one.
    pub engine: Engine,
    /// Options of `docker run`, `podman run`, `systemd-run`.
    pub options: &'static [&'static str],
    /// The workload's name.
    pub workload: &'static str,
    /// Its namespace: the project of Compose.
    pub namespace: Option<&'static str>,
    /// Stop signal that it was configured with.
    pub stop_signal: &'static str,
    /// Time between stop signal and SIGKILL that it was configured with, in seconds.
    pub grace_seconds: f64,
    /// systemd's kill mode.
    pub kill_mode: Option<&'static str>,
    /// Why it is stopped, where its engine says so.
    pub reason: Option<&'static str>,
    /// Compose's hash of its configuration.
    pub revision: Option<&'static str>,
}

/// What is waited for before a case begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The process has reported that it runs.
    Running,
    /// It listens.
    Listening,
    /// It has answered a first request.
    Answering,
    /// It has begun, and may have ended since.
    Begun,
}

/// What stands between the clients and the process that loses the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hops {
    /// Nothing.
    Direct,
    /// An nginx in a cgroup of its own: the server's peers are the proxy's ports, which we do not know.
    BehindNginx,
    /// The server is nginx, and every request that it loses takes a call to its upstream with it.
    CallsUpstream,
}

impl Hops {
    /// The clients' addresses are those that the server sees.
    pub fn peers_known(self) -> bool {
        matches!(self, Self::Direct | Self::CallsUpstream)
    }
}

/// A server of the ledger.
#[derive(Debug, Clone, Copy)]
pub enum Server {
    /// `serve::hyper` with its `LEDGER_ON_TERM`.
    Hyper(&'static str),
    /// `serve::raw` with its `LEDGER_ON_TERM`.
    Raw(&'static str),
    /// `server.js` with its `LEDGER_ON_TERM`.
    Node(&'static str),
    /// The same on Node's `http2`, in clear.
    NodeHttp2(&'static str),
    /// Hypercorn with more arguments, spoken to in HTTP/2.
    Hypercorn(&'static [&'static str]),
    /// `server.js` with its `LEDGER_ON_TERM` and long heads of responses: `helmet` or `cookies`.
    NodeHeads(&'static str, &'static str),
    /// Go's `net/http` with its `LEDGER_ON_TERM`.
    Go(&'static str),
    /// `http_server.py`.
    Python(Python),
    /// gunicorn with these arguments.
    Gunicorn(&'static [&'static str]),
    /// uvicorn with these arguments.
    Uvicorn(&'static [&'static str]),
    /// No server: a shell that lives 50 ms and fails.
    Brief,
    /// nginx: its static files, and everything else proxied to an `http_server.py`.
    Nginx {
        /// Where the upstream lives.
        upstream: Upstream,
        /// More lines of configuration, main context.
        extra: &'static str,
    },
}

impl Server {
    /// Its clients know that it speaks HTTP/2, in clear.
    pub fn speaks_http2(self) -> bool {
        match self {
            Self::NodeHttp2(_) | Self::Hypercorn(_) => true,
            Self::Nginx { extra, .. } => extra == HTTP2,
            _ => false,
        }
    }
}

/// nginx's extra configuration that makes it speak HTTP/2 in clear: a comment, which its listener takes for one.
pub const HTTP2: &str = "# http2";

/// Where nginx's upstream lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upstream {
    /// In nginx's own cgroup.
    Inside,
    /// In a cgroup of its own.
    Outside,
}

/// Python's `http.server`.
#[derive(Debug, Clone, Copy)]
pub struct Python {
    /// `1.0` or `1.1`.
    pub http: &'static str,
    /// `one` or `many`.
    pub threads: &'static str,
    /// `default`, `exit` or `drain`.
    pub on_term: &'static str,
    /// Empty, `bind` or `accept`.
    pub slow_start: &'static str,
}

/// How the server's process is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Around {
    /// Not at all.
    Nothing,
    /// `sh -c 'server & wait'`.
    Shell,
    /// `sh -c 'trap "exit 0" TERM; server & wait'`.
    TrapShell,
    /// PID 1 of a pid namespace.
    PidNamespace,
    /// The shell is PID 1 of a pid namespace.
    PidNamespaceShell,
    /// The shell with the trap is PID 1 of a pid namespace.
    PidNamespaceTrapShell,
    /// A network namespace of its own, the clients inside.
    NetNamespace,
    /// PID 1 of a pid namespace, in a sub-cgroup of a container's.
    Container,
    /// A shell is PID 1 of a pid namespace, in a container's cgroup; its child, a shell too, and the
    /// server, that one's child, are in a sub-cgroup.
    ContainerShells,
}

/// Addresses of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Net {
    /// 127.0.0.1.
    V4,
    /// `::1`.
    V6,
    /// The server listens on `::`, the clients come over IPv4.
    Mapped,
}

/// One connection (`times` over) and what is asked on it.
#[derive(Debug, Clone)]
pub struct Row {
    /// How the client behaves.
    pub way: Way,
    /// The requests, sent in one go.
    pub asks: Vec<Ask>,
    /// How many such connections.
    pub times: usize,
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// What the handler is asked to do.
    pub act: Act,
    /// What the client must see: this is the oracle.
    pub saw: Saw,
    /// What drainwatch must make of it.
    pub fate: Fate,
}

impl Act {
    /// The class of such a request that was not yet answered.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Marked { class, .. } => class,
            _ => "request",
        }
    }
}

/// How a client behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Sends everything, waits for the request's point, goes on reading.
    Ask,
    /// One complete exchange first, then as [`Way::Ask`] on the same connection.
    Again,
    /// As [`Way::Ask`] on streams of HTTP/2, one for each request; then acknowledges the server's settings, opens its
    /// window and pings.
    Streams,
    /// The same after one complete exchange on the same connection.
    StreamsAgain,
    /// Sends the head and a part of the body.
    Upload,
    /// The same with `Expect: 100-continue`, the part after the interim response.
    UploadContinue,
    /// Does not read (small receive buffer) until everything is over.
    Slow,
    /// One complete exchange first; asks when the server does not read any more.
    Ignored,
    /// Connects when nobody accepts, sends nothing.
    QueueSilent,
    /// Connects when nobody accepts, and sends.
    Queue,
    /// As [`Way::Queue`], then leaves by FIN before the ending begins.
    QueueLeft,
    /// Asks, then leaves by FIN before the ending begins.
    LeaveBefore,
    /// Asks, then leaves by RST before the ending begins.
    ResetBefore,
    /// Asks, then leaves by FIN at [`Step::During`].
    LeaveDuring,
    /// Asks, then leaves by RST at [`Step::During`].
    ResetDuring,
    /// Asks, shuts its sending side down, waits.
    HalfClose,
    /// One complete exchange first; asks again after the server has closed the connection.
    Late,
    /// Connects after the listener is gone.
    Knock,
    /// Connects and asks at [`Step::During`].
    Arrive,
    /// Connects at [`Step::During`] and leaves without a byte, as a balancer's check of the port does.
    Touch,
    /// As [`Way::Ask`], behind a balancer's preface (PROXY protocol, version 1).
    Prefaced,
    /// Says lines that nobody answers, and that are no HTTP.
    Lines,
    /// Sends the head and a part of the body, waits for the answer to begin, sends the rest at
    /// [`Step::During`].
    Duplex,
    /// Sent at [`Step::Poison`], nothing is waited for.
    Finally,
}

/// What the handler is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Answer at once.
    Quick,
    /// Answer after the release.
    Hang,
    /// The same, with a header of its own, by which the agent is to tell the class.
    Marked {
        header: &'static str,
        class: &'static str,
    },
    /// The same, asked by HEAD.
    HangHead,
    /// Hang with the event loop blocked.
    Block,
    /// Half of a response with a length; the rest after the release.
    Half,
    /// Half of a chunked response; the rest after the release.
    Chunked,
    /// A server-sent event; the next after the release.
    Sse,
    /// 101 and a WebSocket frame.
    Upgrade,
    /// A body without length, delimited by the connection's end.
    Undelimited,
    /// 103 with long hints at once, the final answer after the release.
    Hints,
    /// The head line by line, each in a call of its own, then the body.
    Pieces,
    /// Chunked, with trailers, at once.
    Trailers,
    /// All of a response in one call, of vectors as this says: `empty-first` or `head-in-three`.
    Vectored(&'static str),
    /// The same with half of it; the rest after the release.
    HalfVectored(&'static str),
    /// The request's body, as it comes.
    Echo,
    /// Half of a response, begun when the client's FIN has arrived.
    AfterFin,
    /// This many bytes at once.
    Big(usize),
    /// A static file that no send queue holds.
    Huge,
    /// HEAD of something large.
    Head,
    /// 204.
    NoContent,
    /// 304.
    NotModified,
    /// POST, answered at once when the body is there.
    Post,
    /// The same, of which the client sends a part only; on a stream of HTTP/2.
    HalfPost,
    /// Ends the process from inside the handler.
    Poison(&'static str),
}

/// What a client saw of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saw {
    /// A complete response with this status.
    Complete(u16),
    /// End of file, no byte of a final response.
    Eof,
    /// End of file after a part of the response.
    Cut,
    /// A body delimited by the connection's end, which came: complete or not, nobody can say.
    Vague,
    /// Reset, no byte of a final response.
    Reset,
    /// Reset after a part of the response.
    ResetCut,
    /// The connection was refused.
    Refused,
    /// The client had left by itself.
    Left,
    /// Nothing, the connection was still open when patience ended.
    Silence,
    /// It was never sent.
    Unsent,
}

impl fmt::Display for Saw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete(status) => write!(f, "complete {status}"),
            Self::Eof => f.write_str("EOF, 0 bytes"),
            Self::Cut => f.write_str("EOF after part"),
            Self::Vague => f.write_str("EOF of an undelimited body"),
            Self::Reset => f.write_str("reset"),
            Self::ResetCut => f.write_str("reset after part"),
            Self::Refused => f.write_str("refused"),
            Self::Left => f.write_str("left by itself"),
            Self::Silence => f.write_str("nothing, still open"),
            Self::Unsent => f.write_str("never sent"),
        }
    }
}

/// What drainwatch must make of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Not in the report: finished before the shutdown began. Where the only sign of a shutdown is the
    /// exit of a process that nobody had signalled, everything that finished before that exit.
    Early,
    /// Written completely before the shutdown, received after it: not severed; whether it counts as
    /// drained depends on the microsecond at which the kernel let the last byte go.
    Queued,
    /// Finished during the shutdown.
    Drained,
    /// Severed, with path.
    Severed(&'static str),
    /// Severed, without path: no byte of it had come.
    Pathless(&'static str),
    /// Severed while it waited in a queue of the kernel's, or when it met a connection that was closed: with path, where the
    /// programs can look into the queue, or the segment.
    Waiting(&'static str),
    /// Lost, and this kernel does not show it.
    Unstopped,
    /// Answered with 5xx after the stop signal.
    Failed,
    /// A connection attempt that met a closed port.
    Refused,
    /// The client ended first.
    Aborted,
    /// The evidence does not say.
    Unknown,
    /// The client left before the shutdown and the connection with it: not in the report.
    Gone,
    /// Of a protocol that nobody reads: counted, not judged.
    Opaque,
    /// Nobody's request: counted among the probes, whatever became of it.
    Probe,
}

/// Who is signalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The workload's first process: PID 1 of the namespace, the master, the shell.
    Main,
    /// The only other process: the worker, the shell's child.
    Child,
    /// nginx's upstream.
    Upstream,
    /// The process that reported the first request.
    Serving,
}

/// A step of an ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Sends a signal.
    Signal(Who, Signal),
    /// Writes `cgroup.kill`.
    CgroupKill,
    /// Tells the runtime: `stop`, `kill`, `restart`, with options. What comes next does not wait for it.
    Tell(&'static [&'static str]),
    /// Waits until the runtime has done what it was told.
    Told,
    /// Sends the rows whose way is [`Way::Finally`].
    Poison,
    /// Waits until the server has reported that it handles the stop signal.
    Stopping,
    /// Waits until the listener is closed.
    ListenerClosed,
    /// Clients that leave, arrive, are refused or late in the middle of the shutdown do it now.
    During,
    /// Lets the hanging handlers finish, and their clients read the answers.
    Release,
    /// Gives the grace period, in milliseconds (stretched).
    Grace(u64),
    /// Waits until no process is left.
    Gone,
    /// Waits until the process that the last [`Step::Signal`] went to is gone.
    SignalledGone,
    /// Remembers a process for [`Step::NotedGone`].
    Note(Who),
    /// Waits until the remembered process is gone.
    NotedGone,
    /// Waits until the master has two children: the old worker and the new one.
    TwoWorkers,
    /// Waits until a worker (reported at start) is gone, however it ended.
    WorkerGone,
    /// Waits until the main process is gone.
    MainGone,
    /// Waits until the master has started another worker.
    NewWorker,
}

/// What must be reported.
#[derive(Debug, Clone)]
pub struct Expect {
    /// How many reports the workload gets.
    pub reports: Reports,
    /// Trigger.
    pub trigger: &'static str,
    /// How the main process ended: code, signal. `None`: not compared.
    pub exit: Option<(Option<i32>, Option<u32>)>,
    /// Findings that must be there.
    pub must: Vec<&'static str>,
    /// Findings that may be there; any other is wrong.
    pub may: Vec<&'static str>,
    /// Signals that must be listed, in this order.
    pub signals: Vec<&'static str>,
    /// Disposition of the first of them.
    pub disposition: Option<&'static str>,
}

/// How many reports a workload gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reports {
    /// Exactly one.
    One,
    /// None until the harness kills what is left, then that one.
    None,
    /// None or one: the workload never listened.
    AtMostOne,
}

/// A case over IPv4, unwrapped, warm; rows and expectation are added by the methods.
pub fn case(name: &'static str, server: Server, ending: &'static [Step], expect: Expect) -> Case {
    Case {
        name,
        server,
        around: Around::Nothing,
        hosted: None,
        net: Net::V4,
        hops: Hops::Direct,
        freeze: false,
        from: From::Answering,
        memory_max: None,
        rows: vec![],
        ending,
        expect,
    }
}

impl Case {
    /// Adds a connection with one request.
    pub fn row(self, way: Way, act: Act, saw: Saw, fate: Fate) -> Self {
        self.pipeline(way, &[(act, saw, fate)])
    }

    /// Adds a connection with several requests sent in one go.
    pub fn pipeline(mut self, way: Way, asks: &[(Act, Saw, Fate)]) -> Self {
        let asks = asks
            .iter()
            .map(|&(act, saw, fate)| Ask { act, saw, fate })
            .collect();
        self.rows.push(Row { way, asks, times: 1 });
        self
    }

    /// The last added connection, this many times.
    pub fn times(mut self, times: usize) -> Self {
        if let Some(row) = self.rows.last_mut() {
            row.times = times;
        }
        self
    }

    /// Sets the wrapping.
    pub fn around(mut self, around: Around) -> Self {
        self.around = around;
        self
    }

    /// Sets the runtime.
    pub fn hosted(mut self, hosted: Hosted) -> Self {
        self.hosted = Some(hosted);
        self
    }

    /// Sets the addresses.
    pub fn net(mut self, net: Net) -> Self {
        self.net = net;
        self
    }

    /// Sets what stands between.
    pub fn hops(mut self, hops: Hops) -> Self {
        self.hops = hops;
        self
    }

    /// Stops the server's processes before the ways that need it.
    pub fn freeze(mut self) -> Self {
        self.freeze = true;
        self
    }

    /// Sets what is waited for before the case begins.
    pub fn from(mut self, from: From) -> Self {
        self.from = from;
        self
    }

    /// Limits the cgroup's memory.
    pub fn memory_max(mut self, bytes: u64) -> Self {
        self.memory_max = Some(bytes);
        self
    }
}

impl Expect {
    /// One report with this trigger.
    pub fn new(trigger: &'static str) -> Self {
        Self {
            reports: Reports::One,
            trigger,
            exit: None,
            must: vec![],
            may: vec![],
            signals: vec![],
            disposition: None,
        }
    }

    /// The main process ended by `exit(code)`.
    pub fn code(mut self, code: i32) -> Self {
        self.exit = Some((Some(code), None));
        self
    }

    /// The main process ended by this signal.
    pub fn signal(mut self, signal: Signal) -> Self {
        self.exit = Some((None, Some((signal as i32).cast_unsigned())));
        self
    }

    /// Findings that must be there.
    pub fn must(mut self, findings: &[&'static str]) -> Self {
        self.must.extend(findings);
        self
    }

    /// Findings that may be there.
    pub fn may(mut self, findings: &[&'static str]) -> Self {
        self.may.extend(findings);
        self
    }

    /// Signals that must be listed.
    pub fn signals(mut self, signals: &[&'static str]) -> Self {
        self.signals = signals.to_vec();
        self
    }

    /// Disposition of the first of them.
    pub fn disposition(mut self, disposition: &'static str) -> Self {
        self.disposition = Some(disposition);
        self
    }

    /// How many reports.
    pub fn reports(mut self, reports: Reports) -> Self {
        self.reports = reports;
        self
    }
}
