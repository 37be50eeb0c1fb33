//! Advice for people, and as a change to apply. Pure.

use std::fmt::Write as _;

use drainwatch_core::workload::text::clean;
use serde_json::{Map, Value, json};

use super::advice::Advice;
use crate::{
    cli::render::columns::{Column, Cut, draw},
    outlets::{brief::workload, text::span},
};

/// Below it a name says nothing.
const SHORT_NAME: usize = 8;

/// One workload: what was measured, what is set, what to set.
pub fn text(advice: &Advice) -> String {
    let Advice {
        stops,
        severing,
        lost,
        measured,
        configured,
        set,
        ..
    } = advice;
    let seconds = |seconds: f64| span(seconds * 1000.0);
    let mut text = format!(
        "{}: {stops} {} measured, {severing} of them severed requests; {lost} requests and connections lost\n",
        workload(&advice.workload),
        if *stops == 1 { "stop" } else { "stops" },
    );
    let facts = [
        measured
            .lag
            .map(|lag| format!("new requests came for up to {}", seconds(lag))),
        (measured.drain > 0.0).then(|| format!("requests took up to {} to finish", seconds(measured.drain))),
        measured
            .ended
            .map(|ended| format!("it ended by itself after up to {}", seconds(ended))),
        measured
            .cut
            .map(|cut| format!("SIGKILL cut requests after {}", seconds(cut))),
    ];
    for fact in facts.into_iter().flatten() {
        let _ = writeln!(text, "  {fact}");
    }
    let now = |now: Option<f64>| now.map_or_else(|| "not known".into(), seconds);
    for (what, to, from) in [
        ("preStop", set.prestop_seconds, configured.prestop_seconds),
        ("grace period", set.grace_seconds, configured.grace_seconds),
    ] {
        if let Some(to) = to {
            let _ = writeln!(text, "  → {what}: {} (now {})", seconds(to), now(from));
        }
    }
    if set.is_nothing() {
        text.push_str(if *lost == 0 {
            "  → nothing to change\n"
        } else {
            "  → nothing to change in its settings: what was lost is for its code, see `drainwatch show`\n"
        });
    }
    text
}

/// All of them, one row each.
pub fn table(advices: &[Advice], width: Option<usize>) -> String {
    let of = |cell: &dyn Fn(&Advice) -> String| advices.iter().map(cell).collect();
    let spell = |seconds: Option<f64>| seconds.map_or_else(|| "–".into(), |seconds| span(seconds * 1000.0));
    let to = |to: Option<f64>, now: Option<f64>| match to {
        Some(_) => format!("{} → {}", spell(now), spell(to)),
        None => spell(now),
    };
    let table = |measured: bool| {
        let mut table = vec![
            Column::new("workload", of(&|one| workload(&one.workload))).or_cut(SHORT_NAME, Cut::Middle),
            Column::numbers("stops", advices.iter().map(|one| one.stops as u64)),
            Column::numbers("lost", advices.iter().map(|one| one.lost)),
        ];
        if measured {
            table.push(Column::new("lag", of(&|one| spell(one.measured.lag))));
            table.push(Column::new("drain", of(&|one| spell(Some(one.measured.drain)))));
        }
        table.push(Column::new(
            "preStop",
            of(&|one| to(one.set.prestop_seconds, one.configured.prestop_seconds)),
        ));
        table.push(Column::new(
            "grace period",
            of(&|one| to(one.set.grace_seconds, one.configured.grace_seconds)),
        ));
        table
    };
    draw([true, false].map(table), width)
}

/// The containers of each pod's controller together: they share a grace period.
pub fn pods(advices: &[Advice]) -> Vec<Vec<Advice>> {
    let mut pods: Vec<Vec<Advice>> = Vec::new();
    for advice in advices {
        let same = |other: &Advice| {
            let (a, b) = (&advice.workload, &other.workload);
            (&a.namespace, &a.name, &a.kind) == (&b.namespace, &b.name, &b.kind)
        };
        match pods.iter_mut().find(|pod| pod.first().is_some_and(same)) {
            Some(pod) => pod.push(advice.clone()),
            None => pods.push(vec![advice.clone()]),
        }
    }
    pods
}

