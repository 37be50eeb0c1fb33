//! The BPF programs. `lib.rs` is the ABI that they share with the agent.
#![no_std]
#![no_main]

mod cgroups;
mod emit;
mod globals;
mod kernel;
mod maps;
mod payload;
mod processes;
mod record;
mod resets;
mod seed;
mod signals;
mod sockets;
mod states;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

// Helpers that touch kernel memory are GPL-only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
