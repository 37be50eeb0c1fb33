//! Builds the BPF object and records where it came from.
//!
//! The object is checked in so that the agent builds with stable cargo alone. Beside it lies `provenance.json`:
//! hashes of everything that goes into it, so that a stale object cannot pass the test command, and of itself.

mod provenance;
mod strip;
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use self::provenance::{Object, Provenance, Sources};
pub use self::toolchain::{MISSING, Toolchain};
use crate::shell;

/// Options of `cargo xtask ebpf`.
#[derive(clap::Args)]
pub struct Options {
    /// Change nothing: fail when the object in the tree does not come from the sources in the tree
    #[arg(long)]
    check: bool,
}

/// What a check found; every variant is a pass.
#[derive(Debug, PartialEq, Eq)]
pub enum Checked {
    /// Rebuilt with the recorded toolchain, and equal byte for byte.
    Rebuilt,
    /// Rebuilt with another toolchain than the recorded one: same programs and maps, bytes not comparable.
    OtherToolchain,
    /// Hashes agree; no toolchain here to rebuild with.
    HashesOnly,
}

/// Directory of the object and its provenance.
fn directory() -> PathBuf {
    shell::root().join("drainwatch/bpf")
}

/// The object that the agent embeds.
fn object_path() -> PathBuf {
    directory().join("drainwatch.bpf.o")
}

/// Builds or checks the object.
pub fn run(options: &Options) -> Result<()> {
    if options.check { check().map(drop) } else { build() }
}

/// Checks hashes, and rebuilds where a toolchain can be found.
pub fn check() -> Result<Checked> {
    let recorded = Provenance::read(&directory())?;
    let differences = recorded.sources.differences(&Sources::of(shell::root())?);
    ensure!(
        differences.is_empty(),
        "the BPF object in the tree is stale, run `cargo xtask ebpf` and commit drainwatch/bpf:\n  {}",
        differences.join("\n  ")
    );
    let bytes = fs::read(object_path()).context("the BPF object is missing, run `cargo xtask ebpf`")?;
    ensure!(
        recorded.object == Object::of(&bytes),
        "drainwatch/bpf/drainwatch.bpf.o is not the object that provenance.json describes, run `cargo xtask ebpf`"
    );
    let Some(toolchain) = Toolchain::find(Some(&recorded.toolchain))? else {
        println!("BPF object: hashes agree; not rebuilt, for there is no BPF toolchain here.\n{MISSING}");
        return Ok(Checked::HashesOnly);
    };
    let fresh = compile(&toolchain)?;
    if toolchain.identity() == recorded.toolchain {
        ensure!(
            fresh == bytes,
            "the BPF object in the tree differs from a rebuild with the same toolchain ({}): it was changed by hand, \
             or the build is not reproducible; compare it with {}",
            toolchain.rustc,
            keep_for_comparison(&fresh)?.display()
        );
        println!(
            "BPF object: hashes agree, and a rebuild with {} gives the same bytes",
            toolchain.rustc
        );
        Ok(Checked::Rebuilt)
    } else {
        let (ours, theirs) = (strip::sections(&fresh)?, strip::sections(&bytes)?);
        ensure!(
            ours == theirs,
            "the BPF object in the tree has the sections {theirs:?}, a rebuild with {} has {ours:?}",
            toolchain.rustc
        );
        println!(
            "BPF object: hashes agree, and a rebuild has the same programs and maps; bytes not compared, for it was \
             built by {}, {}, and here are {}, {}",
            recorded.toolchain.rustc, recorded.toolchain.bpf_linker, toolchain.rustc, toolchain.bpf_linker
        );
        Ok(Checked::OtherToolchain)
    }
}

fn build() -> Result<()> {
    let Some(toolchain) = Toolchain::find(None)? else {
        bail!("no BPF toolchain found.\n{MISSING}")
    };
    println!(
        "building the BPF object with {} ({})",
        toolchain.rustc, toolchain.origin
    );
    // Hashed before the build: a source that changes meanwhile makes the object stale, not wrongly fresh.
    let sources = Sources::of(shell::root())?;
    let bytes = compile(&toolchain)?;
    fs::create_dir_all(directory()).with_context(|| format!("creating {}", directory().display()))?;
    fs::write(object_path(), &bytes).with_context(|| format!("writing {}", object_path().display()))?;
    let provenance = Provenance {
        object: Object::of(&bytes),
        toolchain: toolchain.identity(),
        sources,
    };
    provenance.write(&directory())?;
    println!(
        "{}: {} bytes, sha256 {}",
        object_path().display(),
        bytes.len(),
        provenance.object.sha256
    );
    Ok(())
}

/// Compiles the programs and gives the object without DWARF.
fn compile(toolchain: &Toolchain) -> Result<Vec<u8>> {
    // Its own folder: another compiler and other flags than the agent's.
    let folder = shell::target().join("bpf");
    shell::run(toolchain.cargo("build", &folder)?.arg("--quiet"))?;
    let linked = folder.join("bpfel-unknown-none/release/drainwatch-ebpf");
    let bytes = fs::read(&linked).with_context(|| format!("reading {}", linked.display()))?;
    strip::without_dwarf(&bytes).with_context(|| format!("dropping DWARF from {}", linked.display()))
}

fn keep_for_comparison(bytes: &[u8]) -> Result<PathBuf> {
    let path = shell::target().join("bpf/rebuilt.bpf.o");
    fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// Clippy over the BPF programs, for their own target.
pub fn clippy(toolchain: &Toolchain, folder: &Path) -> Result<()> {
    shell::run(
        toolchain
            .cargo("clippy", folder)?
            .args(["--quiet", "--", "-D", "warnings"]),
    )
}
