//! The BPF programs. `lib.rs` is the ABI that they share with the agent.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![allow(
    clippy::inline_always,
    clippy::needless_pass_by_value,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_ptr_alignment,
    clippy::needless_borrows_for_generic_args,
    reason = "BPF: one function per program, its context by value, 64-bit, the ring and records aligned to 8, map keys on the stack by reference"
)]

mod atomic;
mod both_ends;
mod cgroups;
mod cuts;
mod emit;
mod frames;
mod globals;
mod kernel;
mod late;
mod length;
mod long_head;
mod maps;
mod mptcp;
mod payload;
mod preemption;
mod processes;
mod record;
mod resets;
mod seed;
mod served;
mod signals;
mod sockets;
mod stand_ins;
mod states;
mod unix;
mod waiting;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

// Helpers that touch kernel memory are GPL-only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
