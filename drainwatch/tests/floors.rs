//! The rooms stand on each other: a module may use what is below it, never what is above.
//!
//! Data walks from the kernel to whoever reads a report; uses go the other way, from whoever puts the parts together
//! (`cli`, then `agent`) to what is used. Tests may use what they like.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, ImplItemFn, Item, ItemFn, ItemMod, ItemUse, Meta, UseTree,
    visit::{self, Visit},
};

/// From the ground up. A module stands on the floor that has its name, or the longest part of it.
const FLOORS: &[&str] = &[
    "drainwatch_core::words",
    "drainwatch_core::exchange",
    "drainwatch_core::workload::text",
    "drainwatch_core::description",
    "drainwatch_core::event",
    "drainwatch_core::record",
    "drainwatch_core::reading",
    "drainwatch_core::class",
    "drainwatch_core::report",
    "drainwatch_core::workload",
    "drainwatch_core::recommend",
    "drainwatch_core::rollout",
    "drainwatch_core::tracker",
    "drainwatch::kernel",
    "drainwatch::names",
    "drainwatch::outlets::text",
    "drainwatch::outlets::listing",
    "drainwatch::outlets::store",
    "drainwatch::outlets::history",
    "drainwatch::outlets::doubts",
    "drainwatch::outlets::brief",
    "drainwatch::outlets::sinks",
    "drainwatch::outlets::metrics",
    "drainwatch::outlets::questions",
    "drainwatch::outlets::summary",
    "drainwatch::outlets::rollouts",
    "drainwatch::outlets::web",
    "drainwatch::agent",
    "drainwatch::cli",
];

/// Crates that only one room may use: what they give goes further as types of the room's own.
const ONLY_IN: &[(&str, &str)] = &[
    ("aya", "drainwatch::kernel"),
    ("drainwatch_ebpf", "drainwatch::kernel"),
    ("btf_rs", "drainwatch::kernel"),
    ("bollard", "drainwatch::names"),
    ("zbus", "drainwatch::names"),
    ("redb", "drainwatch::outlets::store"),
    ("clap_complete", "drainwatch::cli"),
    ("ureq", "drainwatch::cli"),
];

/// What a room does without, although it is below: the kernel side knows no protocol and no report, an origin of names no
/// report, and the tracker no bytes of a connection.
const NOT_IN: &[(&str, &str)] = &[
    ("drainwatch_core::reading", "drainwatch::kernel"),
    ("drainwatch_core::tracker", "drainwatch::kernel"),
    ("drainwatch_core::report", "drainwatch::kernel"),
    ("drainwatch_core::tracker", "drainwatch::names"),
    ("drainwatch_core::report", "drainwatch::names"),
    ("drainwatch_core::reading", "drainwatch_core::tracker"),
    ("drainwatch_core::record", "drainwatch_core::tracker"),
];

/// One file: its name as a module, and what it uses by a path from the root of a crate.
struct Module {
    name: String,
    file: PathBuf,
    uses: Vec<String>,
}

/// A use that may not be.
struct Wrong<'a> {
    user: &'a Module,
    used: &'a str,
    /// The file of what is used, where it is one of ours.
    file: Option<&'a Path>,
    why: String,
}

impl fmt::Display for Wrong<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            user,
            used,
            file,
            why,
        } = self;
        write!(f, "{} uses `{used}`", user.file.display())?;
        if let Some(file) = file {
            write!(f, " of {}", file.display())?;
        }
        write!(f, ": {why}")
    }
}

/// The floor that this path stands on, counted from the ground.
fn floor(path: &str) -> Option<usize> {
    let stands_on = |floor: &&str| is_in(path, floor);
    let longest = FLOORS
        .iter()
        .filter(|floor| stands_on(floor))
        .max_by_key(|floor| floor.len())?;
    FLOORS.iter().position(|floor| floor == longest)
}

fn is_in(path: &str, room: &str) -> bool {
    path.strip_prefix(room)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Every use that goes up, or takes something into a room where it may not be.
fn wrong(modules: &BTreeMap<String, Module>) -> Vec<Wrong<'_>> {
    let mut all = Vec::new();
    for user in modules.values() {
        for used in &user.uses {
            if let Some(why) = why_not(&user.name, used) {
                all.push(Wrong {
                    user,
                    used,
                    file: file_of(used, modules),
                    why,
                });
            }
        }
    }
    all
}

