//! The client: plain sockets, and an account of what was seen on them.

mod http2;

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use socket2::{Domain, Socket, Type};

use crate::table::{Act, Saw};

/// Bytes announced by an upload.
pub const UPLOAD: usize = 100_000;
/// Bytes of it that are sent.
pub const UPLOAD_PART: usize = 1_000;

/// How a connection ended for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The server's FIN.
    Eof,
    /// A reset.
    Reset,
    /// The client closed it.
    Left,
    /// Refused.
    Refused,
}

/// A request that was, or was to be, sent on a connection.
#[derive(Debug, Clone)]
pub struct Request {
    /// Path without query.
    pub path: String,
    /// What the handler is asked to do.
    pub act: Act,
}

/// One client connection.
#[derive(Debug)]
pub struct Connection {
    stream: Option<TcpStream>,
    /// The client's own address: what the server's side calls its peer.
    pub local: SocketAddr,
    requests: Vec<Request>,
    received: Vec<u8>,
    end: Option<End>,
    /// It speaks HTTP/2.
    streams: Option<http2::Streams>,
}

impl Request {
    /// Path and query, for HTTP/2.
    fn target(&self) -> String {
        let (_, act) = self.method_and_act();
        format!("{}?do={act}", self.path)
    }

    fn method_and_act(&self) -> (&'static str, String) {
        match self.act {
            Act::Quick => ("GET", "ok".into()),
            Act::Hang | Act::Marked { .. } => ("GET", "hang".into()),
            Act::HangHead => ("HEAD", "hang".into()),
            Act::Block => ("GET", "block".into()),
            Act::Half => ("GET", "part".into()),
            Act::Chunked => ("GET", "chunk".into()),
            Act::Sse => ("GET", "sse".into()),
            Act::Upgrade => ("GET", "upgrade".into()),
            Act::Undelimited => ("GET", "close".into()),
            Act::AfterFin => ("GET", "after-fin".into()),
            Act::Big(n) => ("GET", format!("big&n={n}")),
            Act::Huge => ("GET", "huge".into()),
            Act::Head => ("HEAD", "big&n=300000".into()),
            Act::NoContent => ("GET", "none".into()),
            Act::NotModified => ("GET", "same".into()),
            Act::Hints => ("GET", "hints".into()),
            Act::Pieces => ("GET", "pieces".into()),
            Act::Trailers => ("GET", "trailers".into()),
            Act::Vectored(how) => ("GET", how.into()),
            Act::HalfVectored(how) => ("GET", format!("part-{how}")),
            Act::Echo => ("POST", "echo".into()),
            Act::Post | Act::HalfPost => ("POST", "ok".into()),
            Act::Poison(kind) => ("GET", kind.into()),
        }
    }

    fn head(&self, extra: &str) -> String {
        let (method, act) = self.method_and_act();
        let upgrade = if self.act == Act::Upgrade {
            "Connection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        } else {
            ""
        };
        let mark = match self.act {
            Act::Marked { header, .. } => format!("{header}\r\n"),
            _ => String::new(),
        };
        format!(
            "{method} {}?do={act} HTTP/1.1\r\nHost: ledger\r\n{mark}{upgrade}{extra}\r\n",
            self.path
        )
    }
}

/// Our address on the way to a server: what the kernel would choose.
fn address_towards(server: SocketAddr) -> anyhow::Result<IpAddr> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Nothing is sent by connecting a UDP socket.
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    Ok(socket.local_addr()?.ip())
}

/// Connects. Who asked the address of a container before it was there has left a question behind to which nobody answers:
/// the kernel calls the host unreachable when its time is over, for all that wait with it, and asks anew.
fn connect(socket: &Socket, server: SocketAddr, patience: Duration) -> io::Result<()> {
    let until = Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match socket.connect_timeout(&server.into(), left.max(Duration::from_millis(1))) {
            Err(error) if error.kind() == ErrorKind::HostUnreachable && Instant::now() < until => {}
            connected => return connected,
        }
    }
}

