//! Recordings of format 1, as events of today.
//!
//! There an exchange had its operation's keys as its own, and no identity: what began at the same time
//! on the same connection was the same one.

use serde_json::{Map, Value, json};

/// What format 1 had as keys of an exchange and is part of its operation now.
const HTTP: [&str; 6] = ["method", "path", "host", "sender", "header_rules", "status"];

/// A line of format 1 as format 2 would have it. What is no event is left as it is.
pub(super) fn upgraded(mut event: Value) -> Value {
    let exchanges = event.get_mut("exchanges").and_then(Value::as_array_mut);
    let exchanges: Vec<_> = exchanges
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
        .collect();
    let turn = exchanges.first().map_or(json!(0), |first| began(first));
    for (index, exchange) in exchanges.into_iter().enumerate() {
        exchange.insert("id".into(), json!({ "turn": turn, "index": index }));
        let operation = operation(exchange);
        exchange.insert("operation".into(), operation);
    }
    event
}

/// Known by when it began or, where that was not seen, by its last byte.
fn began(exchange: &Map<String, Value>) -> Value {
    let time = |key| exchange.get(key).and_then(Value::as_u64).unwrap_or(0);
    match time("started_ns") {
        0 => time("last_ns").into(),
        started => started.into(),
    }
}

fn operation(exchange: &mut Map<String, Value>) -> Value {
    let http: Map<_, _> = HTTP
        .iter()
        .filter_map(|&key| exchange.remove_entry(key))
        .collect();
    match exchange.get("protocol").and_then(Value::as_str) {
        Some("tls" | "tcp") => "opaque".into(),
        _ => json!({ "http": http }),
    }
}

#[cfg(test)]
mod tests {
    use drainwatch_core::event::{Event, EventKind};

    use super::*;

    #[test]
    fn given_an_exchange_of_format_1_when_upgraded_then_it_is_one_of_today() {
        let old = json!({
            "at_ns": 9, "event": "turn_ended", "id": 1, "role": "server", "pid": 2, "cgroup": 3,
            "local": "127.0.0.1:80", "peer": "127.0.0.1:4000", "netns": 1, "born_ns": 1, "seeded": false,
            "end": "open", "unread": 0, "unsent": 0, "unacked": 0, "aborted": false,
            "exchanges": [
                {"protocol": "http/1.1", "method": "POST", "path": "/a", "host": null, "sender": "stripe",
                 "header_rules": [1], "status": 200, "evidence": "exact", "state": "complete",
                 "started_ns": 5, "last_ns": 7},
                {"protocol": "tls", "method": null, "path": null, "host": null, "status": null,
                 "evidence": "inferred", "state": "unanswered", "started_ns": 0, "last_ns": 7},
            ],
        });
        let event: Event = serde_json::from_value(upgraded(old)).unwrap();
        let EventKind::TurnEnded(connection) = event.kind else {
            panic!("{event:?}")
        };
        assert_eq!(
            serde_json::to_value(&connection.exchanges).unwrap(),
            json!([
                {"id": {"turn": 5, "index": 0}, "protocol": "http/1.1",
                 "operation": {"http": {"method": "POST", "path": "/a", "status": 200, "sender": "stripe",
                                        "header_rules": [1]}},
                 "evidence": "exact", "state": "complete", "started_ns": 5, "last_ns": 7},
                {"id": {"turn": 5, "index": 1}, "protocol": "tls", "operation": "opaque",
                 "evidence": "inferred", "state": "unanswered", "started_ns": 0, "last_ns": 7},
            ])
        );
    }

    #[test]
    fn given_what_is_no_event_when_upgraded_then_it_stays_what_it_is() {
        for other in [
            json!(1),
            json!([]),
            json!({"exchanges": [1, []]}),
            json!({"exchanges": {}}),
        ] {
            assert_eq!(upgraded(other.clone()), other);
        }
    }
}
