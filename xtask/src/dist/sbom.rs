//! What the program is made of, in the form of `CycloneDX`: the crates that are linked, with licence and hash.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{VERSION, architecture};
use crate::shell;

/// Writes it.
pub fn write(to: &Path) -> Result<()> {
    let target = format!("{}-unknown-linux-gnu", architecture());
    // What cargo links for this package and target, without what only builds or tests it.
    let tree = shell::output(shell::cargo().args([
        "tree",
        "--locked",
        "--package",
        "drainwatch",
        "--edges",
        "normal",
        "--target",
        &target,
        "--prefix",
        "none",
        "--format",
        "{p}|{l}",
    ]))?;
    let lock = fs::read_to_string(shell::root().join("Cargo.lock")).context("reading Cargo.lock")?;
    let bom = bom(&tree, &lock)?;
    let path = to.join(format!("drainwatch-{VERSION}.cdx.json"));
    fs::write(&path, format!("{bom:#}\n")).with_context(|| format!("writing {}", path.display()))
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// Of the lines of `cargo tree` and the text of Cargo.lock.
fn bom(tree: &str, lock: &str) -> Result<Value> {
    let lock: Lock = toml::from_str(lock).context("Cargo.lock")?;
    let locked: BTreeMap<(&str, &str), Option<&str>> = lock
        .package
        .iter()
        .map(|package| ((&*package.name, &*package.version), package.checksum.as_deref()))
        .collect();
    let mut components = Vec::new();
    for line in tree
        .lines()
        .filter(|line| !line.is_empty())
        .collect::<BTreeSet<_>>()
    {
        let (package, licence) = line.split_once('|').context(line.to_owned())?;
        let mut words = package.split(' ');
        let (name, version) = (words.next(), words.next().and_then(|word| word.strip_prefix('v')));
        let (name, version) = name.zip(version).context(line.to_owned())?;
        let checksum = locked
            .get(&(name, version))
            .with_context(|| format!("{name} is not locked"))?;
        if name == "drainwatch" {
            continue;
        }
        // The old spelling of OR; cargo marks packages that it has shown before.
        let licence = licence.trim_end_matches(" (*)").replace('/', " OR ");
        let mut component = json!({
            "type": "library",
            "bom-ref": format!("{name}@{version}"),
            "name": name,
            "version": version,
            "licenses": [{"expression": licence}],
        });
        if let Some(checksum) = checksum {
            component["purl"] = json!(format!("pkg:cargo/{name}@{version}"));
            component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
        }
        if !components.contains(&component) {
            components.push(component);
        }
    }
    ensure!(!components.is_empty(), "cargo names no crates");
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {
            "type": "application",
            "bom-ref": format!("drainwatch@{VERSION}"),
            "name": "drainwatch",
            "version": VERSION,
            "licenses": [{"expression": "Apache-2.0"}],
        }},
        "components": components,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "[[package]]\nname = \"drainwatch\"\nversion = \"0.1.0\"\n\n\
                        [[package]]\nname = \"bytes\"\nversion = \"1.12.0\"\nchecksum = \"00ff\"\n";

    #[test]
    fn given_crates_that_cargo_names_when_listed_then_each_is_there_once_with_licence_and_hash() {
        let tree = "drainwatch v0.1.0 (/src/drainwatch)|Apache-2.0\nbytes v1.12.0|MIT/Apache-2.0\n\
                    bytes v1.12.0|MIT/Apache-2.0 (*)\n";
        let bom = bom(tree, LOCK).unwrap();
        let components = bom["components"].as_array().unwrap();
        assert_eq!(components.len(), 1, "{bom:#}");
        assert_eq!(components[0]["purl"], "pkg:cargo/bytes@1.12.0");
        assert_eq!(components[0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(components[0]["hashes"][0]["content"], "00ff");
    }

    #[test]
    fn given_a_crate_that_is_not_locked_when_listed_then_it_is_an_error() {
        assert!(bom("other v1.0.0|MIT\n", LOCK).is_err());
    }
}
