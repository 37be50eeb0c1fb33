//! Loading: offsets and settings in, programs attached, older sockets seeded.

use std::{fs::read_link, io::Read as _, path::Path};

use aya::{
    Btf, Ebpf,
    maps::{Array, Map},
    programs::Iter,
};
use drainwatch_core::{
    event::{Event, EventKind},
    record::Fact,
};
use drainwatch_ebpf::{activity, offset, setting};
use nix::sys::utsname::uname;
use tokio::io::unix::AsyncFd;
use tracing::{info, warn};

use super::{
    Diagnosis, Kernel, KernelError, KernelOptions, ProbeStatus, arch,
    btf::{self, Types},
    cgroups, memory, pins, privileges,
    probes::explain,
    ring::Ring,
    served::Served,
    sets::{self, Object, Running},
};

/// The BPF programs, built by `cargo xtask ebpf`.
pub static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/drainwatch.bpf.o"));

/// Loads, attaches, seeds.
pub fn start(options: &KernelOptions) -> Result<Kernel, KernelError> {
    refuse_without_privileges()?;
    let cgroup_root = cgroups::unified_root().ok_or_else(|| {
        KernelError::Refused(
            "no unified cgroup hierarchy (cgroup2) is mounted with its root; drainwatch identifies workloads by their cgroup: mount it \
             with `mount -t cgroup2 none /sys/fs/cgroup/unified`, or give the container the host's /sys/fs/cgroup"
                .into(),
        )
    })?;
    let object = object(options.object.as_deref().unwrap_or(OBJECT))?;
    let mut running = object.run(options)?;
    if let Some(probe) = running.lacking() {
        return Err(KernelError::Refused(refusal(probe)));
    }
    let seeded = seed_cgroups(&cgroup_root);
    running.probes.push(seed_sockets(&mut running.ebpf, &object.btf));
    let (served, probe) = Served::new(&mut running.ebpf, &object.btf);
    running.probes.push(probe);
    running.replace_others();
    sets::tell(&running, options.pin_dir.as_deref());
    tell(&running.probes);
    let ring = match running.ebpf.take_map("EVENTS") {
        Some(Map::RingBuf(map)) => Ring::new(map),
        _ => return Err(failed("finding the ring buffer", "the object has none")),
    };
    let ring = ring.map_err(|error| failed("opening the ring buffer", &error.to_string()))?;
    let ring_id = ring
        .id()
        .map_err(|error| failed("opening the ring buffer", &error.to_string()))?;
    // SAFETY: the ring owns its descriptor and keeps it open as long as it lives; the AsyncFd owns the ring.
    let ring = unsafe { AsyncFd::register(ring) }
        .map_err(|error| failed("waiting on the ring buffer", &error.to_string()))?;
    let paths = seeded
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::CgroupCreated { cgroup, path, .. } => Some((*cgroup, path.clone())),
            _ => None,
        })
        .collect();
    drop(object);
    memory::give_back();
    let Running {
        ebpf,
        probes,
        programs,
        pins,
        resumed,
        unread,
        ..
    } = running;
    let mut kernel = Kernel {
        ebpf,
        programs,
        pins: pins.map(|(pins, _)| pins),
        resumed,
        ring,
        ring_id,
        probes,
        cgroup_root,
        paths,
        seeded: seeded.into_iter().map(Fact::Event).collect(),
        served,
        holds: false,
        // Of another version: what they mean is not known.
        undecodable: unread,
        behind: false,
        unmarked: 0,
        stop_signals: std::collections::HashMap::new(),
        unmarked_processes: None,
    };
    if resumed {
        kernel.take_over();
    }
    Ok(kernel)
}

/// Said when the kernel refuses what the capabilities that are there would allow.
pub const FORBIDDEN: &str = "bpf() is forbidden although its capabilities are present: a seccomp profile or a security module \
                         blocks it; use a profile that allows bpf() to holders of CAP_BPF (those of Docker from \
                         23 and of containerd from 1.6.9 do)";

