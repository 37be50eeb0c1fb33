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

fn command(words: &[&str]) -> String {
    let words: Vec<_> = words
        .iter()
        .map(|word| format!("${}\r\n{word}\r\n", word.len()))
        .collect();
    format!("*{}\r\n{}", words.len(), words.concat())
}

fn redis() -> Recorder {
    given().opening(*b"*2\r\n$5\r\n").turn(7)
}

fn told(recorder: &Recorder, role: Role) -> Vec<Exchange> {
    recorder.judged_as(role)
}

#[track_caller]
fn check(recorder: &Recorder, expected: &[ExchangeState]) {
    recorder.assert_both_ends(Protocol::Redis, expected);
}

#[test]
fn given_a_command_then_its_reply_ends_it() {
    let get = redis().read(command(&["get", "key"]));
    check(&get, &[Unanswered]);
    assert_eq!(told(&get, Role::Client)[0].operation.method(), Some("GET"));
    let whole: &[&str] = &[
        "+OK\r\n",
        "-ERR no\r\n",
        ":1\r\n",
        "$5\r\nhello\r\n",
        "$-1\r\n",
        "*-1\r\n",
        "*0\r\n",
        "*2\r\n$1\r\na\r\n*1\r\n:3\r\n",
        "%1\r\n+a\r\n:1\r\n",
        "_\r\n",
        ",3.14\r\n",
        "|1\r\n+ttl\r\n:1\r\n+OK\r\n",
    ];
    for answer in whole {
        check(&get.clone().write(answer), &[Complete]);
    }
    let parts: &[&str] = &["+O", "$5\r\nhel", "$5\r\nhello\r", "*2\r\n$1\r\na\r\n", "*2\r\n"];
    for answer in parts {
        check(&get.clone().write(answer), &[ResponseIncomplete]);
    }
    check(&given().read(command(&["GET", "key"])), &[Unanswered]);
    check(&redis().read("*2\r\n$3\r\nGET\r\n$3\r\nke"), &[RequestIncomplete]);
    check(&redis().read("*2\r\n$3\r\nGE"), &[RequestIncomplete]);
    check(&redis().read("*2\r\n"), &[RequestIncomplete]);
}

#[test]
fn given_values_longer_than_what_is_kept_then_their_length_decides() {
    let long = "x".repeat(5000);
    let set = redis().read(command(&["SET", "key", &long]));
    check(&set, &[Unanswered]);
    check(&set.write("+OK\r\n"), &[Complete]);
    check(
        &redis().read(&command(&["SET", "key", &long])[..3000]),
        &[RequestIncomplete],
    );
    let get = redis().read(command(&["GET", "key"]));
    check(&get.clone().write(format!("$5000\r\n{long}\r\n")), &[Complete]);
    check(
        &get.clone().write(format!("$5000\r\n{}", &long[..4000])),
        &[ResponseIncomplete],
    );
    // Of a long list it is not known where it ends, only that it does not end within a line.
    let many = format!("*300\r\n{}", "$5\r\nhello\r\n".repeat(300));
    check(&get.clone().write(&many), &[Opaque]);
    check(&get.write(&many[..many.len() - 4]), &[ResponseIncomplete]);
}

#[test]
fn given_a_pipeline_then_its_replies_are_counted() {
    let pipeline = redis().read(
        [
            command(&["INCR", "a"]),
            command(&["INCR", "b"]),
            command(&["INCR", "c"]),
        ]
        .concat(),
    );
    check(&pipeline, &[Unanswered, Unanswered, Unanswered]);
    check(
        &pipeline.clone().write(":1\r\n:2\r\n"),
        &[Complete, Complete, Unanswered],
    );
    check(
        &pipeline.clone().write(":1\r\n:"),
        &[Complete, ResponseIncomplete, Unanswered],
    );
    check(
        &pipeline.clone().write(">2\r\n+invalidate\r\n*0\r\n:1\r\n"),
        &[Complete, Unanswered, Unanswered],
    );
    check(&pipeline.write(":1\r\n:2\r\n:3\r\n:4\r\n"), &[Opaque]);
    let half = redis().read(format!("{}*2\r\n$4\r\nIN", command(&["INCR", "a"])));
    check(&half, &[Unanswered, RequestIncomplete]);
    let much = redis().read(command(&["INCR", "a"]).repeat(100));
    assert_eq!(told(&much, Role::Client).len(), 48);
    check(&much.write(":1\r\n"), &[Opaque]);
}

#[test]
fn given_a_transaction_without_exec_then_it_is_open() {
    let queued = redis().read(command(&["SET", "a", "1"])).write("+QUEUED\r\n");
    check(&queued, &[Complete, Transaction]);
    check(
        &redis().read(command(&["MULTI"])).write("+OK\r\n"),
        &[Complete, Transaction],
    );
    let whole = redis()
        .read([command(&["MULTI"]), command(&["INCR", "a"]), command(&["EXEC"])].concat())
        .write("+OK\r\n+QUEUED\r\n*1\r\n:1\r\n");
    check(&whole, &[Complete, Complete, Complete]);
}

