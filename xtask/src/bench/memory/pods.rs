//! Pods, as far as cgroups and processes show them: a container in each, which listens and has a client.

use std::net::{Ipv4Addr, TcpStream};

use anyhow::{Context, Result, ensure};
use testkit::{Cgroup, Process};

use super::used_connection;

/// Enters each cgroup in a process of its own, listens and answers there.
const SERVERS: &str = "\
import os, socket, sys
RESPONSE = b'HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\nok\\n'
def serve(cgroup):
    open(cgroup + '/cgroup.procs', 'w').write('0')
    listener = socket.create_server(('127.0.0.1', 0))
    os.write(1, b'listening %d\\n' % listener.getsockname()[1])
    while True:
        connection = listener.accept()[0]
        while connection.recv(4096):
            connection.sendall(RESPONSE)
for cgroup in sys.argv[1:]:
    if os.fork() == 0:
        serve(cgroup)
os.wait()
";

/// Running pods; ended when dropped.
pub struct Pods {
    _clients: Vec<TcpStream>,
    _servers: Process,
    _cgroup: Cgroup,
}

impl Pods {
    /// Starts so many, below a cgroup of the bench.
    pub fn start(count: usize) -> Result<Self> {
        let cgroup = Cgroup::unique("bench-pods")?;
        let directories = (0..count).map(|number| cgroup.below(&container(number)));
        let directories = directories.collect::<Result<Vec<_>>>()?;
        let mut command = cgroup.command("python3");
        command.args(["-c", SERVERS]).args(&directories);
        let servers = Process::start(command)?;
        let mut clients = Vec::new();
        for number in 0..count {
            let line = servers.line_after(number, "listening ")?;
            let port = line.strip_prefix("listening ").and_then(|port| port.parse().ok());
            let port: u16 = port.with_context(|| format!("a pod did not say its port: {line}"))?;
            clients.push(used_connection((Ipv4Addr::LOCALHOST, port).into())?);
        }
        ensure!(clients.len() == count, "not every pod listens");
        Ok(Self {
            _clients: clients,
            _servers: servers,
            _cgroup: cgroup,
        })
    }
}

/// The cgroup of a pod's container, as a kubelet with systemd's driver and containerd name it.
fn container(number: usize) -> String {
    let class = ["burstable", "besteffort"][number % 2];
    format!(
        "kubepods.slice/kubepods-{class}.slice/kubepods-{class}-pod2b532737_5335_442f_9538_{number:012x}.slice/\
         cri-containerd-{number:064x}.scope"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_numbers_when_pods_are_named_then_each_has_a_uid_and_an_id_of_the_right_length() {
        let [first, other] = [container(0), container(249)];
        assert_ne!(first, other);
        let (slice, scope) = other.rsplit_once('/').expect("a pod has a container");
        let uid = slice.rsplit_once("-pod").expect("it is a pod's").1;
        assert_eq!(uid, "2b532737_5335_442f_9538_0000000000f9.slice");
        let id = scope
            .strip_prefix("cri-containerd-")
            .and_then(|id| id.strip_suffix(".scope"));
        assert_eq!(id.map(str::len), Some(64));
    }
}
