#![expect(clippy::too_many_lines, reason = "tables of cases")]

mod answering;
mod asking;
mod pipelining;
mod streaming;

use super::{
    super::recorder::{Recorder, given},
    *,
};
use crate::exchange::ExchangeState::*;

const GET: &str = "GET /a?q=1 HTTP/1.1\r\nHost: shop.example\r\n\r\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n";
const POST: &str = "POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n";
const CHUNKED_POST: &str = "POST /up HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n";
const OK5: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A name, what happened, and the states that stand then.
type Row = (&'static str, Recorder, Vec<ExchangeState>);

fn check(table: Vec<Row>) {
    for (name, recorder, states) in table {
        assert_eq!(recorder.states(), states, "{name}: {:?}", recorder.judged());
    }
}
