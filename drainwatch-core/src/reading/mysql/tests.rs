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

/// First bytes of a login; with and without OK packets at the end of result sets.
const LOGINS: [[u8; 8]; 2] = [*b"\x54\0\0\x01\x85\xa2\xff\0", *b"\x54\0\0\x01\x85\xa2\xff\x01"];

fn packet(number: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&length[..3], &[number], body].concat()
}

fn query(text: &str) -> Vec<u8> {
    packet(0, &[b"\x03", text.as_bytes()].concat())
}

fn ok(number: u8, status: u8) -> Vec<u8> {
    packet(number, &[0, 0, 0, status, 0, 0, 0])
}

/// What ends columns or rows.
fn end(deprecated: bool, number: u8, status: u8) -> Vec<u8> {
    if deprecated {
        packet(number, &[0xfe, 0, 0, status, 0, 0, 0])
    } else {
        packet(number, &[0xfe, 0, 0, status, 0])
    }
}

fn error(number: u8, code: u16) -> Vec<u8> {
    packet(
        number,
        &[&b"\xff"[..], &code.to_le_bytes(), b"#70100gone"].concat(),
    )
}

/// A result set of one column, with as many rows of so many bytes, without its end.
fn result(deprecated: bool, rows: usize, width: usize) -> Vec<u8> {
    let mut bytes = [packet(1, b"\x01"), packet(2, &[b'c'; 30])].concat();
    if !deprecated {
        bytes.extend(end(false, 3, 0));
    }
    for _ in 0..rows {
        bytes.extend(packet(4, &vec![b'r'; width]));
    }
    bytes
}

fn mysql(login: [u8; 8]) -> Recorder {
    given().opening(login).turn(5)
}

fn told(recorder: &Recorder, role: Role) -> Vec<Exchange> {
    recorder.judged_as(role)
}

#[track_caller]
fn check(recorder: &Recorder, expected: &[ExchangeState]) {
    recorder.assert_both_ends(Protocol::MySql, expected);
}

#[test]
fn given_a_query_then_its_last_result_ends_it() {
    for (login, deprecated) in LOGINS.into_iter().zip([false, true]) {
        let asked = mysql(login).read(query("select sleep(60)"));
        check(&asked, &[Unanswered]);
        assert_eq!(told(&asked, Role::Client)[0].operation.method(), Some("SELECT"));
        check(&asked.clone().write(ok(1, 2)), &[Complete]);
        check(&asked.clone().write(ok(1, 10)), &[ResponseIncomplete]);
        check(&asked.clone().write(error(1, 1064)), &[Complete]);
        for code in [1053, 1927] {
            check(&asked.clone().write(error(1, code)), &[Unanswered]);
        }
        for (rows, width) in [(0, 0), (1, 3), (3, 100), (40, 100), (500, 200), (1, 60_000)] {
            let begun = asked.clone().write(result(deprecated, rows, width));
            check(&begun, &[ResponseIncomplete]);
            check(&begun.write(error(0, 1927)), &[ResponseIncomplete]);
            for (status, expected) in [
                (2, &[Complete][..]),
                (3, &[Complete, Transaction]),
                (11, &[ResponseIncomplete]),
            ] {
                let whole = [result(deprecated, rows, width), end(deprecated, 5, status)].concat();
                let answered = asked.clone().write(&whole);
                check(&answered, expected);
                if status != 11 {
                    check(&answered.write(error(0, 1927)), expected);
                }
            }
        }
    }
}

#[test]
fn given_what_has_no_answer_then_nothing_is_outstanding() {
    let [login, _] = LOGINS;
    let close = packet(0, b"\x19\x01\0\0\0");
    let data = packet(0, b"\x18\x01\0\0\0\0\0long");
    check(&mysql(login).read([&close[..], &data].concat()), &[]);
    check(
        &mysql(login).read([&close[..], &query("select 1")].concat()),
        &[Unanswered],
    );
    let quit = mysql(login).read(packet(0, b"\x01"));
    check(&quit, &[]);
    assert!(read(&quit.turn, &quit.context()).session.goodbye);
    // The login.
    let first = [
        &b"\x3c\0\0\x01\x85\xa2\xff\0\0\0\0\x01\x2d"[..],
        &[0; 23],
        &[b'x'; 28],
    ]
    .concat();
    check(&given().read(&first), &[]);
    check(&given().read(&first).write(ok(2, 2)), &[]);
    check(&mysql(login).read(packet(3, &[7; 20])), &[Opaque]);
    let idle = mysql(login).read(query("commit")).write(ok(1, 2));
    assert_eq!(idle.clone().unread(5).states(), [Complete]);
    assert_eq!(idle.unread(20).states(), [Complete, Unanswered]);
}

#[test]
fn given_a_statement_that_is_prepared_then_its_definitions_end_it() {
    for (login, deprecated) in LOGINS.into_iter().zip([false, true]) {
        let asked = mysql(login).read(packet(0, b"\x16insert into t values (?)"));
        check(&asked, &[Unanswered]);
        let first = packet(1, b"\0\x01\0\0\0\0\0\x01\0\0\0\0");
        check(&asked.clone().write(&first), &[ResponseIncomplete]);
        let mut whole = [first, packet(2, &[b'c'; 24])].concat();
        if !deprecated {
            whole.extend(end(false, 3, 2));
        }
        check(&asked.write(whole), &[Complete]);
    }
    let execute = mysql(LOGINS[0]).read(packet(0, b"\x17\x01\0\0\0\0\x01\0\0\0"));
    check(&execute, &[Unanswered]);
    check(&execute.write(ok(1, 3)), &[Complete, Transaction]);
}

#[test]
fn given_a_long_question_then_its_length_decides() {
    let long = query(&format!("insert into t values ('{}')", "x".repeat(5000)));
    check(&mysql(LOGINS[0]).read(&long[..3000]), &[RequestIncomplete]);
    check(&mysql(LOGINS[0]).read(&long), &[Unanswered]);
    check(&mysql(LOGINS[0]).read(&long).write(ok(1, 2)), &[Complete]);
}

#[test]
fn given_other_bytes_then_another_reader_has_them() {
    for opening in [
        *b"GET / HT",
        *b"\x16\x03\x01\x01\x2c\x01\0\x01",
        *b"\0\0\0\x54\0\x03\0\0",
        [0; 8],
    ] {
        let known = told(&mysql(opening).read(query("select 1")), Role::Server)
            .iter()
            .any(|exchange| exchange.protocol == Protocol::MySql);
        assert!(!known, "{opening:?}");
    }
}
