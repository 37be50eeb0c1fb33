//! Bytes of the kernel's ring: whatever they are, they decode to a fact or to none, and a fact to an event.
#![no_main]

use drainwatch_core::reading::{self, Rules};
use drainwatch_ebpf::ConnectionEvent;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let rules = Rules::default();
    let mut entry = bytes.to_vec();
    if let Some(fact) = drainwatch::kernel::fact(&entry) {
        reading::event(fact, &rules);
    }
    // The largest structure, so that short inputs reach what reads whole records.
    entry.resize(size_of::<ConnectionEvent>().max(bytes.len()), 0);
    if let Some(fact) = drainwatch::kernel::fact(&entry) {
        reading::event(fact, &rules);
    }
});
