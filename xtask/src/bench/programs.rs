//! Nanoseconds of each program's run while nginx serves, less those of an empty program on the same hook.
//!
//! The kernel's own statistics time every run; that timing, and the call of a program as such, cost as much as a short
//! program. So empty programs are attached to the same hooks in a run of their own, and what they take is taken off.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, ensure};
use aya::programs::{BtfTracePoint, Program, RawTracePoint, loaded_programs};
use aya::sys::{Stats, enable_stats};
use aya::{Btf, Ebpf, EbpfLoader};
use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

use super::agent::Agent;
use super::load::Nginx;
use super::{Setup, Table};
use crate::shell;

/// The kernel keeps this many characters of a program's name.
const NAME_LENGTH: usize = 15;

/// Runs and nanoseconds of one program during a load.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cost {
    runs: f64,
    nanoseconds: f64,
}

impl Cost {
    fn per_run(self) -> f64 {
        if self.runs > 0.0 {
            self.nanoseconds / self.runs
        } else {
            0.0
        }
    }
}

/// Under both kinds of traffic.
pub fn measure(setup: &Setup) -> Result<Table> {
    let _statistics =
        enable_stats(Stats::RunTime).context("turning the kernel's statistics of programs on")?;
    let hooks = hooks()?;
    let nginx = Nginx::start()?;
    let mut rows = Vec::new();
    for (traffic, keep_alive) in [("keep-alive", true), ("connection per request", false)] {
        let empty = empty_costs(setup, &nginx, keep_alive, hooks.values())?;
        let agent = Agent::start(setup)?;
        let ids = agent.program_ids()?;
        ensure!(!ids.is_empty(), "the agent holds no BPF program");
        let before = costs(&ids)?;
        let requests = nginx.drive(setup.load, keep_alive)?.requests;
        let after = costs(&ids)?;
        drop(agent);
        let mut sum = 0.0;
        for (name, after) in after {
            let before = before.get(&name).copied().unwrap_or_default();
            let cost = Cost {
                runs: after.runs - before.runs,
                nanoseconds: after.nanoseconds - before.nanoseconds,
            };
            if cost.runs <= 0.0 {
                continue;
            }
            let hook = hooks
                .iter()
                .find(|(symbol, _)| truncated(symbol) == name)
                .map(|(_, hook)| hook.as_str());
            let base = hook.and_then(|hook| empty.get(hook)).copied();
            let net = cost.per_run() - base.unwrap_or_default();
            sum += net * cost.runs / requests;
            rows.push(vec![
                traffic.to_owned(),
                name,
                hook.unwrap_or("unknown").to_owned(),
                format!("{:.2}", cost.runs / requests),
                format!("{:.0}", cost.per_run()),
                base.map_or_else(|| "not measured".to_owned(), |base| format!("{base:.0}")),
                format!("{net:.0}"),
                format!("{:.0}", net * cost.runs / requests),
            ]);
        }
        let total = ["all programs", "", "", "", "", ""].map(str::to_owned);
        rows.push(
            [traffic.to_owned()]
                .into_iter()
                .chain(total)
                .chain([format!("{sum:.0}")])
                .collect(),
        );
    }
    Ok(Table {
        title: "Time of the BPF programs".to_owned(),
        columns: vec![
            "traffic",
            "program",
            "hook",
            "runs per request",
            "ns per run",
            "empty, ns per run",
            "net, ns per run",
            "net, ns per request",
        ],
        rows,
        notes: vec![
            "By the kernel's statistics, less an empty program's on the same hook under the same load. Both ends of \
             each connection are on this node, so the client's hooks count as well."
                .to_owned(),
        ],
    })
}

/// Programs by their names, and what they are attached to, as the object says.
fn hooks() -> Result<BTreeMap<String, String>> {
    use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
    let path = shell::root().join("drainwatch/bpf/drainwatch.bpf.o");
    let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let file = object::File::parse(&*bytes).with_context(|| format!("reading {}", path.display()))?;
    let symbols = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text);
    Ok(symbols
        .filter_map(|symbol| {
            let section = file.section_by_index(symbol.section_index()?).ok()?;
            Some((symbol.name().ok()?.to_owned(), section.name().ok()?.to_owned()))
        })
        .filter(|(_, section)| section.contains('/'))
        .collect())
}

fn truncated(name: &str) -> String {
    name.chars().take(NAME_LENGTH).collect()
}

