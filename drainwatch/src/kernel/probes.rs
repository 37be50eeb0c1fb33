//! Which program runs for what: the table of probes, chosen by what the kernel's BTF offers.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::{
    Btf, Ebpf,
    programs::{BtfTracePoint, FEntry, FExit, links::FdLink},
};
use tracing::debug;

use super::{
    ProbeStatus,
    btf::Types,
    pins::{self, Set},
};

/// How a program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// A BTF tracepoint.
    Tracepoint(&'static str),
    /// The beginning of a function.
    Entry(&'static str),
    /// The exit of a function.
    Exit(&'static str),
}

/// One way to get what a probe gives.
#[derive(Debug, Clone, Copy)]
struct Way {
    /// The program in the object.
    program: &'static str,
    /// Where it is attached.
    hook: Hook,
    /// The number of arguments that the hook must have, if it matters.
    arguments: Option<usize>,
    /// What this way lacks; `None` when it gives everything.
    lacks: Option<&'static str>,
    /// Further programs on the same hook, for what the first is skipped for, in this order; only where probes
    /// of tracepoints can be preempted. Without them skipped runs are more, and counted.
    stand_ins: &'static [&'static str],
}

impl Way {
    const fn tracepoint(name: &'static str) -> Self {
        Self {
            program: name,
            hook: Hook::Tracepoint(name),
            arguments: None,
            lacks: None,
            stand_ins: &[],
        }
    }

    const fn exit(name: &'static str) -> Self {
        Self {
            program: name,
            hook: Hook::Exit(name),
            arguments: None,
            lacks: None,
            stand_ins: &[],
        }
    }

    fn exists(self, types: &Types) -> bool {
        let arguments = match self.hook {
            Hook::Tracepoint(name) => types.tracepoint_arguments(name),
            Hook::Entry(name) | Hook::Exit(name) => types.function_parameters(name),
        };
        arguments.is_some_and(|has| self.arguments.is_none_or(|wanted| has == wanted))
    }
}

/// What the kernel side needs to see.
#[derive(Debug, Clone, Copy)]
struct Probe {
    name: &'static str,
    gives: &'static str,
    required: bool,
    ways: &'static [Way],
}

const PROBES: &[Probe] = &[
    Probe {
        name: "socket_read",
        gives: "who reads from each connection, and the requests' first bytes",
        required: true,
        ways: &[
            Way {
                stand_ins: &["sock_recv_length_2", "sock_recv_length_3"],
                ..Way::tracepoint("sock_recv_length")
            },
            Way {
                arguments: Some(5),
                ..Way::exit("tcp_recvmsg")
            },
            Way {
                program: "tcp_recvmsg_before_5_19",
                arguments: Some(6),
                ..Way::exit("tcp_recvmsg")
            },
        ],
    },
    Probe {
        name: "socket_write",
        gives: "who writes to each connection, and the responses' first and last bytes",
        required: true,
        ways: &[
            Way {
                stand_ins: &["sock_send_length_2", "sock_send_length_3"],
                ..Way::tracepoint("sock_send_length")
            },
            Way::exit("tcp_sendmsg"),
        ],
    },
    Probe {
        name: "socket_state",
        gives: "births and ends of connections and listeners",
        required: true,
        ways: &[Way::tracepoint("inet_sock_set_state")],
    },
    Probe {
        name: NESTED,
        gives: "state changes that interrupt another one on the same CPU (without it they are counted as lost)",
        required: false,
        ways: &[Way {
            program: "nested_sock_set_state",
            stand_ins: &["nested_sock_set_state_2"],
            ..Way::tracepoint("inet_sock_set_state")
        }],
    },
    Probe {
        name: "signal_generate",
        gives: "stop signals: who sent them, to whom, and how they were handled",
        required: true,
        ways: &[Way::tracepoint("signal_generate")],
    },
    Probe {
        name: "signal_deliver",
        gives: "when a stop signal reached its handler (finding handler_late)",
        required: false,
        ways: &[Way::tracepoint("signal_deliver")],
    },
    Probe {
        name: "process_exit",
        gives: "exits of processes, their codes and fatal signals",
        required: true,
        ways: &[Way::tracepoint("sched_process_exit")],
    },
    Probe {
        name: "process_exec",
        gives: "connections that a process cuts by replacing its program",
        required: false,
        ways: &[Way::tracepoint("sched_process_exec")],
    },
    Probe {
        name: "oom",
        gives: "which process the OOM killer chose (trigger oom)",
        required: false,
        ways: &[Way::tracepoint("mark_victim")],
    },
    Probe {
        name: "cgroup_created",
        gives: "names of workloads that start while the agent runs",
        required: true,
        ways: &[Way::tracepoint("cgroup_mkdir")],
    },
    Probe {
        name: "cgroup_removed",
        gives: "when a workload is removed",
        required: false,
        ways: &[Way::tracepoint("cgroup_rmdir")],
    },
    Probe {
        name: "cgroup_emptied",
        gives: "when the last process of a workload is gone",
        required: true,
        ways: &[Way::tracepoint("cgroup_notify_populated")],
    },
    Probe {
        name: "reset_sent",
        gives: "connection attempts and requests that came too late (causes refused and late)",
        required: false,
        ways: &[
            Way {
                arguments: Some(3),
                ..Way::tracepoint("tcp_send_reset")
            },
            Way {
                program: "tcp_send_reset_before_6_10",
                arguments: Some(2),
                lacks: Some(
                    "this kernel reports resets only for sockets that exist (6.10 and later report all): \
                     refused connections and most late requests are not seen",
                ),
                ..Way::tracepoint("tcp_send_reset")
            },
        ],
    },
    Probe {
        name: "reset_received",
        gives: "resets sent by clients (metric drainwatch_tcp_resets_total)",
        required: false,
        ways: &[Way::tracepoint("tcp_receive_reset")],
    },
    Probe {
        name: "socket_close",
        gives: "path and class of requests that wait on an accepted connection, unread, when it ends",
        required: false,
        ways: &[Way {
            hook: Hook::Entry("tcp_close"),
            ..Way::tracepoint("tcp_close")
        }],
    },
];

/// Whose second program stands in for another probe's.
const NESTED: &str = "socket_state_nested";

/// The probe whose first program this is: `None` for stand-ins, and for programs that run once.
pub fn probe_of_first(program: &str) -> Option<&'static str> {
    PROBES
        .iter()
        .filter(|probe| probe.name != NESTED)
        .find(|probe| probe.ways.iter().any(|way| way.program == program))
        .map(|probe| probe.name)
}

