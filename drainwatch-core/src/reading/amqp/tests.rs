use super::super::recorder::{Recorder, given};
use crate::{
    event::Role,
    exchange::{
        Exchange,
        ExchangeState::{self, *},
        Protocol,
    },
    reading::read,
};

const HEADER: [u8; 8] = *b"AMQP\0\0\x09\x01";
const HEARTBEAT: &[u8] = b"\x08\0\0\0\0\0\0\xce";

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[kind, 0, 1], &size[..], payload, &[0xce]].concat()
}

fn method(class: u8, number: u8, arguments: &[u8]) -> Vec<u8> {
    frame(1, &[&[0, class, 0, number], arguments].concat())
}

fn short(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

fn ack(tag: u8) -> Vec<u8> {
    method(60, 80, &[0, 0, 0, 0, 0, 0, 0, tag, 0])
}

fn consume(queue: &str, bits: u8) -> Vec<u8> {
    let arguments = [&[0, 0][..], &short(queue), &short("tag"), &[bits], &[0; 4]].concat();
    method(60, 20, &arguments)
}

fn deliver(tag: u8, exchange: &str, key: &str, body: usize) -> Vec<u8> {
    let arguments = [
        &short("tag")[..],
        &[0, 0, 0, 0, 0, 0, 0, tag, 0],
        &short(exchange),
        &short(key),
    ]
    .concat();
    let method = method(60, 60, &arguments);
    [method, frame(2, &[0; 14]), frame(3, &vec![7; body])].concat()
}

fn amqp() -> Recorder {
    given().opening(HEADER).turn(9)
}

fn told(recorder: &Recorder, role: Role) -> Vec<Exchange> {
    let exchanges = recorder.judged_as(role);
    assert!(exchanges.iter().all(|one| one.protocol == Protocol::Amqp));
    exchanges
}

#[track_caller]
fn check(recorder: &Recorder, server: &[ExchangeState], client: &[ExchangeState]) {
    for (role, expected) in [(Role::Server, server), (Role::Client, client)] {
        let exchanges = told(recorder, role);
        let states: Vec<_> = exchanges.iter().map(|exchange| exchange.state).collect();
        assert_eq!(states, expected, "{role:?}");
    }
}

#[test]
fn given_a_delivery_that_is_not_acknowledged_then_the_job_is_under_way() {
    for body in [10, 5000] {
        let job = amqp().read(ack(1)).write(deliver(2, "", "jobs", body));
        check(&job, &[Opaque], &[Unanswered]);
        let operation = &told(&job, Role::Client)[0].operation;
        assert_eq!(
            (operation.method(), operation.path()),
            (Some("process"), Some("jobs"))
        );
        let later = job.read(HEARTBEAT).write(HEARTBEAT);
        check(&later, &[Opaque], &[Unanswered]);
    }
    let first = amqp().read(consume("jobs", 0)).write(
        [
            method(60, 21, &short("tag")),
            deliver(1, "x", "k", 3),
            deliver(2, "x", "k", 3),
        ]
        .concat(),
    );
    check(&first, &[Opaque], &[Unanswered, Unanswered]);
    assert_eq!(told(&first, Role::Client)[1].operation.path(), Some("x:k"));
}

#[test]
fn given_a_consumer_that_does_not_acknowledge_or_may_not_then_nothing_is_claimed() {
    let automatic = amqp().read(consume("jobs", 2)).write(deliver(1, "", "jobs", 3));
    check(&automatic, &[Opaque], &[Opaque]);
    check(
        &amqp().read(HEARTBEAT).write(deliver(1, "", "jobs", 3)),
        &[Opaque],
        &[Opaque],
    );
    check(&amqp().read(ack(1)), &[Opaque], &[Opaque]);
    check(&amqp().read(HEARTBEAT).write(HEARTBEAT), &[Opaque], &[Opaque]);
    let publish = method(60, 40, &[&[0, 0][..], &short(""), &short("jobs"), &[0]].concat());
    check(&amqp().read(publish), &[Opaque], &[Opaque]);
}

#[test]
fn given_a_method_that_is_answered_when_it_is_not_yet_then_it_is_outstanding() {
    let declare = amqp().read(method(50, 10, &[&[0, 0][..], &short("jobs"), &[0; 5]].concat()));
    check(&declare, &[Unanswered], &[Unanswered]);
    check(
        &declare.write(method(50, 11, &short("jobs"))),
        &[Opaque],
        &[Opaque],
    );
}

#[test]
fn given_a_handshake_or_a_goodbye_then_nothing_is_outstanding() {
    check(&given().read(HEADER).write(method(10, 10, &[0; 50])), &[], &[]);
    check(&amqp().read(method(10, 11, &[0; 50])), &[], &[]);
    let close = amqp().read(method(10, 50, &[0; 7]));
    check(&close, &[], &[]);
    assert!(read(&close.turn, &close.context()).session.goodbye);
}