/// What programs took so far, by name.
fn costs(ids: &[u32]) -> Result<BTreeMap<String, Cost>> {
    let mut found = BTreeMap::new();
    for program in loaded_programs() {
        // Others' programs come and go while we look.
        let Ok(program) = program else { continue };
        if ids.contains(&program.id()) {
            let name = program
                .name_as_str()
                .context("a program's name is plain")?
                .to_owned();
            let cost: &mut Cost = found.entry(name).or_default();
            #[expect(clippy::cast_precision_loss, reason = "a bench's counts")]
            let runs = program.run_count() as f64;
            cost.runs += runs;
            cost.nanoseconds += program.run_time().as_secs_f64() * 1e9;
        }
    }
    Ok(found)
}

/// Nanoseconds per run of an empty program on each hook that can be had, under the same load.
fn empty_costs<'a>(
    setup: &Setup,
    nginx: &Nginx,
    keep_alive: bool,
    hooks: impl Iterator<Item = &'a String>,
) -> Result<BTreeMap<String, f64>> {
    let btf = Btf::from_sys_fs().context("reading the kernel's BTF")?;
    let mut loaded = Vec::new();
    for hook in hooks {
        if loaded.iter().any(|(other, _, _)| other == hook) {
            continue;
        }
        // Hooks of other kinds, and those that this kernel lacks, go without.
        if let Some((bpf, id)) = attach_empty(hook, &btf) {
            loaded.push((hook.clone(), bpf, id));
        }
    }
    let ids: Vec<u32> = loaded.iter().map(|(_, _, id)| *id).collect();
    let before = costs_by_id(&ids);
    nginx.drive(setup.load, keep_alive)?;
    let after = costs_by_id(&ids);
    let cost = |id: u32| {
        let (before, after) = (
            before.get(&id).copied().unwrap_or_default(),
            after.get(&id).copied().unwrap_or_default(),
        );
        Cost {
            runs: after.runs - before.runs,
            nanoseconds: after.nanoseconds - before.nanoseconds,
        }
    };
    let measured = loaded.iter().map(|(hook, _, id)| (hook.clone(), cost(*id)));
    Ok(measured
        .filter(|(_, cost)| cost.runs > 0.0)
        .map(|(hook, cost)| (hook, cost.per_run()))
        .collect())
}

fn costs_by_id(ids: &[u32]) -> BTreeMap<u32, Cost> {
    ids.iter()
        .filter_map(|&id| Some((id, costs(&[id]).ok()?.into_values().next()?)))
        .collect()
}

/// Attaches an empty program to a hook.
fn attach_empty(hook: &str, btf: &Btf) -> Option<(Ebpf, u32)> {
    // It would read the types anew for each.
    let mut bpf = EbpfLoader::new()
        .btf(Some(btf))
        .load(&empty_object(hook).ok()?)
        .ok()?;
    let (_, program) = bpf.programs_mut().next()?;
    let (_, point) = hook.split_once('/')?;
    let id = match program {
        Program::BtfTracePoint(program) => {
            let program: &mut BtfTracePoint = program;
            program.load(point, btf).ok()?;
            program.attach().ok()?;
            program.info().ok()?.id()
        }
        Program::RawTracePoint(program) => {
            let program: &mut RawTracePoint = program;
            program.load().ok()?;
            program.attach(point).ok()?;
            program.info().ok()?.id()
        }
        _ => return None,
    };
    Some((bpf, id))
}

/// An object with one program that returns 0.
fn empty_object(hook: &str) -> Result<Vec<u8>> {
    // mov64 r0, 0; exit
    const CODE: [u8; 16] = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let license = object.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    object.append_section_data(license, b"GPL\0", 1);
    let section = object.add_section(Vec::new(), hook.as_bytes().to_vec(), SectionKind::Text);
    object.append_section_data(section, &CODE, 8);
    object.add_symbol(Symbol {
        name: b"drainwatch_none".to_vec(),
        value: 0,
        size: CODE.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
    object.write().context("writing an empty program")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_hook_when_an_empty_object_is_made_then_its_one_program_is_of_that_hook() {
        use object::{Object as _, ObjectSection as _};
        let bytes = empty_object("tp_btf/inet_sock_set_state").expect("it is written");
        let file = object::File::parse(&*bytes).expect("it is an object");
        let section = file
            .section_by_name("tp_btf/inet_sock_set_state")
            .expect("it has the section");
        assert_eq!(section.size(), 16);
    }

    #[test]
    fn given_no_run_when_the_cost_of_one_is_asked_for_then_it_is_nothing() {
        assert!(Cost::default().per_run().abs() < f64::EPSILON);
        assert!(
            (Cost {
                runs: 4.0,
                nanoseconds: 100.0
            }
            .per_run()
                - 25.0)
                .abs()
                < f64::EPSILON
        );
    }
}
