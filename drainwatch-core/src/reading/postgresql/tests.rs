use super::super::recorder::{Recorder, given};
use crate::{
    event::Role,
    exchange::{
        Evidence, Exchange,
        ExchangeState::{self, *},
        Protocol,
    },
    reading::read,
};

/// First bytes of libpq's startup packet.
const STARTUP: [u8; 8] = *b"\0\0\0\x54\0\x03\0\0";

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind], &length[..], body].concat()
}

fn query(text: &str) -> Vec<u8> {
    message(b'Q', format!("{text}\0").as_bytes())
}

fn ready(status: u8) -> Vec<u8> {
    message(b'Z', &[status])
}

fn row(bytes: usize) -> Vec<u8> {
    message(b'D', &vec![7; bytes])
}

fn done() -> Vec<u8> {
    message(b'C', b"SELECT 1\0")
}

fn fatal() -> Vec<u8> {
    let text = "SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0Fpostgres.c\0L3374\0RProcessInterrupts\0\0";
    message(b'E', text.as_bytes())
}

fn error() -> Vec<u8> {
    message(b'E', b"SERROR\0VERROR\0C42601\0Msyntax error\0\0")
}

/// A later turn of a connection that began with a startup packet.
fn pg() -> Recorder {
    given().opening(STARTUP).turn(5)
}

fn told(recorder: &Recorder, role: Role) -> Vec<Exchange> {
    recorder.judged_as(role)
}

#[track_caller]
fn check(recorder: &Recorder, expected: &[ExchangeState]) {
    for role in [Role::Server, Role::Client] {
        let exchanges = told(recorder, role);
        let states: Vec<_> = exchanges.iter().map(|exchange| exchange.state).collect();
        assert_eq!(states, expected, "{role:?}");
        let known = |exchange: &Exchange| {
            exchange.protocol == Protocol::PostgreSql
                && (exchange.evidence == Evidence::Exact || exchange.state == Opaque)
        };
        assert!(exchanges.iter().all(known), "{exchanges:?}");
    }
}

#[test]
fn given_a_query_when_nothing_or_a_part_is_answered_then_it_is_outstanding() {
    let asked = pg().read(query("select pg_sleep(10)"));
    check(&asked, &[Unanswered]);
    check(&asked.clone().write(fatal()), &[Unanswered]);
    check(&asked.clone().write(message(b'N', b"SNOTICE\0\0")), &[Unanswered]);
    check(&asked.clone().write(row(10)), &[ResponseIncomplete]);
    check(
        &asked.clone().write(row(10)).write(fatal()),
        &[ResponseIncomplete],
    );
    check(&asked.clone().write(&row(100)[..50]), &[ResponseIncomplete]);
    check(&asked.clone().write(error()), &[ResponseIncomplete]);
    check(
        &asked.clone().write(row(5000)).write(row(5000)),
        &[ResponseIncomplete],
    );
    check(
        &asked.clone().write(row(5000)).write(fatal()),
        &[ResponseIncomplete],
    );
    check(&pg().read(&query("select 1")[..6]), &[RequestIncomplete]);
    check(&pg().read("Q\0"), &[RequestIncomplete]);
    assert_eq!(told(&asked, Role::Client)[0].operation.method(), Some("SELECT"));
}

#[test]
fn given_an_answered_query_when_the_server_says_its_last_words_then_nothing_is_outstanding() {
    let asked = pg().read(query("select * from t"));
    let answers: &[Vec<u8>] = &[
        [row(10), done(), ready(b'I')].concat(),
        [error(), ready(b'I')].concat(),
        [row(490 - 5), ready(b'I')].concat(),
        [row(600), done(), ready(b'I')].concat(),
        [row(60_000), done(), ready(b'I')].concat(),
    ];
    for answer in answers {
        let answered = asked.clone().write(answer);
        check(&answered, &[Complete]);
        check(&answered.clone().write(fatal()), &[Complete]);
        check(
            &answered.clone().write(message(b'A', b"\0\0\0\x01c\0x\0")),
            &[Complete],
        );
    }
}

#[test]
fn given_a_listener_when_notifications_come_then_it_is_idle() {
    let mut listener = pg().read(query("listen c")).write([done(), ready(b'I')].concat());
    for _ in 0..20 {
        listener = listener.write(message(
            b'A',
            format!("\0\0\0\x01c\0{}\0", "x".repeat(200)).as_bytes(),
        ));
        check(&listener, &[Complete]);
    }
}

#[test]
fn given_a_transaction_when_nothing_is_outstanding_then_it_is_open() {
    for status in [b'T', b'E'] {
        for rows in [0, 400, 900, 50_000] {
            let idle = pg()
                .read(query("update t set a = 1"))
                .write([row(rows), done(), ready(status)].concat());
            check(&idle, &[Complete, Transaction]);
            check(&idle.write(fatal()), &[Complete, Transaction]);
        }
    }
    let left = pg().read(message(b'X', b""));
    check(&left, &[]);
    assert!(read(&left.turn, &left.context()).session.goodbye);
}

