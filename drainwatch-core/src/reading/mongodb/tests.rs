use super::{super::recorder::given, *};
use crate::exchange::ExchangeState::*;

fn message(id: u32, to: u32, flags: u32, command: &str) -> Vec<u8> {
    let document = [&[0; 4][..], &[16], command.as_bytes(), &[0, 1, 0, 0, 0, 0]].concat();
    let length = u32::try_from(HEADER + 5 + document.len()).unwrap();
    let head: Vec<u8> = [length, id, to, MSG, flags]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    [&head[..], &[0], &document].concat()
}

#[test]
fn given_a_command_when_cut_then_it_is_outstanding_until_its_reply() {
    let on = || given().turn(3).opening([200, 0, 0, 0, 9, 0, 0, 0]);
    let find = || message(7, 0, 0, "find");
    let reply = || message(90, 7, 0, "ok");
    let table = [
        ("asked", on().read(find()), vec![Unanswered]),
        ("half asked", on().read(&find()[..28]), vec![RequestIncomplete]),
        ("replied", on().read(find()).write(reply()), vec![Complete]),
        (
            "half replied",
            on().read(find()).write(&reply()[..25]),
            vec![ResponseIncomplete],
        ),
        (
            "a reply to another",
            on().read(find()).write(message(90, 6, 0, "ok")),
            vec![Opaque],
        ),
        (
            "nothing wanted",
            on().read(message(7, 0, MORE_TO_COME, "insert")),
            vec![],
        ),
        (
            "a monitor",
            on().read(message(7, 0, EXHAUST_ALLOWED, "hello")),
            vec![],
        ),
        (
            "a monitor that polls",
            on().read(message(7, 0, 0, "hello")),
            vec![],
        ),
        (
            "a change stream",
            on().read(message(7, 0, 0, "getMore")),
            vec![Opaque],
        ),
        (
            "the next unread",
            on().read(find()).write(reply()).unread(90),
            vec![Complete, Unanswered],
        ),
        ("the first", given().read(find()), vec![Unanswered]),
    ];
    for (name, recorder, states) in table {
        assert_eq!(recorder.states(), states, "{name}");
        assert!(
            recorder
                .judged()
                .iter()
                .all(|one| one.protocol == Protocol::MongoDb),
            "{name}"
        );
    }
    let name = |command| on().read(message(7, 0, 0, command)).judged().remove(0).operation;
    assert_eq!(name("findAndModify").method(), Some("findAndModify"));
    assert_eq!(name("secretName").method(), None);
}

#[test]
fn given_something_that_begins_like_it_when_read_then_it_is_none() {
    let find = message(7, 0, 0, "find");
    for recorder in [
        given().turn(3).opening(*b"POST /a ").read(&find),
        given().read(message(7, 3, 0, "find")),
        given().read(message(7, 0, 1 << 9, "find")),
        given().read(&find).write("HTTP/1.1 200 OK\r\n\r\n"),
    ] {
        assert!(read(&recorder.turn, &recorder.context()).is_none());
    }
}
