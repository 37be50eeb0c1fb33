//! The kernel's map of all memory: looked for once, so that the programs can read what waits in receive queues.
//!
//! Words that the agent has sent to itself wait on a connection; the programs (`waiting.rs` there) try where they can be
//! read. It is no guess: what is used is what led to these words.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use aya::{Btf, Ebpf, maps::Array};
use drainwatch_ebpf::direct_map::{MAGIC, OFFSET, PORT, TRIED, TRIES, WORDS};
use nix::sys::sysinfo::sysinfo;

use super::{ProbeStatus, btf::Types, load::run_iterator, probes::explain};

/// A page's descriptor has so many bytes wherever this works.
const DESCRIPTOR: usize = 64;
/// Words on the loopback are there at once.
const PATIENCE: Duration = Duration::from_secs(1);

/// Finds it, and says so as a probe's state.
pub fn find(ebpf: &mut Ebpf, btf: &Btf, types: &Types) -> ProbeStatus {
    let error = search(ebpf, btf, types).err();
    ProbeStatus {
        probe: "waiting_head",
        ok: error.is_none(),
        gives: "path, class and sender of requests that no process had taken from its queue, or that came too late",
        error,
        required: false,
    }
}

fn search(ebpf: &mut Ebpf, btf: &Btf, types: &Types) -> Result<(), String> {
    // An earlier agent of these programs has found it.
    if known(ebpf)?.get(&OFFSET, 0).map_err(explain)? != 0 {
        return Ok(());
    }
    if types.size("page") != Some(DESCRIPTOR) {
        return Err("this kernel describes pages in another way than drainwatch knows".into());
    }
    let words = magic().and_then(|magic| Ok((magic, waiting(&magic)?)));
    let (magic, waiting) = words.map_err(|error| format!("a connection to itself: {error}"))?;
    let mut map = known(ebpf)?;
    let mut set = |index: u32, value: u64| map.set(index, value, 0).map_err(explain);
    set(PORT, waiting.port.into())?;
    for (index, word) in (MAGIC..).zip(magic) {
        set(index, word)?;
    }
    for tried in (0..tries()).step_by(TRIES as usize) {
        known(ebpf)?.set(TRIED, tried, 0).map_err(explain)?;
        run_iterator(ebpf, btf, "seed_direct_map")?;
        if known(ebpf)?.get(&OFFSET, 0).map_err(explain)? != 0 {
            return Ok(());
        }
    }
    Err("the kernel's map of all memory was not found".into())
}

fn known(ebpf: &mut Ebpf) -> Result<Array<&mut aya::maps::MapData, u64>, String> {
    let map = ebpf.map_mut("DIRECT_MAP").ok_or("the object lacks a map")?;
    Array::try_from(map).map_err(explain)
}

/// Nobody else's words.
fn magic() -> io::Result<[u64; WORDS as usize]> {
    let mut bytes = [0; WORDS as usize * 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let words = bytes.as_chunks().0;
    Ok(std::array::from_fn(|index| u64::from_ne_bytes(words[index])))
}

/// A GiB in either direction for each of memory, and some for holes.
fn tries() -> u64 {
    let memory = sysinfo().map_or(0, |info| info.ram_total());
    2 * (memory >> 30) + 16
}

/// A connection on which words wait.
struct Waiting {
    /// Port of the end that does not read them.
    port: u16,
    _ends: (TcpStream, TcpStream),
}

fn waiting(magic: &[u64]) -> io::Result<Waiting> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    let bytes: Vec<u8> = magic.iter().flat_map(|word| word.to_ne_bytes()).collect();
    client.write_all(&bytes)?;
    let until = Instant::now() + PATIENCE;
    let mut seen = [0; 64];
    while server.peek(&mut seen)? < bytes.len() {
        if Instant::now() > until {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(Waiting {
        port: listener.local_addr()?.port(),
        _ends: (client, server),
    })
}