#[test]
fn given_a_worker_of_rq_whose_job_is_begun_when_it_says_nothing_else_then_the_job_is_under_way() {
    let begins = |id: usize| {
        [
            command(&["MULTI"]),
            command(&["HSET", "rq:execution:a:b", "id", &"x".repeat(id)]),
            command(&["ZADD", "rq:wip:mails", "1700000000", "a:b"]),
            command(&["HSET", "rq:worker:w", "state", "busy"]),
            command(&["EXEC"]),
        ]
        .concat()
    };
    let replies = "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n:1\r\n:1\r\n:0\r\n";
    let job = redis().read(begins(10)).write(replies);
    assert_eq!(
        told(&job, Role::Client).last().map(|last| (
            last.state,
            last.operation.method(),
            last.operation.path()
        )),
        Some((Unanswered, Some("process"), Some("mails")))
    );
    let complete = [Complete; 5];
    let states = |recorder: &Recorder, role| -> Vec<_> {
        told(recorder, role)
            .iter()
            .map(|exchange| exchange.state)
            .collect()
    };
    assert_eq!(
        states(&job, Role::Client),
        [&complete[..], &[Unanswered]].concat()
    );
    assert_eq!(states(&job, Role::Server), complete);
    // What follows may be longer than what is kept, not what comes before.
    let long = redis().read(begins(10) + &command(&["SET", "a", &"x".repeat(3000)]).repeat(2));
    assert_eq!(states(&long.write(replies), Role::Client), [Unanswered]);
    let beyond = redis().read(begins(3000)).write(replies);
    assert_eq!(states(&beyond, Role::Client), [Opaque]);
    // Until the transaction is through it is not begun; what is cut is that.
    for length in [0, 5, 30, replies.len() - 1] {
        let before = redis().read(begins(10)).write(&replies[..length]);
        let told = told(&before, Role::Client);
        assert!(told.iter().all(|one| one.operation.path().is_none()), "{length}");
    }
    let over = command(&["ZREM", "rq:wip:mails", "a:b"]);
    let both = begins(10) + &over;
    assert_eq!(
        states(
            &redis().read(both).write([replies, ":1\r\n"].concat()),
            Role::Client
        ),
        [Complete; 6]
    );
    let stops = command(&["HSET", "rq:worker:w", "shutdown_requested_date", "2026-01-01"]);
    assert_eq!(
        states(&redis().read(stops).write(":1\r\n"), Role::Client),
        [Complete, Unanswered]
    );
    for words in [
        ["ZADD", "rq:finished:mails", "1", "a"],
        ["ZADD", "scores", "1", "rq:wip:mails"],
        ["HSET", "rq:worker:w", "state", "idle"],
    ] {
        let other = redis().read(command(&words)).write(":1\r\n");
        assert_eq!(states(&other, Role::Client), [Complete], "{words:?}");
    }
}

#[test]
fn given_what_waits_or_listens_then_it_is_idle() {
    let waits: &[&[&str]] = &[
        &["BRPOP", "celery", "1"],
        &["blpop", "q", "0"],
        &["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "s", ">"],
        &["SUBSCRIBE", "c"],
        &["MONITOR"],
        &["PING"],
        &["SHUTDOWN", "NOSAVE"],
        &["REPLCONF", "ACK", "14"],
    ];
    for words in waits {
        check(&redis().read(command(words)), &[]);
    }
    check(
        &redis().read(command(&["XREAD", "STREAMS", "s", "0"])),
        &[Unanswered],
    );
    let subscribed = redis().read(command(&["SUBSCRIBE", "c"]));
    check(
        &subscribed.write("*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n*3\r\n$7\r\nmess"),
        &[],
    );
    let quit = redis().read(command(&["QUIT"]));
    check(&quit, &[]);
    assert!(read(&quit.turn, &quit.context()).session.goodbye);
    check(&redis().read(command(&["CLIENT", "REPLY", "OFF"])), &[Opaque]);
    assert_eq!(
        redis()
            .read(command(&["GET", "a"]))
            .write(":1\r\n")
            .unread(14)
            .states(),
        [Complete]
    );
    assert_eq!(
        redis()
            .read(command(&["GET", "a"]))
            .write(":1\r\n")
            .unread(30)
            .states(),
        [Complete, Unanswered]
    );
}

#[test]
fn given_bytes_that_are_no_commands_then_another_reader_has_them() {
    for other in [
        "*1\r\n:1\r\n",
        "*x\r\n$1\r\na\r\n",
        "PING\r\n",
        "*99999999999\r\n$1\r\n",
        "**\r\n",
    ] {
        let known = told(&given().read(other), Role::Server)
            .iter()
            .any(|exchange| exchange.protocol == Protocol::Redis);
        assert!(!known, "{other:?}");
    }
}
