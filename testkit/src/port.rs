//! Ports for servers that cannot say which one the kernel gave them.

use std::{
    env,
    fs::{self, File},
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    sync::{
        Once,
        atomic::{AtomicU16, Ordering},
    },
};

use anyhow::bail;

/// Below the usual ephemeral range, so no client socket takes one before its server does. Where that range is wider (1024
/// to 65535, say), it is made to begin behind them.
const PORTS: std::ops::Range<u16> = 20_000..30_000;
/// Where the search goes on; ports are reused as late as possible.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port that nothing listens on and no other test on this machine gets while this value lives.
#[derive(Debug)]
pub struct Port {
    /// The port.
    pub number: u16,
    _lock: File,
}

impl Port {
    /// Finds one.
    pub fn find() -> anyhow::Result<Self> {
        static LEFT_OUT: Once = Once::new();
        LEFT_OUT.call_once(|| {
            if let Err(error) = leave_out() {
                eprintln!("a client may take a server's port: {error}");
            }
        });
        let locks = env::temp_dir().join("drainwatch-ports");
        fs::create_dir_all(&locks)?;
        for _ in PORTS {
            let number = PORTS.start + NEXT.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
            let lock = File::create(locks.join(number.to_string()))?;
            // Unspecified IPv6 covers IPv4 as well.
            if lock.try_lock().is_ok() && TcpListener::bind((Ipv6Addr::UNSPECIFIED, number)).is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        bail!("no free port in {PORTS:?}")
    }

    /// It on the loopback.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}

/// Keeps [`PORTS`] from client sockets of this network namespace, where their range has them: it begins behind them then.
/// (To reserve them would send every seventh of who asks for any port to the first one behind them.)
fn leave_out() -> io::Result<()> {
    let file = "/proc/sys/net/ipv4/ip_local_port_range";
    let range = fs::read_to_string(file)?;
    let mut bounds = range.split_whitespace().map(str::parse);
    let (Some(Ok(first)), Some(Ok(last))) = (bounds.next(), bounds.next()) else {
        return Err(io::Error::other(format!("{file} says {range:?}")));
    };
    if first >= PORTS.end || last < PORTS.start {
        return Ok(());
    }
    fs::write(file, format!("{} {}", PORTS.end, PORTS.end.max(last)))
}
