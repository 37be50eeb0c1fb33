//! Shops that close while the agent comes and goes, and what their customers say.

use std::{
    fmt,
    io::Read as _,
    net::TcpStream,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::sys::signal::Signal;
use serde_json::Value;
use testkit::{
    Agent, Cgroup, Clock, PATIENCE, Process,
    demo::{Manners, Server},
    metrics,
};

use super::{
    FOR_EVER, log_of, moment,
    place::{self, BINARY, Place},
};

/// How long a report may take after its shutdown and the agent's start: the linger, and some.
const SOON: Duration = Duration::from_secs(20);

/// How long it may take to take in a long journal.
const LONG: Duration = Duration::from_mins(5);

/// Where chance comes from: the same seed, the same moments.
pub struct Dice {
    seed: u64,
    state: u64,
}

impl Dice {
    pub fn new(seed: Option<u64>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let seed = seed.unwrap_or_else(|| u64::try_from(now % 1_000_000_007).unwrap());
        Self {
            seed,
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A number below `most` (xorshift).
    pub fn below(&mut self, most: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % most.max(1)
    }

    pub fn up_to(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(most.as_micros()).unwrap()))
    }
}

/// A server with requests in flight.
pub struct Shop {
    // Before its cgroup, which waits for it.
    server: Server,
    cgroup: Cgroup,
    customers: Vec<TcpStream>,
}

impl Shop {
    /// One whose requests take this long, every other of them half answered at once.
    pub fn open(manners: Manners, customers: u64, wait_ms: u64) -> Self {
        let cgroup = Cgroup::unique("shop").unwrap();
        let server = Server::start(BINARY, manners, cgroup.directory()).unwrap();
        let customers = (0..customers)
            .map(|n| {
                server
                    .ask(&format!("/r/{n}?wait={wait_ms}&early={}", n % 2))
                    .unwrap()
            })
            .collect();
        Self {
            server,
            cgroup,
            customers,
        }
    }

    pub fn name(&self) -> &str {
        self.cgroup.name()
    }

    pub fn stop(&self, how: Signal) {
        self.server.signal(how).unwrap();
        self.server.wait().unwrap();
    }

    /// How many customers got their answer, and how many did not.
    fn served(&mut self) -> (u64, u64) {
        let (mut served, mut cut) = (0, 0);
        for customer in &mut self.customers {
            customer.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut answer = Vec::new();
            // A reset is an end like another.
            let _ = customer.read_to_end(&mut answer);
            if answer.ends_with(b"takes its time\n") {
                served += 1;
            } else {
                cut += 1;
            }
        }
        (served, cut)
    }
}

/// A server that accepts nobody, with clients in its queue.
pub struct Queue {
    process: Process,
    cgroup: Cgroup,
    _clients: Vec<TcpStream>,
}

impl Queue {
    pub fn open(clients: usize) -> Self {
        let cgroup = Cgroup::unique("queue").unwrap();
        let mut command = cgroup.command("python3");
        command.args([
            "-uc",
            "import socket,time\ns=socket.socket()\ns.bind(('127.0.0.1',0))\ns.listen(64)\nprint('at',s.getsockname()[1])\ntime.sleep(1000)",
        ]);
        let process = Process::start(command).unwrap();
        let line = process.line("at ").unwrap();
        let port: u16 = line.trim_start_matches("at ").trim().parse().unwrap();
        let clients = (0..clients).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap());
        Self {
            _clients: clients.collect(),
            process,
            cgroup,
        }
    }

    pub fn name(&self) -> &str {
        self.cgroup.name()
    }

    pub fn kill(&self) {
        self.process.signal(Signal::SIGKILL).unwrap();
        self.process.wait().unwrap();
    }
}

/// The shops of one round.
pub fn open(dice: &mut Dice) -> Vec<Shop> {
    // They outlast the moment of the stop, in a slow guest too.
    let slowly = Duration::from_millis(1500 + dice.below(1000));
    let slowly = Clock::default().stretch(slowly).as_millis();
    vec![
        Shop::open(Manners::Bad, 2 + dice.below(4), FOR_EVER),
        Shop::open(Manners::Good, 1 + dice.below(4), u64::try_from(slowly).unwrap()),
        Shop::open(Manners::Bad, 1 + dice.below(3), FOR_EVER),
    ]
}

