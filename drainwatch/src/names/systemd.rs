//! Units of systemd and how it stops them, over D-Bus.
//!
//! What is listened to are the manager's own signals: jobs that begin and end, units that are unloaded.
//! While services merely run it sends none; what services say of themselves (`PropertiesChanged`: a
//! status line, a watchdog) is not asked for. Only the manager's word counts: signals are taken from the
//! connection that owns its name, since anybody on the bus may send what looks like one.

mod unit;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use drainwatch_core::{
    description::{Description, Origin, Subject, Unit},
    workload::text::shown_name,
};
use futures_util::StreamExt as _;
use tokio::net::UnixStream;
use zbus::{
    Connection, MatchRule, MessageStream, ObjectPath,
    connection::Builder,
    fdo::DBusProxy,
    message::{Message, Type},
};

use self::unit::Manager;
use super::{
    Probed, Teller,
    errands::{Backoff, Errands},
    is_socket,
};
use crate::names::Socket;

/// Where the system's bus is.
pub const BUS: &str = "/run/dbus/system_bus_socket";

/// Most units that are known at a time; beyond, new ones have their name from their cgroup alone.
const MOST: usize = 8192;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a bus that is not there is looked for.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
/// Signals that may wait while something else is under way.
const SIGNALS: std::num::NonZeroUsize = std::num::NonZeroUsize::new(4096).unwrap();
/// What signals come from.
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
/// The manager's name on the bus.
const SYSTEMD: &str = "org.freedesktop.systemd1";

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The bus's socket.
    pub bus: PathBuf,
    /// The user named the bus: that it is not there is worth telling.
    pub explicit: bool,
}

/// Why systemd cannot be asked.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// The socket.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// The bus, or an answer.
    #[error(transparent)]
    Bus(#[from] zbus::Error),
    /// The bus is there, and systemd is not on it.
    #[error("systemd is not on this bus")]
    NoSystemd,
    /// It was there.
    #[error("systemd left the bus, as it does when it is replaced by a newer one")]
    Left,
    /// The bus closed the connection.
    #[error("the bus closed the connection")]
    Closed,
}

impl From<zbus::fdo::Error> for Failed {
    fn from(error: zbus::fdo::Error) -> Self {
        Self::Bus(error.into())
    }
}

impl Options {
    /// Whom the setting names; `None` for `off`.
    pub fn find(setting: &Socket) -> Option<Self> {
        match setting {
            Socket::Off => None,
            Socket::At(path) => Some(Self {
                bus: path.clone(),
                explicit: true,
            }),
            Socket::Auto => Some(Self {
                bus: BUS.into(),
                explicit: false,
            }),
        }
    }

    /// Its names are to be expected: it was asked for by name, or its socket is there.
    pub fn expected(&self) -> bool {
        self.explicit || self.bus.exists()
    }

    /// One line: what failed, why, what to do.
    fn explain(&self, error: &Failed) -> String {
        let bus = self.bus.display();
        match error {
            Failed::Socket(error) => match error.kind() {
                io::ErrorKind::NotFound => format!(
                    "there is no {bus}: start D-Bus (systemctl start dbus.socket), name its socket with --systemd.bus PATH, or use --systemd.bus off"
                ),
                io::ErrorKind::PermissionDenied => format!(
                    "permission denied on {bus}: run the agent as a user who may use the bus, or use --systemd.bus off"
                ),
                io::ErrorKind::ConnectionRefused if !is_socket(&self.bus) => format!(
                    "{bus} is not a socket: name the bus's with --systemd.bus PATH, or use --systemd.bus off"
                ),
                io::ErrorKind::ConnectionRefused => format!(
                    "nothing listens at {bus}: start D-Bus (systemctl start dbus.socket), or use --systemd.bus off"
                ),
                _ => format!("the bus at {bus}: {error}; it will be asked again"),
            },
            Failed::NoSystemd => format!(
                "systemd is not on the bus at {bus}: name the host's with --systemd.bus PATH, or use --systemd.bus off"
            ),
            _ => format!(
                "the bus at {bus}: {}; it will be asked again",
                shown_name(&error.to_string())
            ),
        }
    }
}

