//! Programs that tests start, the same whoever started the tests.

use std::{
    env,
    ffi::OsStr,
    fmt,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use nix::{
    sys::signal::{SigSet, SigmaskHow, Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::clock::{Clock, PATIENCE};

/// A command that starts `program` without settings of drainwatch in its environment, and with the default action for
/// every signal.
///
/// A program inherits which signals are ignored: `nohup` ignores SIGHUP, and a shell without job control ignores SIGINT
/// and SIGQUIT in what it starts with `&`. A server that is to end by such a signal would then go on. Only `sigaction`
/// changes that, which is unsafe here; `env` of coreutils (8.31 and later) does it, and becomes the program.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal").arg(program);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("DRAINWATCH_") {
            command.env_remove(name);
        }
    }
    command
}

/// The same for a program in namespaces of its own, which `unshare` makes with these arguments. It does not outlive the
/// caller's thread, however that ends.
pub fn unshared(arguments: &[&str]) -> Command {
    let mut command = command("setpriv");
    command
        .args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--propagation",
            "private",
        ])
        .args(arguments);
    command
}

/// Starts a command with no signal blocked.
pub fn spawn(command: &mut Command) -> anyhow::Result<Child> {
    let ours = SigSet::empty().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let child = command.spawn();
    ours.thread_set_mask()?;
    child.with_context(|| format!("cannot start {command:?}"))
}

/// The last 2 kB of a log.
pub fn tail(file: &Path) -> String {
    let text = fs::read(file).unwrap_or_default();
    String::from_utf8_lossy(&text[text.len().saturating_sub(2000)..]).into_owned()
}

/// A started program, whose standard output and error are in a file. Killed when dropped.
pub struct Process {
    child: Mutex<Child>,
    log: PathBuf,
    clock: Clock,
    /// Of the log, unless the caller gave a place for it.
    scratch: Option<TempDir>,
}

impl Process {
    /// Starts it.
    pub fn start(command: Command) -> anyhow::Result<Self> {
        let scratch = TempDir::new()?;
        let log = scratch.path().join("log");
        let mut process = Self::start_logging(command, &log, Clock::default())?;
        process.scratch = Some(scratch);
        Ok(process)
    }

    /// The same; what it says is left in the file `log`, and deadlines are those of `clock`.
    pub fn start_logging(mut command: Command, log: &Path, clock: Clock) -> anyhow::Result<Self> {
        let file = File::create(log).with_context(|| format!("cannot make {}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        Ok(Self {
            child: Mutex::new(spawn(&mut command)?),
            log: log.to_owned(),
            clock,
            scratch: None,
        })
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child
            .lock()
            .expect("no thread panics while it holds the process")
    }

    /// Its process; of a program that the command becomes, the same.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child().id().cast_signed())
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Fails when it has ended, with the end of what it said.
    pub fn check_alive(&self) -> anyhow::Result<()> {
        if let Some(status) = self.child().try_wait()? {
            bail!(
                "it ended ({status}), see {}: {}",
                self.log.display(),
                tail(&self.log)
            );
        }
        Ok(())
    }

    /// The first whole line with this in it, as soon as there is one; fails when the program ends without.
    pub fn line(&self, part: &str) -> anyhow::Result<String> {
        self.line_after(0, part)
    }

    /// The same, of the lines after the first `count` that have it.
    pub fn line_after(&self, count: usize, part: &str) -> anyhow::Result<String> {
        self.clock.find(&format!("a line with `{part}`"), PATIENCE, || {
            // Asked first: what it has said at its end is in the log then.
            let alive = self.check_alive();
            let found = self.lines(part).into_iter().nth(count);
            if found.is_none() {
                alive?;
            }
            Ok(found)
        })
    }

    /// The whole lines so far with this in them.
    pub fn lines(&self, part: &str) -> Vec<String> {
        let log = self.log();
        let whole = log
            .split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'));
        whole
            .filter(|line| line.contains(part))
            .map(str::to_owned)
            .collect()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill(self.pid(), signal).with_context(|| format!("cannot send {signal}"))
    }

    /// How it ended, once it has.
    pub fn wait(&self) -> anyhow::Result<ExitStatus> {
        self.clock
            .find("its end", PATIENCE, || Ok(self.child().try_wait()?))
            .with_context(|| format!("it said: {}", tail(&self.log)))
    }

    /// SIGTERM; how it ended, and how long that took.
    pub fn stop(&self) -> anyhow::Result<(ExitStatus, Duration)> {
        let began = Instant::now();
        self.signal(Signal::SIGTERM)?;
        Ok((self.wait()?, began.elapsed()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        if let Ok(child) = self.child.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({})", self.log.display())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Says to the test below that it is the one inside.
    const INSIDE: &str = "TESTKIT_INSIDE";
    /// How a program says which signals it ignores and which it blocks, and what is in its environment.
    const SAYS: &[&str] = &["cat", "/proc/self/status", "/proc/self/environ"];

    /// As `nohup` and `&` start a program, and more.
    fn ignoring_and_blocking() -> Command {
        let mut command = Command::new("env");
        command.args(["--ignore-signal=HUP,INT,QUIT", "--block-signal=TERM,USR1"]);
        command
    }

    /// Sets of ignored and of blocked signals, without 32 and 33: those are the C library's own, and it leaves them
    /// ignored in what it starts.
    fn signals(said: &str) -> [u64; 2] {
        let of = |name: &str| said.lines().find_map(|line| line.strip_prefix(name));
        ["SigIgn:", "SigBlk:"].map(|name| {
            let set = of(name).expect("the line of the signals").trim();
            u64::from_str_radix(set, 16).unwrap() & !(0b11 << 31)
        })
    }

    #[test]
    fn given_a_caller_that_ignores_and_blocks_signals_when_it_starts_a_program_then_that_does_neither() {
        if env::var_os(INSIDE).is_some() {
            let mut says = command(SAYS[0]);
            says.args(&SAYS[1..]);
            let process = Process::start(says).unwrap();
            assert!(process.wait().unwrap().success());
            let said = process.log();
            assert_eq!(signals(&said), [0, 0]);
            assert!(said.contains(INSIDE) && !said.contains("DRAINWATCH_"), "{said}");
            return;
        }
        let said = ignoring_and_blocking().args(SAYS).output().unwrap();
        for set in signals(&String::from_utf8_lossy(&said.stdout)) {
            assert_ne!(set, 0, "there is nothing to undo");
        }
        // This test once again, under such a caller.
        let name = thread::current().name().expect("a test has a name").to_owned();
        let inside = ignoring_and_blocking()
            .arg(env::current_exe().unwrap())
            .args(["--exact", &name])
            .env(INSIDE, "1")
            .env("DRAINWATCH_LOG_LEVEL", "warn")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&inside.stdout);
        assert!(inside.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    fn given_a_program_that_ends_when_a_line_is_waited_for_then_its_last_words_count_and_else_its_end_is_told()
     {
        let mut shell = command("sh");
        shell.args(["-c", "echo one; echo two >&2; exit 3"]);
        let process = Process::start(shell).unwrap();
        assert_eq!(process.line("two").unwrap(), "two");
        let error = process.line("three").unwrap_err().to_string();
        assert!(
            error.contains("exit status: 3") && error.contains("one\ntwo"),
            "{error}"
        );
    }

    #[test]
    fn given_no_such_program_when_started_then_its_end_says_so() {
        let process = Process::start(command("/nowhere/program")).unwrap();
        let error = process.line("anything").unwrap_err().to_string();
        assert!(error.contains("/nowhere/program"), "{error}");
    }
}
