//! Health checks and scrapes beside users' requests: in no verdict, count, finding or lag.

use super::{DRAIN, KILL, PYTHON, TERM, drained, killed, unhandled};
use crate::table::{
    Act::{Hang, Marked},
    Case,
    Fate::{Drained, Probe, Severed},
    Saw::{Complete, Eof, Left},
    Server::{Go, Hyper, Node, Raw},
    Way::{Arrive, Ask, Touch},
    case,
};

/// What the kubelet sends, to a handler that hangs.
const KUBELET: crate::table::Act = Marked {
    header: "User-Agent: kube-probe/1.30",
    class: "probe",
};
/// What Prometheus sends.
const SCRAPE: crate::table::Act = Marked {
    header: "User-Agent: Prometheus/2.53.0\r\nX-Prometheus-Scrape-Timeout-Seconds: 10",
    class: "probe",
};

/// Probes.
pub fn cases() -> Vec<Case> {
    let probed = |case: Case| {
        case.row(Ask, KUBELET, Eof, Probe)
            .times(2)
            .row(Ask, SCRAPE, Eof, Probe)
    };
    vec![
        // Probes alone are cut: no fault.
        probed(case(
            "node/term-exit-at-once/probes",
            Node("exit"),
            TERM,
            drained(),
        )),
        // One user's request is cut among them: exactly that one.
        probed(case(
            "hyper/term-default/probes",
            Hyper("default"),
            TERM,
            unhandled(),
        ))
        .row(Ask, Hang, Eof, Severed("unanswered")),
        probed(case("python/kill/probes", PYTHON, KILL, killed())).row(Ask, Hang, Eof, Severed("unanswered")),
        case("go/drain/probes", Go("drain"), DRAIN, drained())
            .row(Ask, KUBELET, Complete(200), Probe)
            .row(Ask, Hang, Complete(200), Drained),
        // Checks that come after the stop signal are no traffic after it.
        case("raw/serve-on/probes", Raw("serve-on"), DRAIN, {
            drained().may(&["kept_accepting"])
        })
        .row(Ask, Hang, Complete(200), Drained)
        .row(Arrive, KUBELET, Complete(200), Probe)
        .times(3)
        .row(Touch, Hang, Left, Probe)
        .times(2),
    ]
}
