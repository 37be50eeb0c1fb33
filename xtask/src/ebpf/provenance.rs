//! `provenance.json`: what the BPF object was built from, and with what.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::toolchain::{self, Identity};

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
        let lock = root.join("Cargo.lock");
        let text = fs::read_to_string(&lock).with_context(|| format!("reading {}", lock.display()))?;
        let dependencies = locked_dependencies(&text, "drainwatch-ebpf")
            .with_context(|| format!("reading {}", lock.display()))?;
        Ok(Self {
            recipe: toolchain::recipe(),
            dependencies,
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
        .map(|byte| format!("{byte:02x}"))
        .collect()
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
        } else if name.ends_with(".rs") {
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
    #[serde(default)]
    dependencies: Vec<String>,
}

/// Everything that `package` depends on, directly or not, by the lock file.
fn locked_dependencies(lock: &str, package: &str) -> Result<BTreeMap<String, String>> {
    let lock: Lock = toml::from_str(lock).context("not a lock file")?;
    let mut found = BTreeMap::new();
    let mut waiting = vec![package.to_owned()];
    while let Some(wanted) = waiting.pop() {
        // A lock names a dependency by `name`, and by `name version` where two versions are there.
        let (name, version) = wanted
            .split_once(' ')
            .map_or((wanted.as_str(), None), |(n, v)| (n, Some(v)));
        let entry = lock
            .package
            .iter()
            .find(|entry| entry.name == name && version.is_none_or(|version| entry.version == version))
            .with_context(|| format!("no entry for {wanted}"))?;
        let key = format!("{} {}", entry.name, entry.version);
        if entry.name != package
            && found
                .insert(key, entry.checksum.clone().unwrap_or_default())
                .is_some()
        {
            continue;
        }
        waiting.extend(entry.dependencies.iter().cloned());
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
        dependencies = ["a", "b 2.0.0"]
        [[package]]
        name = "a"
        version = "1.0.0"
        checksum = "aa"
        dependencies = ["b 2.0.0"]
        [[package]]
        name = "b"
        version = "1.0.0"
        checksum = "b1"
        [[package]]
        name = "b"
        version = "2.0.0"
        checksum = "b2"
        dependencies = ["a"]
        [[package]]
        name = "unrelated"
        version = "9.0.0"
        checksum = "cc"
    "#;

    #[test]
    fn given_a_lock_with_two_versions_and_a_circle_when_followed_then_only_what_is_used_is_named() {
        let found = locked_dependencies(LOCK, "programs").expect("the lock is sound");
        let expected = [("a 1.0.0", "aa"), ("b 2.0.0", "b2")];
        assert_eq!(found, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn given_a_lock_without_the_package_when_followed_then_the_error_names_it() {
        let error = locked_dependencies(LOCK, "absent").unwrap_err();
        assert!(format!("{error:#}").contains("absent"), "{error:#}");
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
        let file = tree.path().join("drainwatch-ebpf/src/deep/er.rs");
        fs::create_dir_all(file.parent().expect("it has one")).expect("folders");
        fs::write(tree.path().join("drainwatch-ebpf/Cargo.toml"), "").expect("manifest");
        let lock = "[[package]]\nname = \"drainwatch-ebpf\"\nversion = \"0.1.0\"\n";
        fs::write(tree.path().join("Cargo.lock"), lock).expect("lock");
        fs::write(&file, "fn a() {}").expect("source");
        let then = Sources::of(tree.path()).expect("hashed");
        fs::write(&file, "fn b() {}").expect("source");
        let now = Sources::of(tree.path()).expect("hashed");
        assert_eq!(
            then.differences(&now),
            ["file drainwatch-ebpf/src/deep/er.rs changed"]
        );
    }
}