/// What says which programs are attached where: a change of it makes another set of pins.
pub fn table() -> String {
    format!("{PROBES:?}")
}

/// A program that is attached.
#[derive(Debug)]
pub struct Attached {
    /// Its name in the object.
    pub name: &'static str,
    /// The program.
    pub program: OwnedFd,
    /// What keeps it attached, unless a pin does.
    pub link: Option<FdLink>,
}

/// Attaches programs, or finds them attached.
pub trait Attach {
    /// This program on this hook.
    fn attach(&mut self, program: &'static str, hook: Hook) -> Result<Attached, String>;
}

/// Loads programs of an object and attaches them.
pub struct Fresh<'a> {
    /// The object.
    pub ebpf: &'a mut Ebpf,
    /// The kernel's types.
    pub btf: &'a Btf,
}

impl Attach for Fresh<'_> {
    fn attach(&mut self, name: &'static str, hook: Hook) -> Result<Attached, String> {
        let program = self
            .ebpf
            .program_mut(name)
            .ok_or("the object lacks this program")?;
        let link: FdLink = match hook {
            Hook::Tracepoint(hook) => {
                let program: &mut BtfTracePoint = program.try_into().map_err(explain)?;
                program.load(hook, self.btf).map_err(explain)?;
                let id = program.attach().map_err(explain)?;
                program.take_link(id).map_err(explain)?.into()
            }
            Hook::Entry(function) => {
                let program: &mut FEntry = program.try_into().map_err(explain)?;
                program.load(function, self.btf).map_err(explain)?;
                let id = program.attach().map_err(explain)?;
                program.take_link(id).map_err(explain)?.into()
            }
            Hook::Exit(function) => {
                let program: &mut FExit = program.try_into().map_err(explain)?;
                program.load(function, self.btf).map_err(explain)?;
                let id = program.attach().map_err(explain)?;
                program.take_link(id).map_err(explain)?.into()
            }
        };
        let program = program.fd().map_err(explain)?;
        attached(name, program.as_fd().try_clone_to_owned(), Some(link))
    }
}

