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

    /// Whether it disturbs other rows.
    pub fn alone(&self) -> bool {
        matches!(self.deed, Deed::RestartApiServer | Deed::RestartAgent)
    }
}

const FORWARDING: &str = "/bin/app serve & child=$!; trap 'kill -TERM $child' TERM; wait $child; wait $child";
const SHELL: &str = "/bin/app serve; true";

/// All rows. `deploys` is how often each of the three correct services is deployed in a row.
pub fn rows(deploys: u32) -> Vec<Row> {
    let service = Service::default;
    let graceful = || Service {
        env: vec![("STOP", "graceful")],
        ..service()
    };
    // Takes requests on open connections until each was told to close.
    let correct = || Service {
        env: vec![("STOP", "graceful"), ("UNREADY", "2")],
        prestop: Some(5),
        ..service()
    };
    let plain = || Service {
        command: vec!["/bin/plain"],
        grace: 3,
        ..service()
    };
    let row = |name, what, service, expects| Row {
        name,
        what,
        service: Some(service),
        traffic: Traffic::Clients,
        slowest_ms: 300,
        deed: Deed::Deploys(1),
        expects,
        correct: false,
    };
    let right = |name, what, service| Row {
        correct: true,
        ..row(name, what, service, &[])
    };
    let exit = || Service {
        env: vec![("STOP", "exit")],
        ..service()
    };
    let go = || Service {
        env: vec![("STOP", "default")],
        ..service()
    };
    let shell = || Service {
        command: vec!["/bin/sh", "-c", SHELL],
        grace: 3,
        ..graceful()
    };
    let short = || Service {
        grace: 2,
        ..graceful()
    };
    let forwarded = || Service {
        command: vec!["/bin/sh", "-c", FORWARDING],
        ..correct()
    };
    let undead = || Service {
        share_pids: true,
        ..plain()
    };
    let on_host = || Service {
        controller: Controller::DaemonSet,
        host_network: true,
        ..exit()
    };
    let controller = |controller| Service {
        controller,
        replicas: 2,
        ..correct()
    };
    let mut table = vec![
        right(
            "deploys-prestop",
            "graceful with preStop, deployed in a row",
            correct(),
        ),
        right(
            "deploys-forwarded",
            "a shell that forwards, with preStop, deployed in a row",
            forwarded(),
        ),
        Row {
            traffic: Traffic::None,
            ..right(
                "deploys-idle",
                "graceful, no preStop, no traffic, deployed in a row",
                graceful(),
            )
        },
    ];
    for row in &mut table {
        row.deed = Deed::Deploys(deploys);
    }
    table.extend([
        row("none", "no handler, not PID 1", undead(), &["no_handler"]),
        row("pid1", "no handler, PID 1", plain(), &["ignored_by_pid1"]),
        row(
            "go-default",
            "no handler of its own, Go's runtime as PID 1",
            go(),
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
            slowest_ms: 6000,
            ..row(
                "short",
                "graceful, grace of 2 s, requests of up to 6 s",
                short(),
                &["killed_mid_drain"],
            )
        },
        row("exit", "exits at once", exit(), &["exit_without_drain"]),
        Row {
            traffic: Traffic::Outside,
            ..row(
                "exit-outside",
                "exits at once, clients disguised as the node",
                exit(),
                &["exit_without_drain"],
            )
        },
        Row {
            traffic: Traffic::Outside,
            ..right(
                "prestop-outside",
                "graceful with preStop, clients disguised as the node",
                correct(),
            )
        },
    ]);
    for (name, what, service) in [
        ("idle-none", "no handler, not PID 1, no traffic", undead()),
        ("idle-pid1", "no handler, PID 1, no traffic", plain()),
        ("idle-shell", "a shell that does not forward, no traffic", shell()),
        ("idle-short", "graceful, grace of 2 s, no traffic", short()),
        ("idle-exit", "exits at once, no traffic", exit()),
        ("idle-prestop", "graceful with preStop, no traffic", correct()),
    ] {
        table.push(Row {
            traffic: Traffic::None,
            ..right(name, what, service)
        });
    }
    let deed = |deed, row: Row| Row { deed, ..row };
    let idle = |row: Row| Row {
        traffic: Traffic::None,
        ..row
    };
    table.extend([
        deed(
            Deed::ScaleToZero,
            row("zero", "graceful with preStop, scaled to 0", correct(), &[]),
        ),
        idle(deed(
            Deed::ScaleToZero,
            right("zero-idle", "graceful, scaled to 0, no traffic", graceful()),
        )),
        deed(
            Deed::ForceDelete,
            row("force", "graceful, deleted by force", graceful(), &[]),
        ),
        deed(
            Deed::Evict,
            right("evict", "graceful with preStop, evicted", correct()),
        ),
        deed(
            Deed::Deploys(2),
            right(
                "statefulset",
                "StatefulSet, graceful with preStop",
                controller(Controller::StatefulSet),
            ),
        ),
        deed(
            Deed::Deploys(2),
            row(
                "daemonset",
                "DaemonSet, graceful with preStop",
                controller(Controller::DaemonSet),
                &[],
            ),
        ),
        deed(
            Deed::Preempt,
            row(
                "preempt",
                "preempted, graceful with preStop",
                Service {
                    replicas: 1,
                    cpu: Some(1200),
                    ..correct()
                },
                &[],
            ),
        ),
        idle(right(
            "idle-slow-probe",
            "exits at once, its probes take 0.8 s, no traffic",
            Service {
                env: vec![("STOP", "exit"), ("PROBE", "0.8")],
                ..service()
            },
        )),
        idle(right(
            "idle-tcp-probe",
            "exits at once, probed by connections alone, no traffic",
            Service {
                tcp_probe: true,
                ..exit()
            },
        )),
        idle(deed(
            Deed::Watch(45),
            right(
                "idle-deaf",
                "accepts no more after 10 s, its liveness probe fails, no traffic",
                Service {
                    liveness: true,
                    env: vec![("DEAF", "10")],
                    ..service()
                },
            ),
        )),
        deed(
            Deed::Deploys(2),
            row(
                "host",
                "DaemonSet in the node's network, exits at once",
                on_host(),
                &["exit_without_drain"],
            ),
        ),
        idle(deed(
            Deed::Deploys(3),
            right("idle-host", "the same, no traffic", on_host()),
        )),
        right(
            "init",
            "init containers, graceful with preStop",
            Service {
                init: true,
                ..correct()
            },
        ),
        right(
            "sidecar",
            "behind a sidecar, both with preStop",
            Service {
                sidecar: true,
                ..correct()
            },
        ),
        idle(deed(
            Deed::Watch(45),
            row(
                "crash-loop",
                "exits with 1 after 2 s",
                Service {
                    replicas: 1,
                    env: vec![("CRASH", "2")],
                    ..service()
                },
                &["crash"],
            ),
        )),
        deed(
            Deed::Watch(45),
            row(
                "liveness",
                "its liveness probe fails after 15 s",
                Service {
                    replicas: 2,
                    liveness: true,
                    env: vec![("HANG", "15")],
                    ..service()
                },
                &[],
            ),
        ),
        deed(
            Deed::Exec,
            right("exec", "kubectl exec: ends, fails, is killed", correct()),
        ),
        idle(deed(
            Deed::JobFinishes,
            right("job", "a Job that finishes", service()),
        )),
        idle(deed(
            Deed::JobDeleted,
            right("job-deleted", "a Job that is deleted and leaves", service()),
        )),
        idle(deed(
            Deed::JobKilled,
            right("job-killed", "a Job that is deleted and ignores it", service()),
        )),
        idle(deed(
            Deed::CronJob(130),
            right("cronjob", "a CronJob's runs", service()),
        )),
        deed(
            Deed::RestartApiServer,
            right("apiserver", "API server restarted during a rollout", correct()),
        ),
        deed(
            Deed::RestartAgent,
            right(
                "agent",
                "the agent's DaemonSet rolled out during a rollout",
                correct(),
            ),
        ),
        deed(
            Deed::RestartAgent,
            row("agent-exit", "the same, service exits at once", exit(), &[]),
        ),
    ]);
    for row in &mut table {
        if matches!(
            row.deed,
            Deed::JobFinishes | Deed::JobDeleted | Deed::JobKilled | Deed::CronJob(_)
        ) {
            row.service = None;
        }
    }
    table
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
