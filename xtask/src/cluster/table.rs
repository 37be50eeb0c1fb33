//! The table of rollouts: what runs, what is done to it, and what its reports must say.

use super::service::{Controller, Service};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Only probes.
    None,
    /// Clients on another node.
    Clients,
    /// Clients outside of the cluster, whom kube-proxy disguises as the node.
    Outside,
}

/// What is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// So many rollouts in a row.
    Deploys(u32),
    /// Scaled to nothing.
    ScaleToZero,
    /// Its pods are deleted by hand.
    Delete,
    /// Its pods are deleted without a grace period.
    ForceDelete,
    /// Its pods are evicted, one after the other.
    Evict,
    /// A more important pod takes its place.
    Preempt,
    /// Nothing for so many seconds: it ends by itself, or is ended by the kubelet.
    Watch(u64),
    /// Commands run in its pods, end, and are killed.
    Exec,
    /// The API server is restarted while pods are being deleted.
    RestartApiServer,
    /// The agent is replaced by its `DaemonSet` while pods are being deleted.
    RestartAgent,
    /// A Job that finishes.
    JobFinishes,
    /// A Job that is deleted while it works and leaves at SIGTERM.
    JobDeleted,
    /// A Job that is deleted while it works and ignores SIGTERM.
    JobKilled,
    /// A `CronJob`'s runs, for so many seconds.
    CronJob(u64),
}

/// A row of the table.
#[derive(Debug, Clone)]
pub struct Row {
    /// Also the namespace.
    pub name: &'static str,
    /// In words.
    pub what: &'static str,
    /// What runs; Jobs are no services.
    pub service: Option<Service>,
    /// Who asks.
    pub traffic: Traffic,
    /// The longest request, in milliseconds.
    pub slowest_ms: u32,
    /// What is done.
    pub deed: Deed,
    /// Findings that must be among the reports'.
    pub expects: &'static [&'static str],
    /// Whether nobody may lose anything: then not a single alarm is right, whatever clients say.
    pub correct: bool,
}

impl Row {
    /// Whether there is a ready pod at every moment: then whoever is refused is refused by a pod, not by kube-proxy.
    pub fn always_served(&self) -> bool {
        let surges = |service: &Service| service.controller == Controller::Deployment;
        self.service.as_ref().is_some_and(surges) && matches!(self.deed, Deed::Deploys(_) | Deed::Evict)
    }

    /// The reason that reports of what was stopped must give, if any.
    pub fn reason(&self) -> Option<&'static str> {
        match self.deed {
            Deed::Deploys(_) | Deed::RestartApiServer | Deed::RestartAgent => Some("rollout"),
            Deed::ScaleToZero => Some("scale_down"),
            // Kubernetes 1.20 does not mark what it evicts or preempts.
            Deed::Delete
            | Deed::ForceDelete
            | Deed::Evict
            | Deed::Preempt
            | Deed::JobDeleted
            | Deed::JobKilled => Some("deleted"),
            Deed::Watch(_) => self
                .service
                .as_ref()
                .and_then(|service| service.liveness.then_some("liveness")),
            Deed::JobFinishes | Deed::CronJob(_) => Some("finished"),
            Deed::Exec => None,
        }
    }

    /// Whether a report may lack its reason: nobody could be asked, or nobody asked, or the kubelet has spent its
    /// Events of that pod (25, and one more every 5 minutes) on probes that failed.
    pub fn may_lack_reason(&self) -> bool {
        self.alone() || matches!(self.deed, Deed::Watch(_))
    }

    /// Whether it disturbs other rows.
    pub fn alone(&self) -> bool {
        matches!(self.deed, Deed::RestartApiServer | Deed::RestartAgent)
    }
}

const FORWARDING: &str = "/bin/app serve & child=$!; trap 'kill -TERM $child' TERM; wait $child; wait $child";
const SHELL: &str = "/bin/app serve; true";

fn graceful() -> Service {
    Service {
        env: vec![("STOP", "graceful")],
        ..Service::default()
    }
}

/// Takes requests on open connections until each was told to close.
fn correct() -> Service {
    Service {
        env: vec![("STOP", "graceful"), ("UNREADY", "2")],
        prestop: Some(5),
        ..Service::default()
    }
}

fn forwarded() -> Service {
    Service {
        command: vec!["/bin/sh", "-c", FORWARDING],
        ..correct()
    }
}

fn plain() -> Service {
    Service {
        command: vec!["/bin/plain"],
        grace: 3,
        ..Service::default()
    }
}

