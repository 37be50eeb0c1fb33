//! The consumer of the ring buffer: reads without giving room back, until it is told that what was read is kept.
//!
//! aya's own gives each record back as soon as it was looked at. An agent that is killed between that and writing down
//! what it had read would have lost it; so here reading ([`Ring::next`]) and giving back ([`Ring::commit`]) are two steps,
//! and the position between them is a number that the journal can hold.
//!
//! Layout (`kernel/bpf/ringbuf.c`): a page with the consumer's position, which we write; a page with the producer's; the
//! data, twice in a row, so that a record that wraps is in one piece. Of the data only a window is mapped, which moves along:
//! all that is mapped counts as this process's memory. A record is a word with its length and two bits, a word of the
//! kernel's own, and its bytes, rounded up to eight.

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
/// How much of the data is mapped: many records of the largest kind.
const WINDOW: usize = 1 << 20;

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
    /// A part of the data, and the position at which it begins.
    window: Option<(usize, Mapping)>,
    page: usize,
    size: usize,
    /// Up to where it was read; what lies before it may not have been given back yet.
    read: usize,
}

/// A record that is complete.
#[derive(Clone, Copy)]
struct Record {
    /// Position of its bytes.
    at: usize,
    length: usize,
    /// Position of the next one.
    next: usize,
    /// Its program gave it up.
    discarded: bool,
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
        let producer = Mapping::new(fd, page, page, libc::PROT_READ)?;
        let mut ring = Self {
            map,
            consumer,
            producer,
            window: None,
            page,
            size,
            read: 0,
        };
        ring.read = ring.given_back().load(Ordering::Acquire);
        // What could not be mapped later would be missed.
        ring.look_at(ring.read, HEADER)?;
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
            let record = self.record_at(self.read)?;
            self.read = record.next;
            if !record.discarded {
                return self.bytes(record);
            }
        }
    }

    /// Whether among the complete records behind what was read there is one that is `wanted`; `None` where it is not
    /// among the next `most`, and there are more.
    pub fn follows(&mut self, most: usize, wanted: impl Fn(&[u8]) -> bool) -> Option<bool> {
        let mut position = self.read;
        for _ in 0..most {
            let Some(record) = self.record_at(position) else {
                return Some(false);
            };
            if !record.discarded && self.bytes(record).is_some_and(&wanted) {
                return Some(true);
            }
            position = record.next;
        }
        None
    }

    fn record_at(&mut self, position: usize) -> Option<Record> {
        if position == self.written().load(Ordering::Acquire) {
            return None;
        }
        let header = self.seen(position, HEADER)?.cast::<AtomicU32>();
        // SAFETY: the kernel's positions are multiples of eight, and a header stands at each before the producer's.
        let header = unsafe { header.as_ref() }.load(Ordering::Acquire);
        if header & BUSY != 0 {
            return None;
        }
        let length = (header & !DISCARDED) as usize;
        Some(Record {
            at: position.wrapping_add(HEADER),
            length,
            next: position.wrapping_add((length + HEADER).next_multiple_of(8)),
            discarded: header & DISCARDED != 0,
        })
    }

    /// The bytes of a record that is complete.
    fn bytes(&mut self, record: Record) -> Option<&[u8]> {
        let start = self.seen(record.at, record.length)?;
        // SAFETY: the window shows so many bytes there; the kernel does not write to a record before it is given back, for
        // which the ring is borrowed anew, as it is for another window.
        Some(unsafe { std::slice::from_raw_parts(start.as_ptr(), record.length) })
    }

    fn seen(&mut self, position: usize, length: usize) -> Option<NonNull<u8>> {
        match self.look_at(position, length) {
            Ok(start) => Some(start),
            Err(error) => {
                tracing::error!(%error, "the ring cannot be read");
                None
            }
        }
    }

    /// Moves the window where it does not show so many bytes from this position on.
    fn look_at(&mut self, position: usize, length: usize) -> io::Result<NonNull<u8>> {
        if let Some((from, window)) = &self.window
            && let Some(at) = position.checked_sub(*from)
            && at + length <= window.length
        {
            // SAFETY: inside of it.
            return Ok(unsafe { window.start.add(at) });
        }
        let from = position & !(self.page - 1);
        let size = WINDOW.min(self.size);
        if position - from + length > size {
            return Err(io::Error::other("a record is longer than any that was asked for"));
        }
        // One at a time.
        self.window = None;
        let fd = self.as_raw_fd();
        let offset = 2 * self.page + (from & (self.size - 1));
        let window = Mapping::new(fd, size, offset, libc::PROT_READ)?;
        let start = window.start;
        self.window = Some((from, window));
        // SAFETY: inside of it.
        Ok(unsafe { start.add(position - from) })
    }

    /// Reads on from this position: one that it was at since it gave back last.
    pub fn back_to(&mut self, position: u64) {
        if let Ok(position) = usize::try_from(position) {
            self.read = position;
        }
    }

    /// How many records nobody has read.
    pub fn count(mut self) -> u64 {
        let mut count = 0;
        while self.next().is_some() {
            count += 1;
        }
        count
    }

    /// Up to where it was read.
    pub fn position(&self) -> u64 {
        self.read as u64
    }

    /// What was read up to now need not be kept any longer.
    pub fn commit(&mut self) {
        if self.given_back().load(Ordering::Relaxed) != self.read {
            self.given_back().store(self.read, Ordering::Release);
        }
        // The kernel wakes us only where it finds that we had come as far as its record: what is written next is seen by
        // the read that follows, or we are woken.
        fence(Ordering::SeqCst);
    }

    /// Gives back, unread, what an earlier consumer had read up to `position` and could not give back any more. Says
    /// whether that is all that was given back: else somebody read on from there.
    pub fn skip_to(&mut self, position: u64) -> bool {
        let Ok(position) = usize::try_from(position) else {
            return false;
        };
        let written = self.written().load(Ordering::Acquire);
        // In the ring's own arithmetic: ahead of where we are, and not ahead of the producer.
        let ahead = position.wrapping_sub(self.read);
        let fits = ahead <= written.wrapping_sub(self.read);
        if fits {
            self.read = position;
            self.commit();
        }
        fits
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.map.fd().as_fd().as_raw_fd()
    }
}
