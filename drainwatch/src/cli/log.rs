//! The agent's log: lines leave by a thread of their own, so that whoever does not read them, or is gone, holds up nothing;
//! and warnings that repeat are counted, not repeated.

use std::{
    collections::HashMap,
    io::{self, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, Instant},
};

use tracing::{Level, Metadata, callsite::Identifier};
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::DynFilterFn, fmt::MakeWriter, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{
    agent::config::{LogFormat, LogLevel},
    kernel::Kernel,
};

/// Lines that may wait for whoever reads them; further ones are counted.
const LINES: usize = 1024;
/// Warnings of one place that are written within a [`WINDOW`].
const ALIKE: u64 = 10;
/// How long warnings of one place count together.
const WINDOW: Duration = Duration::from_secs(10);
/// Places that are told apart.
const PLACES: usize = 256;
/// How long the last lines may take at the end.
const LAST_WITHIN: Duration = Duration::from_millis(250);

/// What the thread that writes is given.
enum Message {
    Line(Vec<u8>),
    /// Say when everything before is written.
    Flush(SyncSender<()>),
}

/// Where lines go.
#[derive(Clone)]
struct Lines {
    queue: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

/// One line on its way.
struct Line<'a> {
    text: Vec<u8>,
    lines: &'a Lines,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let line = Message::Line(std::mem::take(&mut self.text));
        if let Err(TrySendError::Full(_)) = self.lines.queue.try_send(line) {
            self.lines.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            text: Vec::new(),
            lines: self,
        }
    }
}

/// Warnings of one place.
struct Place {
    name: &'static str,
    since: Instant,
    count: u64,
}

/// How often each place has warned.
#[derive(Default)]
struct Repeats(Mutex<HashMap<Identifier, Place>>);

impl Repeats {
    /// Whether this line is written. Shutdowns are not warnings alike: each is one.
    fn takes(&self, of: &Metadata<'_>, name: &'static str, now: Instant) -> bool {
        if *of.level() > Level::WARN || of.target().ends_with("sinks::log") {
            return true;
        }
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= PLACES {
            return true;
        }
        let place = places.entry(of.callsite()).or_insert(Place {
            name,
            since: now,
            count: 0,
        });
        place.count += 1;
        place.count <= ALIKE
    }

    /// Places whose time is over, with how many of their lines were left out; and when the next one's is.
    fn over(&self, now: Instant) -> (Vec<(&'static str, u64)>, Option<Instant>) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left_out = Vec::new();
        places.retain(|_, place| {
            let over = now.duration_since(place.since) >= WINDOW;
            if over && place.count > ALIKE {
                left_out.push((place.name, place.count - ALIKE));
            }
            !over
        });
        let next = places.values().map(|place| place.since + WINDOW).min();
        (left_out, next)
    }
}

/// The log as it runs.
pub struct Log {
    queue: SyncSender<Message>,
}

impl Log {
    /// Writes the last lines, as far as somebody takes them.
    pub fn finish(self) {
        let (done, written) = mpsc::sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            let _ = written.recv_timeout(LAST_WITHIN);
        }
    }
}

/// Starts the log on standard error.
pub fn start(level: LogLevel, format: LogFormat, ansi: bool) -> Log {
    let (queue, waiting) = mpsc::sync_channel(LINES);
    let (lost, repeats) = (Arc::<AtomicU64>::default(), Arc::<Repeats>::default());
    let lines = Lines {
        queue: queue.clone(),
        lost: Arc::clone(&lost),
    };
    let of_thread = Arc::clone(&repeats);
    thread::spawn(move || {
        // The rest of the process gives its own up later, which does not concern threads that are there already.
        if let Err(error) = Kernel::drop_privileges_of_thread() {
            tracing::warn!(%error, "the thread of the log keeps its capabilities");
        }
        write_all(&waiting, &lost, &of_thread, format);
    });
    // What the client of the Kubernetes API says of every try, the agent says once.
    let of_others = match level {
        LogLevel::Error | LogLevel::Warn | LogLevel::Info => ",kube_client=off,kube_runtime=off",
        LogLevel::Debug | LogLevel::Trace => "",
    };
    let level = Level::from(level);
    let alike = DynFilterFn::new(move |of, _| repeats.takes(of, of.name(), Instant::now()));
    let layer = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_writer(lines)
        .with_ansi(ansi);
    let registry = tracing_subscriber::registry().with(EnvFilter::new(format!("{level}{of_others}")));
    match format {
        LogFormat::Text => registry.with(layer.with_filter(alike)).init(),
        LogFormat::Json => registry
            .with(layer.json().flatten_event(true).with_filter(alike))
            .init(),
    }
    Log { queue }
}

