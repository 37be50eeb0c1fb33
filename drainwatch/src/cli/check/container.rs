//! The service that is checked, where it is an image: a container that Docker or Podman starts by its command line, which
//! knows where its daemon is, and whether there is one.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    net::IpAddr,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use drainwatch_core::{
    description::{self, MOST_ADDRESSES, Origin},
    workload::text::{clean, shown_name},
};
use procfs::process::Process;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::cli::{
    args::{CheckArgs, Engine, StopSignal},
    failure::Failure,
};

/// How long the output of a container that has ended may take.
const SAID_WITHIN: Duration = Duration::from_secs(2);

impl Engine {
    /// Its program, which is its name too.
    fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }

    /// Its command line. Ctrl-C ends what it does, too.
    fn command<S: AsRef<std::ffi::OsStr>>(self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(self.program());
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Whether it has this image; else why not, and what to do.
    fn has(self, image: &str) -> Result<(), String> {
        let program = self.program();
        match self
            .command(["image", "inspect", "--format", "{{.Id}}", image])
            .output()
        {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let said = complaint(&output);
                let lower = said.to_lowercase();
                if ["no such image", "image not known", "failed to find image"]
                    .iter()
                    .any(|words| lower.contains(words))
                {
                    Err(format!(
                        "{program} has no image `{image}` (build it, or `{program} pull` it)"
                    ))
                } else {
                    Err(format!("{program}: {said}"))
                }
            }
            Err(why) if why.kind() == io::ErrorKind::NotFound => Err(format!("{program} is not installed")),
            Err(why) => Err(format!("{program} cannot be run: {why}")),
        }
    }

    /// The one that was asked for, or the first that has the image.
    fn find(wanted: Option<Self>, image: &str) -> Result<Self, Failure> {
        let both = [Self::Docker, Self::Podman];
        let asked = wanted.as_ref().map_or(&both[..], std::slice::from_ref);
        let mut whys = Vec::new();
        for &engine in asked {
            match engine.has(image) {
                Ok(()) => return Ok(engine),
                Err(why) => whys.push(why),
            }
        }
        Err(Failure::unavailable(format!(
            "no container can be started: {}",
            whys.join("; ")
        )))
    }
}

/// What an engine complained of, in one line.
fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines()
        .find(|line| line.to_lowercase().contains("error"))
        .or_else(|| lines().next());
    line.map_or_else(|| output.status.to_string(), clean)
}

/// What engines tell of a container, as far as it is asked for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    state: State,
    #[serde(default)]
    config: Config,
    #[serde(default)]
    network_settings: NetworkSettings,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    pid: i32,
    #[serde(default)]
    exit_code: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    /// A name, or a number (Podman before 5.0).
    #[serde(default)]
    stop_signal: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    #[serde(default, deserialize_with = "or_none")]
    networks: BTreeMap<String, Network>,
}

#[derive(Debug, Deserialize)]
struct Network {
    #[serde(rename = "IPAddress", default)]
    v4: String,
    #[serde(rename = "GlobalIPv6Address", default)]
    v6: String,
}

/// `null` where there is none.
fn or_none<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Network>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Inspected {
    /// Reads what `container inspect` prints: a list of one.
    fn read(json: &[u8]) -> Result<Self, String> {
        let mut all: Vec<Self> = serde_json::from_slice(json).map_err(|why| why.to_string())?;
        all.pop().ok_or_else(|| "nothing".to_owned())
    }

    /// The stop signal that it asks for, else SIGTERM.
    fn stop_signal(&self) -> Result<StopSignal, Failure> {
        let text = match &self.config.stop_signal {
            Value::String(name) if !name.is_empty() => name.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Ok(StopSignal::TERM),
        };
        text.parse().map_err(|why| {
            Failure::unavailable(format!(
                "its image's stop signal cannot be used: {why}, with --stop-signal"
            ))
        })
    }

    /// Its addresses, those of version 4 first.
    fn addresses(&self) -> Vec<IpAddr> {
        let networks = || self.network_settings.networks.values();
        let all = networks()
            .map(|network| &network.v4)
            .chain(networks().map(|network| &network.v6));
        all.filter_map(|address| address.parse().ok())
            .take(MOST_ADDRESSES)
            .collect()
    }
}

/// Stops and removes the container with its volumes when dropped.
struct Removed {
    engine: Engine,
    name: String,
}

