//! Programs that do nothing, on the hooks of the agent's.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use aya::programs::{BtfTracePoint, Program, RawTracePoint};
use aya::{Btf, Ebpf, EbpfLoader};
use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

/// Empty programs by their hooks; detached when dropped.
pub struct Empties(BTreeMap<String, (Ebpf, u32)>);

impl Empties {
    /// Attaches one to each hook. Hooks of other kinds, and those that this kernel lacks, go without.
    pub fn attach<'a>(hooks: impl Iterator<Item = &'a String>) -> Result<Self> {
        let btf = Btf::from_sys_fs().context("reading the kernel's BTF")?;
        let mut attached = BTreeMap::new();
        for hook in hooks {
            if !attached.contains_key(hook)
                && let Some(empty) = attach(hook, &btf)
            {
                attached.insert(hook.clone(), empty);
            }
        }
        Ok(Self(attached))
    }

    /// The id of the one on this hook.
    pub fn on(&self, hook: &str) -> Option<u32> {
        self.0.get(hook).map(|(_, id)| *id)
    }
}

/// Attaches an empty program to a hook.
fn attach(hook: &str, btf: &Btf) -> Option<(Ebpf, u32)> {
    // It would read the types anew for each.
    let mut bpf = EbpfLoader::new().btf(Some(btf)).load(&object(hook).ok()?).ok()?;
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
fn object(hook: &str) -> Result<Vec<u8>> {
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
        let bytes = object("tp_btf/inet_sock_set_state").expect("it is written");
        let file = object::File::parse(&*bytes).expect("it is an object");
        let section = file
            .section_by_name("tp_btf/inet_sock_set_state")
            .expect("it has the section");
        assert_eq!(section.size(), 16);
    }
}
