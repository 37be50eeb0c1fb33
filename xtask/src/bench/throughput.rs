//! nginx's throughput and CPU per request with the agent off and on.

use anyhow::Result;

use super::agent::Agent;
use super::load::{Measured, Nginx, Traffic, raise_limit};
use super::numbers::{Order, confidence, spread};
use super::{Setup, Table};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Off,
    On,
    Control,
}

const TRAFFIC: [Traffic; 3] = [Traffic::kept(16), Traffic::kept(1000), Traffic::new_each(16)];

/// Off, on and off again, in shuffled blocks, on kept-alive connections and on new ones.
pub fn measure(setup: &Setup) -> Result<Table> {
    let mut order = Order::new(setup.seed);
    let mut rows = Vec::new();
    for traffic in TRAFFIC {
        raise_limit(traffic.connections)?;
        let nginx = Nginx::start()?;
        nginx.drive(setup.load, traffic)?; // warms caches up; not counted
        let blocks = (0..setup.blocks).map(|_| block(setup, &nginx, traffic, &mut order));
        let blocks = blocks.collect::<Result<Vec<_>>>()?;
        let column = |value: fn(&Block) -> f64| blocks.iter().map(value).collect::<Vec<f64>>();
        // Each off is as good as the other.
        let on = column(|block| block.on.rate / f64::midpoint(block.off.rate, block.control.rate));
        let control = column(|block| block.control.rate / block.off.rate);
        let cpu = column(|block| block.on.cpu_us / f64::midpoint(block.off.cpu_us, block.control.cpu_us));
        rows.push(vec![
            traffic.kind().to_owned(),
            traffic.connections.to_string(),
            spread(&column(|block| block.off.rate), 0),
            spread(&column(|block| block.on.rate), 0),
            spread(&on, 3),
            confidence(&on, 3),
            spread(&control, 3),
            confidence(&control, 3),
            spread(&column(|block| block.off.cpu_us), 2),
            spread(&column(|block| block.on.cpu_us), 2),
            spread(&column(|block| block.control.cpu_us), 2),
            confidence(&cpu, 3),
        ]);
    }
    Ok(Table {
        title: "nginx with the agent off and on".to_owned(),
        columns: vec![
            "traffic",
            "connections",
            "off, requests/s",
            "on, requests/s",
            "on / off",
            "on / off, 95 %",
            "control: off / off",
            "control, 95 %",
            "off, CPU µs per request",
            "on, CPU µs per request",
            "control, CPU µs per request",
            "CPU on / off, 95 %",
        ],
        rows,
        notes: vec![format!(
            "Medians (smallest to largest) of {} blocks; each block runs off, on and off again for {} s each, in shuffled \
             order (seed {}). Ratios are taken block by block, on over the mean of the two off. 95 %: the geometric mean \
             of the blocks' ratios, and where the true one lies with that confidence (Student's t on their logarithms). \
             One nginx worker, whose CPU it is, and wrk, both on this machine.",
            setup.blocks,
            setup.load.as_secs(),
            setup.seed
        )],
    })
}

struct Block {
    off: Measured,
    on: Measured,
    control: Measured,
}

fn block(setup: &Setup, nginx: &Nginx, traffic: Traffic, order: &mut Order) -> Result<Block> {
    let mut modes = [Mode::Off, Mode::On, Mode::Control];
    order.shuffle(&mut modes);
    let mut measured = Vec::new();
    for mode in modes {
        let agent = (mode == Mode::On).then(|| Agent::start(setup)).transpose()?;
        measured.push((mode, nginx.drive(setup.load, traffic)?));
        drop(agent);
    }
    let of = |wanted: Mode| {
        let found = measured
            .iter()
            .find(|(mode, _)| *mode == wanted)
            .map(|(_, measured)| *measured);
        found.ok_or_else(|| anyhow::anyhow!("a block runs every mode"))
    };
    Ok(Block {
        off: of(Mode::Off)?,
        on: of(Mode::On)?,
        control: of(Mode::Control)?,
    })
}
