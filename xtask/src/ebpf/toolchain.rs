//! Finds a compiler that can build BPF programs: one that takes unstable flags and has core's sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::shell;

/// What to do where no toolchain is found.
pub const MISSING: &str = "\
To build BPF programs, install either
  on Debian 12: cargo xtask deps --install
  elsewhere:    rustup toolchain install nightly --component rust-src clippy && cargo install bpf-linker";

/// Flags of every build. They are part of the object's provenance: a change here makes the object stale.
/// Loops are left as they are and the CPU is the compiler's generic one, so that every supported kernel takes it.
pub const FLAGS: &[&str] = &["-Cdebuginfo=2", "-Clinker=bpf-linker", "-Clink-arg=--btf"];

/// The profile: what reaches bpf-linker should be one plain module per crate, it optimises all of them together.
const PROFILE: &[(&str, &str)] = &[
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "2"),
    ("CARGO_PROFILE_RELEASE_LTO", "false"),
];

/// What decides the object's bytes besides the sources.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// `rustc --version`.
    pub rustc: String,
    /// `bpf-linker --version`.
    pub bpf_linker: String,
}

/// A compiler that can build BPF programs, and the linker.
pub struct Toolchain {
    /// `rustc --version`.
    pub rustc: String,
    /// `bpf-linker --version`.
    pub bpf_linker: String,
    /// Where it comes from, for people.
    pub origin: String,
    kind: Kind,
    rust_src: PathBuf,
}

enum Kind {
    /// Debian's own compiler under /usr/bin.
    Debian,
    /// One of rustup's, by its name.
    Rustup(String),
}

impl Toolchain {
    /// The toolchain to use: the wanted one if it is here, else the first of Debian's and rustup's nightlies.
    pub fn find(wanted: Option<&Identity>) -> Result<Option<Self>> {
        if shell::find_program("bpf-linker").is_none() {
            return Ok(None);
        }
        let linker = shell::output(Command::new("bpf-linker").arg("--version"))?
            .trim()
            .to_owned();
        let mut found: Vec<Self> = debian(&linker).into_iter().chain(rustup(&linker)).collect();
        let best = found
            .iter()
            .position(|toolchain| Some(&toolchain.identity()) == wanted)
            .unwrap_or(0);
        Ok((!found.is_empty()).then(|| found.swap_remove(best)))
    }

    /// What decides the object's bytes besides the sources.
    pub fn identity(&self) -> Identity {
        Identity {
            rustc: self.rustc.clone(),
            bpf_linker: self.bpf_linker.clone(),
        }
    }

    /// Whether it has clippy.
    pub fn has_clippy(&self) -> bool {
        match &self.kind {
            Kind::Debian => Path::new("/usr/bin/cargo-clippy").is_file(),
            Kind::Rustup(name) => {
                shell::output(rustup_run(name, "cargo").args(["clippy", "--version"])).is_ok()
            }
        }
    }

    /// `cargo build` or `cargo clippy` of the BPF programs into `folder`.
    pub fn cargo(&self, subcommand: &str, folder: &Path) -> Result<Command> {
        // Sources of the dependencies must be there before their paths can be mapped.
        shell::run(self.bare(None).args(["fetch", "--quiet", "--locked"]))?;
        let flags: Vec<String> = FLAGS
            .iter()
            .map(|&flag| flag.to_owned())
            .chain(self.path_flags())
            .collect();
        let mut command = self.bare((subcommand == "clippy").then_some("clippy"));
        command
            .arg(subcommand)
            .args([
                "--release",
                "--locked",
                "--package",
                "drainwatch-ebpf",
                "--bin",
                "drainwatch-ebpf",
            ])
            .args([
                "--features",
                "program",
                "--target",
                "bpfel-unknown-none",
                "-Z",
                "build-std=core",
            ])
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .env("CARGO_TARGET_DIR", folder)
            .envs(PROFILE.iter().copied());
        Ok(command)
    }

    /// Its cargo (or cargo-clippy), without what our own cargo or the user put into the environment.
    fn bare(&self, tool: Option<&str>) -> Command {
        let mut command = match &self.kind {
            Kind::Debian => {
                let mut command = Command::new(match tool {
                    // Called by its path: Debian's cargo would look into ~/.cargo/bin first and find rustup's.
                    Some(tool) => format!("/usr/bin/cargo-{tool}"),
                    None => "/usr/bin/cargo".to_owned(),
                });
                command
                    .env("RUSTC", "/usr/bin/rustc")
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("CARGO", "/usr/bin/cargo");
                command
            }
            Kind::Rustup(name) => rustup_run(name, "cargo"),
        };
        // What another environment would compile differently: incremental builds cut the code into other units.
        for name in [
            "CARGO_INCREMENTAL",
            "RUSTFLAGS",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "CARGO_BUILD_TARGET",
        ] {
            command.env_remove(name);
        }
        command.current_dir(shell::root());
        command
    }

    /// Flags that keep this machine's folders out of the object: a later one wins over an earlier one.
    fn path_flags(&self) -> Vec<String> {
        let home = std::env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
        let registries = home
            .and_then(|home| fs::read_dir(home.join("registry/src")).ok())
            .into_iter()
            .flat_map(|entries| entries.flatten().map(|entry| entry.path()));
        let rust_src = [Some(self.rust_src.clone()), fs::canonicalize(&self.rust_src).ok()];
        registries
            .map(|path| (path, "/dependencies"))
            .chain(rust_src.into_iter().flatten().map(|path| (path, "/rust")))
            .chain([(shell::root().to_owned(), "/drainwatch")])
            .map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display()))
            .collect()
    }
}

fn debian(linker: &str) -> Option<Toolchain> {
    let rust_src = PathBuf::from("/usr/lib/rustlib/src/rust");
    let complete = Path::new("/usr/bin/cargo").is_file() && rust_src.join("library/core").is_dir();
    let rustc = complete
        .then(|| shell::output(Command::new("/usr/bin/rustc").arg("--version")))?
        .ok()?;
    Some(Toolchain {
        rustc: rustc.trim().to_owned(),
        bpf_linker: linker.to_owned(),
        origin: "Debian's, /usr/bin/rustc".to_owned(),
        kind: Kind::Debian,
        rust_src,
    })
}

fn rustup(linker: &str) -> Vec<Toolchain> {
    let list = shell::output(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default();
    list.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with("nightly"))
        .filter_map(|name| {
            let sysroot = shell::output(rustup_run(name, "rustc").args(["--print", "sysroot"])).ok()?;
            let rust_src = Path::new(sysroot.trim()).join("lib/rustlib/src/rust");
            let rustc = shell::output(rustup_run(name, "rustc").arg("--version")).ok()?;
            rust_src.join("library/core").is_dir().then(|| Toolchain {
                rustc: rustc.trim().to_owned(),
                bpf_linker: linker.to_owned(),
                origin: format!("rustup's {name}"),
                kind: Kind::Rustup(name.to_owned()),
                rust_src,
            })
        })
        .collect()
}

fn rustup_run(toolchain: &str, program: &str) -> Command {
    let mut command = Command::new("rustup");
    command
        .args(["run", toolchain, program])
        .env_remove("RUSTC")
        .env_remove("CARGO");
    command
}

/// Flags and profile as they are recorded.
pub fn recipe() -> Vec<String> {
    let profile = PROFILE.iter().map(|(name, value)| format!("{name}={value}"));
    FLAGS.iter().map(|&flag| flag.to_owned()).chain(profile).collect()
}
