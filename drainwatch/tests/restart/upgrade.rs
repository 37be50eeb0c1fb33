//! From the last release to this one: its programs run, and an agent of this version takes over.
//!
//! `previous.bpf.o` is `drainwatch/bpf/drainwatch.bpf.o` of the last release; whoever makes one puts it here.

use std::time::Duration;

use drainwatch::kernel::{Kernel, KernelOptions};
use nix::sys::signal::Signal;
use testkit::{demo::Manners, runs_here};

use super::{
    FOR_EVER,
    place::{self, BINARY, Place},
    storm::{Shop, Tally},
};

const PREVIOUS: &[u8] = include_bytes!("previous.bpf.o");

#[test]
fn given_programs_of_the_last_release_when_this_version_comes_then_it_replaces_them_and_says_what_it_cannot_know()
 {
    if !runs_here(BINARY) {
        return;
    }
    let place = Place::new("1s");
    leave_programs_of_the_last_release(&place);
    let of_last_release = place.pinned();
    assert_eq!(of_last_release.len(), 1, "{of_last_release:?}");
    // Under way while nobody reads what is told, and still there afterwards.
    let unread = Shop::open(Manners::Bad, 2, FOR_EVER);
    let older = Shop::open(Manners::Bad, 3, FOR_EVER);
    unread.stop(Signal::SIGTERM);

    let agent = place.start();
    let line = agent.line("of another version").unwrap();
    let number = |key: &str| {
        let value = line.split_once(&format!(" {key}=")).unwrap().1;
        let digits = value.split_whitespace().next().unwrap();
        digits.parse::<u64>().unwrap()
    };
    assert!(number("connections") >= 3, "{line}");
    // Its signal and its two connections, at least.
    assert!(number("unread") >= 3, "{line}");
    let of_this_version = place.pinned();
    assert_eq!(of_this_version.len(), 1, "{of_this_version:?}");
    assert_ne!(of_this_version, of_last_release);

    let newer = Shop::open(Manners::Bad, 2, FOR_EVER);
    older.stop(Signal::SIGTERM);
    newer.stop(Signal::SIGTERM);
    let report = agent.ended_report(older.name()).unwrap();
    assert_eq!(report["requests"]["unknown"], 3, "{report}");
    assert_eq!(report["requests"]["severed"], 0, "{report}");
    assert_eq!(report["verdict"], "unknown", "{report}");
    let mut tally = Tally::default();
    tally.add(vec![newer]);
    tally.compare(&agent);
    place::end(agent, Signal::SIGTERM);
}

#[test]
fn given_shutdowns_at_any_moment_of_an_upgrade_then_each_is_told_exactly_or_called_unknown() {
    if !runs_here(BINARY) {
        return;
    }
    for wait in [0, 200, 600, 1000] {
        let place = Place::new("1s");
        leave_programs_of_the_last_release(&place);
        let shop = Shop::open(Manners::Bad, 2, FOR_EVER);
        let agent = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(wait));
                shop.stop(Signal::SIGTERM);
            });
            place.start()
        });
        let mut tally = Tally::default();
        let after = Shop::open(Manners::Bad, 2, FOR_EVER);
        after.stop(Signal::SIGTERM);
        tally.add(vec![after]);
        tally.compare(&agent);
        // Whoever saw it begin counts what it lost; nobody calls it clean.
        for report in agent.reports_named(shop.name()).unwrap() {
            assert_ne!(report["verdict"], "clean", "after {wait} ms: {report}");
        }
        place::end(agent, Signal::SIGTERM);
    }
}

/// As an agent leaves them that is stopped to be replaced.
fn leave_programs_of_the_last_release(place: &Place) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = KernelOptions {
            pin_dir: Some(place.pin_dir()),
            object: Some(PREVIOUS.to_vec()),
            ..KernelOptions::default()
        };
        let mut kernel = Kernel::start(&options).unwrap();
        kernel.stop(false);
    });
}
