//! Read-only data that the agent fills in before load, so that the verifier sees constants.

use drainwatch_ebpf::{offset, setting};

/// Offsets of kernel members, by [`offset`].
#[unsafe(no_mangle)]
static OFFSETS: [u32; offset::COUNT] = [0; offset::COUNT];

/// Settings, by [`setting`].
#[unsafe(no_mangle)]
static SETTINGS: [u64; setting::COUNT] = [0; setting::COUNT];

/// Offset of a member in bytes.
#[inline(always)]
pub fn offset_of(index: usize) -> usize {
    // SAFETY: a static of ours; volatile because the agent replaces its bytes before load.
    unsafe { (&raw const OFFSETS).cast::<u32>().add(index).read_volatile() as usize }
}

/// This kernel has the member.
#[inline(always)]
pub fn has(index: usize) -> bool {
    offset_of(index) != offset::NONE as usize
}

/// Value of a setting.
#[inline(always)]
pub fn setting(index: usize) -> u64 {
    // SAFETY: as above.
    unsafe { (&raw const SETTINGS).cast::<u64>().add(index).read_volatile() }
}
