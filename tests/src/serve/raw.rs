//! A server on bare sockets, for what well-behaved servers do not do: `SO_LINGER` 0, `close()` with a
//! request unread, 101 upgrades, answers that begin after the client's FIN, drains that wait for
//! idle connections, handlers that do nothing.

use std::{
    hint,
    io::{self, IoSlice, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use socket2::SockRef;
use tokio::signal::unix::signal;

use super::{LOOK, PART, Told, target};

/// Half of a body that no capture holds.
const LONG: usize = 2_000;

#[derive(Debug)]
struct Shared {
    told: Told,
    /// SIGTERM arrived.
    stopping: AtomicBool,
    /// Who gives up does it now: all at the same moment.
    give_up: AtomicBool,
    /// Connections still open here.
    open: AtomicUsize,
}

/// Runs the server. `LEDGER_ON_TERM`:
/// `ignore` (a handler that does nothing), `serve-on` (goes on accepting until the release, then exits 0),
/// `wait-all` (closes the listener, then waits until clients have closed every connection),
/// `linger0` (resets every connection, exits at the release), `close` (closes every connection, exits
/// at the release), `default`.
pub fn run() -> anyhow::Result<()> {
    let told = Told::from_env()?;
    let shared = Arc::new(Shared {
        told,
        stopping: AtomicBool::new(false),
        give_up: AtomicBool::new(false),
        open: AtomicUsize::new(0),
    });
    let told = &shared.told;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let stop = (told.on_term != "default")
        .then(|| {
            let _inside = runtime.enter();
            signal(told.signal)
        })
        .transpose()?;
    let listener = TcpListener::bind(told.listen)?;
    told.event("listening", "");
    let accepting = thread::spawn({
        let shared = Arc::clone(&shared);
        move || accept(&listener, &shared)
    });
    let Some(mut stop) = stop else {
        let _ = accepting.join();
        return Ok(());
    };
    runtime.block_on(stop.recv());
    if told.on_term == "ignore" {
        told.event("stopping", "");
        wait(|| false);
    }
    // Before the event: whoever has read it may rely on it.
    shared.stopping.store(true, Ordering::SeqCst);
    shared.give_up.store(true, Ordering::SeqCst);
    told.event("stopping", "");
    if told.on_term == "wait-all" {
        wait(|| shared.open.load(Ordering::SeqCst) == 0);
    } else {
        wait(|| told.released());
        wait(|| shared.open.load(Ordering::SeqCst) == 0);
    }
    process::exit(0);
}

fn wait(done: impl Fn() -> bool) {
    while !done() {
        thread::sleep(LOOK);
    }
}

/// Accepts until SIGTERM (or the release, with `serve-on`), then closes the listener.
fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    listener
        .set_nonblocking(true)
        .expect("a listener can be made non-blocking");
    loop {
        let stopping = shared.stopping.load(Ordering::SeqCst);
        if stopping && (shared.told.on_term != "serve-on" || shared.told.released()) {
            return;
        }
        match listener.accept() {
            Ok((stream, _)) => {
                let shared = Arc::clone(shared);
                shared.open.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    // Errors are the client's leaving: cases make them on purpose.
                    let _ = converse(stream, &shared);
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
            Err(_) => thread::sleep(LOOK),
        }
    }
}

/// Waits for `ready`; with `linger0` and `close` SIGTERM comes first and the error tells to give up.
fn hold(shared: &Shared, stream: &TcpStream, ready: impl Fn() -> bool) -> io::Result<()> {
    loop {
        if shared.stopping.load(Ordering::SeqCst) {
            match shared.told.on_term.as_str() {
                "linger0" => {
                    SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
                    return Err(io::ErrorKind::Interrupted.into());
                }
                "close" => {
                    while !shared.give_up.load(Ordering::SeqCst) {
                        hint::spin_loop();
                    }
                    return Err(io::ErrorKind::Interrupted.into());
                }
                _ => {}
            }
        }
        if ready() {
            return Ok(());
        }
        thread::sleep(LOOK);
    }
}

/// Serves one connection, one request at a time; never reads ahead of the request in hand.
fn converse(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let told = &shared.told;
    loop {
        let Some(head) = read_head(&mut stream)? else {
            return Ok(());
        };
        let head = match head.split_once("\r\n") {
            Some((preface, rest)) if preface.starts_with("PROXY ") => rest.to_owned(),
            _ => head,
        };
        let mut words = head.split(' ');
        let method = words.next().unwrap_or_default();
        let (path, act, n) = target(words.next().unwrap_or_default());
        told.event("got", path);
        if method == "POST" {
            let length = header(&head, "content-length")
                .and_then(|v| v.parse().ok())
                .unwrap_or(0);
            if header(&head, "expect").is_some() {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            stream.read_exact(&mut vec![0; length])?;
            told.event("body", path);
        }
        match act {
            "hang" => {
                hold(shared, &stream, || told.released())?;
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
            }
            "part" => {
                in_two(&mut stream, shared)?;
            }
            // The answer begins only after the client's FIN.
            "after-fin" => {
                let mut nothing = [0];
                stream.read_exact(&mut nothing).err();
                in_two(&mut stream, shared)?;
            }
            "upgrade" => {
                stream.write_all(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\
                    \x81\x05hello",
                )?;
                hold(shared, &stream, || told.released())?;
                // The protocol's goodbye (RFC 6455, section 5.5.1).
                stream.write_all(b"\x88\x00")?;
                return Ok(());
            }
            "pieces" => {
                for line in ["HTTP/1.1 200 OK", "Server: ledger", "Content-Length: 2", ""] {
                    stream.write_all(format!("{line}\r\n").as_bytes())?;
                }
                stream.write_all(b"ok")?;
            }
            "trailers" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                stream.write_all(format!("{:x}\r\n", 2 * LONG).as_bytes())?;
                stream.write_all(&[b't'; 2 * LONG])?;
                stream.write_all(b"\r\n0\r\nServer-Timing: db;dur=53\r\nX-Rows: 1\r\n\r\n")?;
            }
            "empty-first" | "head-in-three" => write_vectors(&mut stream, act, &[b'v'; 2 * LONG])?,
            "part-empty-first" | "part-head-in-three" => {
                write_vectors(&mut stream, act, &[b'v'; LONG])?;
                hold(shared, &stream, || told.released())?;
                stream.write_all(&[b'v'; LONG])?;
            }
            "close" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
                stream.write_all(PART)?;
                hold(shared, &stream, || told.released())?;
                stream.write_all(PART)?;
                return Ok(());
            }
            "big" => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {n}\r\n\r\n");
                stream.write_all(head.as_bytes())?;
                stream.write_all(&vec![b'b'; n])?;
            }
            // Ends without having been asked to: what is in flight is closed first, the exit comes later.
            "leave" => {
                shared.stopping.store(true, Ordering::SeqCst);
                // Long enough for every thread to have looked.
                thread::sleep(10 * LOOK);
                shared.give_up.store(true, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(500));
                process::exit(0);
            }
            // Replaces its program, which closes every connection.
            "exec" => return Err(process::Command::new("sleep").arg("1").exec()),
            _ => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?,
        }
        told.event("sent", path);
    }
}

fn in_two(stream: &mut TcpStream, shared: &Shared) -> io::Result<()> {
    stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 2 * PART.len()).as_bytes())?;
    stream.write_all(PART)?;
    hold(shared, stream, || shared.told.released())?;
    stream.write_all(PART)
}

/// Writes a head, of a body twice as long as `LONG`, and what there is of that, in one `writev`: either as Erlang does,
/// whose first vector is empty, or with a head that ends within the third.
fn write_vectors(stream: &mut TcpStream, how: &str, body: &[u8]) -> io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 2 * LONG);
    let bytes = [head.as_bytes(), body].concat();
    let lengths = if how.ends_with("empty-first") {
        [0, head.len(), 0]
    } else {
        [10, 20, 0]
    };
    let mut rest = bytes.as_slice();
    let mut vectors = Vec::new();
    for length in lengths {
        let (vector, behind) = rest.split_at(length);
        vectors.push(IoSlice::new(vector));
        rest = behind;
    }
    vectors.push(IoSlice::new(rest));
    let written = stream.write_vectored(&vectors)?;
    if written < bytes.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(())
}

/// Reads one request head byte by byte, so that what follows it stays in the kernel. `None`: end of file.
fn read_head(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}
