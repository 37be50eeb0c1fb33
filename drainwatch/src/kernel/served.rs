//! Requests that servers answered, by cgroup: what ended connections left in a map, and what a pass over the records of open
//! ones finds. Asked by whoever scrapes, on a thread that may wait: the loop has nothing to do with it.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    sync::Arc,
    time::{Duration, Instant},
};

use aya::{
    Btf, Ebpf,
    maps::{HashMap, Map, MapData, MapError, PerCpuHashMap},
};
use tracing::debug;

use super::{Kernel, ProbeStatus, load, probes::explain};

/// The program that runs over the records.
const PROGRAM: &str = "served_open";
/// What it counts.
const OPEN: &str = "SERVED_OPEN";
/// What is counted as connections end.
const ENDED: &str = "SERVED";
/// How long an answer stands at least.
const STANDS: Duration = Duration::from_secs(1);
/// How many times longer than it took: a hundredth of one CPU goes into it at most, however many connections there are.
const STANDS_TIMES: u32 = 100;

/// By cgroup, since the programs run.
pub type Counts = Arc<[(u64, u64)]>;

/// Who counts.
pub struct Served {
    ended: PerCpuHashMap<MapData, u64, u64>,
    open: HashMap<MapData, u64, u64>,
    /// Keeps the program attached to the map of records; `None` where it cannot be.
    pass: Option<OwnedFd>,
    /// The last answer, when it was given, and how long it stands.
    last: Option<(Instant, Duration, Counts)>,
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Served")
            .field("pass", &self.pass)
            .finish_non_exhaustive()
    }
}

impl Served {
    /// Of these programs' maps, and whether connections that are open can be looked at. `None` where there are no such maps.
    pub fn new(ebpf: &mut Ebpf, btf: &Btf) -> (Option<Self>, ProbeStatus) {
        let pass = attach(ebpf, btf);
        let probe = ProbeStatus {
            probe: "served_open",
            ok: pass.is_ok(),
            gives: "requests served on connections that go on (metric drainwatch_requests_total; without it they are \
                    counted as their connection ends)",
            error: pass.as_ref().err().cloned(),
            required: false,
        };
        let maps = map(ebpf, ENDED).zip(map(ebpf, OPEN));
        let served = maps.map(|(ended, open)| Self {
            ended,
            open,
            pass: pass.ok(),
            last: None,
        });
        (served, probe)
    }

    /// What was served until now, or a moment ago: the last answer stands a hundred times as long as it took.
    pub fn counts(&mut self) -> Counts {
        let began = Instant::now();
        if let Some((at, stands, counts)) = &self.last
            && began.duration_since(*at) < *stands
        {
            return Arc::clone(counts);
        }
        let counts = self.count();
        let stands = STANDS.max(began.elapsed() * STANDS_TIMES);
        self.last = Some((began, stands, Arc::clone(&counts)));
        counts
    }

    /// What has ended is read first: a connection that ends meanwhile is in none of the two then, until the next time. The
    /// other way round it would be in both.
    fn count(&mut self) -> Counts {
        let ended = self.ended.iter().flatten();
        let mut counts: std::collections::HashMap<u64, u64> = ended
            .map(|(cgroup, of_cpus)| (cgroup, of_cpus.iter().sum()))
            .collect();
        if let Some(pass) = &self.pass {
            let left: Vec<u64> = self.open.keys().flatten().collect();
            for cgroup in left {
                let _ = self.open.remove(&cgroup);
            }
            match run(pass) {
                Ok(()) => {
                    for (cgroup, count) in self.open.iter().flatten() {
                        *counts.entry(cgroup).or_default() += count;
                    }
                }
                Err(error) => debug!(%error, "connections that are open are not looked at"),
            }
        }
        counts.into_iter().collect()
    }
}

impl Kernel {
    /// Who counts what was served; once.
    pub fn take_served(&mut self) -> Option<Served> {
        self.served.take()
    }