/// Asks once, for the doctor: the units that run.
pub async fn probe(setting: &Socket) -> Probed {
    let probed = |asked, answer: Result<String, String>| Probed {
        origin: Origin::Systemd,
        asked,
        ok: answer.is_ok(),
        says: answer.unwrap_or_else(|why| why),
    };
    let Some(options) = Options::find(setting) else {
        return probed(false, Err("off".into()));
    };
    if !options.expected() {
        return probed(false, Err(format!("no {}", options.bus.display())));
    }
    let answer = async { Manager::of(connect(&options).await?).await?.units().await };
    match answer.await {
        Ok(units) => {
            let says = format!("{} units, at {}", units.len(), options.bus.display());
            probed(true, Ok(says))
        }
        Err(Failed::NoSystemd) if !options.explicit => {
            probed(false, Err(options.explain(&Failed::NoSystemd)))
        }
        Err(error) => {
            let why = options.explain(&error);
            probed(
                true,
                Err(format!("{why}; the stop settings of units are unknown")),
            )
        }
    }
}

/// Tells of units for as long as the agent runs.
pub async fn tell(options: Options, teller: Teller) {
    let mut follower = Follower {
        options,
        teller,
        known: BTreeMap::new(),
        told_full: false,
        was_up: false,
    };
    let mut backoff = Backoff::default();
    let mut found = follower.options.expected();
    loop {
        // It was never there, and nobody said that it would be: nothing to tell.
        while !found {
            tracing::debug!(bus = %follower.options.bus.display(), "no systemd here");
            tokio::time::sleep(LOOK_AGAIN).await;
            found = follower.options.expected();
            if found {
                follower.teller.expected().await;
            }
        }
        let begun = Instant::now();
        let Err(error) = follower.connected().await;
        let absent = matches!(error, Failed::NoSystemd) && !follower.options.explicit && !follower.was_up;
        if absent {
            // A bus without systemd, as containers have them.
            found = false;
            continue;
        }
        follower.teller.down(follower.options.explain(&error)).await;
        tokio::time::sleep(backoff.after(begun.elapsed())).await;
    }
}

async fn connect(options: &Options) -> Result<Connection, Failed> {
    let connecting = async {
        let stream = UnixStream::connect(&options.bus).await?;
        let connection = Builder::unix_stream(stream.into_std()?)
            .method_timeout(PATIENCE)
            .build()
            .await?;
        Ok(connection)
    };
    tokio::time::timeout(PATIENCE, connecting)
        .await
        .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}

/// Name of the unit that a job restarts, if it does, and the run that ends by it.
type Job = Option<(String, Option<String>)>;

/// What a look at a unit found: name, and the unit; `None` where it has no cgroup.
type Looked = (String, Result<Option<Unit>, Failed>);

#[derive(Debug)]
struct Follower {
    options: Options,
    teller: Teller,
    /// By the unit's id.
    known: BTreeMap<String, Unit>,
    told_full: bool,
    was_up: bool,
}

impl Follower {
    /// One connection, until it breaks.
    async fn connected(&mut self) -> Result<Infallible, Failed> {
        let connection = connect(&self.options).await?;
        let manager = Manager::of(connection.clone()).await?;
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(manager.owner())
            .interface(MANAGER)
            .build()?;
        let mut signals = MessageStream::for_match_rule(rule, &connection, Some(SIGNALS)).await?;
        let bus = DBusProxy::new(&connection).await?;
        let mut owners = bus.receive_name_owner_changed_with_args(&[(0, SYSTEMD)]).await?;
        manager.subscribe().await?;
        // Beside the signals: nobody else takes them out of the connection while an answer is awaited.
        let mut listed = Some(Box::pin(manager.units()));
        let mut errands = Errands::<Looked>::new();
        let mut jobs = Errands::<Job>::new();
        let restarts = |about: String| {
            let manager = manager.clone();
            async move {
                let mut about = about.split(' ');
                let (job, name, run) = (about.next()?, about.next()?, about.next());
                let restarts = manager.restarts(job, name, run).await.unwrap_or(false);
                restarts.then(|| (name.to_owned(), run.map(str::to_owned)))
            }
        };
        let look = |name: String| {
            let manager = manager.clone();
            async move {
                let looked = manager.look(&name).await;
                (name, looked)
            }
        };
        loop {
            tokio::select! {
                signal = signals.next() => {
                    self.signal(&signal.ok_or(Failed::Closed)??, &mut errands, &mut jobs).await;
                }
                _ = owners.next() => return Err(Failed::Left),
                answer = super::ready(&mut listed) => {
                    listed = None;
                    self.listed(answer?, &mut errands).await;
                    self.was_up = true;
                    self.teller.up().await;
                }
                restarted = jobs.next(restarts) => {
                    if let Some((name, run)) = restarted {
                        self.restarting(name, run).await;
                    }
                }
                (name, looked) = errands.next(look) => self.looked(name, looked).await,
            }
        }
    }