fn not_pid1() -> Service {
    Service {
        share_pids: true,
        ..plain()
    }
}

fn exit() -> Service {
    Service {
        env: vec![("STOP", "exit")],
        ..Service::default()
    }
}

fn shell() -> Service {
    Service {
        command: vec!["/bin/sh", "-c", SHELL],
        grace: 3,
        ..graceful()
    }
}

fn short() -> Service {
    Service {
        grace: 2,
        ..graceful()
    }
}

fn row(name: &'static str, what: &'static str, service: Service, expects: &'static [&'static str]) -> Row {
    Row {
        name,
        what,
        service: Some(service),
        traffic: Traffic::Clients,
        slowest_ms: 300,
        deed: Deed::Deploys(1),
        expects,
        correct: false,
    }
}

fn right(name: &'static str, what: &'static str, service: Service) -> Row {
    Row {
        correct: true,
        ..row(name, what, service, &[])
    }
}

impl Row {
    fn when(self, deed: Deed) -> Self {
        Self { deed, ..self }
    }

    fn asked(self, traffic: Traffic) -> Self {
        Self { traffic, ..self }
    }

    fn idle(self) -> Self {
        self.asked(Traffic::None)
    }
}

/// All rows. `deploys` is how often each of the three correct services is deployed in a row.
pub fn rows(deploys: u32) -> Vec<Row> {
    let groups = [
        in_a_row(deploys),
        handlers(),
        without_traffic(),
        ways_to_end(),
        controllers(),
        probed(),
        jobs(),
        disturbed(),
    ];
    groups.into_iter().flatten().collect()
}

fn in_a_row(deploys: u32) -> Vec<Row> {
    let times = Deed::Deploys(deploys);
    vec![
        right(
            "deploys-prestop",
            "graceful with preStop, deployed in a row",
            correct(),
        )
        .when(times),
        right(
            "deploys-forwarded",
            "a shell that forwards, with preStop, deployed in a row",
            forwarded(),
        )
        .when(times),
        right(
            "deploys-idle",
            "graceful, no preStop, no traffic, deployed in a row",
            graceful(),
        )
        .when(times)
        .idle(),
    ]
}

fn handlers() -> Vec<Row> {
    let go = Service {
        env: vec![("STOP", "default")],
        ..Service::default()
    };
    vec![
        row("none", "no handler, not PID 1", not_pid1(), &["no_handler"]),
        row("pid1", "no handler, PID 1", plain(), &["ignored_by_pid1"]),
        row(
            "go-default",
            "no handler of its own, Go's runtime as PID 1",
            go,
            &[],
        ),
        row("graceful", "graceful, no preStop", graceful(), &[]),
        row(
            "shell",
            "a shell that does not forward",
            shell(),
            &["not_forwarded"],
        ),
        Row {
            // Long enough that some are under way when it is killed.
            slowest_ms: 12_000,
            ..row(
                "short",
                "graceful, grace of 2 s, requests of up to 12 s",
                short(),
                &["killed_mid_drain"],
            )
        },
        row("exit", "exits at once", exit(), &["exit_without_drain"]),
        row(
            "exit-outside",
            "exits at once, clients disguised as the node",
            exit(),
            &["exit_without_drain"],
        )
        .asked(Traffic::Outside),
        right(
            "prestop-outside",
            "graceful with preStop, clients disguised as the node",
            correct(),
        )
        .asked(Traffic::Outside),
    ]
}

fn without_traffic() -> Vec<Row> {
    vec![
        right("idle-none", "no handler, not PID 1, no traffic", not_pid1()).idle(),
        right("idle-pid1", "no handler, PID 1, no traffic", plain()).idle(),
        right("idle-shell", "a shell that does not forward, no traffic", shell()).idle(),
        right("idle-short", "graceful, grace of 2 s, no traffic", short()).idle(),
        right("idle-exit", "exits at once, no traffic", exit()).idle(),
        right("idle-prestop", "graceful with preStop, no traffic", correct()).idle(),
    ]
}

