//! cgroups of the unified hierarchy: created, removed, left by their last process.

use aya_ebpf::{
    helpers::generated::bpf_probe_read_kernel_str, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use drainwatch_ebpf::{CGROUP_PATH, CgroupEvent, event_kind, offset};

use crate::{
    emit::{self, now},
    kernel::{Ptr, cgroup_id, read},
};

#[btf_tracepoint(function = "cgroup_mkdir")]
pub fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    tell(event_kind::CGROUP_CREATED, ctx.arg(0), ctx.arg(1));
    0
}

#[btf_tracepoint(function = "cgroup_rmdir")]
pub fn cgroup_rmdir(ctx: BtfTracePointContext) -> i32 {
    tell(event_kind::CGROUP_REMOVED, ctx.arg(0), ctx.arg(1));
    0
}

#[btf_tracepoint(function = "cgroup_notify_populated")]
pub fn cgroup_notify_populated(ctx: BtfTracePointContext) -> i32 {
    if ctx.arg::<i32>(2) == 0 {
        tell(event_kind::CGROUP_EMPTIED, ctx.arg(0), ctx.arg(1));
    }
    0
}

#[inline(always)]
fn tell(kind: u32, cgroup: Ptr, path: Ptr) {
    let root: Ptr = read(cgroup, offset::CGROUP_ROOT);
    // Version 1 hierarchies have other numbers; the unified one is made first and is 0.
    if read::<i32>(root, offset::CGROUP_ROOT_HIERARCHY_ID) != 0 {
        return;
    }
    // An emptied one is an end.
    if kind != event_kind::CGROUP_EMPTIED && !emit::has_room() {
        return;
    }
    let Some(mut entry) = emit::reserve::<CgroupEvent>() else {
        return;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: every field of the reserved event is written; the string helper fills at most the array
    // and returns the length with its zero. What it leaves is cut off by `path_len` in userspace.
    unsafe {
        (*event).header = emit::header(kind, now());
        (*event).cgroup = cgroup_id(cgroup);
        let length =
            bpf_probe_read_kernel_str((&raw mut (*event).path).cast(), CGROUP_PATH as u32, path.cast());
        (*event).path_len = if length > 0 { length as u32 - 1 } else { 0 };
        (*event).reserved = 0;
    }
    emit::submit(entry);
}
