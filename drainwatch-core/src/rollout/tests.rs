use super::*;
use crate::testing::report;

fn pod(id: &str, minute: u32, revision: &str) -> Report {
    let mut report = report(id, "web", Verdict::Clean);
    report.workload.kind = "kubernetes".into();
    report.workload.namespace = Some("shop".into());
    report.workload.pod = Some(format!("web-{revision}-{id}"));
    report.revision.id = Some(revision.into());
    report.reason = Some(Reason::Rollout);
    report.started_at = format!("2026-01-01T{:02}:{:02}:00.000Z", minute / 60, minute % 60);
    report.ended_at = Some(format!(
        "2026-01-01T{:02}:{:02}:20.000Z",
        minute / 60,
        minute % 60
    ));
    report.requests.drained = 2;
    report
}

fn cut(mut report: Report, class: &str, code: FindingCode) -> Report {
    report.verdict = Verdict::Severed;
    report.requests.severed = 3;
    report.severed = [(Cause::Truncated, 3)].into();
    report.severed_classes = [(class.to_owned(), 3)].into();
    report.findings = vec![Finding {
        code,
        summary: report.id.clone(),
        advice: "drain".into(),
    }];
    report
}

fn nothing_runs(_: &RolledOut) -> Option<Revision> {
    None
}

#[test]
fn given_pods_of_one_revision_when_put_together_then_they_are_one_rollout_with_their_sums() {
    let mut sidecar = pod("b2", 1, "r1");
    sidecar.workload.container = Some("proxy".into());
    sidecar.workload.pod = Some("web-r1-b".into());
    let mut elsewhere = cut(pod("b", 1, "r1"), "webhook", FindingCode::KilledMidDrain);
    elsewhere.node = "n2".into();
    elsewhere.drain_ms = Some(700.0);
    let reports = [
        cut(pod("c", 3, "r1"), "request", FindingCode::HandlerLate),
        elsewhere,
        pod("a", 0, "r1"),
        sidecar,
    ];
    let found = rollouts(&reports, nothing_runs);
    assert_eq!(found.len(), 1);
    let one = &found[0];
    assert_eq!(
        (one.id.as_str(), one.shutdowns, one.pods, one.under_way),
        ("a", 4, 3, 0)
    );
    assert_eq!(one.nodes, ["n1", "n2"]);
    assert_eq!((one.requests.severed, one.requests.drained), (6, 8));
    assert_eq!(
        one.severed_classes,
        [("request".to_owned(), 3), ("webhook".to_owned(), 3)].into()
    );
    assert_eq!(one.verdict, Verdict::Severed);
    assert_eq!(one.drain_ms, Some(700.0));
    assert_eq!(one.ended_at.as_deref(), Some("2026-01-01T00:03:20.000Z"));
    let codes: Vec<_> = one.findings.iter().map(|found| found.finding.code).collect();
    assert_eq!(codes, [FindingCode::KilledMidDrain, FindingCode::HandlerLate]);
    assert_eq!(one.ids.len(), 4);
}

#[test]
fn given_revisions_one_after_the_other_then_each_is_followed_by_the_next_and_the_last_by_what_runs() {
    let reports = [pod("a", 0, "r1"), pod("b", 50, "r2"), pod("c", 100, "r1")];
    let runs = |_: &RolledOut| {
        Some(Revision {
            id: Some("r3".into()),
            image: None,
        })
    };
    let found = rollouts(&reports, runs);
    let path: Vec<_> = found
        .iter()
        .map(|one| (name(&one.from), one.to.as_ref().map(name)))
        .collect();
    assert_eq!(path, [("r1", Some("r3")), ("r2", Some("r1")), ("r1", Some("r2"))]);
    let same = rollouts(&reports[..1], |_| Some(pod("x", 0, "r1").revision));
    assert_eq!(
        same[0].to, None,
        "its old pods still run: it is under way, or it was restarted"
    );
}

#[test]
fn given_a_pause_when_the_same_revision_goes_again_then_it_is_another_rollout() {
    let reports = [pod("a", 0, "r1"), pod("b", 29, "r1"), pod("c", 61, "r1")];
    let found: Vec<_> = rollouts(&reports, nothing_runs)
        .iter()
        .map(|one| (one.id.clone(), one.shutdowns))
        .collect();
    assert_eq!(found, [("c".to_owned(), 1), ("a".to_owned(), 2)]);
}

#[test]
fn given_shutdowns_that_nobody_deployed_then_they_are_in_no_rollout() {
    let with = |change: fn(&mut Report)| {
        let mut report = pod("a", 0, "r1");
        change(&mut report);
        report
    };
    for report in [
        with(|report| report.reason = Some(Reason::ScaleDown)),
        with(|report| report.reason = Some(Reason::Liveness)),
        with(|report| report.trigger = Trigger::Oom),
        with(|report| report.trigger = Trigger::Worker),
        with(|report| report.started_at = "yesterday".into()),
    ] {
        assert_eq!(rollouts(&[report], nothing_runs), []);
    }
    let unsaid = with(|report| report.reason = None);
    assert_eq!(
        rollouts(&[unsaid], nothing_runs).len(),
        1,
        "where nobody says why, a stop is one"
    );
}

#[test]
fn given_a_shutdown_that_goes_on_then_so_does_its_rollout() {
    let mut open = pod("b", 1, "r1");
    open.ended_at = None;
    let found = rollouts(&[pod("a", 0, "r1"), open], nothing_runs);
    assert_eq!((found[0].under_way, found[0].ended_at.as_deref()), (1, None));
}

#[test]
fn given_times_as_reports_have_them_when_read_then_they_count_from_the_epoch() {
    for (text, ms) in [
        ("1970-01-01T00:00:00.000Z", Some(0)),
        ("2000-02-29T12:34:56.789Z", Some(951_827_696_789)),
        ("2026-11-29T21:00:00.001Z", Some(1_795_986_000_001)),
        ("2026-13-01T00:00:00.000Z", None),
        ("2026-01-01T00:00:00Z", None),
        ("日本語日本語日本語日本語", None),
        ("", None),
    ] {
        assert_eq!(milliseconds(text), ms, "{text}");
    }
}
