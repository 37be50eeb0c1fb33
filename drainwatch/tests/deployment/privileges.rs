//! Exactly the capabilities of the chart and of the unit, and each one missing.

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    unistd::{Gid, Uid},
};
use tempfile::TempDir;
use testkit::{Agent, Cgroup, agent, command};

use crate::{BINARY, runs_here};

const RUN: [&str; 3] = ["run", "--web.listen-address", "127.0.0.1:0"];
/// Neither root nor anybody whose files there are.
const NOBODY: u32 = 65534;

/// As in a container: root, with nothing but these.
fn as_root_with(capabilities: &[&str]) -> Command {
    let mut setpriv = command("setpriv");
    setpriv
        .arg(format!("--bounding-set=-all{}", plus(capabilities)))
        .arg("--inh-caps=-all")
        .arg(BINARY);
    setpriv
}

/// `program` as in a unit: not root, with these as ambient capabilities.
fn as_user_with(capabilities: &[&str], program: &Path) -> Command {
    let mut setpriv = command("setpriv");
    setpriv
        .arg(format!("--reuid={NOBODY}"))
        .arg(format!("--regid={NOBODY}"))
        .arg("--clear-groups")
        .arg("--no-new-privs");
    for set in ["bounding-set", "inh-caps", "ambient-caps"] {
        setpriv.arg(format!("--{set}=-all{}", plus(capabilities)));
    }
    setpriv.arg(program);
    setpriv
}

fn plus(capabilities: &[&str]) -> String {
    let with_sign = capabilities.iter().flat_map(|name| [",+", name]);
    with_sign.collect()
}

/// A directory that both may enter; the program too must be reachable for `NOBODY`.
fn state_of(owner: u32) -> TempDir {
    let dir = tempfile::Builder::new().tempdir_in("/tmp").unwrap();
    chown(dir.path(), Some(owner), Some(owner)).unwrap();
    dir
}

/// A copy of the agent that everybody may run: the workspace may lie where only root goes.
fn for_everybody(dir: &TempDir) -> PathBuf {
    let path = dir.path().join("drainwatch");
    fs::copy(BINARY, &path).unwrap();
    path
}

fn is_root() -> bool {
    Uid::effective().is_root() && Gid::effective().as_raw() == 0
}

/// Values of one line of `/proc/<pid>/task/*/status`, one per thread.
fn of_every_thread(agent: &Agent, line: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap();
    tasks
        .map(|task| {
            let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let value = status.lines().find_map(|found| found.strip_prefix(line)).unwrap();
            value.trim().to_owned()
        })
        .collect()
}

/// Kernels before 5.19 want `CAP_BPF` at every look into a map; the agent must say what it keeps.
fn kept_according_to_doctor() -> Vec<String> {
    let doctor = command(BINARY)
        .args(["doctor", "--format", "json"])
        .output()
        .unwrap();
    let diagnosis: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let kept = diagnosis["kept_capabilities"].as_array().unwrap();
    kept.iter()
        .map(|pair| pair[0].as_str().unwrap().to_owned())
        .collect()
}

/// Everything that the agent reads while it runs, it can read; and no thread has more than `doctor` says.
fn works_without(agent: &Agent) {
    assert_eq!(agent.get("/readyz").unwrap(), "ok\n");
    let mut degraded = agent.degraded().unwrap();
    // What some kernels refuse, whatever the privileges.
    degraded.retain(|probe| !["reset_sent", "socket_close"].contains(&probe.as_str()));
    assert!(degraded.is_empty(), "{degraded:?}");
    let kept = kept_according_to_doctor();
    let expected = match kept.as_slice() {
        [] => "0000000000000000",
        [one] if one == "CAP_BPF" => "0000008000000000",
        other => panic!("{other:?}"),
    };
    for set in ["CapEff:", "CapPrm:"] {
        for value in of_every_thread(agent, set) {
            assert_eq!(value, expected, "{set}");
        }
    }
    for set in ["CapInh:", "CapAmb:"] {
        for value in of_every_thread(agent, set) {
            assert_eq!(value, "0000000000000000", "{set}");
        }
    }
    for value in of_every_thread(agent, "NoNewPrivs:") {
        assert_eq!(value, "1");
    }
}

#[test]
fn given_exactly_the_charts_capabilities_when_run_as_root_then_it_works_and_gives_them_up() {
    if !is_root() || !runs_here() {
        return;
    }
    let state = state_of(0);
    let mut agent = as_root_with(&["bpf", "perfmon"]);
    agent.args(RUN).arg("--state-dir").arg(state.path());
    let agent = Agent::start(agent).expect("it starts");
    works_without(&agent);
    assert!(agent.stop().unwrap().0.success());
}

