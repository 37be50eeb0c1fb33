//! One client: an address, and connections that ask one after the other.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use crate::bench::load::RESPONSE_END;

/// As a TUN device's.
const MTU: usize = 1500;
const FIRST_PORT: u16 = 1024;
/// What a socket keeps of a request, and of a response.
const BUFFER: usize = 2048;

/// What the clients' timers go by.
pub fn now() -> Instant {
    Instant::now()
}

/// A client.
pub struct Client {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its packets.
    pub wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    conversations: Vec<Conversation>,
    server: SocketAddrV4,
    request: Arc<[u8]>,
    keep_alive: bool,
    port: u16,
    closing: bool,
}

/// A connection, and those that come after it.
struct Conversation {
    handle: SocketHandle,
    opened: bool,
    /// It was sent a request; on a kept connection, a response is due.
    asked: bool,
}

impl Client {
    /// One whose connections are not open yet.
    pub fn new(
        address: Ipv4Addr,
        connections: usize,
        server: SocketAddrV4,
        request: &Arc<[u8]>,
        keep_alive: bool,
    ) -> Self {
        let mut wire = Wire::default();
        let mut config = Config::new(HardwareAddress::Ip);
        // Where its sequence numbers begin.
        config.random_seed = u64::from(address.to_bits());
        let mut interface = Interface::new(config, &mut wire, now());
        interface.update_ip_addrs(|addresses| {
            // There is room for two.
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(address), 15));
        });
        let mut sockets = SocketSet::new(Vec::new());
        let conversations = (0..connections)
            .map(|_| {
                let [receive, send] = [(); 2].map(|()| SocketBuffer::new(vec![0; BUFFER]));
                let mut socket = Socket::new(receive, send);
                socket.set_nagle_enabled(false);
                Conversation {
                    handle: sockets.add(socket),
                    opened: false,
                    asked: false,
                }
            })
            .collect();
        Self {
            address,
            wire,
            interface,
            sockets,
            conversations,
            server,
            request: request.clone(),
            keep_alive,
            port: FIRST_PORT,
            closing: false,
        }
    }

    /// Opens its connections; says how many.
    pub fn open(&mut self) -> Result<usize> {
        for index in 0..self.conversations.len() {
            self.connect(index)?;
        }
        Ok(self.conversations.len())
    }

    fn connect(&mut self, index: usize) -> Result<()> {
        let conversation = self
            .conversations
            .get_mut(index)
            .context("no such conversation")?;
        conversation.opened = true;
        conversation.asked = false;
        let here = (IpAddress::Ipv4(self.address), self.port);
        self.port = self.port.checked_add(1).unwrap_or(FIRST_PORT);
        self.sockets
            .get_mut::<Socket<'_>>(conversation.handle)
            .connect(self.interface.context(), self.server, here)
            .map_err(|error| anyhow!("connecting: {error}"))
    }

    /// How many of its connections are on their way to be open.
    pub fn opening(&self) -> usize {
        self.states().filter(|state| *state == State::SynSent).count()
    }

    /// Takes in packets, acts on them, and puts out what comes of it.
    pub fn step(&mut self) -> Result<()> {
        loop {
            self.interface.poll(now(), &mut self.wire, &mut self.sockets);
            let mut acted = false;
            for index in 0..self.conversations.len() {
                acted |= self.talk(index)?;
            }
            if !acted {
                return Ok(());
            }
        }
    }

    /// Whether there was something to do.
    fn talk(&mut self, index: usize) -> Result<bool> {
        let Some(conversation) = self.conversations.get_mut(index).filter(|_| !self.closing) else {
            return Ok(false);
        };
        let socket = self.sockets.get_mut::<Socket<'_>>(conversation.handle);
        if conversation.asked && socket.can_recv() {
            // By a copy: in the socket's buffer a response may begin at the end, and go on at the beginning.
            let mut bytes = [0; BUFFER];
            let length = socket
                .peek_slice(&mut bytes)
                .map_err(|error| anyhow!("reading: {error}"))?;
            let response = bytes.get(..length).unwrap_or_default();
            if !response.ends_with(RESPONSE_END) {
                ensure!(length < BUFFER, "a response does not fit");
                return Ok(false);
            }
            ensure!(
                response.starts_with(b"HTTP/1.1 200 "),
                "the server did not answer with 200"
            );
            socket
                .recv_slice(&mut bytes)
                .map_err(|error| anyhow!("reading: {error}"))?;
            // One that is not kept asks once.
            conversation.asked = !self.keep_alive;
        }
        if !conversation.asked && socket.can_send() {
            let sent = socket
                .send_slice(&self.request)
                .map_err(|error| anyhow!("asking: {error}"))?;
            ensure!(sent == self.request.len(), "a request does not fit");
            conversation.asked = true;
            return Ok(true);
        }
        match socket.state() {
            // The server was first.
            State::CloseWait => {
                ensure!(!self.keep_alive, "the server closed a connection");
                socket.close();
                Ok(true)
            }
            State::Closed if conversation.opened => {
                ensure!(
                    conversation.asked && !self.keep_alive,
                    "a connection was refused or reset"
                );
                self.connect(index)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Closes all its connections.
    pub fn close(&mut self) {
        self.closing = true;
        for conversation in &self.conversations {
            self.sockets.get_mut::<Socket<'_>>(conversation.handle).close();
        }
    }

    /// Whether all its connections are over.
    pub fn is_over(&self) -> bool {
        self.states()
            .all(|state| matches!(state, State::Closed | State::TimeWait))
    }

    fn states(&self) -> impl Iterator<Item = State> {
        self.conversations
            .iter()
            .map(|conversation| self.sockets.get::<Socket<'_>>(conversation.handle).state())
    }
}

/// Packets to and from a client.
#[derive(Default)]
pub struct Wire {
    /// Those that it has not looked at.
    pub incoming: VecDeque<Vec<u8>>,
    /// Those that are not sent.
    pub outgoing: Vec<Vec<u8>>,
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let packet = self.incoming.pop_front()?;
        Some((Received(packet), Sending(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.max_transmission_unit = MTU;
        capabilities.medium = Medium::Ip;
        capabilities
    }
}

/// A packet that came.
pub struct Received(Vec<u8>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

/// Room for a packet that is to be sent.
pub struct Sending<'a>(&'a mut Vec<Vec<u8>>);

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut packet = vec![0; length];
        let result = fill(&mut packet);
        self.0.push(packet);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 1), 80);

    fn server() -> (Wire, Interface, SocketSet<'static>, SocketHandle) {
        let mut wire = Wire::default();
        let mut interface = Interface::new(Config::new(HardwareAddress::Ip), &mut wire, now());
        interface.update_ip_addrs(|addresses| {
            addresses
                .push(IpCidr::new(IpAddress::Ipv4(*SERVER.ip()), 15))
                .expect("there is room");
        });
        let mut sockets = SocketSet::new(Vec::new());
        let [receive, send] = [(); 2].map(|()| SocketBuffer::new(vec![0; BUFFER]));
        let mut socket = Socket::new(receive, send);
        socket.listen(SERVER.port()).expect("it listens");
        let handle = sockets.add(socket);
        (wire, interface, sockets, handle)
    }

    /// Carries packets between the two until none is left, and answers `answers` requests.
    fn play(keep_alive: bool, answers: usize) -> Result<Client> {
        let request: Arc<[u8]> = b"GET / HTTP/1.1\r\n\r\n"[..].into();
        let mut client = Client::new(Ipv4Addr::new(198, 18, 1, 0), 1, SERVER, &request, keep_alive);
        let (mut wire, mut interface, mut sockets, handle) = server();
        client.open()?;
        let mut answered = 0;
        for _ in 0..300 {
            client.step()?;
            wire.incoming.extend(client.wire.outgoing.drain(..));
            interface.poll(now(), &mut wire, &mut sockets);
            let socket = sockets.get_mut::<Socket<'_>>(handle);
            if socket.can_recv() && answered < answers {
                socket
                    .recv(|bytes| (bytes.len(), ()))
                    .expect("there is a request");
                socket
                    .send_slice(b"HTTP/1.1 200 OK\r\n\r\nok\n")
                    .expect("it fits");
                answered += 1;
                if !keep_alive {
                    socket.close();
                }
            }
            interface.poll(now(), &mut wire, &mut sockets);
            client.wire.incoming.extend(wire.outgoing.drain(..));
        }
        assert_eq!(answered, answers);
        Ok(client)
    }

    #[test]
    fn given_a_kept_connection_when_it_is_answered_then_the_client_asks_again_on_it() {
        // More than what the buffer of a socket has room for.
        let mut client = play(true, 200).expect("all goes well");
        assert_eq!(client.port, FIRST_PORT + 1);
        assert!(client.conversations[0].asked);
        assert!(!client.is_over());
        client.close();
        assert!(!client.is_over(), "the server has not closed");
    }

    #[test]
    fn given_a_connection_for_a_request_when_the_server_closes_it_then_the_client_opens_the_next() {
        // Which the test's server refuses: it listens once.
        let error = play(false, 1).map(|client| client.port).expect_err("it tries");
        assert!(error.to_string().contains("refused"), "{error:#}");
    }
}
