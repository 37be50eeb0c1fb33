use std::time::Duration;

use drainwatch_core::testing::report;

use super::*;

const DAY_MS: i64 = 86_400_000;
const KEEP: Retention = Retention {
    reports: 100,
    age: Duration::from_hours(24),
};

fn entry(id: &str, ended_ms: i64, open: bool) -> Entry {
    let json = serde_json::to_string(&report(id, "/svc", Verdict::Clean))
        .unwrap()
        .into();
    Entry {
        id: id.into(),
        ended_ms,
        open,
        json,
        workload: 7,
    }
}

fn listed(store: &Store, filter: &Filter) -> Vec<String> {
    let mut matches = Matches::new(filter.limit);
    store.list(filter, &HashSet::new(), &mut matches).unwrap();
    matches.ids()
}

#[test]
fn given_reports_when_listed_then_the_newest_end_comes_first_and_since_cuts() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), KEEP, 0).unwrap().store;
    store
        .write(
            &[
                entry("b", 20, false),
                entry("a", 30, false),
                entry("c", 10, false),
            ],
            &[],
            30,
        )
        .unwrap();
    assert_eq!(listed(&store, &Filter::default()), ["a", "b", "c"]);
    assert_eq!(
        listed(
            &store,
            &Filter {
                since_ms: Some(20),
                ..Filter::default()
            }
        ),
        ["a", "b"]
    );
    assert_eq!(
        listed(
            &store,
            &Filter {
                limit: 1,
                ..Filter::default()
            }
        ),
        ["a"]
    );
    assert_eq!(store.ids("a", 2).unwrap(), ["a"]);
    assert_eq!(store.ids("", 2).unwrap(), ["a", "b"]);
    assert!(store.get("c").unwrap().is_some());
    assert!(store.get("d").unwrap().is_none());
}

#[test]
fn given_a_report_stored_twice_when_listed_then_it_is_there_once_at_its_last_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), KEEP, 0).unwrap().store;
    store
        .write(&[entry("a", 10, true), entry("b", 20, false)], &[], 20)
        .unwrap();
    store.write(&[entry("a", 30, false)], &[], 30).unwrap();
    assert_eq!(listed(&store, &Filter::default()), ["a", "b"]);
    store.write(&[], &["b".into()], 30).unwrap();
    assert_eq!(listed(&store, &Filter::default()), ["a"]);
}

#[test]
fn given_more_or_older_reports_than_kept_when_written_then_the_oldest_go() {
    let dir = tempfile::tempdir().unwrap();
    let two = Retention { reports: 2, ..KEEP };
    let store = Store::open(dir.path(), two, 0).unwrap().store;
    store
        .write(
            &[entry("a", 1, false), entry("b", 2, false), entry("c", 3, false)],
            &[],
            3,
        )
        .unwrap();
    assert_eq!(listed(&store, &Filter::default()), ["c", "b"]);
    store.write(&[], &[], 40 * DAY_MS).unwrap();
    assert_eq!(
        listed(&store, &Filter::default()),
        ["c", "b"],
        "the clock was set"
    );
    let write = store.begin_write().unwrap();
    retention::set_aged(&write, DAY_MS + 3);
    write.commit().unwrap();
    store.write(&[], &[], DAY_MS + 3).unwrap();
    assert_eq!(listed(&store, &Filter::default()), ["c"]);
    assert_eq!(store.len().unwrap(), 1);
}

#[test]
fn given_a_workload_with_most_of_the_reports_when_there_are_too_many_then_its_own_go_first() {
    let dir = tempfile::tempdir().unwrap();
    let four = Retention { reports: 4, ..KEEP };
    let store = Store::open(dir.path(), four, 0).unwrap().store;
    let of = |workload, id: &str, ended_ms| Entry {
        workload,
        ..entry(id, ended_ms, false)
    };
    store.write(&[of(1, "quiet", 1), of(2, "q2", 2)], &[], 2).unwrap();
    for n in 3..50 {
        store.write(&[of(9, &format!("noisy{n}"), n)], &[], n).unwrap();
    }
    assert_eq!(
        listed(&store, &Filter::default()),
        ["noisy49", "noisy48", "q2", "quiet"]
    );
}

