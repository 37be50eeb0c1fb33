//! Drops DWARF from a linked BPF object. BTF stays: the kernel wants it for the programs' types and lines.
//!
//! Done here and not by `llvm-objcopy`, whose version would be one more thing that the object's bytes depend on.

use anyhow::{Context, Result};
use object::build::elf::{Builder, SectionData};
use object::elf::SHT_STRTAB;

/// Whether the loader has no use for a section: DWARF and its relocations.
fn is_dwarf(name: &[u8]) -> bool {
    name.starts_with(b".debug_") || name.starts_with(b".rel.debug_")
}

/// The object without DWARF.
pub fn without_dwarf(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read64(bytes).context("not a 64-bit ELF object")?;
    for section in &mut builder.sections {
        section.delete = is_dwarf(&section.name);
    }
    builder.delete_orphans();
    // LLVM keeps the names of sections among those of symbols; the writer wants them in a section of their own.
    if !builder
        .sections
        .iter()
        .any(|section| matches!(section.data, SectionData::SectionString))
    {
        let names = builder.sections.add();
        names.name = ".shstrtab".into();
        names.sh_type = SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    let mut stripped = Vec::new();
    builder.write(&mut stripped).context("writing the object")?;
    Ok(stripped)
}

/// Names of the sections that hold programs and maps, sorted.
pub fn sections(bytes: &[u8]) -> Result<Vec<String>> {
    let builder = Builder::read64(bytes).context("not a 64-bit ELF object")?;
    let mut names: Vec<String> = builder
        .sections
        .iter()
        .map(|section| section.name.to_string())
        .filter(|name| !name.is_empty() && !name.starts_with('.'))
        .collect();
    names.sort();
    Ok(names)
}