/// A command that changes a Deployment, `StatefulSet` or `DaemonSet`.
pub fn kubectl_patch(containers: &[Advice]) -> Result<String, String> {
    let Some(first) = containers.first() else {
        return Ok(String::new());
    };
    let name = workload(&drainwatch_core::report::Workload {
        container: None,
        ..first.workload.clone()
    });
    let resource = match first.workload.controller.as_deref() {
        Some("Deployment") => "deployment",
        Some("StatefulSet") => "statefulset",
        Some("DaemonSet") => "daemonset",
        Some(kind) => {
            return Err(format!(
                "{name} is controlled by a {}, which such a patch does not reach; set it in its manifest, see \
                 `drainwatch recommend {name}`",
                clean(kind)
            ));
        }
        None => {
            return Err(format!(
                "{name} is no pod of a controller; try --output compose or systemd"
            ));
        }
    };
    let mut notes = String::new();
    let mut hooks = Vec::new();
    for advice in containers {
        let (Some(seconds), Some(container)) = (advice.set.prestop_seconds, &advice.workload.container)
        else {
            continue;
        };
        match (&advice.configured.prestop, advice.configured.prestop_seconds) {
            (Some(hook), None) => {
                let _ = writeln!(
                    notes,
                    "# The preStop hook of {} is `{}`: let it wait {seconds} s before that.",
                    clean(container),
                    clean(hook)
                );
            }
            (had, _) => hooks.push(hook(container, seconds, had.as_deref())),
        }
    }
    let grace = containers.iter().filter_map(|one| one.set.grace_seconds);
    let mut spec = Map::new();
    if let Some(seconds) = grace.reduce(f64::max) {
        spec.insert("terminationGracePeriodSeconds".into(), whole(seconds));
    }
    if !hooks.is_empty() {
        spec.insert("containers".into(), Value::Array(hooks));
    }
    if spec.is_empty() {
        return Ok(format!("{notes}# {name}: nothing to change\n"));
    }
    let patch = json!({ "spec": { "template": { "spec": spec } } });
    let of = match &first.workload.namespace {
        Some(namespace) => format!("--namespace {} ", quoted(namespace)),
        None => String::new(),
    };
    Ok(format!(
        "{notes}kubectl patch {resource} {} {of}--type strategic --patch {}\n",
        quoted(&first.workload.name),
        quoted(&patch.to_string())
    ))
}

/// A container's hook that sleeps; what it had beside it would be two handlers in one, which the API refuses.
fn hook(container: &str, seconds: f64, had: Option<&str>) -> Value {
    let mut prestop = Map::new();
    prestop.insert("sleep".into(), json!({ "seconds": whole(seconds) }));
    if had.is_some_and(|had| had.starts_with("exec ")) {
        prestop.insert("exec".into(), Value::Null);
    }
    json!({ "name": container, "lifecycle": { "preStop": prestop } })
}

/// Lines of a Compose file.
pub fn compose(advice: &Advice) -> Result<String, String> {
    let name = workload(&advice.workload);
    if !["docker", "podman"].contains(&advice.workload.kind.as_str()) {
        return Err(format!(
            "{name} is no container of Docker or Podman but of kind {}; try another --output",
            clean(&advice.workload.kind)
        ));
    }
    let Some(seconds) = advice.set.grace_seconds else {
        return Ok(format!("# {name}: nothing to change\n"));
    };
    let service = advice.workload.name.rsplit('/').next().unwrap_or_default();
    Ok(format!(
        "# {name}\nservices:\n  {}:\n    stop_grace_period: {}s\n",
        Value::from(service),
        whole(seconds)
    ))
}

/// A drop-in of a unit.
pub fn systemd(advice: &Advice) -> Result<String, String> {
    let name = workload(&advice.workload);
    if advice.workload.kind != "systemd" {
        return Err(format!(
            "{name} is no unit of systemd but of kind {}; try another --output",
            clean(&advice.workload.kind)
        ));
    }
    let Some(seconds) = advice.set.grace_seconds else {
        return Ok(format!("# {name}: nothing to change\n"));
    };
    Ok(format!(
        "# systemctl edit {}\n[Service]\nTimeoutStopSec={}\n",
        quoted(&advice.workload.name),
        whole(seconds)
    ))
}

/// Recommended values are whole seconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to a century before"
)]
fn whole(seconds: f64) -> Value {
    Value::from(seconds.clamp(0.0, 3.2e9).ceil() as u64)
}

/// One word of a shell, whatever is in it.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./@:".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.into();
    }
    format!("'{}'", clean(text).replace('\'', r"'\''"))
}
