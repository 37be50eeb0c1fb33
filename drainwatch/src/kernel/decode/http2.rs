//! What the kernel side kept of HTTP/2, behind the event of its connection.

use drainwatch_core::record::{self, Block, Lost, StreamState};
use drainwatch_ebpf::{
    ConnectionEvent,
    http2::{
        ANSWER_LOG, ASK_LOG, CUT_WITH_IT_NS, HeaderLog, Http2, Http2Flow, Http2Log, LogEntry, Stream,
        stream_flag, stream_state,
    },
    record_flag,
};

use super::{Plain, structure};

impl Plain for Http2 {}
impl Plain for LogEntry {}

/// The streams of a connection that speaks HTTP/2; `bytes` are its whole event.
pub fn of(bytes: &[u8], event: &ConnectionEvent) -> Option<Box<record::Http2>> {
    let record = &event.record;
    if record.flags & record_flag::HTTP2 == 0 {
        return None;
    }
    let behind = bytes.get(size_of::<ConnectionEvent>()..).unwrap_or_default();
    let lost = if behind.is_empty() {
        Lost::Storage
    } else {
        Lost::Walk
    };
    Some(Box::new(read(behind, event).unwrap_or_else(|| record::Http2 {
        lost: Some(lost),
        ..record::Http2::default()
    })))
}

/// `None` where the kernel side had no room, or does not know any more.
fn read(behind: &[u8], event: &ConnectionEvent) -> Option<record::Http2> {
    if behind.len() < Http2::IDLE {
        return None;
    }
    let length = behind.len().min(size_of::<Http2>());
    let mut whole = vec![0; size_of::<Http2>()];
    whole[..length].copy_from_slice(&behind[..length]);
    let http2: Http2 = structure(&whole)?;
    let logged = behind.get(size_of::<Http2>()..).unwrap_or_default();
    if http2.lost != 0 {
        return None;
    }
    let mut streams: Vec<_> = http2
        .streams
        .iter()
        .filter(|stream| stream.id != 0)
        .map(|kept| stream(kept, event))
        .collect();
    streams.sort_by_key(|stream| stream.id);
    streams.dedup_by_key(|stream| stream.id);
    // What a living process closed comes without the second.
    let (asked, answered) = logged.split_at(logged.len().min(Http2Log::TOLD));
    Some(record::Http2 {
        lost: None,
        told_ns: http2.told_ns,
        ask: flow(&http2.ask, event.record.ask.total)?,
        answer: flow(&http2.answer, event.record.answer.total)?,
        streams,
        blocks: log(asked, ASK_LOG, &http2.ask_log),
        answers: log(answered, ANSWER_LOG, &http2.answer_log),
    })
}

/// `None` where the walk has seen more than has moved.
fn flow(flow: &Http2Flow, total: u64) -> Option<record::Http2Flow> {
    let ahead = total.checked_sub(flow.walked)?;
    let pending = u64::from(flow.until).saturating_sub(ahead);
    let some = |stream: u32| (stream != 0).then_some(stream);
    Some(record::Http2Flow {
        pending,
        unseen: ahead > u64::from(flow.until),
        ends: some(flow.ends).filter(|_| pending == 0),
        continues: some(flow.continues),
        goaway: (flow.goaways > 0).then_some(flow.goaway_last),
    })
}

fn stream(stream: &Stream, event: &ConnectionEvent) -> record::Stream {
    let flag = |flag| stream.flags & flag != 0;
    // Closed by a living process, which is ending now.
    let left = event.remembered != 0 && event.header.at_ns.saturating_sub(stream.last_ns) < CUT_WITH_IT_NS;
    let state = |state| match state {
        stream_state::ENDED => StreamState::Ended,
        stream_state::RESET => StreamState::Reset,
        _ => StreamState::Open,
    };
    let first = |bytes: &[u8], length: u8| bytes[..usize::from(length).min(bytes.len())].to_vec();
    record::Stream {
        id: stream.id,
        began_ns: stream.began_ns,
        last_ns: stream.last_ns,
        asked: state(stream.asked),
        answered: state(stream.answered),
        cut: flag(stream_flag::WHILE_DRAINING) || (flag(stream_flag::CUT) && left),
        block: first(&stream.block, stream.block_len),
        block_at: stream.log_at,
        answer: first(&stream.answer, stream.answer_len),
        answer_at: stream.answer_at,
        before: (stream.status != 0).then_some(stream.status),
        grpc_status: stream.grpc.checked_sub(1),
    }
}

/// The header blocks of a log, whose halves have so many bytes.
fn log(logged: &[u8], half: usize, log: &HeaderLog) -> Vec<Block> {
    let mut blocks = Vec::new();
    if log.generation > 0 {
        blocks.extend(written(
            logged,
            half,
            log.generation.wrapping_sub(1),
            log.used_before,
        ));
    }
    blocks.extend(written(logged, half, log.generation, log.used));
    blocks
}

/// The header blocks in the half of a log that this generation wrote.
fn written(logged: &[u8], half: usize, generation: u32, used: u32) -> Vec<Block> {
    let start = (generation & 1) as usize * half;
    let bytes = logged.get(start..start + half).unwrap_or_default();
    let used = (used as usize).min(bytes.len());
    let mut blocks = Vec::new();
    let mut at = 0;
    while at < used {
        let Some(entry) = structure::<LogEntry>(&bytes[at..used]) else {
            break;
        };
        let from = at + size_of::<LogEntry>();
        let length = usize::from(entry.length);
        let Some(block) = bytes[..used].get(from..from + length) else {
            break;
        };
        blocks.push(Block {
            at: generation
                .wrapping_mul(u32::try_from(half).unwrap_or_default())
                .wrapping_add(u32::try_from(at).unwrap_or_default()),
            stream: entry.stream,
            bytes: block.into(),
            cut: entry.cut != 0,
        });
        at = from + length.next_multiple_of(8);
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_connection_of_http2_when_nothing_stands_behind_its_event_then_there_was_no_memory_for_its_streams()
     {
        let bytes = vec![0; size_of::<ConnectionEvent>()];
        let mut event: ConnectionEvent = structure(&bytes).unwrap();
        event.record.flags = record_flag::HTTP2;
        let lost = |bytes: &[u8]| of(bytes, &event).unwrap().lost;
        assert_eq!(lost(&bytes), Some(Lost::Storage));
        assert_eq!(lost(&[&bytes[..], &[0; 8]].concat()), Some(Lost::Walk));
    }
}