/// `EPERM` is among the causes.
pub fn not_permitted(error: &(dyn std::error::Error + 'static)) -> bool {
    let errno = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::raw_os_error);
    errno == Some(nix::errno::Errno::EPERM as i32) || error.source().is_some_and(not_permitted)
}

/// A look into a map and a change in it (to what is there already), as the agent does them while it runs.
pub fn uses_map(ebpf: &mut Ebpf) -> bool {
    let Some(map) = ebpf.map_mut("ACTIVITY") else {
        return false;
    };
    let Ok(mut map) = Array::<_, u64>::try_from(map) else {
        return false;
    };
    // Only the agent writes this one.
    map.get(&activity::QUIET, 0)
        .is_ok_and(|quiet| map.set(activity::QUIET, quiet, 0).is_ok())
}

fn object(programs: &[u8]) -> Result<Object, KernelError> {
    let types = Types::read(Path::new(btf::VMLINUX))?;
    for (index, (member, at)) in offset::MEMBERS.iter().zip(types.offsets()).enumerate() {
        if at == offset::NONE && !offset::OPTIONAL.contains(&index) {
            return Err(KernelError::Refused(format!(
                "this kernel's `{}` has no member `{}`, which drainwatch reads; kernels 5.15 and later are supported",
                member.0,
                member.1.join(".")
            )));
        }
    }
    let settings = settings(&types);
    Object::new(programs, types, settings)
}

/// Says in the log what is not seen; only once it is clear that the agent runs here, for a refusal is one line.
fn tell(probes: &[ProbeStatus]) {
    for probe in probes {
        if let Some(why) = &probe.error {
            warn!(probe = probe.probe, %why, "not seen, or not completely: {}", probe.gives);
        }
    }
    let working = probes.iter().filter(|probe| probe.ok).count();
    info!(working, of = probes.len(), "probes attached");
}

fn settings(types: &Types) -> [u64; setting::COUNT] {
    let mut settings = [0; setting::COUNT];
    for (index, value) in arch::SETTINGS {
        settings[*index] = *value;
    }
    settings[setting::EXIT_HAS_GROUP_DEAD] =
        u64::from(types.tracepoint_arguments("sched_process_exit") == Some(2));
    settings[setting::VICTIM_IS_TASK] =
        u64::from(types.tracepoint_takes_pointer("mark_victim") == Some(true));
    settings
}

/// The kernel's own pid namespace (`PROC_PID_INIT_INO` in `include/linux/proc_ns.h`): the ids of processes are those
/// that the programs see, and the iterators walk over all of them.
pub fn in_first_pid_namespace() -> bool {
    read_link("/proc/self/ns/pid").is_ok_and(|name| name.as_os_str() == "pid:[4026531836]")
}

/// Every cgroup that exists, as events.
fn seed_cgroups(root: &Path) -> Vec<Event> {
    let (at_ns, _) = Kernel::clocks();
    cgroups::all(root)
        .into_iter()
        .map(|(cgroup, path)| Event {
            at_ns,
            kind: EventKind::CgroupCreated {
                cgroup,
                path,
                seeded: true,
            },
        })
        .collect()
}

/// Said when the agent sees a part of the processes only.
const ELSEWHERE: &str = "the agent is in a pid namespace of its own, so it finds only the sockets of processes in there: \
                         share the host's (hostPID: true, docker run --pid host)";

/// Records of sockets that exist; their listeners come as events through the ring.
fn seed_sockets(ebpf: &mut Ebpf, btf: &Btf) -> ProbeStatus {
    let error = ["seed_listeners", "seed_connections"].iter().find_map(|program| {
        run_iterator(ebpf, btf, program)
            .err()
            .map(|why| format!("{program}: {why}"))
    });
    let error = error.or_else(|| (!in_first_pid_namespace()).then(|| ELSEWHERE.into()));
    ProbeStatus {
        probe: "seed",
        ok: error.is_none(),
        gives: "connections and listeners that are older than the agent",
        error,
        required: false,
    }
}