/// Ends the agent and the shops at random moments, and gives the agent that comes next.
pub fn weather(dice: &mut Dice, place: &Place, agent: Agent, how: Signal, shops: &[Shop]) -> Agent {
    let most = Duration::from_secs(1);
    let ends = [Signal::SIGTERM, Signal::SIGTERM, Signal::SIGKILL];
    let mut closings: Vec<_> = shops
        .iter()
        .zip(ends)
        .map(|(shop, end)| (dice.up_to(most), shop, end))
        .collect();
    closings.sort_by_key(|(at, _, _)| *at);
    thread::scope(|scope| {
        for (at, shop, end) in closings {
            scope.spawn(move || {
                thread::sleep(at);
                shop.stop(end);
            });
        }
        moment(dice, most);
        place::end(agent, how);
        moment(dice, most);
        // Now and then the one that comes next is killed as it starts.
        if dice.below(4) == 0 {
            place.start_and_kill(dice.up_to(Duration::from_millis(2500)));
        }
        place.start()
    })
}

/// What clients said of all shops, by the shop's name: served, cut.
#[derive(Default)]
pub struct Tally {
    shops: Vec<(String, u64, u64)>,
}

impl Tally {
    pub fn add(&mut self, shops: Vec<Shop>) {
        for mut shop in shops {
            let (served, cut) = shop.served();
            self.shops.push((shop.name().to_owned(), served, cut));
        }
    }

    /// How many of their requests the metrics call severed.
    pub fn counted(&self, exposed: &str) -> u64 {
        let of_shops = metrics::series(exposed).into_iter().filter(|series| {
            let workload = series.labels.get("workload");
            let workload = workload.map_or("", |name| name.trim_start_matches('/'));
            series.name == "drainwatch_severed_requests_total"
                && self.shops.iter().any(|(name, _, _)| name == workload)
        });
        // Counts of a few shops.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "small whole numbers"
        )]
        of_shops.map(|series| series.value as u64).sum()
    }

    /// Each shop has one report, which says the same.
    pub fn compare(&self, agent: &Agent) {
        let mut wrong = Vec::new();
        // Elsewhere on this machine something may be under way all the time, so that the journal is long.
        let ready = Clock::default().find("the agent to go on", LONG, || Ok(agent.get("/readyz").ok()));
        ready.unwrap();
        for (name, served, cut) in &self.shops {
            let ended = Clock::default().find("a report that has ended", SOON, || {
                let reports = agent.reports_named(name)?;
                let ended = !reports.is_empty() && reports.iter().all(|report| !report["ended_at"].is_null());
                Ok(ended.then_some(reports))
            });
            let reports = ended.or_else(|_| agent.reports_named(name)).unwrap();
            if reports.len() != 1 {
                wrong.push(format!("{name}: {} reports", reports.len()));
            }
            for report in &reports {
                if let Some(difference) = difference(report, *served, *cut) {
                    wrong.push(format!("{name}: {difference}: {report}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), log_of(agent));
    }
}

fn difference(report: &Value, served: u64, cut: u64) -> Option<String> {
    let requests = &report["requests"];
    let number = |key: &str| requests[key].as_u64().unwrap_or_default();
    let listed = report["severed_requests"].as_array()?;
    let exact = listed
        .iter()
        .filter(|request| request["evidence"] == "exact")
        .count() as u64;
    let verdict = if cut > 0 { "severed" } else { "clean" };
    [
        (number("severed") != cut, format!("{cut} were cut")),
        (exact != cut, format!("{exact} of {cut} are exact")),
        (number("drained") != served, format!("{served} were served")),
        (
            number("unknown") + number("aborted") != 0,
            "all were seen".to_owned(),
        ),
        (report["ended_at"].is_null(), "it has ended".to_owned()),
        (report["verdict"] != verdict, format!("the verdict is {verdict}")),
        (report["events_lost"] != 0, "events were lost".to_owned()),
    ]
    .into_iter()
    .find_map(|(wrong, says)| wrong.then_some(says))
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |of: fn(&(String, u64, u64)) -> u64| self.shops.iter().map(of).sum::<u64>();
        write!(
            f,
            "{} shutdowns, {} requests served, {} cut: 0 lost, 0 invented, 0 falsely clean",
            self.shops.len(),
            sum(|shop| shop.1),
            sum(|shop| shop.2)
        )
    }
}