/// Why this module may not use this path, if it may not, and what to do instead.
fn why_not(module: &str, path: &str) -> Option<String> {
    if let Some((krate, room)) = ONLY_IN
        .iter()
        .find(|(krate, room)| is_in(path, krate) && !is_in(module, room))
    {
        return Some(format!(
            "`{krate}` may only be used in `{room}`; let that room give what is needed as a type of its own"
        ));
    }
    if let Some((what, room)) = NOT_IN
        .iter()
        .find(|(what, room)| is_in(path, what) && is_in(module, room))
    {
        return Some(format!(
            "`{what}` may not enter `{room}`; do what needs it above, where both are known"
        ));
    }
    if !is_in(path, "drainwatch") && !is_in(path, "drainwatch_core") {
        return None;
    }
    let homeless = |module| {
        Some(format!(
            "`{module}` stands on no floor; give it one in drainwatch/tests/floors.rs"
        ))
    };
    match (floor(module), floor(path)) {
        (None, _) => homeless(module),
        (_, None) => homeless(path),
        (Some(from), Some(to)) if to > from => Some(format!(
            "`{}` stands below `{}`; move what both need down to the lower one (or to one below both), or hand it in \
             from above",
            FLOORS[from], FLOORS[to]
        )),
        _ => None,
    }
}

fn file_of<'a>(path: &str, modules: &'a BTreeMap<String, Module>) -> Option<&'a Path> {
    let mut name = path;
    loop {
        if let Some(module) = modules.get(name) {
            return Some(&module.file);
        }
        name = name.rsplit_once("::")?.0;
    }
}

/// The modules of a crate, from its root on; those of tests left out.
fn crate_at(name: &str, root: &Path, modules: &mut BTreeMap<String, Module>) {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut waiting = vec![(
        name.to_owned(),
        root.to_owned(),
        root.parent().unwrap().to_owned(),
    )];
    while let Some((name, file, children)) = waiting.pop() {
        let text = fs::read_to_string(base.join(&file))
            .unwrap_or_else(|why| panic!("{}: {why} (no module is a mod.rs)", file.display()));
        let (module, inner) = parse(name, file, &text);
        for child in inner {
            waiting.push((
                format!("{}::{child}", module.name),
                children.join(format!("{child}.rs")),
                children.join(&child),
            ));
        }
        modules.insert(module.name.clone(), module);
    }
}

/// A module, and the modules in files of their own that it declares.
fn parse(name: String, file: PathBuf, text: &str) -> (Module, Vec<String>) {
    let mut reader = Reader {
        module: name.clone(),
        uses: Vec::new(),
        inner: Vec::new(),
    };
    reader.visit_file(&syn::parse_file(text).unwrap_or_else(|why| panic!("{}: {why}", file.display())));
    let Reader { uses, inner, .. } = reader;
    (Module { name, file, uses }, inner)
}

struct Reader {
    module: String,
    uses: Vec<String>,
    inner: Vec<String>,
}

impl Reader {
    /// Takes a path in, where it is one from the root of a crate or up from this module.
    fn path(&mut self, segments: &[String]) {
        let root = self.module.split("::").next().unwrap_or_default().to_owned();
        let mut at: Vec<_> = self.module.split("::").map(str::to_owned).collect();
        let rest = match segments.first().map(String::as_str) {
            Some("crate") => {
                at = vec![root];
                &segments[1..]
            }
            Some("super") => {
                let ups = segments.iter().take_while(|segment| *segment == "super").count();
                at.truncate(at.len().saturating_sub(ups));
                &segments[ups..]
            }
            Some("drainwatch_core") => {
                at.clear();
                segments
            }
            Some(other) if ONLY_IN.iter().any(|(krate, _)| *krate == other) => {
                at.clear();
                segments
            }
            _ => return,
        };
        at.extend_from_slice(rest);
        self.uses.push(at.join("::"));
    }

