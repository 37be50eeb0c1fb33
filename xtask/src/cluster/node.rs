//! The node: brought up and taken down by a script that outlives us, driven by kubectl.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::shell;

/// Where its scripts and its images' sources are.
pub fn sources() -> PathBuf {
    shell::root().join("xtask/src/cluster")
}

/// A running node. Taken down when dropped; when this process dies, too.
pub struct Node {
    script: Child,
    talk: Mutex<Talk>,
    cache: PathBuf,
    run: PathBuf,
}

/// The script's ends of pipes.
struct Talk {
    /// Closed to end the node.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Node {
    /// Brings it up, with nothing left of an earlier one.
    pub fn start(cache: &Path) -> Result<Self> {
        let run = cache.join("run");
        if run.exists() {
            fs::remove_dir_all(&run).with_context(|| format!("removing {}", run.display()))?;
        }
        fs::create_dir_all(&run).with_context(|| format!("creating {}", run.display()))?;
        // A shell reads its script while it runs it: ours may be edited meanwhile.
        let script = run.join("node.sh");
        fs::copy(sources().join("node.sh"), &script)
            .with_context(|| format!("writing {}", script.display()))?;
        let mut command = Command::new("setsid");
        command
            .args(["unshare", "-n", "-m", "--propagation", "private", "bash"])
            .args([&script, cache, &run])
            .arg(std::process::id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut script = command
            .spawn()
            .with_context(|| format!("cannot start {}", shell::line(&command)))?;
        let input = script.stdin.take();
        let output = script.stdout.take().context("the script's stdout is piped")?;
        let node = Self {
            script,
            talk: Mutex::new(Talk {
                input,
                output: BufReader::new(output),
            }),
            cache: cache.to_owned(),
            run,
        };
        node.expect("ready")
            .with_context(|| format!("its logs are in {}", node.run.join("log").display()))?;
        Ok(node)
    }

    /// The next line that the script says.
    fn expect(&self, what: &str) -> Result<()> {
        let mut talk = self.talk.lock().expect("nobody panics with this lock");
        let mut line = String::new();
        talk.output
            .read_line(&mut line)
            .context("reading from the node")?;
        ensure!(line.trim() == what, "the node did not say {what:?}: {line:?}");
        Ok(())
    }

    /// Ends a component and starts it again.
    pub fn restart(&self, component: &str) -> Result<()> {
        {
            let mut talk = self.talk.lock().expect("nobody panics with this lock");
            let input = talk.input.as_mut().context("the node is being taken down")?;
            writeln!(input, "restart {component}").context("telling the node")?;
        }
        self.expect(&format!("done {component}"))
    }

    /// `kubectl` with these arguments.
    pub fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.cache.join("bin/kubectl"));
        command
            .arg("--kubeconfig")
            .arg(self.run.join("kubeconfig"))
            .arg("--cache-dir")
            .arg(self.run.join("kubectl"))
            .args(arguments);
        command
    }

    /// What kubectl says.
    pub fn ask(&self, arguments: &[&str]) -> Result<String> {
        shell::output(&mut self.kubectl(arguments))
    }

    /// What kubectl says, as JSON.
    pub fn get(&self, arguments: &[&str]) -> Result<Value> {
        let all: Vec<&str> = ["get", "--output=json"]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        let text = self.ask(&all)?;
        serde_json::from_str(&text).context("kubectl's answer")
    }

    /// `kubectl apply` of objects.
    pub fn apply(&self, objects: &[Value]) -> Result<()> {
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
        self.feed(&["apply", "--filename=-"], &list)
    }

    /// kubectl with an object on its stdin.
    pub fn feed(&self, arguments: &[&str], object: &Value) -> Result<()> {
        let mut command = self.kubectl(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", shell::line(&command)))?;
        let mut input = child.stdin.take().context("kubectl's stdin is piped")?;
        input
            .write_all(object.to_string().as_bytes())
            .context("telling kubectl")?;
        drop(input);
        let output = child.wait_with_output().context("waiting for kubectl")?;
        if !output.status.success() {
            bail!(
                "{}: {}",
                shell::line(&command),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }

    /// A program of the cache in the network where clients live, on another node as it were.
    pub fn among_clients(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/root/run/netns/clients", self.script.id()))
            .arg(self.cache.join(program));
        command
    }

    /// A program of the cache outside of the cluster: kube-proxy disguises it as the node.
    pub fn outside(&self, program: &str) -> Command {
        Command::new(self.cache.join(program))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Ok(mut talk) = self.talk.lock() {
            talk.input = None;
        }
        if let Err(error) = self.script.wait() {
            eprintln!("waiting for the node's end: {error}");
        }
    }
}

/// Polls until there is something.
pub fn wait_for<T>(what: &str, patience: Duration, mut poll: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        // The API server may be away for a moment.
        let answer = poll();
        if let Ok(Some(found)) = answer {
            return Ok(found);
        }
        if begun.elapsed() > patience {
            match answer {
                Err(error) => return Err(error.context(format!("waited {patience:.0?} in vain for {what}"))),
                Ok(_) => bail!("waited {patience:.0?} in vain for {what}"),
            }
        }
        thread::sleep(Duration::from_millis(500));
    }
}
