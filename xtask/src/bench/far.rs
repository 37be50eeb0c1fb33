//! Clients on another machine, as far as this one's kernel can see: TCP of their own in this process, behind a TUN
//! device.
//!
//! The agent's programs run for every TCP socket of the kernel, whatever its network namespace. So a client with sockets
//! doubles what is measured, and nobody can tell which runs were the client's. These clients have none: the kernel gets
//! and sends their packets as it does with a network card.

mod client;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use smoltcp::phy::{Device, Medium, RxToken, TunTapInterface, TxToken};

use self::client::Client;
use crate::shell;

/// This machine's end of the device, in the network that is set aside for benchmarks (RFC 2544).
pub const HERE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const NETWORK: &str = "198.18.0.1/15";
/// Where clients' addresses begin and end.
const CLIENTS: std::ops::Range<u32> =
    u32::from_be_bytes([198, 18, 1, 0])..u32::from_be_bytes([198, 19, 255, 0]);
/// Connections of one client, when they are kept. Few: each packet is looked up among them.
const KEPT_EACH: usize = 32;
/// Connections that are being opened at a time: fewer than any backlog.
const OPENING: usize = 64;
/// How often clients without packets look after their timers.
const SWEEP: Duration = Duration::from_millis(50);
/// How long it may take to close all connections.
const CLOSING: Duration = Duration::from_secs(10);
/// Packets that are taken at a time.
const BATCH: usize = 256;

/// Clients made so far. Each has an address of its own, so that none has the port of one that the server remembers still.
static MADE: AtomicU32 = AtomicU32::new(0);

/// Clients that ask again and again until this is dropped.
pub struct Far {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Far {
    /// Starts them; they send `request` to this port of [`HERE`].
    pub fn start(port: u16, connections: usize, request: &str, keep_alive: bool) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let request: Arc<[u8]> = request.as_bytes().into();
        let told = stop.clone();
        let thread = thread::Builder::new().name("far".to_owned()).spawn(move || {
            let server = SocketAddrV4::new(HERE, port);
            Network::new(server, connections, &request, keep_alive)?.run(&told)
        });
        Ok(Self {
            stop,
            thread: Some(thread.context("starting a thread")?),
        })
    }

    /// Fails when they have given up.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.thread.take_if(|thread| thread.is_finished()) {
            None => Ok(()),
            Some(thread) => {
                ended(thread)?;
                bail!("the far clients ended")
            }
        }
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(error)) = self.thread.take().map(ended) {
            eprintln!("the far clients did not end well: {error:#}");
        }
    }
}

fn ended(thread: JoinHandle<Result<()>>) -> Result<()> {
    let Ok(result) = thread.join() else {
        bail!("the far clients panicked")
    };
    result.context("the far clients")
}

/// All clients, and the device that they are behind.
struct Network {
    device: TunTapInterface,
    clients: Vec<Client>,
    by_address: HashMap<Ipv4Addr, usize>,
    /// The client that opens its connections now.
    opening: usize,
}

impl Network {
    fn new(server: SocketAddrV4, connections: usize, request: &Arc<[u8]>, keep_alive: bool) -> Result<Self> {
        let name = format!("dwbench{}", std::process::id() % 10_000_000);
        let device = TunTapInterface::new(&name, Medium::Ip).context("making a TUN device")?;
        let run = |arguments: &[&str]| shell::run(Command::new("ip").args(arguments));
        run(&["address", "add", NETWORK, "dev", &name])?;
        // Long enough for all that may wait: nothing is lost on the way.
        run(&["link", "set", &name, "txqueuelen", "100000", "up"])?;
        // New connections use up the ports of an address.
        let each = if keep_alive { KEPT_EACH } else { 1 };
        let mut clients = Vec::new();
        for number in (0..connections).step_by(each) {
            let address = CLIENTS.start + MADE.fetch_add(1, Ordering::Relaxed);
            ensure!(
                CLIENTS.contains(&address),
                "all addresses of far clients are used up"
            );
            let count = each.min(connections - number);
            clients.push(Client::new(
                Ipv4Addr::from(address),
                count,
                server,
                request,
                keep_alive,
            ));
        }
        let by_address = clients.iter().map(|client| client.address).zip(0..).collect();
        Ok(Self {
            device,
            clients,
            by_address,
            opening: 0,
        })
    }

