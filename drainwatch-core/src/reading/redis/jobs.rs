//! Jobs of RQ, whose workers keep account of them in Redis: which of them are begun stands in a sorted set for each
//! queue, and a worker that is told to stop in the middle of one writes down when.
//!
//! A worker says nothing else on that connection until its job is over, but that it goes on, in the same way.
//!
//! <https://python-rq.org/docs/job_registries/>, <https://python-rq.org/docs/workers/>

use super::super::text;

/// Keys of the sets, without the queue, and of what is known of a worker, without its name.
const BEGUN: &[u8] = b"rq:wip:";
const WORKER: &[u8] = b"rq:worker:";
const STOPS: &[u8] = b"shutdown_requested_date";

/// What a command says of a worker's job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Job {
    /// It is under way, from this queue where that is said.
    Begun(Option<String>),
    /// It is over.
    Over,
}

impl Job {
    /// By the command's name, its first word and its second.
    pub fn of(name: Option<&str>, key: &[u8], word: &[u8]) -> Option<Self> {
        match name? {
            "ZADD" => {
                let queue = key.strip_prefix(BEGUN)?;
                Some(Self::Begun(
                    Some(text::name(queue)).filter(|name| !name.is_empty()),
                ))
            }
            "ZREM" => key.starts_with(BEGUN).then_some(Self::Over),
            "HSET" => (key.starts_with(WORKER) && word == STOPS).then_some(Self::Begun(None)),
            _ => None,
        }
    }
}
