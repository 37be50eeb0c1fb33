//! What a service manager is told, heard at the socket that it would listen at.

use std::{os::unix::net::UnixDatagram, time::Duration};

use tempfile::TempDir;
use testkit::{Agent, PATIENCE, agent};

use crate::{BINARY, runs_here};

#[test]
fn given_a_service_manager_when_the_agent_runs_then_it_is_told_ready_and_alive_and_stopping() {
    if !runs_here() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut run = agent::run(BINARY);
    run.env("NOTIFY_SOCKET", &path).env(
        "WATCHDOG_USEC",
        Duration::from_millis(600).as_micros().to_string(),
    );
    let agent = Agent::start(run).expect("it starts");
    let heard = || {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).expect("told in time");
        String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
    };
    assert_eq!(heard(), "READY=1");
    assert_eq!(agent.get("/readyz").unwrap(), "ok\n", "ready is ready");
    for _ in 0..3 {
        assert_eq!(heard(), "WATCHDOG=1");
    }
    assert!(agent.stop().unwrap().0.success());
    let last = std::iter::repeat_with(heard).find(|told| told != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
}