#[test]
fn given_pinned_programs_when_run_with_exactly_the_charts_capabilities_then_it_goes_on_with_them() {
    if !is_root() || !runs_here() {
        return;
    }
    let (state, bpffs) = (state_of(0), state_of(0));
    let nothing = None::<&str>;
    mount(nothing, bpffs.path(), Some("bpf"), MsFlags::empty(), nothing).unwrap();
    let log_of_one = || {
        let mut agent = as_root_with(&["bpf", "perfmon"]);
        agent.args(RUN).arg("--state-dir").arg(state.path());
        agent.arg("--pin-dir").arg(bpffs.path().join("drainwatch"));
        let agent = Agent::start(agent).expect("it starts");
        assert!(agent.stop().unwrap().0.success());
        agent.log()
    };
    let logs = [log_of_one(), log_of_one()];
    umount2(bpffs.path(), MntFlags::MNT_DETACH).unwrap();
    let went_on = logs
        .each_ref()
        .map(|log| log.contains("the programs of the last agent went on"));
    assert_eq!(went_on, [false, true], "{}", logs[1]);
}

#[test]
fn given_every_capability_when_run_as_root_then_even_the_bounding_set_is_empty() {
    if !is_root() || !runs_here() {
        return;
    }
    let agent = Agent::start(agent::run(BINARY)).expect("it starts");
    works_without(&agent);
    assert_eq!(of_every_thread(&agent, "CapBnd:")[0], "0000000000000000");
    assert!(agent.stop().unwrap().0.success());
}

#[test]
fn given_the_units_ambient_capabilities_when_run_as_a_user_then_it_works_and_gives_them_up() {
    if !is_root() || !runs_here() {
        return;
    }
    let state = state_of(NOBODY);
    let mut agent = as_user_with(&["bpf", "perfmon"], &for_everybody(&state));
    agent.args(RUN).arg("--state-dir").arg(state.path());
    let agent = Agent::start(agent).expect("it starts");
    works_without(&agent);
    assert!(agent.stop().unwrap().0.success());
}

#[test]
fn given_one_capability_missing_when_started_then_one_line_says_which_and_what_for() {
    if !is_root() || !runs_here() {
        return;
    }
    for (there, missing, needed_for) in [
        ("perfmon", "CAP_BPF", "loads BPF programs"),
        ("bpf", "CAP_PERFMON", "read kernel memory"),
    ] {
        let output = as_root_with(&[there]).args(RUN).output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(77), "{log}");
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(
            log.contains(&format!("missing {missing} ("))
                && log.contains(needed_for)
                && !log.contains(" and CAP"),
            "{log}"
        );
        let doctor = as_root_with(&[there]).arg("doctor").output().unwrap();
        assert_eq!(doctor.status.code(), Some(77));
        assert!(
            String::from_utf8(doctor.stdout)
                .unwrap()
                .contains(&format!("missing {missing}"))
        );
    }
}

#[test]
fn given_a_pid_namespace_of_its_own_when_asked_then_it_says_what_it_cannot_find() {
    if !is_root() || !runs_here() {
        return;
    }
    let output = command("unshare")
        .args([
            "--pid",
            "--fork",
            "--mount-proc",
            BINARY,
            "doctor",
            "--format",
            "json",
        ])
        .output()
        .unwrap();
    let diagnosis: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let probes = diagnosis["probes"].as_array().unwrap();
    let seed = probes.iter().find(|probe| probe["probe"] == "seed").unwrap();
    assert_eq!(seed["ok"], false);
    assert!(
        seed["error"].as_str().unwrap().contains("hostPID: true"),
        "{seed}"
    );
}

#[test]
fn given_a_cgroup_namespace_as_in_a_container_when_asked_then_the_hosts_hierarchy_is_found_or_missed_aloud() {
    if !is_root() || !runs_here() {
        return;
    }
    let cgroup = Cgroup::unique("deployment").unwrap();
    let root = cgroup.directory().parent().unwrap().to_str().unwrap();
    let elsewhere = TempDir::new().unwrap();
    let hosts = elsewhere.path().to_str().unwrap();
    let doctor = |script: &str| {
        let output = cgroup
            .command("unshare")
            .args([
                "--cgroup", "--mount", "sh", "-c", script, "sh", BINARY, root, hosts,
            ])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let diagnosis: serde_json::Value =
            serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text} {output:?}"));
        (output.status.code(), diagnosis)
    };
    // What a runtime does: its own view of cgroups, and the host's at another place, as the chart asks for.
    let both = "mount --rbind \"$2\" \"$3\" && umount -l \"$2\" && mount -t cgroup2 none \"$2\" && \
                exec \"$1\" doctor --format json";
    let (code, diagnosis) = doctor(both);
    assert_eq!(code, Some(0), "{diagnosis}");
    assert_eq!(diagnosis["cgroup_root"], hosts);
    let own = "umount -l \"$2\" && mount -t cgroup2 none \"$2\" && exec \"$1\" doctor --format json";
    let (code, diagnosis) = doctor(own);
    assert_eq!(code, Some(69), "{diagnosis}");
    assert!(diagnosis["refusal"].as_str().unwrap().contains("cgroup"));
}
