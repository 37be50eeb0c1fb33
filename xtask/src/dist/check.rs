//! What is in `target/packages`, installed, run and removed: packages on a Debian of their own, the image with Podman and
//! with containerd.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::machine::{Booted, Machine};
use super::{REPOSITORY, VERSION, architecture, debian_architecture, directory, image};
use crate::shell;
use crate::test::Tally;

/// Tries everything, and says how it went.
pub fn run() -> Result<()> {
    let packages = directory();
    ensure!(
        packages.join("SHA256SUMS").exists(),
        "nothing is in {}: run `cargo xtask dist` first",
        packages.display()
    );
    let mut tally = Tally::default();
    tally.note("hashes", hashes(&packages));
    tally.note("Debian's package", deb(&packages));
    tally.note("Fedora's package", rpm(&packages));
    tally.note("image, Podman", podman(&packages));
    tally.note("image, containerd", containerd(&packages));
    println!("{tally}");
    ensure!(tally.failed == 0, "the release is not fit to be published");
    Ok(())
}

fn hashes(packages: &Path) -> Result<()> {
    let mut check = Command::new("sha256sum");
    check
        .args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(packages);
    shell::output(&mut check).map(drop)
}

/// Where dpkg, rpm, man-db, ldconfig and the journal write for themselves, whatever is installed. The user stays.
const OTHERS: &[&str] = &[
    "/etc/group",
    "/etc/gshadow",
    "/etc/machine-id",
    "/etc/passwd",
    "/etc/shadow",
    "/etc/.pwd.lock",
    "/etc/.updated",
    "/root/.",
    "/tmp",
    "/var/.updated",
    "/var/cache/",
    "/var/lib/dpkg/",
    "/var/lib/rpm/",
    "/var/lib/systemd/",
    "/var/log/",
    "/var/tmp",
];

/// Directories that Fedora's own packages own and this Debian lacks.
const FEDORAS: &[&str] = &[
    "/usr/share/fish",
    "/usr/share/fish/vendor_completions.d",
    "/usr/share/licenses",
    "/usr/share/zsh/site-functions",
];

