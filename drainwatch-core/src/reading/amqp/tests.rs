use proptest::{collection::vec, prelude::*};

use super::super::recorder::{Recorder, given};
use crate::{
    event::Role,
    exchange::{
        Exchange,
        ExchangeState::{self, *},
        Protocol,
    },
    reading::read,
    record::ASK_HEAD,
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

fn publish_to(exchange: &str, key: &str, body: &[usize]) -> Vec<u8> {
    let method = method(
        60,
        40,
        &[&[0, 0][..], &short(exchange), &short(key), &[0]].concat(),
    );
    let size = body.iter().sum::<usize>() as u64;
    let header = frame(2, &[&[0, 60, 0, 0][..], &size.to_be_bytes(), &[0, 0]].concat());
    // An empty body is in no frame.
    let parts = body.iter().filter(|size| **size > 0);
    let body = parts.flat_map(|size| frame(3, &vec![7; *size]));
    [method, header].concat().into_iter().chain(body).collect()
}

fn publish(body: usize) -> Vec<u8> {
    publish_to("", "jobs", &[body])
}

/// What a broker said: a confirm of this message, or of all up to it.
fn confirm(tag: u8, multiple: bool) -> Vec<u8> {
    method(60, 80, &[0, 0, 0, 0, 0, 0, 0, tag, multiple.into()])
}

fn select_ok() -> Vec<u8> {
    method(85, 11, &[])
}

/// A turn of a channel that confirms, as what was said before shows.
fn confirming() -> Recorder {
    amqp().before(&confirm(7, false))
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
    // An answer to the broker's.
    check(&amqp().read(method(10, 51, &[])), &[Opaque], &[Opaque]);
}

#[test]
fn given_a_message_on_a_channel_that_confirms_when_it_is_not_confirmed_then_it_is_outstanding() {
    for before in [
        select_ok(),
        confirm(1, false),
        confirm(9, true),
        method(60, 120, &[0; 9]),
    ] {
        let waits = amqp().before(&before).read(publish(3000));
        check(&waits, &[Unanswered], &[Unanswered]);
        let operation = &told(&waits, Role::Server)[0].operation;
        assert_eq!(
            (operation.method(), operation.path()),
            (Some("publish"), Some("jobs"))
        );
    }
    let two = [publish(600), publish_to("x", "k", &[300, 300, 20])].concat();
    let waits = confirming().read(two);
    check(&waits, &[Unanswered, Unanswered], &[Unanswered, Unanswered]);
    assert_eq!(told(&waits, Role::Server)[1].operation.path(), Some("x:k"));
    // Who leaves has given up what it waited for; a broker that does has not confirmed it.
    check(
        &confirming().read(publish(5)).read(method(10, 50, &[0; 7])),
        &[],
        &[],
    );
    let left = method(
        10,
        50,
        &[&[1, 64][..], &short("CONNECTION_FORCED"), &[0; 4]].concat(),
    );
    // What was said before is gone with what is said now.
    check(&waits.write(&left), &[Opaque], &[Opaque]);
    let selected = [method(85, 10, &[0]), publish(5)].concat();
    check(&amqp().read(selected).write(left), &[Unanswered], &[Unanswered]);
}

#[test]
fn given_confirms_then_each_ends_one_message_and_shows_that_the_others_wait() {
    let three = amqp().read([publish(5), publish(5), publish(5)].concat());
    check(&three, &[Opaque], &[Opaque]);
    let confirms = |count: u8| {
        (1..=count)
            .flat_map(|tag| confirm(tag, false))
            .collect::<Vec<_>>()
    };
    for (count, states) in [
        (1, [Complete, Unanswered, Unanswered]),
        (2, [Complete, Complete, Unanswered]),
        (3, [Complete, Complete, Complete]),
        (4, [Complete, Complete, Complete]),
    ] {
        check(&three.clone().write(confirms(count)), &states, &states);
    }
    let refused = method(60, 120, &[0, 0, 0, 0, 0, 0, 0, 1, 0]);
    let states = [Complete, Unanswered, Unanswered];
    check(&three.clone().write(refused), &states, &states);
    check(
        &amqp().read(publish(3000)).write(confirms(1)),
        &[Complete],
        &[Complete],
    );
    // Of those beyond what is kept it is not known how many there are.
    let many = amqp().read([publish(3000), publish(5)].concat());
    check(&many.write(confirms(1)), &[Opaque], &[Opaque]);
    let part = &confirms(2)[..40];
    check(&three.clone().write(part), &states, &states);
    // How many are meant by one of several is not known; nor what was said beyond what is kept.
    check(&three.clone().write(confirm(9, true)), &[Opaque], &[Opaque]);
    check(&three.clone().write(confirms(50)), &[Opaque], &[Opaque]);
    check(&three.write_lost(21), &[Opaque], &[Opaque]);
}

#[test]
fn given_messages_of_which_it_does_not_show_whether_they_are_confirmed_then_nothing_is_claimed() {
    check(&amqp().read(publish(2000)), &[Opaque], &[Opaque]);
    let others: [&[u8]; 4] = [
        HEARTBEAT,
        &deliver(1, "", "jobs", 3),
        &method(50, 11, &[0; 9]),
        b"\x01\0\x01",
    ];
    for before in others {
        check(&amqp().before(before).read(publish(2000)), &[Opaque], &[Opaque]);
    }
    // Another channel's.
    let mut second = confirm(1, false);
    second[2] = 2;
    check(&amqp().before(&second).read(publish(2000)), &[Opaque], &[Opaque]);
    check(&amqp().read(publish(5)).write(second), &[Opaque], &[Opaque]);
    // Published before the channel was told to confirm.
    let late = [publish(5), method(85, 10, &[0]), publish(5)].concat();
    check(&amqp().read(late), &[Unanswered], &[Unanswered]);
    // A consumer's acknowledgements are none of the broker's.
    check(&amqp().read([ack(1), publish(5)].concat()), &[Opaque], &[Opaque]);
}

#[test]
fn given_a_message_that_breaks_off_then_it_was_never_published() {
    let whole = publish(3000);
    for length in [11, 40, 60, 100, 2000, whole.len() - 1] {
        for recorder in [amqp(), confirming()] {
            let half = recorder.read(&whole[..length]);
            check(&half, &[RequestIncomplete], &[RequestIncomplete]);
        }
    }
    // What waits unread behind it may be its rest.
    let unread = amqp().read(&whole[..2000]).unread(whole.len() as u64 - 2000);
    check(&unread, &[Opaque], &[Opaque]);
    // How many frames are behind those that were kept is not known.
    let frames = publish_to("", "jobs", &[1100, 400, 400]);
    check(
        &amqp().read(&frames[..frames.len() - 500]),
        &[RequestIncomplete],
        &[RequestIncomplete],
    );
    check(&amqp().read(&frames[..frames.len() - 1]), &[Opaque], &[Opaque]);
    check(
        &confirming().read(&frames[..frames.len() - 1]),
        &[Unanswered],
        &[Unanswered],
    );
}

proptest! {
    /// The oracle knows what was published and confirmed; the reader has what is kept of it.
    #[test]
    fn given_messages_and_confirms_when_cut_anywhere_then_no_more_are_told_than_were_lost(
        bodies in vec(0..700_usize, 1..12),
        cut in any::<prop::sample::Index>(),
        confirmed in any::<prop::sample::Index>(),
        shown in any::<bool>(),
    ) {
        let messages: Vec<_> = bodies.iter().map(|body| publish(*body)).collect();
        let asked = messages.concat();
        let asked = &asked[..=cut.index(asked.len())];
        let mut end = 0;
        let ends: Vec<_> = messages.iter().map(|message| { end += message.len(); end }).collect();
        let whole = ends.iter().filter(|end| **end <= asked.len()).count();
        let confirmed = confirmed.index(whole + 1);
        let confirms: Vec<_> = (0..confirmed).flat_map(|tag| confirm(u8::try_from(tag).unwrap() + 1, false)).collect();
        let recorder = if shown { confirming() } else { amqp() };
        let exchanges = recorder.read(asked).write(confirms).judged();
        let count = |state| exchanges.iter().filter(|exchange| exchange.state == state).count();
        let begun = asked.len() - whole.checked_sub(1).map_or(0, |last| ends[last]);
        // Whether the last one broke off shows only where its beginning was kept: it is lost in either case.
        let lost = count(Unanswered) + count(RequestIncomplete);
        prop_assert!(lost <= whole - confirmed + usize::from(begun > 0));
        prop_assert!(count(RequestIncomplete) <= usize::from(begun > 0));
        prop_assert!(count(Complete) <= confirmed);
        if asked.len() <= ASK_HEAD && (shown && confirmed == 0 || confirmed > 0) {
            prop_assert_eq!(count(Unanswered), whole - confirmed);
            prop_assert_eq!(count(Complete), confirmed);
            prop_assert_eq!(count(RequestIncomplete), usize::from(begun >= 11));
        }
    }
}
