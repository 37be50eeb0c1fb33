//! The README's pictures: of the page in both themes, and of a report in a terminal.

use std::{fs, path::Path, process::Command, thread, time::Duration};

use anstyle::RgbColor;
use anstyle_svg::{Term, WIN10_CONSOLE};
use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;
use testkit::Clock;

use super::{Stage, id, stop};
use crate::{
    alerts::service::{Request, Service},
    home::Home,
    table::Server,
};

/// What a README may weigh.
const MOST_BYTES: u64 = 200_000;
/// Columns of the terminal.
const COLUMNS: u32 = 104;
/// What is waited between two moments, so that the picture shows them apart.
const BEAT: Duration = Duration::from_millis(180);
/// An answer that no socket's buffers hold.
const LARGE: u32 = 24 << 20;

/// Writes all of them into `to`, or none.
pub fn take(to: &Path, binary: &Path, out: &Path, clock: Clock) -> anyhow::Result<()> {
    let taken = out.join("pictures");
    fs::create_dir_all(&taken)?;
    fs::create_dir_all(to)?;
    let stage = Stage::start(binary, out, "UTC", clock)?;
    let scene = stage.play()?;
    let shown = &scene.shown;
    for theme in ["light", "dark"] {
        stage.browser.prefer(theme)?;
        stage.browser.resize(1200, 760)?;
        stage.open("")?;
        stage
            .browser
            .until("document.querySelectorAll('tbody tr').length > 0")?;
        ensure!(
            stage.count("tbody tr")? == scene.cgroups.len() as u64,
            "others on this machine had shutdowns meanwhile, and the picture would show them: try again"
        );
        stage.browser.picture(&taken.join(format!("page-{theme}.png")))?;
        stage.browser.resize(1200, 1230)?;
        stage.open_one(shown)?;
        stage
            .browser
            .picture(&taken.join(format!("shutdown-{theme}.png")))?;
    }
    let terminal = terminal(binary, stage.agent()?.address(), shown)?;
    fs::write(taken.join("report.svg"), drawn(&terminal))?;
    let files: Vec<_> = fs::read_dir(&taken)?.collect::<Result<_, _>>()?;
    for file in &files {
        let bytes = file.metadata()?.len();
        ensure!(bytes < MOST_BYTES, "{} has {bytes} bytes", file.path().display());
    }
    for file in files {
        fs::copy(file.path(), to.join(file.file_name()))?;
        println!("{}", to.join(file.file_name()).display());
    }
    Ok(())
}

/// What must live until the pictures are taken: dropping it ends its processes.
struct Scene {
    /// Id of the most telling shutdown.
    shown: String,
    cgroups: Vec<Home>,
    _under_way: (Service, Request),
}

impl Stage {
    fn unit(&self, name: &str) -> anyhow::Result<Home> {
        Home::create(&self.root, &format!("{name}.service"))
    }

    /// Shutdowns as a node has them on a bad day.
    fn play(&self) -> anyhow::Result<Scene> {
        let mut cgroups = vec![];
        for (name, on_term, requests) in [
            ("search", "drain", 5),
            ("frontend", "drain", 9),
            ("billing", "exit", 3),
        ] {
            let cgroup = self.unit(name)?;
            let mut service = self.serve(name, &cgroup, Server::Hyper(on_term))?;
            let mut open = vec![];
            for n in 0..requests {
                open.push(service.get(&format!("/v1/{name}/{n}?do=hang"))?);
                service.until_said(&format!("got /v1/{name}/{n}"))?;
            }
            service.signal(Signal::SIGTERM)?;
            service.until_said("stopping")?;
            service.release()?;
            service.wait()?;
            cgroups.push(cgroup);
        }

        let payments = self.unit("payments")?;
        let mut service = self.serve("payments", &payments, Server::Hyper("default"))?;
        let mut open = vec![service.deliver("part")?, service.deliver("hang")?];
        open[0].read_begun()?;
        open.push(service.get("/charges/4711?do=hang")?);
        service.until_said("got /charges/4711")?;
        stop(&mut service)?;
        cgroups.push(payments);

        let checkout = self.unit("checkout")?;
        self.killed_mid_drain(&checkout)?;
        let shown = id(&self.report(&checkout)?)?;
        cgroups.push(checkout);

        let notifier = self.unit("notifier")?;
        let service = self.serve("notifier", &notifier, Server::Hyper("drain"))?;
        let hanging = service.get("/send?do=hang")?;
        service.until_said("got /send")?;
        service.signal(Signal::SIGTERM)?;
        service.until_said("stopping")?;
        cgroups.push(notifier);
        Ok(Scene {
            shown,
            cgroups,
            _under_way: (service, hanging),
        })
    }

    /// Answers that their clients take one after the other, until SIGKILL cuts the rest.
    fn killed_mid_drain(&self, cgroup: &Home) -> anyhow::Result<()> {
        let mut service = self.serve("checkout", cgroup, Server::Hyper("drain"))?;
        let mut slow = vec![];
        for n in 0..8 {
            let path = format!("/cart/{}/receipt", 1201 + 37 * n);
            slow.push(service.get(&format!("{path}?do=big&n={LARGE}"))?);
            service.until_said(&format!("got {path}"))?;
            thread::sleep(BEAT / 2);
        }
        let mut webhook = service.deliver("part")?;
        webhook.read_begun()?;
        let mut hanging = vec![];
        for path in ["/cart/1301/pay", "/cart/1338/pay"] {
            hanging.push(service.get(&format!("{path}?do=hang"))?);
            service.until_said(&format!("got {path}"))?;
        }
        service.signal(Signal::SIGTERM)?;
        service.until_said("stopping")?;
        for (n, request) in slow.iter_mut().take(5).enumerate() {
            thread::sleep(BEAT);
            request.read_all()?;
            if n == 1 {
                // A load balancer that has not heard yet.
                ensure!(service.get("/cart/1400").is_err(), "the listener is open still");
            }
        }
        thread::sleep(BEAT * 2);
        service.signal(Signal::SIGKILL)?;
        service.wait()
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

/// On the ground of the page's dark theme.
fn drawn(text: &str) -> String {
    Term::new()
        .palette(WIN10_CONSOLE)
        .bg_color(RgbColor(0x0f, 0x13, 0x17).into())
        .fg_color(RgbColor(0xd4, 0xd9, 0xde).into())
        .render_svg(text)
}
