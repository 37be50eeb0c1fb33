//! What the tasks need from the system, in one list.

use std::process::Command;

use anyhow::Result;

use crate::shell;

/// Options of `cargo xtask deps`.
#[derive(clap::Args)]
pub struct Options {
    /// Install what is missing (Debian and its like, as root)
    #[arg(long)]
    install: bool,
}

/// What a package is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Compiling the BPF programs.
    Bpf,
    /// Guests with other kernels.
    Vm,
    /// The ledger's servers and clients, and the bench's.
    Ledger,
    /// A real Prometheus and Alertmanager for the alerts and dashboards.
    Alerts,
    /// The tests of the agent as it is deployed.
    Unit,
    /// Rendering the chart as Helm does, and systemd's checks of the unit.
    Deploy,
    /// Compiling libFuzzer.
    Fuzz,
    /// A real browser for the page, and its checks; the fonts of the README's pictures.
    Page,
}

/// A Debian package.
struct Package {
    name: &'static str,
    why: Use,
    /// A program that makes the package needless, however it came here; `None` where only the package will do.
    program: Option<&'static str>,
}

const fn package(why: Use, name: &'static str, program: Option<&'static str>) -> Package {
    Package { name, why, program }
}

/// The list. The BPF part is exactly Debian's: a rustc with core's sources, and LLVM for the linker that is at least
/// as new as rustc's.
const PACKAGES: &[Package] = &[
    package(Use::Bpf, "rustc-web", None),
    package(Use::Bpf, "cargo-web", None),
    package(Use::Bpf, "rust-web-src", None),
    package(Use::Bpf, "rust-web-clippy", None),
    package(Use::Bpf, "llvm-22-dev", None),
    package(Use::Vm, "qemu-system-x86", Some("qemu-system-x86_64")),
    package(Use::Vm, "busybox-static", None),
    package(Use::Vm, "cpio", Some("cpio")),
    package(Use::Vm, "xz-utils", Some("xz")),
    package(Use::Vm, "debian-archive-keyring", None),
    package(Use::Ledger, "openssl", Some("openssl")),
    package(Use::Ledger, "nginx", Some("nginx")),
    package(Use::Ledger, "wrk", Some("wrk")),
    package(Use::Ledger, "golang-go", Some("go")),
    package(Use::Ledger, "nodejs", Some("node")),
    package(Use::Ledger, "python3", Some("python3")),
    package(Use::Ledger, "python3-venv", None),
    package(Use::Ledger, "iproute2", Some("ip")),
    package(Use::Ledger, "procps", Some("ps")),
    package(Use::Ledger, "util-linux", Some("setpriv")),
    package(Use::Ledger, "docker.io", Some("dockerd")),
    package(Use::Ledger, "iptables", Some("iptables")),
    package(Use::Ledger, "podman", Some("podman")),
    package(Use::Ledger, "containernetworking-plugins", None),
    package(Use::Ledger, "postgresql", None),
    package(Use::Ledger, "mariadb-server", Some("mariadbd")),
    package(Use::Ledger, "redis-server", Some("redis-server")),
    package(Use::Ledger, "rabbitmq-server", None),
    package(Use::Ledger, "pgbouncer", Some("/usr/sbin/pgbouncer")),
    package(Use::Ledger, "memcached", Some("memcached")),
    package(Use::Ledger, "mosquitto", Some("/usr/sbin/mosquitto")),
    package(Use::Ledger, "nats-server", Some("/usr/sbin/nats-server")),
    package(Use::Ledger, "php-fpm", None),
    package(Use::Ledger, "stunnel4", Some("stunnel4")),
    package(Use::Ledger, "curl", Some("curl")),
    package(Use::Ledger, "systemd", None),
    package(Use::Ledger, "dbus", Some("dbus-daemon")),
    package(Use::Alerts, "prometheus", Some("promtool")),
    package(
        Use::Alerts,
        "prometheus-alertmanager",
        Some("prometheus-alertmanager"),
    ),
    package(Use::Deploy, "golang-go", Some("go")),
    package(Use::Deploy, "golang-github-masterminds-sprig-dev", None),
    package(Use::Deploy, "golang-k8s-sigs-yaml-dev", None),
    package(Use::Deploy, "systemd", Some("systemd-analyze")),
    package(Use::Unit, "python3", Some("python3")),
    package(Use::Unit, "iproute2", Some("ss")),
    package(Use::Unit, "runc", Some("runc")),
    package(Use::Unit, "systemd", Some("systemd-sysusers")),
    package(Use::Unit, "dbus", Some("dbus-daemon")),
    package(Use::Unit, "gcc", Some("cc")),
    package(Use::Fuzz, "g++", Some("c++")),
    package(Use::Page, "chromium", Some("chromium")),
    package(Use::Page, "chromium-driver", Some("chromedriver")),
    package(Use::Page, "npm", Some("npm")),
    package(Use::Page, "fonts-inter", None),
    package(Use::Page, "fonts-jetbrains-mono", None),
];