impl Connection {
    /// Connects. A refusal is an observation, not an error.
    pub fn open(server: SocketAddr, small_buffer: bool, patience: Duration) -> anyhow::Result<Self> {
        let (domain, any) = match server {
            _ if !server.ip().is_loopback() => (Domain::for_address(server), address_towards(server)?),
            SocketAddr::V4(_) => (Domain::IPV4, IpAddr::V4(Ipv4Addr::LOCALHOST)),
            SocketAddr::V6(_) => (Domain::IPV6, IpAddr::V6(Ipv6Addr::LOCALHOST)),
        };
        let socket = Socket::new(domain, Type::STREAM, None)?;
        if small_buffer {
            socket.set_recv_buffer_size(4096)?;
        }
        // Bound before connecting, so that a refused attempt has an address too.
        socket.bind(&SocketAddr::new(any, 0).into())?;
        let local = socket.local_addr()?.as_socket().context("no local address")?;
        let mut connection = Self {
            stream: None,
            local,
            requests: vec![],
            received: vec![],
            end: None,
            streams: None,
        };
        match connect(&socket, server, patience) {
            Ok(()) => {
                let stream = TcpStream::from(socket);
                stream.set_nodelay(true)?;
                connection.stream = Some(stream);
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => connection.end = Some(End::Refused),
            Err(error) => return Err(error).with_context(|| format!("cannot connect to {server}")),
        }
        Ok(connection)
    }

    /// From now on it speaks HTTP/2.
    pub fn speak_http2(&mut self) {
        self.streams = Some(http2::Streams::new());
    }

    /// Waits for the server's first frame, then says what asks for nothing.
    pub fn talk_small(&mut self, patience: Duration) -> anyhow::Result<()> {
        if !self.read_until(patience, |this| this.received.len() >= 9)? {
            bail!("no frame within {patience:?}");
        }
        self.write(&http2::Streams::small_talk());
        Ok(())
    }

    /// Writes the requests in one go.
    pub fn send(&mut self, requests: &[Request]) {
        if let Some(streams) = &mut self.streams {
            let frames = streams.requests(requests);
            self.push(requests, &frames);
            return;
        }
        let text: String = requests.iter().map(|request| request.head("")).collect();
        self.push(requests, text.as_bytes());
    }

    /// Writes the requests behind a balancer's preface.
    pub fn send_prefaced(&mut self, requests: &[Request]) {
        self.write(b"PROXY TCP4 192.0.2.7 192.0.2.8 56324 80\r\n");
        self.send(requests);
    }

    /// Writes a line of another protocol in the place of each request.
    pub fn send_lines(&mut self, requests: &[Request]) {
        let line = |request: &Request| format!("ledger{} 1 1700000000\n", request.path.replace('/', "."));
        let lines: Vec<String> = requests.iter().map(line).collect();
        self.push(requests, lines.concat().as_bytes());
    }

    /// Writes the head of an upload, and (unless the server is asked first) a part of its body.
    pub fn send_upload(&mut self, request: &Request, ask_first: bool) {
        let expect = if ask_first { "Expect: 100-continue\r\n" } else { "" };
        let head = request.head(&format!("Content-Length: {UPLOAD}\r\n{expect}"));
        self.push(std::slice::from_ref(request), head.as_bytes());
        if !ask_first {
            self.send_body_part();
        }
    }

    /// Writes a part of an upload's body.
    pub fn send_body_part(&mut self) {
        self.write(&[b'u'; UPLOAD_PART]);
    }

    /// Writes what is missing behind that part.
    pub fn send_body_rest(&mut self) {
        self.write(&vec![b'u'; UPLOAD - UPLOAD_PART]);
    }

    fn push(&mut self, requests: &[Request], bytes: &[u8]) {
        self.requests.extend_from_slice(requests);
        self.write(bytes);
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(stream) = &mut self.stream
            && let Err(error) = stream.write_all(bytes)
        {
            self.note(&error);
        }
    }

    fn note(&mut self, error: &io::Error) {
        if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) {
            self.end = Some(End::Reset);
        }
    }

    /// Reads once, for at most `patience`. Says whether anything (bytes or an end) came.
    fn read(&mut self, patience: Duration) -> anyhow::Result<bool> {
        let Some(stream) = &mut self.stream else {
            return Ok(false);
        };
        stream.set_read_timeout(Some(patience.max(Duration::from_millis(1))))?;
        let mut buffer = [0; 8192];
        match stream.read(&mut buffer) {
            Ok(0) => self.end = Some(End::Eof),
            Ok(n) => self.received.extend_from_slice(&buffer[..n]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(false);
            }
            Err(error) => {
                self.note(&error);
                if self.end.is_none() {
                    return Err(error.into());
                }
            }
        }
        Ok(true)
    }

