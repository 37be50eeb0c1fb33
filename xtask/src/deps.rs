//! What the tasks need from the system, in one list.

use std::process::Command;

use anyhow::{Result, ensure};

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
    /// Packages and an image, made, and tried on a Debian of their own.
    Dist,
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
    package(Use::Unit, "golang-go", Some("go")),
    package(Use::Unit, "nodejs", Some("node")),
    package(Use::Unit, "nginx", Some("nginx")),
    package(Use::Unit, "gunicorn", Some("gunicorn")),
    package(Use::Unit, "puma", Some("puma")),
    package(Use::Unit, "apache2-bin", Some("/usr/sbin/apache2")),
    package(Use::Unit, "lighttpd", Some("/usr/sbin/lighttpd")),
    package(Use::Unit, "haproxy", Some("/usr/sbin/haproxy")),
    package(Use::Fuzz, "g++", Some("c++")),
    package(Use::Page, "chromium", Some("chromium")),
    package(Use::Page, "chromium-driver", Some("chromedriver")),
    package(Use::Page, "npm", Some("npm")),
    package(Use::Page, "fonts-inter", None),
    package(Use::Page, "fonts-jetbrains-mono", None),
    package(Use::Dist, "ca-certificates", None),
    package(Use::Dist, "debootstrap", Some("debootstrap")),
    package(Use::Dist, "docker.io", Some("containerd")),
    package(Use::Dist, "dpkg-dev", Some("dpkg-shlibdeps")),
    package(Use::Dist, "iproute2", Some("ip")),
    package(Use::Dist, "podman", Some("podman")),
    package(Use::Dist, "systemd", Some("systemd-analyze")),
];

/// A program that cargo builds.
struct Tool {
    name: &'static str,
    version: &'static str,
    why: Use,
    arguments: &'static [&'static str],
    /// A variable that its build needs, and its value.
    variable: Option<(&'static str, &'static str)>,
}

/// What no Debian has.
const TOOLS: &[Tool] = &[
    Tool {
        name: "bpf-linker",
        version: "0.13.0",
        why: Use::Bpf,
        arguments: &["--no-default-features", "--features", "llvm-22"],
        // Where Debian's llvm-22-dev lies.
        variable: Some(("LLVM_PREFIX", "/usr/lib/llvm-22")),
    },
    Tool {
        name: "cargo-deb",
        version: "3.8.0",
        why: Use::Dist,
        arguments: &[],
        variable: None,
    },
    Tool {
        name: "cargo-generate-rpm",
        version: "0.21.1",
        why: Use::Dist,
        arguments: &[],
        variable: None,
    },
];

/// Prints or installs what is missing.
pub fn run(options: &Options) -> Result<()> {
    if options.install {
        return install(ALL);
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

/// Whether nothing is missing for some uses, programs that cargo builds included.
pub fn complete(uses: &[Use]) -> bool {
    missing_packages(uses).is_empty() && missing_tools(uses).next().is_none()
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

impl Tool {
    fn command(&self) -> Command {
        let mut command = shell::cargo();
        command
            .args(["install", self.name, "--locked", "--version", self.version])
            .args(self.arguments)
            .envs(self.variable);
        command
    }
}

fn missing_tools(uses: &[Use]) -> impl Iterator<Item = &'static Tool> {
    TOOLS
        .iter()
        .filter(|tool| uses.contains(&tool.why) && shell::find_program(tool.name).is_none())
}

/// Not what a release is made with: `cargo xtask dist --install` gets that.
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
    let tools: Vec<&Tool> = missing_tools(ALL).collect();
    if packages.is_empty() && tools.is_empty() {
        println!("nothing is missing");
        return;
    }
    if !packages.is_empty() {
        println!("apt-get update && {}", apt_line(&packages));
    }
    for tool in tools {
        let variable = tool.variable.map(|(name, value)| format!("{name}={value} "));
        println!("{}{}", variable.unwrap_or_default(), shell::line(&tool.command()));
    }
}

/// Installs what is missing for some uses.
pub fn install(uses: &[Use]) -> Result<()> {
    let packages = missing_packages(uses);
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
    for tool in missing_tools(uses) {
        println!("installing {} {}", tool.name, tool.version);
        shell::run(&mut tool.command())?;
        ensure!(
            shell::find_program(tool.name).is_some(),
            "{} is where cargo installs programs, which is not in PATH: add ~/.cargo/bin",
            tool.name
        );
    }
    Ok(())
}
