//! The beginning of a case: cgroups, servers, the numbering of its requests.

use std::{fs, fs::File, net::SocketAddr, path::Path, process::Child};

use anyhow::Context as _;
use nix::unistd::Pid;
use testkit::Port;

use super::{PATIENCE, Played, Scene, World};
use crate::{
    client::Request,
    engine::Contained,
    home::Home,
    server::{Setting, Started},
    table::{Around, Case, From, Hops, Hosted, Net, Python, Server, Upstream},
};

impl<'c> Scene<'c> {
    pub(super) fn start(
        world: &'c World,
        case: &'c Case,
        number: usize,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        // What an earlier run left there would release this one's handlers.
        if directory.exists() {
            fs::remove_dir_all(directory)?;
        }
        fs::create_dir_all(directory)?;
        let name = format!("drainwatch-test-{}-{number}", std::process::id());
        let mut others = vec![];
        let beside = Home::create(&world.cgroups, &format!("{name}-beside"))?;
        let ports = [Port::find()?, Port::find()?, Port::find()?];
        let [port, upstream_port, front_port] = [&ports[0], &ports[1], &ports[2]].map(|port| port.number);
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let setting = Setting {
            artefacts: &world.artefacts,
            directory,
            // Of what a runtime starts, the runtime makes it.
            cgroup: &beside,
            clock: world.clock,
            net: case.net,
            around: case.around,
            port,
            upstream: Some(local(upstream_port)),
            hosted: case.hosted.is_some(),
        };
        let (cgroup, beginning) = if let Some(hosted) = case.hosted {
            Beginning::hosted(world, case, hosted, &setting, &name)?
        } else {
            let cgroup = home(world, case, &name, number)?;
            let setting = Setting {
                cgroup: &cgroup,
                ..setting
            };
            let beginning = Beginning::own(case, &setting)?;
            (cgroup, beginning)
        };
        let Beginning {
            child,
            address,
            main,
            netns,
            contained,
        } = beginning;
        let setting = Setting {
            cgroup: &cgroup,
            hosted: false,
            ..setting
        };
        let mut scene_children: Vec<Child> = child.into_iter().collect();
        let (mut entrance, mut upstream) = (address, None);
        if let Server::Nginx { upstream: place, .. } = case.server {
            let inside = place == Upstream::Inside;
            let started = start_upstream(&Setting {
                cgroup: if inside { &cgroup } else { &beside },
                port: upstream_port,
                ..setting
            })?;
            upstream = Some(started.main);
            scene_children.push(started.child);
        }
        if case.hops == Hops::BehindNginx {
            let directory = directory.join("front");
            let setting = Setting {
                directory: &directory,
                cgroup: &beside,
                net: Net::V4,
                around: Around::Nothing,
                port: front_port,
                upstream: Some(address),
                ..setting
            };
            let mut started = setting.start(Server::Nginx {
                upstream: Upstream::Outside,
                extra: "",
            })?;
            setting.wait_listening(&mut started)?;
            entrance = started.address;
            scene_children.push(started.child);
        }
        others.push(beside);
        let mut scene = Self {
            world,
            case,
            directory: directory.to_owned(),
            _ports: ports,
            port,
            entrance,
            main,
            netns,
            children: scene_children,
            upstream,
            upstream_address: local(upstream_port),
            signalled: None,
            noted: None,
            played: vec![],
            contained,
            told: vec![],
            cgroup,
            others,
        };
        scene.lay_out();
        Ok(scene)
    }

    /// Numbers the requests of the table's rows.
    pub(super) fn lay_out(&mut self) {
        let mut number = 0;
        for row in &self.case.rows {
            for _ in 0..row.times {
                let requests = row.asks.iter().map(|ask| {
                    number += 1;
                    Request {
                        path: format!("/r/{}-{number}", self.case.name),
                        act: ask.act,
                    }
                });
                let requests = requests.collect();
                self.played.push(Played {
                    row,
                    requests,
                    connection: None,
                    prelude: 0,
                    acted: false,
                });
            }
        }
    }
}

/// nginx's upstream, on the loopback.
fn start_upstream(setting: &Setting<'_>) -> anyhow::Result<Started> {
    let setting = Setting {
        net: Net::V4,
        around: Around::Nothing,
        ..*setting
    };
    let mut started = setting.start(Server::Python(Python {
        http: "1.1",
        threads: "many",
        on_term: "default",
        slow_start: "",
    }))?;
    // Not "the first process of the cgroup": inside, that is nginx.
    started.main = Pid::from_raw(started.child.id().cast_signed());
    setting.wait_listening(&mut started)?;
    Ok(started)
}

/// A server that was started.
struct Beginning {
    /// Unless a runtime is its parent.
    child: Option<Child>,
    address: SocketAddr,
    main: Pid,
    netns: Option<File>,
    contained: Option<Contained>,
}

impl Beginning {
    /// By the harness.
    fn own(case: &Case, setting: &Setting<'_>) -> anyhow::Result<Self> {
        let mut started = setting.start(case.server)?;
        if !matches!(case.from, From::Running | From::Begun) {
            setting.wait_listening(&mut started)?;
        }
        let Started { child, address, main } = started;
        let netns = (case.around == Around::NetNamespace)
            .then(|| File::open(format!("/proc/{main}/ns/net")))
            .transpose()
            .context("cannot open the server's network namespace")?;
        Ok(Self {
            child: Some(child),
            address,
            main,
            netns,
            contained: None,
        })
    }

    /// By a runtime.
    fn hosted(
        world: &World,
        case: &Case,
        hosted: Hosted,
        setting: &Setting<'_>,
        name: &str,
    ) -> anyhow::Result<(Home, Self)> {
        let engine = world.engine(hosted.engine)?;
        let contained = setting.start_hosted(engine, case.server, name, hosted.options)?;
        if !matches!(case.from, From::Running | From::Begun) {
            setting.wait_hosted(contained.main)?;
        }
        let workload = hosted.workload.replace("{}", &contained.name);
        // Else a stop signal of its own may come before anybody knows that it is one.
        if let Some(agent) = world.agent.as_ref().filter(|_| case.from != From::Begun) {
            world
                .clock
                .until("the agent to know of the workload", PATIENCE, || {
                    agent.knows(&workload, hosted.grace_seconds)
                })?;
        }
        let cgroup = Home::hosted(&world.cgroups, &contained.cgroup, &workload);
        let beginning = Self {
            child: None,
            address: SocketAddr::new(contained.ip, setting.port),
            main: contained.main,
            netns: engine.netns()?,
            contained: Some(contained),
        };
        Ok((cgroup, beginning))
    }
}

/// The cgroup of the case's server.
fn home(world: &World, case: &Case, name: &str, number: usize) -> anyhow::Result<Home> {
    if !matches!(case.around, Around::Container | Around::ContainerShells) {
        let cgroup = Home::create(&world.cgroups, name)?;
        if let Some(bytes) = case.memory_max {
            cgroup.limit_memory(bytes)?;
        }
        return Ok(cgroup);
    }
    // Only the beginning of an id is shown: it must differ from case to case.
    let id = format!("{:08x}{number:04x}{:052}", std::process::id(), 0);
    Home::create_container(&world.cgroups, name, &id)
}
