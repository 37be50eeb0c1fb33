//! The README's pictures: of the page in both themes, and of a report in a terminal.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;

use super::{Stage, id, stop};
use crate::{cgroup::Cgroup, clock::Clock, table::Server};

/// What a README may weigh.
const MOST_BYTES: u64 = 200_000;
/// Columns of the terminal.
const COLUMNS: u32 = 104;

/// Writes all of them into `to`.
pub fn take(to: &Path, binary: &Path, out: &Path, clock: Clock) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    let stage = Stage::start(binary, out, clock)?;
    let shown = stage.play()?;
    stage.browser.resize(1200, 760)?;
    for theme in ["light", "dark"] {
        stage.browser.prefer(theme)?;
        stage.open("")?;
        stage
            .browser
            .until("document.querySelectorAll('tbody tr').length >= 5")?;
        stage.browser.picture(&to.join(format!("page-{theme}.png")))?;
        stage.open_one(&shown)?;
        stage.browser.picture(&to.join(format!("shutdown-{theme}.png")))?;
    }
    let terminal = terminal(binary, stage.agent()?.address(), &shown)?;
    fs::write(to.join("report.svg"), drawn(&terminal))?;
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        let bytes = entry.metadata()?.len();
        println!("{} {bytes} bytes", entry.path().display());
        ensure!(bytes < MOST_BYTES, "{} is too large", entry.path().display());
    }
    Ok(())
}

impl Stage {
    fn unit(&self, name: &str) -> anyhow::Result<Cgroup> {
        Cgroup::create(&self.root, &format!("{name}.service"), self.clock)
    }

    /// Shutdowns as a node has them on a bad day; the id of the most telling one.
    fn play(&self) -> anyhow::Result<String> {
        let mut kept = vec![];
        for (name, server, requests) in [
            ("search", "drain", 5),
            ("frontend", "drain", 9),
            ("billing", "exit", 3),
        ] {
            let cgroup = self.unit(name)?;
            let mut service = self.serve(name, &cgroup, Server::Hyper(server))?;
            let mut open = vec![];
            for n in 0..requests {
                open.push(service.get(&format!("/v1/{name}/{n}?do=hang"))?);
                service.until_said(&format!("got /v1/{name}/{n}"))?;
            }
            service.signal(Signal::SIGTERM)?;
            service.until_said("stopping")?;
            service.release()?;
            service.wait()?;
            kept.push((cgroup, open));
        }

        let payments = self.unit("payments")?;
        let mut service = self.serve("payments", &payments, Server::Hyper("default"))?;
        let mut open = vec![service.deliver("part")?, service.deliver("hang")?];
        open[0].read_begun()?;
        open.push(service.get("/charges/4711?do=hang")?);
        service.until_said("got /charges/4711")?;
        stop(&mut service)?;

        let shown = self.checkout()?;
        let under_way = self.unit("notifier")?;
        let service = self.serve("notifier", &under_way, Server::Hyper("drain"))?;
        let hanging = service.get("/send?do=hang")?;
        service.until_said("got /send")?;
        service.signal(Signal::SIGTERM)?;
        self.report(&payments)?;
        // Until the pictures are taken the harness holds them open.
        std::mem::forget((under_way, service, hanging, kept, payments, open));
        Ok(shown)
    }

    /// A drain that is under way when SIGKILL comes.
    fn checkout(&self) -> anyhow::Result<String> {
        let cgroup = self.unit("checkout")?;
        let mut service = self.serve("checkout", &cgroup, Server::Hyper("drain"))?;
        let mut early = vec![];
        for n in 0..7 {
            early.push(service.get(&format!("/cart/{}?do=part", 100 + 17 * n))?);
            service.until_said(&format!("got /cart/{}", 100 + 17 * n))?;
        }
        service.signal(Signal::SIGTERM)?;
        service.until_said("stopping")?;
        std::thread::sleep(Duration::from_millis(400));
        service.release()?;
        service.wait()?;
        id(&self.report(&cgroup)?)
    }
}

/// What `drainwatch show` prints to a terminal.
fn terminal(binary: &Path, agent: &str, id: &str) -> anyhow::Result<String> {
    let command = format!(
        "stty cols {COLUMNS} rows 60; exec {} show --url http://{agent} {id}",
        binary.display()
    );
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR")
        .output()
        .context("cannot start script (util-linux)")?;
    ensure!(output.status.success(), "drainwatch show: {output:?}");
    Ok(String::from_utf8(output.stdout)?.replace("\r\n", "\n"))
}

fn drawn(text: &str) -> String {
    anstyle_svg::Term::new().render_svg(text)
}
