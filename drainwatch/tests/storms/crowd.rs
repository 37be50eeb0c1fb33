//! Servers that read requests and never answer, and the clients that wait for them.

use testkit::{Cgroup, Process, command};

use super::kill_all;

const SERVER: &str = include_str!("server.py");
const CLIENT: &str = include_str!("client.py");

pub struct Crowd {
    // Before its cgroup, which waits for them.
    _servers: Vec<Process>,
    cgroup: Cgroup,
    clients: Vec<Process>,
}

impl Crowd {
    /// So many connections, each with a request that was read, divided among so many servers.
    pub fn gather(connections: usize, servers: usize) -> Self {
        let cgroup = Cgroup::unique("crowd").unwrap();
        let each = connections.div_ceil(servers);
        let mut counts: Vec<usize> = vec![each; servers];
        counts[0] -= each * servers - connections;
        let servers: Vec<Process> = counts
            .iter()
            .map(|_| {
                let mut server = cgroup.command("python3");
                server.args(["-uc", SERVER]);
                Process::start(server).unwrap()
            })
            .collect();
        let clients = servers
            .iter()
            .zip(&counts)
            .enumerate()
            .map(|(number, (server, count))| {
                let line = server.line("at ").unwrap();
                let mut client = command("python3");
                client
                    .args(["-uc", CLIENT, line.trim_start_matches("at ").trim()])
                    .arg(count.to_string())
                    // A port is used once with each address.
                    .arg(format!("127.0.1.{}", number + 1));
                Process::start(client).unwrap()
            });
        let clients: Vec<Process> = clients.collect();
        for (client, (server, count)) in clients.iter().zip(servers.iter().zip(&counts)) {
            client.line("connected").unwrap();
            server.line(&format!("read all {count}")).unwrap();
        }
        Self {
            _servers: servers,
            cgroup,
            clients,
        }
    }

    pub fn name(&self) -> &str {
        self.cgroup.name()
    }

    /// All servers at once.
    pub fn kill(&self) {
        kill_all(&self.cgroup);
    }

    /// How many connections ended without an answer.
    pub fn cut(&self) -> usize {
        let ended = self.clients.iter().map(|client| {
            let line = client.line("ended ").unwrap();
            line.trim_start_matches("ended ").trim().parse::<usize>().unwrap()
        });
        ended.sum()
    }
}
