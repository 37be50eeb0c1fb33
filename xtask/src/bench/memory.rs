//! Memory of the agent, and of the kernel for it: with idle connections, and with pods.

mod huge;
mod kernel;
mod pods;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use self::huge::HugePages;
use self::kernel::{Classes, Objects};
use self::pods::Pods;
use super::agent::Agent;
use super::load::{Nginx, raise_limit};
use super::{Setup, Table};

const CONNECTIONS: [usize; 3] = [0, 1000, 10_000];
const MOST: usize = 10_000;
/// Both ends of as many.
const SOCKETS: f64 = 20_000.0;
const PODS: usize = 250;
/// Smaller maps are not named.
const LARGE: u64 = 64 * 1024;
/// How long memory is watched: what huge pages make of it comes later than the memory.
const WATCHED: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(500);
/// Classes of which there are fewer objects for a socket are others'.
const NOISE: f64 = 0.05;

/// Of the agent itself, and what the kernel keeps on each socket.
pub fn measure(setup: &Setup) -> Result<Vec<Table>> {
    raise_limit(MOST)?;
    Ok(vec![agents(setup)?, maps(setup)?, sockets(setup)?])
}

/// Connections that were used once and then stay open; pods that were asked once.
fn agents(setup: &Setup) -> Result<Table> {
    let pages = HugePages::always();
    if let Err(error) = &pages {
        eprintln!("huge pages stay as they are: {error:#}");
    }
    let mode = huge::mode()?;
    let nginx = Nginx::start()?;
    let mut rows = Vec::new();
    let agent = Agent::start(setup)?;
    let mut open = Vec::new();
    for wanted in CONNECTIONS {
        open_until(&mut open, wanted, &nginx)?;
        rows.push(row(format!("{wanted} connections"), &agent)?);
    }
    drop(agent);
    drop(open);
    let _pods = Pods::start(PODS)?;
    rows.push(row(format!("{PODS} pods"), &Agent::start(setup)?)?);
    Ok(Table {
        title: "Memory of the agent".to_owned(),
        columns: vec![
            "on the node",
            "RssAnon at once, KiB",
            "RssAnon, largest within 30 s, KiB",
            "maps, KiB",
            "programs, KiB",
        ],
        rows,
        notes: vec![
            format!(
                "Transparent huge pages: {mode}. Each connection has served one request and stays open; both of its ends are \
                 on this node. Each pod has a container with a cgroup named as a kubelet names it, and in it a process that \
                 listens and has answered one request; the agent starts after them."
            ),
            "Maps and programs are the kernel's memory, as it charges it (`memlock`), programs with their machine code. What \
             hangs on sockets is not in it."
                .to_owned(),
        ],
    })
}

fn row(what: String, agent: &Agent) -> Result<Vec<String>> {
    let first = agent.anonymous_kib()?;
    let mut largest = first;
    let began = Instant::now();
    while began.elapsed() < WATCHED {
        thread::sleep(LOOK);
        largest = largest.max(agent.anonymous_kib()?);
    }
    let objects = Objects::of(&agent.program_ids()?)?;
    Ok(vec![
        what,
        first.to_string(),
        largest.to_string(),
        (objects.all_maps() / 1024).to_string(),
        (objects.programs / 1024).to_string(),
    ])
}

/// Which maps the kernel's memory is for.
fn maps(setup: &Setup) -> Result<Table> {
    let agent = Agent::start(setup)?;
    let objects = Objects::of(&agent.program_ids()?)?;
    let kib = |bytes: u64| (bytes / 1024).to_string();
    let large = objects.maps.iter().filter(|(_, bytes)| *bytes >= LARGE);
    let mut rows: Vec<_> = large
        .map(|(name, bytes)| vec![name.clone(), kib(*bytes)])
        .collect();
    rows.push(vec!["all maps".to_owned(), kib(objects.all_maps())]);
    Ok(Table {
        title: "Memory of the maps".to_owned(),
        columns: vec!["map", "KiB"],
        rows,
        notes: vec![format!(
            "As the kernel charges it, with an agent that has just started; maps of less than {} KiB are only in the sum.",
            LARGE / 1024
        )],
    })
}

/// The kernel's memory for open sockets with the agent, less that without.
fn sockets(setup: &Setup) -> Result<Table> {
    let nginx = Nginx::start()?;
    // Once more at first: what nginx and the kernel keep afterwards is not the agent's.
    grown_by_connections(&nginx)?;
    let without = grown_by_connections(&nginx)?;
    let agent = Agent::start(setup)?;
    let with = grown_by_connections(&nginx)?;
    drop(agent);
    let mut rows = Vec::new();
    let mut sum = 0.0;
    for (name, class) in kernel::grown(&without, &with) {
        #[expect(clippy::cast_precision_loss, reason = "a bench's counts")]
        let [objects, size] = [class.objects, class.size].map(|count| count as f64);
        let objects = objects / SOCKETS;
        if objects >= NOISE {
            sum += objects * size;
            rows.push(vec![
                name,
                format!("{objects:.2}"),
                format!("{:.0}", objects * size),
            ]);
        }
    }
    rows.push(vec!["all".to_owned(), String::new(), format!("{sum:.0}")]);
    Ok(Table {
        title: "Memory of the kernel for a socket".to_owned(),
        columns: vec!["class", "objects per socket", "bytes per socket"],
        rows,
        notes: vec![format!(
            "Objects in use in the kernel's general classes (`/proc/slabinfo`) with {MOST} connections open less those before, \
             with the agent less without. A connection whose ends are both on the node has two sockets. Each has served one \
             request of HTTP/1."
        )],
    })
}

fn grown_by_connections(nginx: &Nginx) -> Result<Classes> {
    let before = kernel::classes()?;
    let mut open = Vec::new();
    open_until(&mut open, MOST, nginx)?;
    let after = kernel::classes()?;
    drop(open);
    nginx.rest()?;
    Ok(kernel::grown(&before, &after))
}

fn open_until(open: &mut Vec<TcpStream>, wanted: usize, nginx: &Nginx) -> Result<()> {
    while open.len() < wanted {
        let connection = used_connection(nginx.port.address());
        open.push(connection.with_context(|| format!("connection {}", open.len() + 1))?);
    }
    Ok(())
}

fn used_connection(server: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(server).context("connecting to a server")?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .context("setting a timeout")?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
        .context("asking a server")?;
    let mut response = [0; 1024];
    let length = stream.read(&mut response).context("reading from a server")?;
    ensure!(
        response[..length].starts_with(b"HTTP/1.1 200"),
        "a server did not answer with 200"
    );
    Ok(stream)
}