/// Programs that are attached by their pins.
pub struct Adopted<'a>(pub &'a Set);

impl Attach for Adopted<'_> {
    fn attach(&mut self, name: &'static str, _: Hook) -> Result<Attached, String> {
        if !self.0.link(name).exists() {
            return Err("it is not among the pinned programs".into());
        }
        let program = pins::descriptor(&self.0.program(name));
        attached(name, program, None)
    }
}

fn attached(
    name: &'static str,
    program: io::Result<OwnedFd>,
    link: Option<FdLink>,
) -> Result<Attached, String> {
    let program = program.map_err(explain)?;
    Ok(Attached { name, program, link })
}

/// Attaches every probe by the first of its ways that this kernel takes.
pub fn attach_all(attach: &mut impl Attach, types: &Types) -> (Vec<ProbeStatus>, Vec<Attached>) {
    let mut programs = Vec::new();
    let probes = PROBES
        .iter()
        .map(|probe| attach_probe(probe, attach, types, &mut programs))
        .collect();
    (probes, programs)
}

fn attach_probe(
    probe: &Probe,
    attach: &mut impl Attach,
    types: &Types,
    programs: &mut Vec<Attached>,
) -> ProbeStatus {
    let mut error = Some(format!("this kernel has no {}", hooks_of(probe)));
    let mut ok = false;
    for way in probe.ways.iter().filter(|way| way.exists(types)) {
        let stand_ins = way.stand_ins.iter().filter(|_| types.preemptible_tracepoints());
        let all: Result<Vec<_>, _> = std::iter::once(&way.program)
            .chain(stand_ins)
            .map(|program| attach.attach(program, way.hook))
            .collect();
        match all {
            Ok(all) => {
                programs.extend(all);
                error = way.lacks.map(str::to_owned);
                ok = way.lacks.is_none();
                debug!(probe = probe.name, program = way.program, "attached");
                break;
            }
            Err(why) => {
                debug!(probe = probe.name, program = way.program, %why, "cannot be attached");
                error = Some(why);
            }
        }
    }
    ProbeStatus {
        probe: probe.name,
        ok,
        gives: probe.gives,
        error,
        required: probe.required,
    }
}

fn hooks_of(probe: &Probe) -> String {
    let names: Vec<_> = probe
        .ways
        .iter()
        .map(|way| match way.hook {
            Hook::Tracepoint(name) => format!("tracepoint {name}"),
            Hook::Entry(name) | Hook::Exit(name) => format!("function {name}"),
        })
        .collect();
    names.join(" or ")
}

/// An error with its causes, in one line; the verifier's log goes to the debug log, its verdict stays.
pub fn explain<E: std::error::Error>(error: E) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let why = cause.to_string();
        // Some errors say their cause themselves.
        if !text.contains(&why) {
            text.push_str(": ");
            text.push_str(&why);
        }
        source = cause.source();
    }
    // What a kernel refuses unseen has no log.
    text.truncate(text.trim_end().trim_end_matches(". Verifier output:").len());
    debug!("{text}");
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    // The verifier's verdict stands before its statistics.
    let statistics = ["verification time", "stack depth", "processed "];
    match lines
        .iter()
        .position(|line| statistics.iter().any(|start| line.starts_with(start)))
    {
        Some(end) if end > 1 => format!("refused by the verifier: {}", lines[end - 1]),
        _ => lines.join("; "),
    }
}
