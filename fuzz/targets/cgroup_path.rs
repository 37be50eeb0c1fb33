//! Paths of cgroups, which containers can choose below their own: a workload with a bounded, printable name.
#![no_main]

use drainwatch_core::workload::{classify::classify, text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &str| {
    let identity = classify(path);
    assert!(identity.name.len() <= text::NAME, "{}", identity.name);
    assert!(
        !identity.name.chars().any(char::is_control),
        "{:?}",
        identity.name
    );
    assert!(path.starts_with(identity.own(path)), "{:?}", identity.own(path));
    let shown = text::shown_path(path);
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
});