    /// Reads until `enough`, the connection's end, or the end of patience; says whether it was enough.
    fn read_until(&mut self, patience: Duration, enough: impl Fn(&Self) -> bool) -> anyhow::Result<bool> {
        let deadline = Instant::now() + patience;
        loop {
            if enough(self) {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if self.end.is_some() || left.is_zero() {
                return Ok(false);
            }
            self.read(left)?;
        }
    }

    /// Waits until the last request has been answered completely.
    pub fn read_complete(&mut self, patience: Duration) -> anyhow::Result<()> {
        if self.read_until(patience, Self::all_complete)? {
            return Ok(());
        }
        bail!(
            "no complete response to {} within {patience:?}: {:?}",
            self.names(),
            self.saw()
        )
    }

    /// Waits until the first bytes of the last request's response body are there.
    pub fn read_begun(&mut self, patience: Duration) -> anyhow::Result<()> {
        let begun = |this: &Self| {
            this.answers()
                .last()
                .copied()
                .flatten()
                .is_some_and(|answer| answer.body > 0)
        };
        if self.read_until(patience, begun)? {
            return Ok(());
        }
        bail!(
            "no response to {} began within {patience:?}: {:?}",
            self.names(),
            self.saw()
        )
    }

    /// Waits until each answer is there as far as the server gives it at once.
    pub fn read_due(&mut self, patience: Duration) -> anyhow::Result<()> {
        let due = |this: &Self| {
            let of = |(request, answer): (&Request, &Option<Answer>)| match request.act {
                Act::Hang | Act::Marked { .. } | Act::HangHead | Act::Block | Act::HalfPost => true,
                Act::Half | Act::Chunked | Act::Sse | Act::HalfVectored(_) => {
                    answer.is_some_and(|answer| answer.body > 0)
                }
                _ => answer.is_some_and(|answer| answer.complete),
            };
            this.requests.iter().zip(&this.answers()).all(of)
        };
        if self.read_until(patience, due)? {
            return Ok(());
        }
        bail!("not what is due within {patience:?}: {:?}", self.saw())
    }

    /// Waits for an interim response.
    pub fn read_interim(&mut self, patience: Duration) -> anyhow::Result<()> {
        if self.read_until(patience, |this| this.received.ends_with(b"\r\n\r\n"))? {
            return Ok(());
        }
        bail!("no interim response within {patience:?}")
    }

    /// Waits for the server's FIN (or reset).
    pub fn read_end(&mut self, patience: Duration) -> anyhow::Result<()> {
        self.read_until(patience, |this| this.end.is_some())?;
        if self.end.is_none() {
            bail!("{} was not closed within {patience:?}", self.names());
        }
        Ok(())
    }

    /// Reads until every response is complete or the connection ends; for the final account.
    pub fn settle(&mut self, patience: Duration) -> anyhow::Result<()> {
        self.read_until(patience, Self::all_complete)?;
        Ok(())
    }

    /// Sends on a connection that the server has closed, and waits for the reset.
    pub fn send_late(&mut self, request: &Request, patience: Duration) -> anyhow::Result<()> {
        self.end = None;
        self.send(std::slice::from_ref(request));
        let Some(stream) = &self.stream else { return Ok(()) };
        // After a FIN, read() goes on saying "end of file": the reset shows in SO_ERROR alone.
        let deadline = Instant::now() + patience;
        while self.end.is_none() {
            if stream.take_error()?.is_some() {
                self.end = Some(End::Reset);
            } else if Instant::now() > deadline {
                bail!("{} was not reset within {patience:?}", request.path);
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    /// Closes by FIN, or by RST.
    pub fn leave(&mut self, reset: bool) -> anyhow::Result<()> {
        if let Some(stream) = self.stream.take() {
            if reset {
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
            }
            drop(stream);
        }
        self.end = Some(End::Left);
        Ok(())
    }

    /// Shuts the sending side down.
    pub fn half_close(&mut self) -> io::Result<()> {
        self.stream
            .as_ref()
            .map_or(Ok(()), |stream| stream.shutdown(Shutdown::Write))
    }

    /// Notes requests that were never to be sent (a silent connection, a refused one).
    pub fn note_unsent(&mut self, requests: &[Request]) {
        self.requests.extend(requests.iter().cloned());
    }

    fn names(&self) -> String {
        let names: Vec<_> = self
            .requests
            .iter()
            .map(|request| request.path.as_str())
            .collect();
        names.join(", ")
    }

    fn all_complete(&self) -> bool {
        let answers = self.answers();
        answers.len() == self.requests.len()
            && answers
                .iter()
                .all(|answer| answer.is_some_and(|answer| answer.complete))
    }

    /// Of each request, or of the first ones; those of HTTP/2 come in any order.
    fn answers(&self) -> Vec<Option<Answer>> {
        if self.streams.is_some() {
            return http2::answers(&self.received, self.requests.len());
        }
        let acts: Vec<_> = self.requests.iter().map(|request| request.act).collect();
        answers(&self.received, &acts).into_iter().map(Some).collect()
    }

    /// What was seen of each request.
    pub fn saw(&self) -> Vec<Saw> {
        let answers = self.answers();
        let of = |n: usize| match (answers.get(n).copied().flatten(), self.end) {
            (Some(answer), _) if answer.complete => Saw::Complete(answer.status),
            (_, Some(End::Refused)) => Saw::Refused,
            (_, Some(End::Left)) => Saw::Left,
            (Some(answer), Some(End::Eof)) if answer.undelimited => Saw::Vague,
            (Some(_), Some(End::Eof)) => Saw::Cut,
            (Some(_), Some(End::Reset)) => Saw::ResetCut,
            (None, Some(End::Eof)) => Saw::Eof,
            (None, Some(End::Reset)) => Saw::Reset,
            (_, None) => Saw::Silence,
        };
        (0..self.requests.len()).map(of).collect()
    }
}

/// One final response, as far as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer {
    status: u16,
    /// Bytes of body (with chunk framing) received.
    body: usize,
    complete: bool,
    undelimited: bool,
}

/// Takes the received bytes apart (RFC 9112, section 6.3). Stops at the first incomplete response.
fn answers(mut received: &[u8], acts: &[Act]) -> Vec<Answer> {
    let mut answers = vec![];
    for act in acts {
        let answer = loop {
            let begun = Answer {
                status: 0,
                body: 0,
                complete: false,
                undelimited: false,
            };
            if received.is_empty() {
                break None;
            }
            let Some(end) = find(received, b"\r\n\r\n") else {
                break Some(begun);
            };
            let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
            let body = &received[end + 4..];
            let status = head
                .split(' ')
                .nth(1)
                .and_then(|status| status.parse().ok())
                .unwrap_or(0);
            if (100..200).contains(&status) && status != 101 {
                received = body;
                continue;
            }
            let header = |name: &str| {
                head.lines()
                    .filter_map(|line| line.split_once(':'))
                    .find(|(k, _)| *k == name)
                    .map(|(_, v)| v.trim())
            };
            let bodiless = matches!(act, Act::Head | Act::HangHead) || matches!(status, 204 | 304);
            let length = if bodiless {
                Some(0)
            } else if status == 101 {
                None
            } else if header("transfer-encoding") == Some("chunked") {
                // Bodies of the ledger never contain the last chunk's bytes themselves.
                find(body, b"0\r\n\r\n").map(|at| at + 5).or_else(|| {
                    let trailers = find(body, b"\r\n0\r\n")? + 5;
                    find(&body[trailers..], b"\r\n\r\n").map(|at| trailers + at + 4)
                })
            } else {
                header("content-length")
                    .and_then(|length| length.parse().ok())
                    .filter(|n| *n <= body.len())
            };
            let undelimited = !bodiless
                && status != 101
                && header("transfer-encoding").is_none()
                && header("content-length").is_none();
            received = length.map_or(&[], |length| &body[length..]);
            break Some(Answer {
                status,
                body: body.len(),
                complete: length.is_some(),
                undelimited,
            });
        };
        let Some(answer) = answer else { break };
        answers.push(answer);
        if !answer.complete {
            break;
        }
    }
    answers
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_pipelined_answers_when_the_last_is_cut_then_it_alone_is_incomplete() {
        let received =
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok";
        let seen = answers(received, &[Act::Quick, Act::Half, Act::Hang]);
        assert_eq!(
            seen.iter().map(|answer| answer.complete).collect::<Vec<_>>(),
            [true, false]
        );
    }

    #[test]
    fn given_an_interim_response_then_no_answer_has_begun() {
        assert_eq!(answers(b"HTTP/1.1 100 Continue\r\n\r\n", &[Act::Post]), []);
    }

    #[test]
    fn given_head_204_and_304_then_the_answer_is_complete_without_a_body() {
        let received = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\n\r\n";
        let seen = answers(received, &[Act::Head, Act::NoContent, Act::NotModified]);
        assert_eq!(seen.iter().filter(|answer| answer.complete).count(), 3);
    }

    #[test]
    fn given_a_chunked_answer_when_its_last_chunk_is_missing_then_it_is_incomplete() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";
        assert!(!answers(head.as_bytes(), &[Act::Chunked])[0].complete);
        assert!(answers(format!("{head}0\r\n\r\n").as_bytes(), &[Act::Chunked])[0].complete);
    }

    #[test]
    fn given_neither_length_nor_chunks_then_the_answer_is_undelimited() {
        let seen = answers(b"HTTP/1.0 200 OK\r\n\r\npart", &[Act::Undelimited]);
        assert!(seen[0].undelimited && !seen[0].complete);
    }
}
