//! `provenance.json`: what the BPF object was built from, and with what.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::toolchain::{self, Identity};
use crate::shell;

const FILE: &str = "provenance.json";

/// The whole file.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Provenance {
    /// The object itself.
    pub object: Object,
    /// Compiler and linker that built it.
    pub toolchain: Identity,
    /// Everything that it was built from.
    pub sources: Sources,
}

/// The object.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Object {
    /// Size in bytes.
    pub bytes: usize,
    /// SHA-256, in hex.
    pub sha256: String,
}

/// What goes into the object.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Sources {
    /// Compiler flags and profile.
    pub recipe: Vec<String>,
    /// Dependencies as `Cargo.lock` names them, `name version`, each with the lock's checksum.
    pub dependencies: BTreeMap<String, String>,
    /// Files, by their path in the repository, each with its SHA-256 in hex.
    pub files: BTreeMap<String, String>,
}

impl Provenance {
    /// Reads the file beside the object.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        let text = fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}, run `cargo xtask ebpf`", path.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not a provenance, run `cargo xtask ebpf`", path.display()))
    }

    /// Writes the file beside the object.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join(FILE);
        let text = serde_json::to_string_pretty(self).context("a provenance is plain JSON")? + "\n";
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }
}

impl Object {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.len(),
            sha256: sha256(bytes),
        }
    }
}

impl Sources {
    /// As they are in the tree.
    pub fn of(root: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        hash_file(root, "drainwatch-ebpf/Cargo.toml", &mut files)?;
        hash_folder(root, "drainwatch-ebpf/src", &mut files)?;
        Ok(Self {
            recipe: toolchain::recipe(),
            dependencies: dependencies(root)?,
            files,
        })
    }

    /// What differs, one line each; empty when nothing does.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.recipe != now.recipe {
            lines.push("the build flags changed (xtask/src/ebpf/toolchain.rs)".to_owned());
        }
        for (kind, then, now) in [
            ("dependency", &self.dependencies, &now.dependencies),
            ("file", &self.files, &now.files),
        ] {
            for name in then.keys().chain(now.keys()).collect::<BTreeSet<_>>() {
                match (then.get(name), now.get(name)) {
                    (Some(a), Some(b)) if a == b => {}
                    (Some(_), Some(_)) => lines.push(format!("{kind} {name} changed")),
                    (Some(_), None) => lines.push(format!("{kind} {name} is gone")),
                    (None, _) => lines.push(format!("{kind} {name} is new")),
                }
            }
        }
        lines
    }
}

/// SHA-256 in hex.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn hash_file(root: &Path, name: &str, into: &mut BTreeMap<String, String>) -> Result<()> {
    let path = root.join(name);
    let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    into.insert(name.to_owned(), sha256(&bytes));
    Ok(())
}

fn hash_folder(root: &Path, folder: &str, into: &mut BTreeMap<String, String>) -> Result<()> {
    let path = root.join(folder);
    for entry in fs::read_dir(&path).with_context(|| format!("reading {}", path.display()))? {
        let entry = entry.with_context(|| format!("reading {}", path.display()))?;
        let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            hash_folder(root, &name, into)?;
        } else if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "rs")
        {
            hash_file(root, &name, into)?;
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// What the programs and their macros are compiled from, each with the lock's checksum. Not what merely their
/// build scripts use: those crates come and go with every update and leave no trace in the object.
fn dependencies(root: &Path) -> Result<BTreeMap<String, String>> {
    let tree = shell::output(
        shell::cargo()
            .args([
                "tree",
                "--locked",
                "--package",
                "drainwatch-ebpf",
                "--features",
                "program",
                "--target",
                "all",
            ])
            .args(["--edges", "normal", "--prefix", "none", "--no-dedupe"]),
    )?;
    let lock = root.join("Cargo.lock");
    let text = fs::read_to_string(&lock).with_context(|| format!("reading {}", lock.display()))?;
    checksums(&tree, &text).with_context(|| format!("reading {}", lock.display()))
}

/// The lock's checksums of the packages that `cargo tree` lists as `name vVERSION`; those in the tree have none.
fn checksums(tree: &str, lock: &str) -> Result<BTreeMap<String, String>> {
    let lock: Lock = toml::from_str(lock).context("not a lock file")?;
    let mut found = BTreeMap::new();
    for line in tree.lines() {
        let (name, rest) = line
            .split_once(" v")
            .with_context(|| format!("not a package: {line}"))?;
        let version = rest.split_whitespace().next().unwrap_or_default();
        let package = lock
            .package
            .iter()
            .find(|package| package.name == name && package.version == version)
            .with_context(|| format!("no entry for {name} {version}"))?;
        if let Some(checksum) = &package.checksum {
            found.insert(format!("{name} {version}"), checksum.clone());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"
        [[package]]
        name = "programs"
        version = "0.1.0"
        [[package]]
        name = "helpers"
        version = "1.0.0"
        checksum = "a1"
        [[package]]
        name = "helpers"
        version = "2.0.0"
        checksum = "a2"
    "#;

    #[test]
    fn given_two_versions_in_the_lock_when_one_is_used_then_its_checksum_is_taken() {
        let found = checksums("programs v0.1.0 (/work)\nhelpers v2.0.0 (proc-macro)\n", LOCK).expect("sound");
        assert_eq!(found, [("helpers 2.0.0".to_owned(), "a2".to_owned())].into());
    }

    #[test]
    fn given_a_package_that_the_lock_lacks_when_looked_up_then_the_error_names_it() {
        let error = checksums("absent v1.0.0\n", LOCK).unwrap_err();
        assert!(format!("{error:#}").contains("absent 1.0.0"), "{error:#}");
    }

    #[test]
    fn given_changed_new_and_removed_sources_when_compared_then_each_is_named() {
        let of = |files: &[(&str, &str)], recipe: &str| Sources {
            recipe: vec![recipe.to_owned()],
            dependencies: BTreeMap::new(),
            files: files
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        };
        let then = of(&[("same.rs", "1"), ("edited.rs", "1"), ("old.rs", "1")], "-O");
        let now = of(&[("same.rs", "1"), ("edited.rs", "2"), ("new.rs", "1")], "-g");
        assert_eq!(then.differences(&then), Vec::<String>::new());
        assert_eq!(
            then.differences(&now),
            [
                "the build flags changed (xtask/src/ebpf/toolchain.rs)",
                "file edited.rs changed",
                "file new.rs is new",
                "file old.rs is gone"
            ]
        );
    }

    #[test]
    fn given_a_source_tree_when_a_nested_file_is_edited_then_its_hash_differs() {
        let tree = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(tree.path().join("src/deep")).expect("folders");
        fs::write(tree.path().join("src/deep/er.rs"), "fn a() {}").expect("source");
        fs::write(tree.path().join("src/notes.txt"), "not compiled").expect("notes");
        let hashed = || {
            let mut files = BTreeMap::new();
            hash_folder(tree.path(), "src", &mut files).expect("hashed");
            files
        };
        let then = hashed();
        fs::write(tree.path().join("src/deep/er.rs"), "fn b() {}").expect("source");
        assert_eq!(then.keys().collect::<Vec<_>>(), ["src/deep/er.rs"]);
        assert_ne!(then, hashed());
    }
}
