//! nginx's throughput and CPU per request with the agent off and on.

use anyhow::Result;

use super::agent::Agent;
use super::load::{Measured, Nginx};
use super::numbers::{Order, spread};
use super::{Setup, Table};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Off,
    On,
    Control,
}

/// Off, on and off again, in shuffled blocks, on kept-alive connections and on new ones.
pub fn measure(setup: &Setup) -> Result<Table> {
    let mut order = Order::new(setup.seed);
    let mut rows = Vec::new();
    for (name, keep_alive) in [("keep-alive", true), ("connection per request", false)] {
        let nginx = Nginx::start()?;
        nginx.drive(setup.load, keep_alive)?; // warms caches up; not counted
        let blocks = (0..setup.blocks).map(|_| block(setup, &nginx, keep_alive, &mut order));
        let blocks = blocks.collect::<Result<Vec<_>>>()?;
        let column = |value: fn(&Block) -> f64| blocks.iter().map(value).collect::<Vec<f64>>();
        rows.push(vec![
            name.to_owned(),
            spread(&column(|block| block.off.rate), 0),
            spread(&column(|block| block.on.rate), 0),
            spread(&column(|block| block.on.rate / block.off.rate), 3),
            spread(&column(|block| block.control.rate / block.off.rate), 3),
            spread(&column(|block| block.off.cpu_us), 2),
            spread(&column(|block| block.on.cpu_us), 2),
            spread(&column(|block| block.control.cpu_us), 2),
        ]);
    }
    Ok(Table {
        title: "nginx with the agent off and on".to_owned(),
        columns: vec![
            "connections",
            "off, requests/s",
            "on, requests/s",
            "on / off",
            "control: off / off",
            "off, CPU µs per request",
            "on, CPU µs per request",
            "control, CPU µs per request",
        ],
        rows,
        notes: vec![format!(
            "Medians (smallest to largest) of {} blocks; each block runs off, on and off again for {} s each, in shuffled \
             order (seed {}). Ratios are taken block by block. One nginx worker, wrk with 32 connections.",
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

fn block(setup: &Setup, nginx: &Nginx, keep_alive: bool, order: &mut Order) -> Result<Block> {
    let mut modes = [Mode::Off, Mode::On, Mode::Control];
    order.shuffle(&mut modes);
    let mut measured = Vec::new();
    for mode in modes {
        let agent = (mode == Mode::On).then(|| Agent::start(setup)).transpose()?;
        measured.push((mode, nginx.drive(setup.load, keep_alive)?));
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
