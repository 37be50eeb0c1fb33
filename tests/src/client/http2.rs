//! HTTP/2 by hand (RFC 9113): what a client needs to ask on several streams, and to see what became of each.

use super::{Answer, Request, UPLOAD_PART};
use crate::table::Act;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// The client's side of a connection.
#[derive(Debug)]
pub struct Streams {
    begun: u32,
}

impl Streams {
    /// Nothing was sent yet.
    pub fn new() -> Self {
        Self { begun: 0 }
    }

    /// The requests, each on a stream of its own; the first ones behind the preface. The host is put into the
    /// dynamic table once and referred to from then on, so are paths that were asked for before.
    pub fn requests(&mut self, requests: &[Request]) -> Vec<u8> {
        let mut out = vec![];
        if self.begun == 0 {
            out.extend(PREFACE);
            frame(&mut out, SETTINGS, 0, 0, &[]);
        }
        for request in requests {
            let id = 2 * self.begun + 1;
            let upload = request.act == Act::HalfPost;
            let mut block = vec![if upload { 0x83 } else { 0x82 }, 0x86];
            if self.begun == 0 {
                block.push(0x41); // literal, into the table: `:authority`
                string(&mut block, b"ledger");
            } else {
                block.push(0xbe); // the table's newest entry
            }
            block.push(0x04); // literal, not into the table: `:path`
            string(&mut block, request.target().as_bytes());
            let ends = if upload { 0 } else { END_STREAM };
            frame(&mut out, HEADERS, END_HEADERS | ends, id, &block);
            if upload {
                frame(&mut out, DATA, 0, id, &[b'u'; UPLOAD_PART]);
            }
            self.begun += 1;
        }
        out
    }

    /// What asks for nothing, and comes last.
    pub fn small_talk() -> Vec<u8> {
        let mut out = vec![];
        frame(&mut out, SETTINGS, ACK, 0, &[]);
        frame(&mut out, WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]);
        frame(&mut out, PING, 0, 0, b"how fine");
        out
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.extend(&length[1..]);
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    // Shorter than 127 bytes, not coded.
    out.push(u8::try_from(text.len()).unwrap_or(126));
    out.extend(text);
}

/// The answers on the first `count` streams, as far as they came.
pub fn answers(mut received: &[u8], count: usize) -> Vec<Option<Answer>> {
    let mut answers = vec![None; count];
    // The one status of the table's that has no index of its own: said once, and referred to from then on.
    let mut said = 0;
    while let Some((header, rest)) = received.split_first_chunk::<9>() {
        let [a, b, c, kind, flags, stream @ ..] = *header;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes(stream) as usize;
        let (payload, whole) = match rest.split_at_checked(length) {
            Some((payload, rest)) => {
                received = rest;
                (payload, true)
            }
            None => (std::mem::take(&mut received), false),
        };
        let Some(answer) = stream.checked_sub(1).and_then(|at| answers.get_mut(at / 2)) else {
            continue;
        };
        let answer = match kind {
            HEADERS => answer.get_or_insert(Answer {
                // The indices that servers of the ledger use.
                status: match *payload {
                    [0x88, ..] => 200,
                    [0x89, ..] => 204,
                    [0x8b, ..] => 304,
                    [0x8e, ..] => 500,
                    [0x48, 3, b'5', b'0', b'3', ..] => {
                        said = 503;
                        said
                    }
                    [0xbe..=0xff, ..] => said,
                    _ => 0,
                },
                body: 0,
                complete: false,
                undelimited: false,
            }),
            DATA => {
                let Some(answer) = answer else { continue };
                answer.body += payload.len();
                answer
            }
            _ => continue,
        };
        answer.complete |= whole && flags & END_STREAM != 0;
    }
    answers
}
