//! What is in Cargo.lock against the lists of `deny.toml`: licences, duplicate versions, sources.
//!
//! The file is cargo-deny's own. It is read here because compiling cargo-deny takes longer than the rest of lint
//! together; where it is installed, it checks the advisories, which need its database.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::shell;

/// The part of deny.toml that is checked here.
#[derive(Deserialize)]
struct Rules {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    skip: Vec<Skip>,
}

#[derive(Deserialize)]
struct Skip {
    /// `name@version`.
    #[serde(rename = "crate")]
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

/// What cargo says of the workspace and all that it depends on.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// `None` for what lies in this repository.
    source: Option<String>,
}

/// Licences, duplicate versions and sources of everything that is built for one of the targets.
pub fn dependencies() -> Result<()> {
    let path = shell::root().join("deny.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let rules: Rules = toml::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
    let mut packages = BTreeMap::new();
    for target in &rules.graph.targets {
        let arguments = ["metadata", "--locked", "--format-version", "1", "--all-features"];
        let mut command = shell::cargo();
        command.args(arguments).args(["--filter-platform", target]);
        let metadata: Metadata =
            serde_json::from_str(&shell::output(&mut command)?).context("reading cargo's metadata")?;
        let versions = metadata.packages.into_iter();
        packages.extend(versions.map(|package| (format!("{}@{}", package.name, package.version), package)));
    }
    let mut wrong = licences(&rules.licenses, &packages);
    wrong.extend(duplicates(&rules.bans, &packages));
    wrong.extend(sources(&rules.sources, &packages));
    ensure!(wrong.is_empty(), "against deny.toml:\n  {}", wrong.join("\n  "));
    Ok(())
}

/// Known vulnerabilities, by cargo-deny. Says so where they are not checked.
pub fn advisories() -> Result<()> {
    let not_checked = |why: &str| {
        println!("        advisories are not checked: {why}");
        Ok(())
    };
    if shell::find_program("cargo-deny").is_none() {
        return not_checked("cargo-deny is not installed (`cargo install --locked cargo-deny`)");
    }
    if shell::output(shell::cargo().args(["deny", "fetch", "db"])).is_err() {
        return not_checked("the advisory database cannot be reached");
    }
    shell::run(shell::cargo().args(["deny", "--locked", "check", "advisories"]))
}

fn licences(rules: &Licenses, packages: &BTreeMap<String, Package>) -> Vec<String> {
    let none = BTreeSet::new();
    let exception = |name: &str| rules.exceptions.iter().find(|exception| exception.name == name);
    let refused = packages.iter().filter_map(|(version, package)| {
        let more = exception(&package.name).map_or(&none, |exception| &exception.allow);
        let Some(license) = &package.license else {
            return Some(format!("{version} names no licence"));
        };
        let allowed = |name: &str| rules.allow.contains(name) || more.contains(name);
        (!satisfied(license, &allowed)).then(|| format!("{version} has the licence {license}"))
    });
    let unused = rules.exceptions.iter().filter_map(|exception| {
        let used = packages.values().any(|package| package.name == exception.name);
        (!used).then(|| format!("the exception for {} is not needed any more", exception.name))
    });
    refused.chain(unused).collect()
}

fn duplicates(rules: &Bans, packages: &BTreeMap<String, Package>) -> Vec<String> {
    let skipped: BTreeSet<&str> = rules.skip.iter().map(|skip| skip.version.as_str()).collect();
    let mut kept: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (version, package) in packages {
        if !skipped.contains(version.as_str()) {
            kept.entry(&package.name).or_default().push(&package.version);
        }
    }
    let several = kept
        .iter()
        .filter(|(_, versions)| versions.len() > 1)
        .map(|(name, versions)| format!("{name} is there in several versions: {}", versions.join(", ")));
    let unused = skipped.iter().filter_map(|version| {
        let name = version.split('@').next().unwrap_or_default();
        let needed = packages.contains_key(*version) && kept.contains_key(name);
        (!needed).then(|| format!("{version} need not be skipped any more"))
    });
    several.chain(unused).collect()
}

fn sources(rules: &Sources, packages: &BTreeMap<String, Package>) -> Vec<String> {
    let allowed = |source: &str| {
        let registry = source.strip_prefix("registry+");
        registry.is_some_and(|url| rules.allow_registry.iter().any(|allowed| allowed == url))
    };
    let foreign = packages.iter().filter_map(|(version, package)| {
        let source = package.source.as_deref().filter(|source| !allowed(source))?;
        Some(format!("{version} comes from {source}"))
    });
    foreign.collect()
}

/// Whether an SPDX expression can be met with these licences. `A/B`, the old spelling, is `A OR B`.
fn satisfied(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any_of(&mut rest, allowed) == Some(true) && rest.is_empty()
}

fn any_of(words: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    let mut met = all_of(words, allowed)?;
    while let ["OR", rest @ ..] = *words {
        *words = rest;
        met |= all_of(words, allowed)?;
    }
    Some(met)
}

fn all_of(words: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    let mut met = one(words, allowed)?;
    while let ["AND", rest @ ..] = *words {
        *words = rest;
        met &= one(words, allowed)?;
    }
    Some(met)
}

/// A licence, one with an exception, or an expression in parentheses; `None` where none stands.
fn one(words: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> Option<bool> {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let met = any_of(words, allowed)?;
            *words = words.strip_prefix(&[")"])?;
            Some(met)
        }
        [name, "WITH", exception, rest @ ..] => {
            *words = rest;
            Some(allowed(&format!("{name} WITH {exception}")))
        }
        [name, rest @ ..] => {
            *words = rest;
            Some(allowed(name))
        }
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_an_expression_when_licences_are_allowed_then_it_is_met_only_if_they_suffice() {
        let allowed = |name: &str| ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].contains(&name);
        for met in [
            "MIT",
            "MIT/Apache-2.0",
            "Apache-2.0 OR MIT",
            "MIT AND ISC",
            "GPL-3.0 OR (MIT AND ISC)",
            "(Apache-2.0 OR MIT) AND ISC",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(satisfied(met, &allowed), "{met}");
        }
        for refused in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "MIT AND (GPL-3.0 OR BSD-3-Clause)",
            "Apache-2.0",
            "MIT OR",
            "(MIT",
            "MIT ISC",
        ] {
            assert!(!satisfied(refused, &allowed), "{refused}");
        }
    }

    fn package(name: &str, version: &str) -> (String, Package) {
        let package = Package {
            name: name.to_owned(),
            version: version.to_owned(),
            license: Some("MIT".to_owned()),
            source: Some("registry+https://example.org/index".to_owned()),
        };
        (format!("{name}@{version}"), package)
    }

    #[test]
    fn given_two_versions_when_none_is_skipped_then_both_are_named_and_a_needless_skip_is_too() {
        let packages = BTreeMap::from([
            package("a", "1.0.0"),
            package("a", "2.0.0"),
            package("b", "1.0.0"),
        ]);
        let skip = |versions: &[&str]| Bans {
            skip: versions
                .iter()
                .map(|&version| Skip {
                    version: version.to_owned(),
                })
                .collect(),
        };
        assert_eq!(
            duplicates(&skip(&[]), &packages),
            ["a is there in several versions: 1.0.0, 2.0.0"]
        );
        assert!(duplicates(&skip(&["a@1.0.0"]), &packages).is_empty());
        assert_eq!(
            duplicates(&skip(&["a@1.0.0", "b@1.0.0", "c@1.0.0"]), &packages),
            [
                "b@1.0.0 need not be skipped any more",
                "c@1.0.0 need not be skipped any more"
            ]
        );
    }

    #[test]
    fn given_a_registry_that_is_not_listed_when_checked_then_what_comes_from_it_is_named() {
        let packages = BTreeMap::from([package("a", "1.0.0")]);
        let rules = |url: &str| Sources {
            allow_registry: vec![url.to_owned()],
        };
        assert!(sources(&rules("https://example.org/index"), &packages).is_empty());
        assert_eq!(
            sources(&rules("https://example.com/index"), &packages),
            ["a@1.0.0 comes from registry+https://example.org/index"]
        );
    }
}