const BPF_LINKER_VERSION: &str = "0.13.0";
/// Where Debian's llvm-22-dev lies.
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// Prints or installs what is missing.
pub fn run(options: &Options) -> Result<()> {
    if options.install {
        return install();
    }
    print();
    Ok(())
}

/// What is missing for some uses and how to get it; `None` when nothing is.
pub fn missing(uses: &[Use]) -> Option<String> {
    let packages = missing_packages(uses);
    if packages.is_empty() {
        return None;
    }
    Some(format!(
        "these packages are missing, run `cargo xtask deps --install` or\n  {}",
        apt_line(&packages)
    ))
}

fn missing_packages(uses: &[Use]) -> Vec<&'static str> {
    PACKAGES
        .iter()
        .filter(|package| uses.contains(&package.why) && !is_here(package))
        .map(|package| package.name)
        .collect()
}

fn is_here(package: &Package) -> bool {
    package
        .program
        .is_some_and(|program| shell::find_program(program).is_some())
        || shell::output(Command::new("dpkg-query").args(["-W", "-f", "${Status}", package.name]))
            .is_ok_and(|status| status == "install ok installed")
}

fn apt_line(packages: &[&str]) -> String {
    format!("apt-get install --no-install-recommends {}", packages.join(" "))
}

fn linker_command() -> Command {
    let mut command = shell::cargo();
    command
        .args([
            "install",
            "bpf-linker",
            "--locked",
            "--version",
            BPF_LINKER_VERSION,
        ])
        .args(["--no-default-features", "--features", "llvm-22"])
        .env("LLVM_PREFIX", LLVM_PREFIX);
    command
}

const ALL: &[Use] = &[
    Use::Bpf,
    Use::Vm,
    Use::Ledger,
    Use::Alerts,
    Use::Deploy,
    Use::Unit,
    Use::Fuzz,
    Use::Page,
];

fn print() {
    let packages = missing_packages(ALL);
    let linker = shell::find_program("bpf-linker").is_none();
    if packages.is_empty() && !linker {
        println!("nothing is missing");
        return;
    }
    if !packages.is_empty() {
        println!("apt-get update && {}", apt_line(&packages));
    }
    if linker {
        println!("LLVM_PREFIX={LLVM_PREFIX} {}", shell::line(&linker_command()));
    }
}

fn install() -> Result<()> {
    let packages = missing_packages(ALL);
    if !packages.is_empty() {
        println!("installing {}", packages.join(" "));
        let apt = |arguments: &[&str]| {
            let mut command = Command::new("apt-get");
            command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
            shell::run(&mut command)
        };
        apt(&["update", "--quiet"])?;
        let install = ["install", "--quiet", "--yes", "--no-install-recommends"];
        apt(&[&install[..], &packages].concat())?;
    }
    if shell::find_program("bpf-linker").is_none() {
        println!("installing bpf-linker {BPF_LINKER_VERSION}");
        shell::run(&mut linker_command())?;
    }
    Ok(())
}