    fn run(mut self, stop: &AtomicBool) -> Result<()> {
        let mut swept = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            self.open()?;
            self.turn(&mut swept)?;
        }
        self.clients.iter_mut().for_each(Client::close);
        let began = Instant::now();
        while !self.clients.iter().all(Client::is_over) {
            ensure!(
                began.elapsed() < CLOSING,
                "connections are not closed after {CLOSING:?}"
            );
            for index in 0..self.clients.len() {
                self.step(index)?;
            }
            self.turn(&mut swept)?;
        }
        // What the last packets of the server are answered.
        for index in 0..self.clients.len() {
            self.step(index)?;
        }
        Ok(())
    }

    /// Opens connections, client after client.
    fn open(&mut self) -> Result<()> {
        let mut under_way: usize = self
            .clients
            .iter()
            .take(self.opening + 1)
            .map(Client::opening)
            .sum();
        while under_way < OPENING
            && let Some(client) = self.clients.get_mut(self.opening)
        {
            let opened = client.open()?;
            under_way += opened;
            let index = self.opening;
            self.opening += 1;
            self.step(index)?;
        }
        Ok(())
    }

    /// Takes what packets there are to their clients; waits a moment where there are none.
    fn turn(&mut self, swept: &mut Instant) -> Result<()> {
        let touched = self.receive();
        for index in &touched {
            self.step(*index)?;
        }
        if swept.elapsed() > SWEEP {
            *swept = Instant::now();
            for index in 0..self.clients.len() {
                self.step(index)?;
            }
        } else if touched.is_empty() {
            let patience = SWEEP.saturating_sub(swept.elapsed());
            smoltcp::phy::wait(self.device.as_raw_fd(), Some(patience.into()))
                .context("waiting for packets")?;
        }
        Ok(())
    }

    /// Which clients got packets.
    fn receive(&mut self) -> Vec<usize> {
        let mut touched = Vec::new();
        for _ in 0..BATCH {
            let Some((packet, _)) = self.device.receive(client::now()) else {
                break;
            };
            let packet = packet.consume(<[u8]>::to_vec);
            // Others' packets (IPv6 looks for neighbours) are for nobody.
            let index = destination(&packet).and_then(|address| self.by_address.get(&address));
            if let Some((&index, client)) =
                index.and_then(|index| Some((index, self.clients.get_mut(*index)?)))
            {
                client.wire.incoming.push_back(packet);
                if !touched.contains(&index) {
                    touched.push(index);
                }
            }
        }
        touched
    }

    fn step(&mut self, index: usize) -> Result<()> {
        let Some(client) = self.clients.get_mut(index) else {
            return Ok(());
        };
        client.step()?;
        for packet in client.wire.outgoing.drain(..) {
            let token = self
                .device
                .transmit(client::now())
                .context("the device takes no packet")?;
            token.consume(packet.len(), |buffer| buffer.copy_from_slice(&packet));
        }
        Ok(())
    }
}

/// Where an IPv4 packet goes to.
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let version = packet.first()? >> 4;
    let octets: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    (version == 4).then(|| Ipv4Addr::from(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_packets_when_their_destination_is_asked_for_then_only_ipv4_has_one() {
        let mut packet = [0; 40];
        packet[0] = 0x45;
        packet[16..20].copy_from_slice(&[198, 18, 1, 7]);
        assert_eq!(destination(&packet), Some(Ipv4Addr::new(198, 18, 1, 7)));
        assert_eq!(destination(&packet[..19]), None);
        packet[0] = 0x60;
        assert_eq!(destination(&packet), None);
        assert_eq!(destination(&[]), None);
    }
}