    /// Cgroups that are gone, and whose requests are taken into account.
    pub fn forget_served(&mut self, cgroups: &[u64]) {
        let map = self.map_mut(ENDED).map(PerCpuHashMap::<_, u64, u64>::try_from);
        let Ok(Ok(mut map)) = map else { return };
        for cgroup in cgroups {
            // It may not be there: what is served is counted on connections that are open, too.
            let _ = map.remove(cgroup);
        }
    }
}

/// A map of the object, by a descriptor of its own.
fn map<T: TryFrom<Map, Error = MapError>>(ebpf: &Ebpf, name: &str) -> Option<T> {
    let (Map::HashMap(data) | Map::PerCpuHashMap(data)) = ebpf.map(name)? else {
        return None;
    };
    let descriptor = data.fd().as_fd().try_clone_to_owned().ok()?;
    let map = Map::from_map_data(MapData::from_fd(descriptor).ok()?).ok()?;
    T::try_from(map).ok()
}

/// Attaches the program to the map of records: what it is attached by can be run any time, without a capability.
fn attach(ebpf: &mut Ebpf, btf: &Btf) -> Result<OwnedFd, String> {
    let Some(Map::SkStorage(records)) = ebpf.map("RECORDS") else {
        return Err("the object lacks the map of records".into());
    };
    let records = records.fd().as_fd().try_clone_to_owned().map_err(explain)?;
    let program = load::iterator(ebpf, btf, PROGRAM, "bpf_sk_storage_map")?;
    let descriptor = program.fd().map_err(explain)?;
    let pass = link(descriptor.as_fd().as_raw_fd(), records.as_raw_fd()).map_err(explain)?;
    run(&pass).map_err(explain)?;
    Ok(pass)
}

/// One pass over all records; there is nothing to read in it.
fn run(pass: &OwnedFd) -> io::Result<()> {
    let mut nothing = [0; 8];
    loop {
        match File::from(iterator(pass.as_raw_fd())?).read(&mut nothing) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map(drop),
        }
    }
}

/// `BPF_LINK_CREATE` of bpf(2), of an iterator over the elements of a map: aya has those without a map only.
fn link(program: RawFd, map: RawFd) -> io::Result<OwnedFd> {
    /// The members of `union bpf_attr` that the command reads.
    #[repr(C)]
    struct LinkCreate {
        program: u32,
        target: u32,
        attach_type: u32,
        flags: u32,
        info: u64,
        info_length: u32,
        reserved: u32,
    }
    const BPF_LINK_CREATE: libc::c_int = 28;
    const BPF_TRACE_ITER: u32 = 28;
    // `union bpf_iter_link_info`: the map's descriptor.
    let info = map.unsigned_abs();
    let attr = LinkCreate {
        program: program.unsigned_abs(),
        target: 0,
        attach_type: BPF_TRACE_ITER,
        flags: 0,
        info: (&raw const info) as u64,
        info_length: 4,
        reserved: 0,
    };
    // SAFETY: the attributes, and what they point to, live until the call returns.
    unsafe { call(BPF_LINK_CREATE, (&raw const attr).cast(), size_of::<LinkCreate>()) }
}

/// `BPF_ITER_CREATE`: what one pass is read from.
fn iterator(link: RawFd) -> io::Result<OwnedFd> {
    /// As above.
    #[repr(C)]
    struct IterCreate {
        link: u32,
        flags: u32,
    }
    const BPF_ITER_CREATE: libc::c_int = 33;
    let attr = IterCreate {
        link: link.unsigned_abs(),
        flags: 0,
    };
    // SAFETY: the attributes live until the call returns.
    unsafe { call(BPF_ITER_CREATE, (&raw const attr).cast(), size_of::<IterCreate>()) }
}

/// A command of bpf(2) that makes a descriptor.
///
/// # Safety
/// `attr` points to that many bytes of attributes, as the command reads them.
unsafe fn call(command: libc::c_int, attr: *const u8, length: usize) -> io::Result<OwnedFd> {
    // SAFETY: as the caller says; the kernel copies no more of them than their size.
    let descriptor = unsafe { libc::syscall(libc::SYS_bpf, command, attr, length) };
    let descriptor = RawFd::try_from(descriptor).unwrap_or(-1);
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