fn nothing_left(machine: &Machine, directories: &[&str]) -> Result<()> {
    let mut left = machine.changed()?;
    left.retain(|path| {
        !OTHERS.iter().any(|other| path.starts_with(other)) && !directories.contains(&path.as_str())
    });
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

/// What holds wherever it is installed.
fn installed(machine: &Machine) -> Result<()> {
    let version = machine.run("drainwatch --version")?;
    ensure!(
        version.trim() == format!("drainwatch {VERSION}"),
        "it is {version}"
    );
    let page = machine.run("MANPAGER=cat man drainwatch-run")?;
    ensure!(page.contains("--state-dir"), "its manual says: {page}");
    machine.run("man --where drainwatch drainwatch-shutdowns drainwatch-check")?;
    let completes = "bash -c '. /usr/share/bash-completion/bash_completion; _completion_loader drainwatch || true; \
                     complete -p drainwatch'";
    machine.run(completes).context("bash does not complete it")?;
    machine.run("test -s /usr/share/zsh/site-functions/_drainwatch")?;
    machine.run("test -s /usr/share/fish/vendor_completions.d/drainwatch.fish")?;
    machine.run("drainwatch check-config /usr/share/doc/drainwatch/examples/drainwatch.toml")?;
    let verified = machine.run("systemd-analyze verify --man=no drainwatch.service 2>&1")?;
    ensure!(!verified.contains("drainwatch"), "systemd says: {verified}");
    let enabled = machine.run("systemctl is-enabled drainwatch.service || true")?;
    ensure!(enabled.trim() == "disabled", "the unit is {enabled}");
    machine
        .run("getent passwd drainwatch")
        .context("its user is not there")?;
    // It exits with another status where the kernel does not do.
    machine.run("drainwatch doctor --pin-dir off").context("doctor")?;
    Ok(())
}

fn deb(packages: &Path) -> Result<()> {
    let file = format!(
        "/mnt/packages/drainwatch_{VERSION}-1_{}.deb",
        debian_architecture()
    );
    let install = format!("dpkg --install {file}");
    let machine = Machine::create(packages)?;
    machine.run(&install)?;
    machine.run("dpkg --verify drainwatch")?;
    installed(&machine)?;
    machine.run("dpkg --purge drainwatch")?;
    nothing_left(&machine, &[])?;

    let machine = Machine::create(packages)?;
    let booted = machine.boot()?;
    booted.run(&install)?;
    let active = |booted: &Booted<'_>| booted.run("systemctl is-active drainwatch || true");
    ensure!(active(&booted)?.trim() == "inactive", "nobody has started it");
    booted.run(
        "systemctl enable --now drainwatch || { systemctl --no-pager --full status drainwatch >&2; exit 1; }",
    )?;
    booted
        .run("drainwatch shutdowns")
        .context("the agent does not answer")?;
    let process = || booted.run("systemctl show --value --property=MainPID drainwatch");
    let before = process()?;
    booted.run(&install).context("the same again, as an upgrade")?;
    ensure!(active(&booted)?.trim() == "active", "the upgrade has ended it");
    ensure!(process()? != before, "the upgrade has not replaced it");
    booted.run("dpkg --purge drainwatch")?;
    ensure!(
        active(&booted)?.trim() == "inactive",
        "it runs without its package"
    );
    booted
        .run("! test -e /run/drainwatch-bpf")
        .context("pins are left")?;
    drop(booted);
    nothing_left(&machine, &[])
}

fn rpm(packages: &Path) -> Result<()> {
    let file = format!("/mnt/packages/drainwatch-{VERSION}-1.{}.rpm", architecture());
    let machine = Machine::create(packages)?;
    let needs = machine.run(&format!("rpm --query --package --requires {file}"))?;
    ensure!(needs.contains("libc.so.6(GLIBC_"), "it asks for {needs}");
    // This is no Fedora: what it needs is there, and this database does not know.
    machine.run(&format!("rpm --install --nodeps {file}"))?;
    machine.run("rpm --verify --nodeps drainwatch")?;
    machine.run("mandb --quiet")?;
    // Debian's presets enable everything; Fedora's nothing.
    machine.run("systemctl disable --quiet drainwatch.service")?;
    installed(&machine)?;
    machine.run("rpm --erase drainwatch")?;
    nothing_left(&machine, FEDORAS)
}

/// Where the unified hierarchy alone is at /sys/fs/cgroup, with a private /run.
fn privately(script: &str, packages: &Path) -> Result<String> {
    let work = tempfile::tempdir().context("a directory for a runtime")?;
    // Limits that not every machine can give: containers without them.
    let settings = "[containers]\npids_limit = 0\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
                    [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n";
    let path: PathBuf = work.path().join("containers.conf");
    std::fs::write(&path, settings).context("writing containers.conf")?;
    let mut command = testkit::process::unshared(&["--pid", "--fork", "--kill-child", "--mount-proc"]);
    command
        .args(["sh", "-ec"])
        .arg(format!(
            "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; mount -t tmpfs none /run; \
             mkdir -p /run/netns /run/lock; work=$1 image=$2; export CONTAINERS_CONF=$1/containers.conf; {script}"
        ))
        .arg("sh")
        .arg(work.path())
        .arg(packages.join(image::name()));
    shell::output(&mut command)
}

fn podman(packages: &Path) -> Result<()> {
    let script = format!(
        "pod() {{ podman --root $work/data --runroot $work/run --tmpdir $work/tmp --cgroup-manager cgroupfs \
         --events-backend file --storage-driver vfs \"$@\"; }}; \
         name=$(pod load --quiet --input $image | sed 's/.*: //'); \
         pod tag $name {REPOSITORY}:{VERSION}; \
         pod run --rm --network none --read-only {REPOSITORY}:{VERSION} --version"
    );
    let said = privately(&script, packages)?;
    ensure!(said.contains(&format!("drainwatch {VERSION}")), "it said: {said}");
    Ok(())
}

fn containerd(packages: &Path) -> Result<()> {
    // No shares: not every machine's unified hierarchy has a controller of CPUs.
    let script = format!(
        "containerd --root $work/data --state $work/state --address $work/socket --log-level error 2> $work/log & \
         c() {{ ctr --address $work/socket \"$@\"; }}; \
         for try in $(seq 100); do c version > /dev/null 2>&1 && break; sleep 0.1; done; \
         c images import --snapshotter native $image; \
         c run --rm --cpu-shares 0 --snapshotter native {REPOSITORY}:{VERSION} dist /usr/local/bin/drainwatch --version"
    );
    let said = privately(&script, packages)?;
    ensure!(said.contains(&format!("drainwatch {VERSION}")), "it said: {said}");
    Ok(())
}
