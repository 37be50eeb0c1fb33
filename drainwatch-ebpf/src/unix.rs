//! Unix sockets: what is asked on them is not recorded, but a workload that listens on one is told of.

use drainwatch_ebpf::{offset, tcp_state::LISTEN};

use crate::kernel::{Ptr, read, read_at};

/// A server opens its listeners early: its first descriptors are looked at, no more.
const LOOKED_AT: usize = 64;
/// `S_IFMT` and `S_IFSOCK`.
const FORMAT: u16 = 0xf000;
const SOCKET: u16 = 0xc000;
/// `AF_UNIX`.
const UNIX: u16 = 1;

/// Whether this process, whose files are open still, listens on a Unix socket.
#[inline(never)]
pub fn listens(task: Ptr) -> bool {
    let files: Ptr = read(task, offset::TASK_FILES);
    let table: Ptr = read(files, offset::FILES_TABLE);
    let first: Ptr = read(table, offset::TABLE_FILES);
    let size = read::<u32>(table, offset::TABLE_SIZE) as usize;
    for descriptor in 0..LOOKED_AT {
        if descriptor >= size {
            break;
        }
        let file: Ptr = read_at(first, descriptor * size_of::<Ptr>());
        if !file.is_null() && is_unix_listener(file) {
            return true;
        }
    }
    false
}

#[inline(always)]
fn is_unix_listener(file: Ptr) -> bool {
    let inode: Ptr = read(file, offset::FILE_INODE);
    if read::<u16>(inode, offset::INODE_MODE) & FORMAT != SOCKET {
        return false;
    }
    let socket: Ptr = read(file, offset::FILE_PRIVATE);
    let sk: Ptr = read(socket, offset::SOCKET_SK);
    read::<u16>(sk, offset::SOCK_FAMILY) == UNIX && u32::from(read::<u8>(sk, offset::SOCK_STATE)) == LISTEN
}