fn ways_to_end() -> Vec<Row> {
    let crashing = Service {
        replicas: 1,
        env: vec![("CRASH", "2")],
        ..Service::default()
    };
    let failing = Service {
        replicas: 2,
        liveness: true,
        env: vec![("HANG", "15")],
        ..Service::default()
    };
    let greedy = Service {
        replicas: 1,
        cpu: Some(1200),
        ..correct()
    };
    vec![
        row("zero", "graceful with preStop, scaled to 0", correct(), &[]).when(Deed::ScaleToZero),
        right("zero-idle", "graceful, scaled to 0, no traffic", graceful())
            .when(Deed::ScaleToZero)
            .idle(),
        row("delete", "graceful, deleted by hand", graceful(), &[]).when(Deed::Delete),
        row("force", "graceful, deleted by force", graceful(), &[]).when(Deed::ForceDelete),
        right("evict", "graceful with preStop, evicted", correct()).when(Deed::Evict),
        row("preempt", "preempted, graceful with preStop", greedy, &[]).when(Deed::Preempt),
        row("crash-loop", "exits with 1 after 2 s", crashing, &["crash"])
            .when(Deed::Watch(45))
            .idle(),
        row("liveness", "its liveness probe fails after 15 s", failing, &[]).when(Deed::Watch(45)),
        right("exec", "kubectl exec: ends, fails, is killed", correct()).when(Deed::Exec),
    ]
}

fn controllers() -> Vec<Row> {
    let of = |controller| Service {
        controller,
        replicas: 2,
        ..correct()
    };
    let init = Service {
        init: true,
        ..correct()
    };
    let sidecar = Service {
        sidecar: true,
        ..correct()
    };
    vec![
        right(
            "statefulset",
            "StatefulSet, graceful with preStop",
            of(Controller::StatefulSet),
        )
        .when(Deed::Deploys(2)),
        row(
            "daemonset",
            "DaemonSet, graceful with preStop",
            of(Controller::DaemonSet),
            &[],
        )
        .when(Deed::Deploys(2)),
        right("init", "init containers, graceful with preStop", init),
        right("sidecar", "behind a sidecar, both with preStop", sidecar),
    ]
}

fn probed() -> Vec<Row> {
    let slowly = Service {
        env: vec![("STOP", "exit"), ("PROBE", "0.8")],
        ..Service::default()
    };
    let by_connection = Service {
        tcp_probe: true,
        ..exit()
    };
    let deaf = Service {
        liveness: true,
        env: vec![("DEAF", "10")],
        ..Service::default()
    };
    let on_host = || Service {
        controller: Controller::DaemonSet,
        host_network: true,
        ..exit()
    };
    let served = "DaemonSet in the node's network, exits at once";
    vec![
        right(
            "idle-slow-probe",
            "exits at once, its probes take 0.8 s, no traffic",
            slowly,
        )
        .idle(),
        right(
            "idle-tcp-probe",
            "exits at once, probed by connections alone, no traffic",
            by_connection,
        )
        .idle(),
        right(
            "idle-deaf",
            "accepts no more after 10 s, its liveness probe fails, no traffic",
            deaf,
        )
        .when(Deed::Watch(45))
        .idle(),
        row("host", served, on_host(), &["exit_without_drain"]).when(Deed::Deploys(2)),
        right("idle-host", "the same, no traffic", on_host())
            .when(Deed::Deploys(3))
            .idle(),
    ]
}

fn jobs() -> Vec<Row> {
    let of = |name, what, deed| Row {
        service: None,
        ..right(name, what, Service::default()).when(deed).idle()
    };
    vec![
        of("job", "a Job that finishes", Deed::JobFinishes),
        of(
            "job-deleted",
            "a Job that is deleted and leaves",
            Deed::JobDeleted,
        ),
        of(
            "job-killed",
            "a Job that is deleted and ignores it",
            Deed::JobKilled,
        ),
        of("cronjob", "a CronJob's runs", Deed::CronJob(130)),
    ]
}

fn disturbed() -> Vec<Row> {
    vec![
        right("apiserver", "API server restarted during a rollout", correct()).when(Deed::RestartApiServer),
        right(
            "agent",
            "the agent's DaemonSet rolled out during a rollout",
            correct(),
        )
        .when(Deed::RestartAgent),
        row("agent-exit", "the same, service exits at once", exit(), &[]).when(Deed::RestartAgent),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn given_the_table_when_listed_then_each_row_has_a_namespace_of_its_own_and_correct_services_have_thirty_deploys()
     {
        let table = rows(10);
        let names: BTreeSet<_> = table.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), table.len());
        let deploys: u32 = table
            .iter()
            .filter_map(|row| match row.deed {
                Deed::Deploys(times) if row.name.starts_with("deploys-") => Some(times),
                _ => None,
            })
            .sum();
        assert_eq!(deploys, 30);
    }
}