impl Drop for Removed {
    fn drop(&mut self) {
        let mut line = vec!["rm", "--force", "--volumes"];
        // Docker does not wait for it.
        if self.engine == Engine::Podman {
            line.extend(["--time", "0"]);
        }
        line.push(&self.name);
        let _ = self
            .engine
            .command(line)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// What it prints goes to standard error, until this is dropped.
struct Said(Child);

impl Drop for Said {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A container that runs.
pub struct Container {
    said: Option<Said>,
    engine: Engine,
    inspected: Inspected,
    stop_signal: StopSignal,
    main: Process,
    cgroup: String,
    own_network: bool,
    removed: Removed,
}

impl Container {
    /// Starts the image. Takes as long as the engine takes.
    pub fn start(args: &CheckArgs, image: &str) -> Result<Self, Failure> {
        let engine = Engine::find(args.engine, image)?;
        let name = format!("drainwatch-check-{}", std::process::id());
        let line = ["run", "--detach", "--name", &name]
            .map(OsString::from)
            .into_iter()
            .chain(args.run_option.iter().map(OsString::from))
            .chain([OsString::from(image)])
            .chain(args.command.iter().cloned());
        let removed = Removed { engine, name };
        let output = output(engine, line)?;
        if !output.status.success() {
            return Err(Failure::unavailable(format!(
                "{} did not start `{image}`: {}",
                engine.program(),
                complaint(&output)
            )));
        }
        let mut said = said(engine, &removed.name);
        let inspected = inspect(engine, &removed.name)?;
        let Some(main) = Process::new(inspected.state.pid)
            .ok()
            .filter(|_| inspected.state.pid > 0)
        else {
            return Err(ended(&inspect(engine, &removed.name)?, &mut said));
        };
        let stop_signal = match args.stop_signal {
            Some(signal) => signal,
            None => inspected.stop_signal()?,
        };
        let Some(cgroup) = cgroup_of(&main, &inspected.id) else {
            // It may have ended in between, and then it is in no cgroup.
            let now = inspect(engine, &removed.name)?;
            if now.state.pid <= 0 {
                return Err(ended(&now, &mut said));
            }
            return Err(Failure::unavailable(format!(
                "the container's processes cannot be watched: {} runs them on another machine, or in cgroups of version 1; \
                 it has to run here, with cgroup v2",
                engine.program()
            )));
        };
        let own_network = net_of("self") != net_of(&inspected.state.pid.to_string());
        Ok(Self {
            said,
            engine,
            inspected,
            stop_signal,
            main,
            cgroup,
            own_network,
            removed,
        })
    }

    /// Its main process.
    pub fn pid(&self) -> i32 {
        self.inspected.state.pid
    }

    /// Its cgroup, below the unified root.
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// What stops it: its own stop signal, unless another was asked for.
    pub fn stop_signal(&self) -> StopSignal {
        self.stop_signal
    }

    /// Its main process is there.
    pub fn is_alive(&self) -> bool {
        self.main
            .stat()
            .is_ok_and(|stat| !matches!(stat.state, 'Z' | 'X'))
    }

    /// It has ended, although nobody stopped it.
    pub fn ended(&mut self) -> Failure {
        match inspect(self.engine, &self.removed.name) {
            Ok(now) => ended(&now, &mut self.said),
            Err(failure) => failure,
        }
    }

    /// Where a client of this machine reaches what listens at this address in the container; `None` where nobody outside
    /// does.
    pub fn outside(&self, listener: IpAddr) -> Option<IpAddr> {
        if listener.is_loopback() {
            None
        } else if listener.is_unspecified() {
            // Who listens at every address of version 6 takes those of version 4, too, unless it asks not to.
            self.inspected.addresses().first().copied()
        } else {
            Some(listener)
        }
    }

    /// It has a network of its own.
    pub fn own_network(&self) -> bool {
        self.own_network
    }

    /// It for the agent, by the name of its image: that of the container says nothing.
    pub fn description(&self, image: &str, grace: Duration) -> description::Container {
        description::Container {
            origin: if self.cgroup.contains("libpod") {
                Origin::Podman
            } else {
                Origin::Docker
            },
            id: self.inspected.id.clone(),
            name: shown_name(image),
            image: Some(shown_name(image)),
            project: None,
            service: None,
            stop_signal: Some(self.stop_signal.number()),
            grace_seconds: Some(grace.as_secs_f64()),
            revision: None,
            restarted_ms: None,
            addresses: self.inspected.addresses(),
        }
    }
}

fn output(engine: Engine, line: impl IntoIterator<Item = OsString>) -> Result<Output, Failure> {
    engine
        .command(line)
        .output()
        .map_err(|why| Failure::unavailable(format!("{} cannot be run: {why}", engine.program())))
}

fn inspect(engine: Engine, name: &str) -> Result<Inspected, Failure> {
    let output = output(engine, ["container", "inspect", name].map(OsString::from))?;
    let program = engine.program();
    if !output.status.success() {
        let said = complaint(&output);
        return Err(Failure::unavailable(format!(
            "{program} does not tell of its container: {said}; --rm and --name are no options for --run-option"
        )));
    }
    Inspected::read(&output.stdout).map_err(|why| {
        Failure::unavailable(format!(
            "{program} tells of its container what nobody reads: {why}"
        ))
    })
}

/// Passes on what it prints; nothing is lost but that where it cannot be done.
fn said(engine: Engine, name: &str) -> Option<Said> {
    let out = io::stderr().as_fd().try_clone_to_owned().ok()?;
    let logs = engine
        .command(["logs", "--follow", name])
        .stdout(Stdio::from(out))
        .spawn();
    logs.ok().map(Said)
}

fn ended(inspected: &Inspected, said: &mut Option<Said>) -> Failure {
    // What it printed ends with it.
    let deadline = Instant::now() + SAID_WITHIN;
    while let Some(Said(logs)) = said
        && matches!(logs.try_wait(), Ok(None))
        && Instant::now() < deadline
    {
        thread::sleep(Duration::from_millis(10));
    }
    Failure::unavailable(format!(
        "the container ended by itself (exit code {}) before it was stopped; its output is above",
        inspected.state.exit_code
    ))
}

/// The cgroup of the container, of which that of its main process may be a part.
fn cgroup_of(main: &Process, id: &str) -> Option<String> {
    let groups = main.cgroups().ok()?;
    let unified = groups.into_iter().find(|group| group.hierarchy == 0)?;
    let mut cgroup = PathBuf::new();
    for part in Path::new(&unified.pathname).components() {
        cgroup.push(part);
        if part.as_os_str().to_string_lossy().contains(id) {
            return Some(cgroup.to_string_lossy().into_owned());
        }
    }
    None
}

fn net_of(process: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{process}/ns/net")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_what_docker_and_podman_tell_when_read_then_both_are_understood() {
        let docker =
            br#"[{"Id": "0a", "State": {"Pid": 7, "ExitCode": 0}, "Config": {"StopSignal": "SIGQUIT"},
            "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "172.17.0.2", "GlobalIPv6Address": ""},
                                             "six": {"IPAddress": "", "GlobalIPv6Address": "fd00::2"}}}}]"#;
        let read = Inspected::read(docker).unwrap();
        assert_eq!(read.stop_signal().unwrap().to_string(), "SIGQUIT");
        assert_eq!(
            read.addresses(),
            [
                "172.17.0.2".parse::<IpAddr>().unwrap(),
                "fd00::2".parse().unwrap()
            ]
        );
        let podman = br#"[{"Id": "0a", "State": {"Pid": 0, "ExitCode": 3}, "Config": {"StopSignal": 10},
            "NetworkSettings": {"Networks": null}}]"#;
        let read = Inspected::read(podman).unwrap();
        assert_eq!(read.stop_signal().unwrap().to_string(), "SIGUSR1");
        assert_eq!(read.addresses(), [] as [IpAddr; 0]);
        let plain = br#"[{"Id": "0a", "State": {"Pid": 1}}]"#;
        let read = Inspected::read(plain).unwrap();
        assert_eq!(read.stop_signal(), Ok(StopSignal::TERM));
        for bad in [&b"[]"[..], b"{}", b"", b"[{}]"] {
            assert!(Inspected::read(bad).is_err());
        }
    }

    #[test]
    fn given_an_image_whose_stop_signal_is_none_when_read_then_the_flag_is_named() {
        for bad in ["SIGKILL", "SIGNONE"] {
            let json =
                format!(r#"[{{"Id": "0a", "State": {{"Pid": 1}}, "Config": {{"StopSignal": "{bad}"}}}}]"#);
            let read = Inspected::read(json.as_bytes()).unwrap();
            let why = read.stop_signal().unwrap_err().message;
            assert!(why.contains("--stop-signal"), "{why}");
        }
    }
}
