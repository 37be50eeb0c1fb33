//! How much memory the agent is given for what it asks for.

use nix::sys::prctl;
use tracing::debug;

/// Keeps the agent's memory small: no page of 2 MiB where it asked for a few KiB, and one heap for all its threads, of which
/// only one works for long. To be called before the first thread is started.
pub fn keep_small() {
    // With transparent huge pages `always`, resident memory tripled within half a minute.
    if let Err(error) = prctl::set_thp_disable(true) {
        debug!(%error, "transparent huge pages cannot be refused");
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number of the allocator's own, while there is no other thread that could ask it for memory.
    if unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) } != 1 {
        debug!("the allocator keeps a heap for each thread");
    }
}

/// Reading the kernel's types takes some 30 MB for a moment, a list of pods some 8, which glibc would keep for good.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no argument that could be wrong; the allocator locks itself.
    unsafe {
        libc::malloc_trim(0);
    }
}