/// An iterator's program, loaded for what it runs over.
pub fn iterator<'e>(ebpf: &'e mut Ebpf, btf: &Btf, name: &str, over: &str) -> Result<&'e mut Iter, String> {
    let program: &mut Iter = ebpf
        .program_mut(name)
        .ok_or("the object lacks this program")?
        .try_into()
        .map_err(explain)?;
    program.load(over, btf).map_err(explain)?;
    Ok(program)
}

pub fn run_iterator(ebpf: &mut Ebpf, btf: &Btf, name: &str) -> Result<(), String> {
    let program = iterator(ebpf, btf, name, "task_file")?;
    let id = program.attach().map_err(explain)?;
    let link = program.take_link(id).map_err(explain)?;
    let mut output = Vec::new();
    // The pass runs while its (empty) output is read; the program is not needed afterwards.
    link.into_file()
        .map_err(explain)?
        .read_to_end(&mut output)
        .map_err(explain)?;
    program.unload().map_err(explain)
}

/// What can run here. Everything is attached for a moment; nothing is pinned.
pub fn diagnose(pin_dir: Option<&Path>) -> Diagnosis {
    let missing_capabilities = privileges::missing();
    let cgroup_root = cgroups::unified_root();
    let (mut probes, mut kept_capabilities) = (Vec::new(), Vec::new());
    let mut refusal_text = refuse_without_privileges().err().map(|error| error.to_string());
    if refusal_text.is_none() {
        let attached =
            object(OBJECT).and_then(|object| Ok((object.attach(&KernelOptions::default())?, object)));
        match attached {
            Ok((mut running, object)) => {
                probes = running.probes;
                probes.push(seed_sockets(&mut running.ebpf, &object.btf));
                probes.push(Served::new(&mut running.ebpf, &object.btf).1);
                match privileges::kept(|| uses_map(&mut running.ebpf)) {
                    Ok(kept) => kept_capabilities = kept,
                    Err(error) => warn!(%error, "cannot tell which capabilities could be given up"),
                }
                refusal_text = probes
                    .iter()
                    .find(|probe| probe.required && probe.error.is_some())
                    .map(refusal);
            }
            Err(error) => refusal_text = Some(error.to_string()),
        }
    }
    if refusal_text.is_none() && cgroup_root.is_none() {
        refusal_text = Some("no unified cgroup hierarchy (cgroup2) is mounted".into());
    }
    Diagnosis {
        kernel: uname().map_or_else(
            |_| "?".into(),
            |name| name.release().to_string_lossy().into_owned(),
        ),
        cgroup_root: cgroup_root.map(|root| root.display().to_string()),
        missing_capabilities,
        kept_capabilities,
        probes,
        pins: said_of_pins(pin_dir),
        not_recorded: super::NOT_RECORDED,
        refusal: refusal_text,
    }
}

/// What becomes of the time when no agent runs, in one sentence.
fn said_of_pins(dir: Option<&Path>) -> String {
    let without =
        "what happens while no agent runs is not seen, and requests that were in flight then are `unknown`";
    match dir.map(|dir| (dir, pins::check(dir))) {
        None => format!("programs are not pinned (--pin-dir none): {without}"),
        Some((_, Err(why))) => format!(
            "programs are not pinned: {why}; {without}. `mount -t bpf bpf /sys/fs/bpf` makes one, as systemd does at boot"
        ),
        Some((dir, Ok(()))) => format!(
            "an agent pins its programs below {}, where they go on recording while none runs; `drainwatch uninstall` removes them",
            dir.display()
        ),
    }
}

fn refuse_without_privileges() -> Result<(), KernelError> {
    let missing = privileges::missing();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing
        .iter()
        .map(|(name, why)| format!("{name} ({why})"))
        .collect();
    Err(KernelError::Refused(format!(
        "missing privilege: {}; run it as root, or with sudo",
        names.join(", ")
    )))
}

fn refusal(probe: &ProbeStatus) -> String {
    format!(
        "this kernel cannot run drainwatch: {} cannot be seen ({}); kernels 5.15 and later with BTF are supported",
        probe.gives,
        probe.error.as_deref().unwrap_or("unknown error")
    )
}

pub fn failed(what: &str, why: &str) -> KernelError {
    KernelError::Failed {
        what: what.into(),
        why: why.into(),
    }
}
