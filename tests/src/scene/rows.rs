//! What the clients do: before the ending, in the middle of it, and when nobody serves them.

use std::{thread, time::Duration};

use anyhow::Context as _;

use super::{Played, Scene};
use crate::{
    client::{Connection, Request},
    server,
    table::{Act, Fate, Row, Way},
};

/// Who gives up has waited for a moment. A FIN that comes with the request is another thing: such a client has closed its
/// sending side, and waits.
const GIVES_UP_AFTER: Duration = Duration::from_millis(100);

impl Scene<'_> {
    /// Plays the part of a row that comes before the ending, with a server that serves.
    pub(super) fn open(&mut self, index: usize) -> anyhow::Result<()> {
        let Played { row, requests, .. } = &self.played[index];
        let (row, requests) = (*row, requests.clone());
        let patience = self.patience();
        let mut connection = match row.way {
            Way::Queue
            | Way::QueueSilent
            | Way::QueueLeft
            | Way::Knock
            | Way::Arrive
            | Way::Touch
            | Way::Finally => {
                return Ok(());
            }
            way => self.connect(way == Way::Slow)?,
        };
        if matches!(row.way, Way::Streams | Way::StreamsAgain) {
            connection.speak_http2();
        }
        let mut prelude = 0;
        if matches!(row.way, Way::Again | Way::StreamsAgain | Way::Ignored | Way::Late) {
            prelude = 1;
            connection.send(&[Request {
                path: format!("{}-prelude", requests[0].path),
                act: Act::Quick,
            }]);
            connection.read_complete(patience)?;
        }
        match row.way {
            Way::Ignored | Way::Late => {}
            Way::Upload => {
                connection.send_upload(&requests[0], false);
                self.reach(&mut connection, row, &requests)?;
            }
            Way::UploadContinue => {
                connection.send_upload(&requests[0], true);
                connection.read_interim(patience)?;
                connection.send_body_part();
                self.reach(&mut connection, row, &requests)?;
            }
            Way::Duplex => {
                connection.send_upload(&requests[0], false);
                connection.read_begun(patience)?;
            }
            Way::Lines => {
                connection.send_lines(&requests);
                self.taken(&connection, row)?;
            }
            Way::Prefaced => {
                connection.send_prefaced(&requests);
                self.reach(&mut connection, row, &requests)?;
            }
            _ => {
                connection.send(&requests);
                if row.way == Way::HalfClose {
                    connection.half_close()?;
                }
                if matches!(row.way, Way::Streams | Way::StreamsAgain) {
                    self.reach_all(&mut connection, &requests)?;
                }
                self.reach(&mut connection, row, &requests)?;
            }
        }
        if matches!(row.way, Way::LeaveBefore | Way::ResetBefore) {
            self.leave(&mut connection, row.way == Way::ResetBefore)?;
        }
        let played = &mut self.played[index];
        (played.connection, played.prelude) = (Some(connection), prelude);
        Ok(())
    }

    pub(super) fn leave(&self, connection: &mut Connection, reset: bool) -> anyhow::Result<()> {
        thread::sleep(GIVES_UP_AFTER);
        connection.leave(reset)?;
        let (pid, client) = (self.any_process()?, connection.local);
        self.until("the server's kernel to see the client leave", || {
            Ok(server::has_left(pid, self.port, client))
        })
    }

    /// Waits until the server has got every request of a connection of HTTP/2, and talks small.
    fn reach_all(&self, connection: &mut Connection, requests: &[Request]) -> anyhow::Result<()> {
        // What is answered at once is waited for below; nginx, which answers it from a file, tells of nothing.
        for request in requests.iter().filter(|request| request.act != Act::Quick) {
            self.wait_event("got", &request.path)?;
        }
        connection.read_due(self.patience())?;
        connection.talk_small(self.patience())
    }

    /// Waits until the requests have reached the point of their lives that the table means.
    pub(super) fn reach(
        &self,
        connection: &mut Connection,
        row: &Row,
        requests: &[Request],
    ) -> anyhow::Result<()> {
        let patience = self.patience();
        let last = requests.last().context("a row without requests")?;
        for request in requests {
            match request.act {
                // Most servers call the handler of a later request only when this one is answered.
                Act::Hang | Act::Marked { .. } | Act::HangHead | Act::Block => {
                    self.wait_event("got", &request.path)?;
                    break;
                }
                Act::Hints => connection.read_interim(patience)?,
                Act::AfterFin => {
                    self.wait_event("got", &request.path)?;
                    connection.read_begun(patience)?;
                }
                Act::Post | Act::HalfPost => self.wait_event("got", &request.path)?,
                Act::Big(_) if row.way == Way::Slow && request.act.fits_the_send_queue() => {
                    self.wait_event("sent", &request.path)?;
                }
                Act::Half
                | Act::Chunked
                | Act::Sse
                | Act::Upgrade
                | Act::Undelimited
                | Act::Big(_)
                | Act::Huge
                | Act::HalfVectored(_)
                    if request.path == last.path =>
                {
                    connection.read_begun(patience)?;
                }
                Act::Quick
                | Act::Head
                | Act::NoContent
                | Act::NotModified
                | Act::Pieces
                | Act::Trailers
                | Act::Vectored(_)
                    if request.path == last.path =>
                {
                    connection.read_complete(patience)?;
                }
                _ => {}
            }
        }
        self.taken(connection, row)
    }

    /// Waits until the server has read what it is to read.
    fn taken(&self, connection: &Connection, row: &Row) -> anyhow::Result<()> {
        if !self.case.hops.peers_known() {
            return Ok(());
        }
        let (pid, client, tail) = (self.any_process()?, connection.local, row.has_unread_tail());
        let what = if tail {
            "the later requests to lie unread"
        } else {
            "the server to read everything"
        };
        self.until(what, || {
            // First what is on its way: it would arrive unread.
            let taken = server::is_taken(client);
            let unread = server::unread(pid, self.port, client);
            Ok(taken && unread.is_none_or(|unread| (unread > 0) == tail))
        })
    }

    /// Plays rows that need a server which does not read or accept.
    pub(super) fn open_unserved(&mut self, index: usize) -> anyhow::Result<()> {
        let row = self.played[index].row;
        let requests = self.played[index].requests.clone();
        let mut connection = match row.way {
            Way::Ignored => self.played[index]
                .connection
                .take()
                .context("the prelude is missing")?,
            Way::Queue | Way::QueueSilent | Way::QueueLeft => self.connect(false)?,
            _ => return Ok(()),
        };
        let unread = if row.way == Way::QueueSilent {
            connection.note_unsent(&requests);
            0
        } else {
            connection.send(&requests);
            1
        };
        let (pid, client) = (self.any_process()?, connection.local);
        self.until("the connection to wait at the server, unread", || {
            Ok(server::unread(pid, self.port, client).is_some_and(|held| held >= unread))
        })?;
        if row.way == Way::QueueLeft {
            self.leave(&mut connection, false)?;
        }
        self.played[index].connection = Some(connection);
        Ok(())
    }

    /// Leaves, arrives, is late or is refused; once.
    pub(super) fn act_in_the_middle(&mut self, index: usize) -> anyhow::Result<()> {
        let way = self.played[index].row.way;
        if std::mem::replace(&mut self.played[index].acted, true) {
            return Ok(());
        }
        let requests = self.played[index].requests.clone();
        let patience = self.patience();
        match way {
            Way::Knock => {
                // Where no process is left, nothing listens.
                if let Some(pid) = self.cgroup.processes()?.first() {
                    self.until("the listener to be gone", || {
                        Ok(!server::is_listening(*pid, self.port))
                    })?;
                }
                let mut connection = self.connect(false)?;
                connection.note_unsent(&requests);
                self.played[index].connection = Some(connection);
            }
            Way::Arrive => {
                let mut connection = self.connect(false)?;
                connection.send(&requests);
                self.reach(&mut connection, self.played[index].row, &requests)?;
                self.played[index].connection = Some(connection);
            }
            Way::Touch => {
                let mut connection = self.connect(false)?;
                connection.note_unsent(&requests);
                self.leave(&mut connection, false)?;
                self.played[index].connection = Some(connection);
            }
            Way::Late => {
                let connection = self.played[index]
                    .connection
                    .as_mut()
                    .context("the prelude is missing")?;
                connection.read_end(patience)?;
                connection.send_late(&requests[0], patience)?;
            }
            Way::Duplex => {
                let connection = self.played[index].connection.as_mut();
                connection.context("not connected")?.send_body_rest();
            }
            Way::LeaveDuring | Way::ResetDuring => {
                let mut connection = self.played[index].connection.take().context("not connected")?;
                self.leave(&mut connection, way == Way::ResetDuring)?;
                self.played[index].connection = Some(connection);
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn poison(&mut self) -> anyhow::Result<()> {
        for index in 0..self.played.len() {
            if self.played[index].row.way == Way::Finally {
                let mut connection = self.connect(false)?;
                connection.send(&self.played[index].requests);
                self.played[index].connection = Some(connection);
            }
        }
        Ok(())
    }
}

impl Row {
    /// The way, for messages.
    pub(super) fn name(&self) -> String {
        format!(
            "{:?} {:?}",
            self.way,
            self.asks.iter().map(|ask| ask.act).collect::<Vec<_>>()
        )
    }

    /// The table says that later requests of a pipeline lie unread behind the first.
    fn has_unread_tail(&self) -> bool {
        self.way != Way::Ignored
            && self
                .asks
                .iter()
                .skip(1)
                .any(|ask| matches!(ask.fate, Fate::Pathless(_) | Fate::Waiting(_)))
    }
}

impl Act {
    /// Small enough for the kernel to take it whole while the client does not read.
    fn fits_the_send_queue(self) -> bool {
        matches!(self, Self::Big(n) if n <= 1_000_000)
    }
}
