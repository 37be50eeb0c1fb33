use super::{super::recorder::given, *};
use crate::exchange::ExchangeState::*;

#[test]
fn given_commands_when_cut_then_those_without_their_answer_are_outstanding() {
    let on = || given().turn(4).opening(*b"set a 0 ");
    let values = "VALUE a 0 5\r\nEND\r\n\r\nEND\r\n";
    let long = format!("VALUE a 0 900\r\n{}\r\nEND\r\n", "x".repeat(900));
    let table = [
        (
            "stored",
            given().read("set a 0 0 5\r\nhello\r\n").write("STORED\r\n"),
            vec![Complete],
        ),
        ("a first question", given().read("get a\r\n"), vec![Unanswered]),
        (
            "no value",
            on().read("get a\r\n").write("END\r\n"),
            vec![Complete],
        ),
        (
            "a value that looks like an end",
            on().read("get a\r\n").write(values),
            vec![Complete],
        ),
        (
            "part of a value",
            on().read("get a\r\n").write(&values[..20]),
            vec![ResponseIncomplete],
        ),
        (
            "a long value",
            on().read("get a\r\n").write(&long),
            vec![Complete],
        ),
        (
            "part of a long one",
            on().read("get a\r\n").write(&long[..700]),
            vec![ResponseIncomplete],
        ),
        (
            "data to come",
            on().read("set a 0 0 50\r\nhello"),
            vec![RequestIncomplete],
        ),
        (
            "no answer wanted",
            on().read("set a 0 0 5 noreply\r\nhello\r\n"),
            vec![],
        ),
        (
            "two, one answered",
            on().read("incr n 1\r\nget a\r\n").write("7\r\n"),
            vec![Complete, Unanswered],
        ),
        (
            "meta, quiet",
            on().read("ms a 5 q\r\nhello\r\nmn\r\n").write("MN\r\n"),
            vec![Complete],
        ),
        (
            "meta, a value",
            on().read("mg a v\r\n").write("VA 5 v\r\nhello\r\n"),
            vec![Complete],
        ),
        ("deleted", on().read("delete a\r\n"), vec![Unanswered]),
        ("goodbye", on().read("quit\r\n"), vec![]),
        (
            "the next unread",
            on().read("get a\r\n").write("END\r\n").unread(9),
            vec![Complete, Unanswered],
        ),
        (
            "a goodbye unread",
            on().read("get a\r\n").write("END\r\n").unread(6),
            vec![Complete],
        ),
        ("unseen", on().read_lost(90), vec![Unknown]),
    ];
    for (name, recorder, states) in table {
        assert_eq!(recorder.states(), states, "{name}");
        assert!(
            recorder
                .judged()
                .iter()
                .all(|one| one.protocol == Protocol::Memcached),
            "{name}"
        );
    }
    let shown = on().read("gets some_secret_key\r\n").judged();
    assert_eq!(
        (shown[0].operation.method(), shown[0].operation.path()),
        (Some("GET"), None)
    );
}

#[test]
fn given_something_that_begins_like_it_when_read_then_it_is_none() {
    for recorder in [
        given().read("get a\r\n").write("<html>"),
        given().read("delete 17\r\n").write("DELETED\r\n"), // beanstalkd
        given().turn(3).opening(*b"set a 0 ").read("hello there\r\n"),
        given().read("GET / HTTP/1.1\r\n\r\n"),
    ] {
        assert!(read(&recorder.turn, &recorder.context()).is_none());
    }
}
