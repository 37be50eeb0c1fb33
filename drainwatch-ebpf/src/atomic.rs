//! What two CPUs may change at once. `core::sync::atomic` changes no value on this target, though BPF can
//! (`BPF_ATOMIC` with `BPF_FETCH`, since 5.12): so these are instructions.

use core::arch::asm;

/// Adds, and returns what was there.
///
/// # Safety
/// `place` is aligned, within a map's value, and changed by these functions alone.
#[inline(always)]
pub unsafe fn add(place: *mut u64, mut more: u64) -> u64 {
    // SAFETY: the caller's.
    unsafe {
        asm!("{more} = atomic_fetch_add((u64 *)({place} + 0), {more})", place = in(reg) place, more = inout(reg) more);
    }
    more
}

/// Sets bits, and returns what was there.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub unsafe fn set(place: *mut u64, mut bits: u64) -> u64 {
    // SAFETY: the caller's.
    unsafe {
        asm!("{bits} = atomic_fetch_or((u64 *)({place} + 0), {bits})", place = in(reg) place, bits = inout(reg) bits);
    }
    bits
}
