//! Servers of ours, run by the harness as hidden subcommands of its own binary.
//!
//! They talk to the harness as the other servers do: one line per moment in `$LEDGER_DIR/events`,
//! and handlers that are told to hang wait for the file `$LEDGER_DIR/release`.

use std::{
    env, fs,
    fs::OpenOptions,
    io::Write as _,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context as _;
use tokio::signal::unix::SignalKind;

pub mod hyper;
pub mod raw;

/// First half of a response that is sent in two parts; the second half looks the same.
const PART: &[u8] = &[b'p'; 1000];
/// How often handlers look for the release file.
const LOOK: Duration = Duration::from_millis(5);

/// What the harness told this server.
#[derive(Debug, Clone)]
struct Told {
    /// The case's directory.
    dir: PathBuf,
    /// Where to listen.
    listen: SocketAddr,
    /// What to do on the stop signal.
    on_term: String,
    /// The stop signal.
    signal: SignalKind,
}

impl Told {
    /// Reads `LEDGER_DIR`, `LEDGER_HOST`, `LEDGER_PORT`, `LEDGER_ON_TERM`, and the number `LEDGER_SIGNAL`.
    fn from_env() -> anyhow::Result<Self> {
        let var = |name: &str| env::var(name).with_context(|| format!("{name} is not set"));
        let host: IpAddr = var("LEDGER_HOST")?.parse()?;
        Ok(Self {
            dir: var("LEDGER_DIR")?.into(),
            listen: SocketAddr::new(host, var("LEDGER_PORT")?.parse()?),
            on_term: var("LEDGER_ON_TERM").unwrap_or_else(|_| "default".into()),
            signal: match env::var("LEDGER_SIGNAL") {
                Ok(number) => SignalKind::from_raw(number.parse()?),
                Err(_) => SignalKind::terminate(),
            },
        })
    }

    /// Reports a moment: one write with `O_APPEND`, so that lines of several processes never mix.
    fn event(&self, word: &str, what: &str) {
        let line = format!("{word} {what}\n");
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.dir.join("events"));
        if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
            eprintln!("cannot report `{word} {what}`: {error}");
        }
    }

    /// The harness lets handlers finish.
    fn released(&self) -> bool {
        fs::exists(self.dir.join("release")).unwrap_or(false)
    }
}

/// `/r/x?do=big&n=3` → path, `do`, `n`.
fn target(uri: &str) -> (&str, &str, usize) {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let get = |key: &str| {
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(k, _)| *k == key)
            .map(|(_, v)| v)
    };
    (
        path,
        get("do").unwrap_or("ok"),
        get("n").and_then(|n| n.parse().ok()).unwrap_or(0),
    )
}
