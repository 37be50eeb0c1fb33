//! The consumer of the ring buffer: reads without giving room back, until it is told that what was read is kept.
//!
//! aya's own gives each record back as soon as it was looked at. An agent that is killed between that and writing down
//! what it had read would have lost it; so here reading ([`Ring::next`]) and giving back ([`Ring::commit`]) are two steps,
//! and the position between them is a number that the journal can hold.
//!
//! Layout (`kernel/bpf/ringbuf.c`): a page with the consumer's position, which we write; a page with the producer's; the
//! data, mapped twice in a row, so that a record that wraps is still in one piece. A record is a word with its length and
//! two bits, a word of the kernel's own, and its bytes, rounded up to eight.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd, RawFd},
    ptr::{NonNull, null_mut},
    sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence},
};

use aya::maps::MapData;

/// `BPF_RINGBUF_BUSY_BIT`: reserved, and not written yet.
const BUSY: u32 = 1 << 31;
/// `BPF_RINGBUF_DISCARD_BIT`: given up by its program.
const DISCARDED: u32 = 1 << 30;
/// `BPF_RINGBUF_HDR_SZ`.
const HEADER: usize = 8;

/// A mapping of the ring's memory, taken back when dropped.
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: memory that is shared with the kernel; nothing about it belongs to a thread.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(fd: RawFd, length: usize, offset: usize, protection: libc::c_int) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let start = unsafe { libc::mmap(null_mut(), length, protection, libc::MAP_SHARED, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { start, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: ours, and nothing points into it any more: every slice of it borrowed its owner.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// The ring's only consumer.
pub struct Ring {
    map: MapData,
    consumer: Mapping,
    producer: Mapping,
    page: usize,
    size: usize,
    /// Up to where it was read; what lies before it may not have been given back yet.
    read: usize,
}

impl Ring {
    /// The consumer of this map. What earlier consumers had given back stays so.
    pub fn new(map: MapData) -> io::Result<Self> {
        let size = map.info().map_err(io::Error::other)?.max_entries() as usize;
        if !size.is_power_of_two() {
            return Err(io::Error::other("the ring's size is no power of two"));
        }
        // SAFETY: no argument that could be wrong.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).map_err(io::Error::other)?;
        let fd = map.fd().as_fd().as_raw_fd();
        let consumer = Mapping::new(fd, page, 0, libc::PROT_READ | libc::PROT_WRITE)?;
        let producer = Mapping::new(fd, page + 2 * size, page, libc::PROT_READ)?;
        let mut ring = Self {
            map,
            consumer,
            producer,
            page,
            size,
            read: 0,
        };
        ring.read = ring.given_back().load(Ordering::Acquire);
        Ok(ring)
    }

    /// Its number, which no other map has before the next boot.
    pub fn id(&self) -> io::Result<u32> {
        Ok(self.map.info().map_err(io::Error::other)?.id())
    }

    fn given_back(&self) -> &AtomicUsize {
        // SAFETY: the page's first word; aligned, and alive as long as the mapping is.
        unsafe { self.consumer.start.cast::<AtomicUsize>().as_ref() }
    }

    fn written(&self) -> &AtomicUsize {
        // SAFETY: as above.
        unsafe { self.producer.start.cast::<AtomicUsize>().as_ref() }
    }

    /// The next record that is complete, if there is one.
    pub fn next(&mut self) -> Option<&[u8]> {
        loop {
            if self.read == self.written().load(Ordering::Acquire) {
                return None;
            }
            let at = self.page + (self.read & (self.size - 1));
            // SAFETY: the kernel's positions are multiples of eight, and a header stands at each before the producer's.
            let header = unsafe { self.producer.start.add(at).cast::<AtomicU32>().as_ref() };
            let header = header.load(Ordering::Acquire);
            if header & BUSY != 0 {
                return None;
            }
            let length = (header & !DISCARDED) as usize;
            self.read = self.read.wrapping_add((length + HEADER).next_multiple_of(8));
            if header & DISCARDED != 0 {
                continue;
            }
            let length = length.min(self.size);
            // SAFETY: the data is mapped twice in a row, so that a record no longer than the ring is in one piece; the
            // kernel does not write to it before it is given back, which borrows the ring anew.
            return Some(unsafe {
                std::slice::from_raw_parts(self.producer.start.add(at + HEADER).as_ptr(), length)
            });
        }
    }

    /// Up to where it was read.
    pub fn position(&self) -> u64 {
        self.read as u64
    }

    /// What was read up to now need not be kept any longer.
    pub fn commit(&self) {
        if self.given_back().load(Ordering::Relaxed) != self.read {
            self.given_back().store(self.read, Ordering::Release);
        }
        // The kernel wakes us only where it finds that we had come as far as its record: what is written next is seen by
        // the read that follows, or we are woken.
        fence(Ordering::SeqCst);
    }

    /// Gives back, unread, what an earlier consumer had read up to `position` and could not give back any more.
    pub fn skip_to(&mut self, position: u64) {
        let Ok(position) = usize::try_from(position) else {
            return;
        };
        let written = self.written().load(Ordering::Acquire);
        // In the ring's own arithmetic: ahead of where we are, and not ahead of the producer.
        let ahead = position.wrapping_sub(self.read);
        if ahead <= written.wrapping_sub(self.read) {
            self.read = position;
            self.commit();
        }
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.map.fd().as_fd().as_raw_fd()
    }
}