    async fn signal(&mut self, signal: &Message, errands: &mut Errands<Looked>, jobs: &mut Errands<Job>) {
        let header = signal.header();
        let Some(member) = header.member() else {
            return;
        };
        let body = signal.body();
        match member.as_str() {
            // A job begins: what its unit was told before it runs. It is done: where it runs.
            "JobNew" => {
                if let Ok((_, job, name)) = body.deserialize::<(u32, ObjectPath<'_>, &str)>() {
                    if let Some(unit) = self.known.get(name) {
                        let run = unit
                            .invocation
                            .as_ref()
                            .map_or(String::new(), |run| format!(" {run}"));
                        jobs.push(format!("{job} {name}{run}"));
                    }
                    push(name, errands);
                }
            }
            "JobRemoved" => {
                let job = body.deserialize::<(u32, ObjectPath<'_>, &str, &str)>();
                if let Ok((_, _, name, _)) = job {
                    push(name, errands);
                }
            }
            "UnitRemoved" => {
                if let Ok((name, _)) = body.deserialize::<(&str, ObjectPath<'_>)>() {
                    self.gone(name).await;
                }
            }
            // It has read its files again: what it does with units may be another thing now.
            "Reloading" if body.deserialize::<bool>().is_ok_and(|begins| !begins) => {
                for name in self.known.keys() {
                    errands.push(name.clone());
                }
            }
            _ => {}
        }
    }

    /// What runs now. What is known and not listed has stopped, or was unloaded.
    async fn listed(&mut self, running: Vec<String>, errands: &mut Errands<Looked>) {
        let stopped: Vec<String> = self
            .known
            .keys()
            .filter(|name| !running.contains(name))
            .cloned()
            .collect();
        for name in stopped {
            self.gone(&name).await;
        }
        for name in running {
            push(&name, errands);
        }
    }

    async fn looked(&mut self, name: String, looked: Result<Option<Unit>, Failed>) {
        match looked {
            Ok(Some(mut unit)) => {
                let known = self.known.get(&name);
                unit.restarting =
                    known.is_some_and(|known| known.restarting && known.invocation == unit.invocation);
                self.described(name, unit).await;
            }
            // It has stopped, or has not started yet: what was said of it stays true.
            Ok(None) => {}
            Err(error) => tracing::debug!(name, %error, "a unit could not be read"),
        }
    }

    /// This run of a unit that is known is ended by a restart. The next one may be known already.
    async fn restarting(&mut self, name: String, run: Option<String>) {
        let Some(now) = self.known.get(&name).cloned() else {
            return;
        };
        let ended = Unit {
            restarting: true,
            invocation: run.or_else(|| now.invocation.clone()),
            ..now.clone()
        };
        let next = (ended.invocation != now.invocation).then_some(now);
        self.described(name.clone(), ended).await;
        if let Some(next) = next {
            self.described(name, next).await;
        }
    }

    async fn described(&mut self, name: String, unit: Unit) {
        match self.known.get(&name) {
            Some(known) if *known == unit => return,
            None if self.known.len() >= MOST => {
                if !std::mem::replace(&mut self.told_full, true) {
                    tracing::warn!(
                        most = MOST,
                        "too many units: the stop settings of further ones are unknown"
                    );
                }
                return;
            }
            // It moved to another slice.
            Some(known) if known.cgroup != unit.cgroup => self.gone(&name).await,
            _ => {}
        }
        self.known.insert(name, unit.clone());
        self.teller.described(Description::Unit(unit)).await;
    }

    async fn gone(&mut self, name: &str) {
        if let Some(unit) = self.known.remove(name) {
            self.teller.undescribed(Subject::Unit(unit.cgroup)).await;
        }
    }
}

/// Units that have processes of their own and stop settings.
fn push(name: &str, errands: &mut Errands<Looked>) {
    if unit::interface(name).is_some() {
        errands.push(name.to_owned());
    }
}