#[test]
fn given_any_page_that_is_wiped_when_opened_and_used_then_nothing_panics_and_what_is_written_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    drop({
        let store = Store::open(dir.path(), KEEP, 0).unwrap().store;
        for n in 0..60 {
            store
                .write(&[entry(&format!("r{n:02}"), n, n % 7 == 0)], &[], n)
                .unwrap();
        }
        store
    });
    let good = std::fs::read(&path).unwrap();
    for page in 0..good.len() / 4096 {
        for fill in [0u8, 0xff] {
            let mut bytes = good.clone();
            bytes[page * 4096..(page + 1) * 4096].fill(fill);
            std::fs::write(&path, &bytes).unwrap();
            let store = Store::open(dir.path(), KEEP, 7000).unwrap().store;
            let mut matches = Matches::new(100);
            // It may be damaged; then that is said.
            let _ = store.list(&Filter::default(), &HashSet::new(), &mut matches);
            for id in store.ids("", 100).unwrap_or_default() {
                let _ = store.get(&id);
            }
            let written = store.write(&[entry("new", 100, false)], &["r03".into()], 100);
            if let Err(error) = written {
                assert!(error.is_damage(), "page {page}: {error}");
                store.begin_anew(8000).unwrap();
                store.write(&[entry("new", 100, false)], &[], 100).unwrap();
            }
            assert!(store.get("new").unwrap().is_some(), "page {page}");
            let _ = guarded(|| {
                drop(store);
                Ok(())
            });
            for aside in std::fs::read_dir(dir.path()).unwrap().flatten() {
                std::fs::remove_file(aside.path()).unwrap();
            }
        }
    }
}

#[test]
fn given_a_store_then_it_and_the_directory_made_for_it_are_the_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("a/state");
    drop(Store::open(&state, KEEP, 0).unwrap());
    std::fs::set_permissions(state.join(FILE), Permissions::from_mode(0o644)).unwrap();
    drop(Store::open(&state, KEEP, 0).unwrap());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&state), mode(&state.join(FILE))), (0o700, 0o600));
}

#[test]
fn given_a_report_left_open_when_opened_again_then_it_is_marked_and_not_called_clean() {
    let dir = tempfile::tempdir().unwrap();
    let started = report("a", "/svc", Verdict::Clean)
        .started_at
        .parse::<jiff::Timestamp>()
        .unwrap();
    let stored_ms = started.as_millisecond() + 1500;
    {
        let store = Store::open(dir.path(), KEEP, stored_ms).unwrap().store;
        let mut open = report("a", "/svc", Verdict::Clean);
        open.ended_at = None;
        let json = serde_json::to_string(&open).unwrap().into();
        store
            .write(
                &[Entry {
                    id: "a".into(),
                    ended_ms: stored_ms,
                    open: true,
                    json,
                    workload: 7,
                }],
                &[],
                stored_ms,
            )
            .unwrap();
    }
    let opened = Store::open(dir.path(), KEEP, stored_ms).unwrap();
    assert_eq!(
        opened.store.mark_unfinished(|id| id == "a").unwrap(),
        0,
        "it goes on"
    );
    assert_eq!(opened.store.mark_unfinished(|_| false).unwrap(), 1);
    let json = opened.store.get("a").unwrap().unwrap();
    let marked: Report = serde_json::from_str(&json).unwrap();
    assert_eq!((marked.verdict, marked.ended_at), (Verdict::Unknown, None));
    let last = marked.timeline.last().unwrap();
    assert_eq!((last.what, last.at_ms), (MomentKind::AgentStopped, 1500.0));
    drop(opened);
    let again = Store::open(dir.path(), KEEP, stored_ms).unwrap();
    assert_eq!(again.store.mark_unfinished(|_| false).unwrap(), 0, "marked once");
}

#[test]
fn given_a_store_held_by_another_when_opened_then_it_is_refused_and_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(dir.path(), KEEP, 0).unwrap();
    let error = Store::open(dir.path(), KEEP, 0).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(first.store.is_empty().unwrap());
}

#[test]
fn given_a_damaged_file_when_opened_then_it_is_kept_aside_byte_for_byte_and_a_fresh_one_serves() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    drop({
        let store = Store::open(dir.path(), KEEP, 0).unwrap().store;
        store.write(&[entry("a", 1, false)], &[], 1).unwrap();
        store
    });
    let good = std::fs::read(&path).unwrap();
    let garbage = b"this is not a database, but somebody's notes".to_vec();
    let truncated = good[..good.len() / 2].to_vec();
    let mut header = good.clone();
    header[..64].fill(0xff);
    let mut roots = good.clone();
    roots[64..320].fill(0x5a);
    for (n, bytes) in [garbage, truncated, header, roots].into_iter().enumerate() {
        std::fs::write(&path, &bytes).unwrap();
        let opened = Store::open(dir.path(), KEEP, 7000).unwrap();
        let (aside, why) = opened
            .quarantined
            .unwrap_or_else(|| panic!("case {n} was taken for sound"));
        assert_eq!(std::fs::read(&aside).unwrap(), bytes, "case {n}");
        assert!(
            aside.display().to_string().contains("reports.redb.corrupt-7"),
            "{aside:?}"
        );
        assert!(!why.is_empty());
        assert!(opened.store.is_empty().unwrap(), "case {n}");
    }
}