    fn tree(&mut self, before: &mut Vec<String>, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.tree(before, &path.tree);
                before.pop();
            }
            UseTree::Name(name) if name.ident == "self" => self.path(before),
            UseTree::Name(name) => self.path(&[before.as_slice(), &[name.ident.to_string()]].concat()),
            UseTree::Rename(name) => self.path(&[before.as_slice(), &[name.ident.to_string()]].concat()),
            UseTree::Glob(_) => self.path(before),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(before, tree);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(ItemMod { attrs, .. })
            | Item::Use(ItemUse { attrs, .. })
            | Item::Fn(ItemFn { attrs, .. }) => attrs.as_slice(),
            _ => &[],
        };
        if !of_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        if !of_tests(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if module.content.is_none() {
            self.inner.push(module.ident.to_string());
            return;
        }
        let outer = self.module.clone();
        self.module = format!("{outer}::{}", module.ident);
        visit::visit_item_mod(self, module);
        self.module = outer;
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.tree(&mut Vec::new(), &item.tree);
    }

    /// `pub(super)` uses nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        self.path(&segments);
        visit::visit_path(self, path);
    }
}

/// `#[cfg(test)]`, alone or with other conditions.
fn of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string();
            condition
                .split(|c: char| !c.is_alphanumeric())
                .any(|word| word == "test")
        }
        _ => false,
    })
}

#[test]
fn given_the_source_tree_when_read_then_no_use_goes_up() {
    let mut modules = BTreeMap::new();
    crate_at(
        "drainwatch_core",
        Path::new("drainwatch-core/src/lib.rs"),
        &mut modules,
    );
    crate_at("drainwatch", Path::new("drainwatch/src/lib.rs"), &mut modules);
    let wrong: Vec<_> = wrong(&modules).iter().map(ToString::to_string).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    // Nothing was overlooked: every floor is a module, and the tree was walked to its leaves.
    for floor in FLOORS {
        assert!(modules.contains_key(*floor), "there is no module `{floor}`");
    }
    assert!(modules.len() > 60, "{}", modules.len());
}

#[test]
fn given_a_use_that_goes_up_when_read_then_both_files_are_named_and_what_to_do() {
    let wrong_in = |name: &str, text: &str| {
        let mut modules = BTreeMap::new();
        for (name, text) in [
            (name, text),
            ("drainwatch::cli::run", ""),
            ("drainwatch::names", ""),
        ] {
            let file = PathBuf::from(name.replace("::", "/") + ".rs");
            modules
                .entry(name.to_owned())
                .or_insert_with(|| parse(name.to_owned(), file, text).0);
        }
        wrong(&modules)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let up = "drainwatch/names/docker.rs uses `drainwatch::cli::run::node` of drainwatch/cli/run.rs: \
              `drainwatch::names` stands below `drainwatch::cli`; move what both need down";
    for text in [
        "use crate::cli::run::node;",
        "use crate::{cli::run::{node, node as other}, kernel};",
        "fn f() { crate::cli::run::node(); }",
        "fn f() { use super::super::cli::run::node; }",
        "mod inner { use super::super::super::cli::run::node; }",
    ] {
        let wrong = wrong_in("drainwatch::names::docker", text);
        assert!(!wrong.is_empty() && wrong[0].starts_with(up), "{text}: {wrong:?}");
    }
    for text in [
        "use crate::kernel::Kernel;",
        "use super::Teller;",
        "pub(in super::super) fn f() {}",
        "#[cfg(test)] mod tests { use crate::cli::run::node; }",
        "impl X { #[cfg(test)] fn f() { crate::cli::run::node() } }",
    ] {
        assert_eq!(wrong_in("drainwatch::names::docker", text), [""; 0], "{text}");
    }
    for (name, text, says) in [
        (
            "drainwatch::names",
            "use aya::Ebpf;",
            "`aya` may only be used in `drainwatch::kernel`",
        ),
        (
            "drainwatch::names",
            "use drainwatch_core::report::Report;",
            "`drainwatch_core::report` may not enter `drainwatch::names`",
        ),
        (
            "drainwatch::names",
            "use crate::cellar::X;",
            "`drainwatch::cellar::X` stands on no floor",
        ),
        (
            "drainwatch::cellar",
            "use crate::names::X;",
            "`drainwatch::cellar` stands on no floor",
        ),
    ] {
        let wrong = wrong_in(name, text).join("");
        assert!(
            wrong.contains(says) && wrong.is_empty() == says.is_empty(),
            "{text}: {wrong}"
        );
    }
}