fn write_all(waiting: &Receiver<Message>, lost: &AtomicU64, repeats: &Repeats, format: LogFormat) {
    let mut next: Option<Instant> = None;
    loop {
        let message = match next {
            Some(next) => waiting.recv_timeout(next.saturating_duration_since(Instant::now())),
            None => waiting.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let mut out = io::stderr();
        // Whoever read it may be gone.
        match message {
            Ok(Message::Line(line)) => drop(out.write_all(&line)),
            Ok(Message::Flush(done)) => drop(done.try_send(())),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let count = lost.swap(0, Ordering::Relaxed);
        if count > 0 {
            let _ = out.write_all(
                left_out("lines of the log were not read in time", None, count, format).as_bytes(),
            );
        }
        let over;
        (over, next) = repeats.over(Instant::now());
        for (place, count) in over {
            let _ = out.write_all(
                left_out("lines like one before were left out", Some(place), count, format).as_bytes(),
            );
        }
    }
}

/// A line that says how many there are not.
fn left_out(message: &str, place: Option<&str>, count: u64, format: LogFormat) -> String {
    let timestamp = jiff::Timestamp::now();
    match format {
        LogFormat::Text => {
            let place = place.map_or_else(String::new, |place| format!(" place={place:?}"));
            format!("{timestamp:.6}  WARN {message} count={count}{place}\n")
        }
        LogFormat::Json => {
            let timestamp = format!("{timestamp:.6}");
            let line = serde_json::json!({
                "timestamp": timestamp, "level": "WARN", "message": message, "count": count, "place": place,
            });
            format!("{line}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_lines_that_nobody_takes_then_the_writer_goes_on_and_counts_them() {
        let (queue, waiting) = mpsc::sync_channel(2);
        let lines = Lines {
            queue,
            lost: Arc::default(),
        };
        for n in 0..5 {
            writeln!(lines.make_writer(), "line {n}").unwrap();
        }
        assert_eq!(lines.lost.load(Ordering::Relaxed), 3);
        let taken: Vec<Message> = waiting.try_iter().collect();
        assert!(matches!(&taken[..], [Message::Line(first), Message::Line(_)] if first == b"line 0\n"));
    }

    #[test]
    fn given_lines_left_out_then_the_line_that_says_so_is_one_line_of_its_format() {
        let text = left_out("lines", Some("event src/agent.rs:7"), 91, LogFormat::Text);
        assert!(
            text.ends_with("WARN lines count=91 place=\"event src/agent.rs:7\"\n"),
            "{text}"
        );
        let json: serde_json::Value =
            serde_json::from_str(&left_out("lines", None, 3, LogFormat::Json)).unwrap();
        assert_eq!(
            (&json["count"], &json["place"]),
            (&3.into(), &serde_json::Value::Null)
        );
    }

    #[test]
    fn given_a_warning_without_end_then_the_first_ten_are_written_and_the_rest_are_counted_when_its_time_is_over()
     {
        let repeats = Arc::<Repeats>::default();
        let (counted, seen) = (Arc::clone(&repeats), Arc::<AtomicU64>::default());
        let written = Arc::clone(&seen);
        let begun = Instant::now();
        let filter = DynFilterFn::new(move |of: &Metadata<'_>, _: &_| counted.takes(of, of.name(), begun));
        let lines = move || {
            written.fetch_add(1, Ordering::Relaxed);
            io::sink()
        };
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(lines)
            .with_filter(filter);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for n in 0..101 {
                tracing::warn!(n, "the ring is full");
                tracing::info!(n, "something else");
            }
        });
        assert_eq!(seen.load(Ordering::Relaxed), 10 + 101);
        assert_eq!(repeats.over(begun).0, []);
        let (over, next) = repeats.over(begun + WINDOW);
        assert_eq!((over.len(), over[0].1, next), (1, 91, None));
    }
}
