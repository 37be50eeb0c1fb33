//! What must exist before the ledger can run: the Go server, the Python environment.
//!
//! Made once on the host; the guests of `cargo xtask vm` see the host's file system read-only and
//! without a network.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};

/// Where things are.
#[derive(Debug, Clone)]
pub struct Artefacts {
    /// Sources of the servers (`tests/servers`).
    pub servers: PathBuf,
    /// The Go server's binary.
    pub go: PathBuf,
    /// The one that speaks TLS.
    pub go_tls: PathBuf,
    /// The Python environment.
    pub venv: PathBuf,
    /// What the page is checked with, for the browser (`tests/browser`).
    pub browser: PathBuf,
}

impl Artefacts {
    /// The places, whether anything is there or not.
    pub fn locate() -> Self {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let made = tests.parent().unwrap_or(tests).join("target/ledger");
        Self {
            servers: tests.join("servers"),
            go: made.join("go-server"),
            go_tls: made.join("go-tls-server"),
            venv: made.join("venv"),
            browser: made.join("browser"),
        }
    }

    /// Builds what is missing or older than its source.
    pub fn prepare(&self) -> anyhow::Result<()> {
        let Self {
            servers,
            go,
            go_tls,
            venv,
            ..
        } = self;
        if let Some(made) = go.parent() {
            fs::create_dir_all(made).with_context(|| format!("cannot make {}", made.display()))?;
        }
        for (binary, source) in [(go, "go/main.go"), (go_tls, "tls/server.go")] {
            let source = servers.join(source);
            if stale(binary, &source) {
                // Debian's go: one file, no module, no network.
                run(Command::new("go")
                    .args(["build", "-o"])
                    .arg(binary)
                    .arg(&source)
                    .env("GO111MODULE", "off")
                    .env("CGO_ENABLED", "0"))?;
            }
        }
        let wanted = servers.parent().unwrap_or(servers).join("requirements.txt");
        let stamp = venv.join("requirements.txt");
        if stale(&stamp, &wanted) {
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv))?;
            run(Command::new(venv.join("bin/python"))
                .args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    "-r",
                ])
                .arg(&wanted))?;
            fs::copy(&wanted, &stamp)?;
        }
        Ok(())
    }

    /// Fetches what the page is checked with, if it is missing or another one is wanted now.
    pub fn prepare_browser(&self) -> anyhow::Result<()> {
        let Self { servers, browser, .. } = self;
        let wanted = servers.parent().unwrap_or(servers).join("browser");
        let stamp = browser.join("node_modules");
        if stale(&stamp, &wanted.join("package-lock.json")) {
            fs::create_dir_all(browser)?;
            for file in ["package.json", "package-lock.json"] {
                fs::copy(wanted.join(file), browser.join(file))?;
            }
            run(Command::new("npm")
                .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"])
                .current_dir(browser))?;
        }
        Ok(())
    }
}

/// `made` does not exist or is older than `source`.
fn stale(made: &Path, source: &Path) -> bool {
    let changed = |path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    changed(made) < changed(source)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
