//! What the running kernel's BTF says: member offsets, tracepoints, argument counts.

use std::path::Path;

use btf_rs::{Btf, Type};
use drainwatch_ebpf::offset;

use super::KernelError;

/// Where the kernel publishes its own types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// The running kernel's types.
pub struct Types(Btf);

impl Types {
    /// Reads BTF from a file.
    pub fn read(path: &Path) -> Result<Self, KernelError> {
        if !path.exists() {
            return Err(KernelError::Refused(format!(
                "this kernel publishes no type information ({} is missing); drainwatch needs a kernel built with \
                 CONFIG_DEBUG_INFO_BTF, as distribution kernels since 5.15 are",
                path.display()
            )));
        }
        Btf::from_file(path)
            .map(Self)
            .map_err(|error| KernelError::Failed {
                what: format!("reading {}", path.display()),
                why: error.to_string(),
            })
    }

    /// Every offset of [`offset::MEMBERS`]; [`offset::NONE`] where this kernel has no such member.
    pub fn offsets(&self) -> [u32; offset::COUNT] {
        offset::MEMBERS.map(|(structure, path)| self.offset(structure, path).unwrap_or(offset::NONE))
    }

    /// Offset in bytes of a member, through nested and anonymous structures.
    pub fn offset(&self, structure: &str, path: &[&str]) -> Option<u32> {
        let mut kind = self
            .0
            .resolve_types_by_name(structure)
            .ok()?
            .into_iter()
            .find(is_composite)?;
        let mut bits = 0;
        for name in path {
            let (at, member) = self.member(&kind, name)?;
            bits += at;
            kind = member;
        }
        Some(bits / 8)
    }

    /// Size in bytes of a structure.
    pub fn size(&self, structure: &str) -> Option<usize> {
        let kinds = self.0.resolve_types_by_name(structure).ok()?;
        kinds.iter().find_map(|kind| match kind {
            Type::Struct(composite) => Some(composite.size()),
            _ => None,
        })
    }

    /// Offset in bits and type of a direct member, looking into anonymous structures and unions.
    fn member(&self, kind: &Type, name: &str) -> Option<(u32, Type)> {
        let (Type::Struct(composite) | Type::Union(composite)) = kind else {
            return None;
        };
        for member in &composite.members {
            let member_name = self.0.resolve_name(member).unwrap_or_default();
            if member_name != name && !member_name.is_empty() {
                continue;
            }
            let Some(inner) = self.bare(self.0.resolve_chained_type(member).ok()?) else {
                continue;
            };
            if member_name == name {
                return Some((member.bit_offset(), inner));
            }
            if let Some((at, found)) = self.member(&inner, name) {
                return Some((member.bit_offset() + at, found));
            }
        }
        None
    }

    /// The type behind typedefs and qualifiers.
    fn bare(&self, mut kind: Type) -> Option<Type> {
        loop {
            kind = match &kind {
                Type::Typedef(inner) => self.0.resolve_chained_type(inner).ok()?,
                Type::Const(inner) | Type::Volatile(inner) | Type::Restrict(inner) => {
                    self.0.resolve_chained_type(inner).ok()?
                }
                Type::TypeTag(inner) => self.0.resolve_chained_type(inner).ok()?,
                _ => return Some(kind),
            };
        }
    }

    /// How many arguments a tracepoint hands to a BTF program; `None` when there is no such tracepoint.
    pub fn tracepoint_arguments(&self, name: &str) -> Option<usize> {
        // `typedef void (*btf_trace_NAME)(void *, …)`: the first one is the tracepoint's own data.
        self.prototype(&format!("btf_trace_{name}"))
            .map(|parameters| parameters.saturating_sub(1))
    }

    /// The first argument of a tracepoint is a pointer (else a number).
    pub fn tracepoint_takes_pointer(&self, name: &str) -> Option<bool> {
        let kind = self.typedef(&format!("btf_trace_{name}"))?;
        let Type::FuncProto(prototype) = kind else {
            return None;
        };
        let first = self.0.resolve_chained_type(prototype.parameters.get(1)?).ok()?;
        Some(matches!(self.bare(first)?, Type::Ptr(_)))
    }

    /// How many parameters a kernel function has; `None` when there is no such function.
    pub fn function_parameters(&self, name: &str) -> Option<usize> {
        let function = self
            .0
            .resolve_types_by_name(name)
            .ok()?
            .into_iter()
            .find_map(|kind| match kind {
                Type::Func(function) => Some(function),
                _ => None,
            })?;
        match self.0.resolve_chained_type(&function).ok()? {
            Type::FuncProto(prototype) => Some(prototype.parameters.len()),
            _ => None,
        }
    }

    /// BTF id of a kernel function.
    pub fn function_id(&self, name: &str) -> Option<u32> {
        let ids = self.0.resolve_ids_by_name(name).ok()?;
        ids.into_iter()
            .find(|&id| matches!(self.0.resolve_type_by_id(id), Ok(Type::Func(_))))
    }

    /// Probes of tracepoints can be preempted, as they can on x86 from 7.0 on: they run under SRCU, in a domain of
    /// their own, instead of with preemption off (`kernel/tracepoint.c`). Of variables, BTF has the per-CPU ones.
    pub fn preemptible_tracepoints(&self) -> bool {
        self.0
            .resolve_types_by_name("tracepoint_srcu_srcu_data")
            .is_ok_and(|types| types.iter().any(|kind| matches!(kind, Type::Var(_))))
    }

    fn prototype(&self, name: &str) -> Option<usize> {
        match self.typedef(name)? {
            Type::FuncProto(prototype) => Some(prototype.parameters.len()),
            _ => None,
        }
    }

    /// What a typedef of a function pointer points to.
    fn typedef(&self, name: &str) -> Option<Type> {
        let kind = self
            .0
            .resolve_types_by_name(name)
            .ok()?
            .into_iter()
            .find(|kind| matches!(kind, Type::Typedef(_)))?;
        match self.bare(kind)? {
            Type::Ptr(pointer) => self.0.resolve_chained_type(&pointer).ok(),
            other => Some(other),
        }
    }
}

fn is_composite(kind: &Type) -> bool {
    matches!(kind, Type::Struct(_) | Type::Union(_))
}
