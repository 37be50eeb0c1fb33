//! A request that no process had taken from its queue: what stood there says which one it was.
//!
//! Only what is said of it comes from here. Whether there is one, the readers have judged by its bytes' number.

use super::{Context, http1, preface};
use crate::{
    event::Role,
    exchange::{Exchange, ExchangeState},
    record::Turn,
};

/// Names the last exchange, where it is one that nobody read and its head is HTTP/1.
pub(super) fn name(exchanges: &mut [Exchange], turn: &Turn, context: &Context<'_>) {
    let Some(last) = exchanges.last_mut() else { return };
    let nameless = last.state == ExchangeState::Unanswered && last.operation.method().is_none();
    if turn.waiting.is_empty() || !nameless || context.role != Role::Server {
        return;
    }
    let waiting = preface::without(Turn {
        // Nothing was taken before: it is what the connection begins with.
        number: turn.number.max(1),
        ask: turn.waiting.clone(),
        ask_bytes: turn.waiting.len() as u64,
        answer: Vec::new(),
        answer_bytes: 0,
        message_bytes: 0,
        answers: 0,
        interims: 0,
        tail: None,
        interim: false,
        waiting: Vec::new(),
        ..turn.clone()
    });
    let taken = Context {
        ask_unread: context.ask_unread.saturating_sub(waiting.ask_bytes),
        ..*context
    };
    let first = http1::read(&waiting, &taken).and_then(|reading| reading.exchanges.into_iter().next());
    if let Some(first) = first.filter(|first| first.operation.method().is_some()) {
        last.protocol = first.protocol;
        last.operation = first.operation;
        last.evidence = first.evidence;
        last.unread = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        exchange::{Evidence, Protocol},
        reading::{read, recorder::given},
    };

    const WEBHOOK: &str =
        "POST /webhooks/7 HTTP/1.1\r\nHost: shop\r\nX-GitHub-Event: push\r\nContent-Length: 2\r\n\r\nhi";

    /// What stands on a connection after these bytes were taken, while others wait.
    fn waiting(recorder: &crate::reading::recorder::Recorder, waits: &str) -> Vec<Exchange> {
        let recorder = recorder.clone().unread(waits.len() as u64);
        let turn = Turn {
            waiting: waits.as_bytes().to_vec(),
            ..recorder.turn.clone()
        };
        read(&turn, &recorder.context()).exchanges
    }

    #[test]
    fn given_a_request_that_nobody_took_when_its_head_stands_in_the_queue_then_it_is_told_by_that() {
        let answered = given()
            .read("GET / HTTP/1.1\r\n\r\n")
            .write("HTTP/1.1 204 No Content\r\n\r\n");
        for (recorder, before) in [(given(), 0), (answered, 1)] {
            let exchanges = waiting(&recorder, WEBHOOK);
            assert_eq!(exchanges.len(), before + 1);
            let last = &exchanges[before];
            assert_eq!(last.state, ExchangeState::Unanswered);
            assert_eq!(
                (last.operation.method(), last.operation.path()),
                (Some("POST"), Some("/webhooks/7"))
            );
            assert_eq!(last.operation.sender(), Some("github"));
            assert_eq!(
                (last.protocol, last.evidence, last.unread),
                (Protocol::Http11, Evidence::Exact, true)
            );
        }
    }

    #[test]
    fn given_a_request_that_was_taken_when_another_waits_then_each_has_its_own_name() {
        let taken = given().read("GET /taken HTTP/1.1\r\n\r\n");
        let exchanges = waiting(&taken, WEBHOOK);
        let paths: Vec<_> = exchanges
            .iter()
            .map(|exchange| (exchange.operation.path(), exchange.unread))
            .collect();
        assert_eq!(paths, [(Some("/taken"), false), (Some("/webhooks/7"), true)]);
        let body = given().read("POST /taken HTTP/1.1\r\nContent-Length: 500\r\n\r\n");
        let exchanges = waiting(&body, WEBHOOK);
        assert_eq!(exchanges.len(), 1, "what waits is of its body");
        assert_eq!(exchanges[0].operation.path(), Some("/taken"));
    }

    #[test]
    fn given_what_a_balancer_says_first_when_it_waits_before_the_head_then_the_head_is_read() {
        let waits = format!("PROXY TCP4 192.0.2.7 127.0.0.1 56324 443\r\n{WEBHOOK}");
        let exchanges = waiting(&given().turn(0), &waits);
        assert_eq!(exchanges[0].operation.path(), Some("/webhooks/7"));
    }

    #[test]
    fn given_bytes_that_are_no_head_when_they_wait_then_nothing_is_said_of_them() {
        for bytes in ["\u{0}\u{1}\u{2}", "hello\r\n\r\n", "GET", ""] {
            let exchanges = waiting(&given(), bytes);
            assert!(
                exchanges
                    .iter()
                    .all(|exchange| exchange.operation.method().is_none() && !exchange.unread)
            );
        }
    }
}