#[test]
fn given_an_extended_query_then_its_sync_is_what_is_answered() {
    let parse = message(b'P', b"s\0insert into t values ($1)\0\0\0");
    let bind = message(b'B', b"\0s\0\0\0\0\0\0\0");
    let execute = message(b'E', b"\0\0\0\0\0");
    let (sync, flush) = (message(b'S', b""), message(b'H', b""));
    let parts = [&parse[..], &bind, &execute].concat();
    let answers = [message(b'1', b""), message(b'2', b""), done()].concat();
    check(&pg().read(&parts), &[RequestIncomplete]);
    let synced = pg().read(&parts).read(&sync);
    check(&synced, &[Unanswered]);
    assert_eq!(told(&synced, Role::Server)[0].operation.method(), Some("INSERT"));
    check(&synced.clone().write(&answers), &[ResponseIncomplete]);
    check(&synced.write([&answers[..], &ready(b'I')].concat()), &[Complete]);
    let flushed = pg().read(&parts).read(&flush);
    check(&flushed, &[Unanswered]);
    check(&flushed.clone().write(&answers[..5]), &[ResponseIncomplete]);
    check(&flushed.write(&answers), &[Complete]);
    // Two in one go.
    let twice = pg().read(query("select 1")).read(&parts).read(&sync);
    check(&twice, &[Unanswered, Unanswered]);
    let once = twice.write([done(), ready(b'I')].concat());
    check(&once, &[Complete, Unanswered]);
    check(&once.write(row(3)), &[Complete, ResponseIncomplete]);
}

#[test]
fn given_a_question_longer_than_what_is_kept_then_its_answer_decides() {
    let long = pg().read(query(&format!("insert into t values ('{}')", "x".repeat(5000))));
    check(&long, &[Unanswered]);
    check(&long.write([done(), ready(b'I')].concat()), &[Complete]);
    let parts = [
        message(
            b'P',
            format!("\0insert into t values ('{}')\0\0\0", "x".repeat(3000)).as_bytes(),
        ),
        message(b'S', b""),
    ];
    let parts = pg().read(parts.concat());
    check(&parts, &[Unanswered]);
    check(&parts.clone().write(message(b'1', b"")), &[Unanswered]);
    check(&parts.clone().write(row(3)), &[ResponseIncomplete]);
    check(
        &parts.write([message(b'1', b""), ready(b'I')].concat()),
        &[Complete],
    );
    let half = &query(&"x".repeat(5000))[..3000];
    check(&pg().read(half), &[RequestIncomplete]);
}

#[test]
fn given_a_copy_then_it_goes_on_until_the_server_is_ready() {
    let wants = message(b'G', b"\0\0\0");
    let begun = pg().read(query("copy t from stdin")).write(&wants);
    check(&begun, &[RequestIncomplete]);
    let data = pg().read(message(b'd', b"1\t2\n"));
    check(&data, &[Unanswered]);
    let sent = data.read(message(b'c', b""));
    check(&sent, &[Unanswered]);
    check(&sent.write([done(), ready(b'I')].concat()), &[Complete]);
    let much = pg().read(message(b'd', &[b'x'; 5000])).read(message(b'd', b"x"));
    check(&much, &[Unanswered]);
    check(&much.write([done(), ready(b'I')].concat()), &[Complete]);
    let out = pg()
        .read(query("copy t to stdout"))
        .write(message(b'H', b"\0\0\0"));
    check(&out, &[ResponseIncomplete]);
    check(&out.write(message(b'd', &[b'x'; 3000])), &[ResponseIncomplete]);
}

#[test]
fn given_what_asks_for_nothing_then_nothing_is_outstanding() {
    let startup = [&STARTUP[..], &[b'x'; 0x54 - 8]].concat();
    check(&given().read(b"\0\0\0\x08\x04\xd2\x16\x2f"), &[]);
    check(&given().read(b"\0\0\0\x08\x04\xd2\x16\x2f").write("N"), &[]);
    check(
        &given().read(b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02"),
        &[],
    );
    check(&given().read(&startup), &[]);
    check(&given().read(&startup).write(message(b'R', b"\0\0\0\0")), &[]);
    check(&pg().read(message(b'p', b"secret\0")), &[]);
    check(&pg().read(message(b'p', b"secret\0")).write(ready(b'I')), &[]);
    // A standby.
    check(
        &pg().read(message(b'd', &[&b"r"[..], &[0; 33]].concat())),
        &[Opaque],
    );
    check(
        &pg()
            .read(query("START_REPLICATION 0/0"))
            .write(message(b'W', b"\0\0\0")),
        &[Opaque],
    );
}

#[test]
fn given_bytes_that_the_server_has_not_read_then_only_more_than_a_goodbye_is_a_query() {
    let idle = pg().read(query("select 1")).write([done(), ready(b'I')].concat());
    assert_eq!(idle.clone().unread(5).states(), [Complete]);
    assert_eq!(idle.unread(20).states(), [Complete, Unanswered]);
}

#[test]
fn given_a_connection_met_in_its_middle_then_it_is_known_by_what_is_said() {
    let asked = given().read(query("select 1"));
    check(&asked, &[Unanswered]);
    check(
        &asked.write([done(), ready(b'T')].concat()),
        &[Complete, Transaction],
    );
    for other in [
        "Quit\0\0\0\0\0\0",
        "SSH-2.0-x\r\n",
        "EHLO mail\r\n",
        "PING\r\n",
        "P\0\0\0\x10abc",
    ] {
        let read = told(&given().read(other), Role::Server);
        let known = read
            .iter()
            .any(|exchange| exchange.protocol == Protocol::PostgreSql);
        assert!(!known, "{other:?}");
    }
}

#[test]
fn given_more_answers_than_questions_then_nothing_is_claimed() {
    let two = [done(), ready(b'I'), done(), ready(b'I')].concat();
    check(&pg().read(query("select 1")).write(two), &[Opaque]);
}
