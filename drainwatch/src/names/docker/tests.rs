//! A daemon that answers as it likes, on a real socket. Real ones are in the ledger.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use drainwatch_core::event::EventKind;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::mpsc,
    task::JoinHandle,
};

use super::*;
use crate::names::{News, State};

const VERSION: &str = r#"{"ApiVersion":"1.41"}"#;

/// What the daemon says at the moment; `None` for a container that it does not know.
#[derive(Debug, Clone, Default)]
struct Daemon {
    list: Arc<Mutex<String>>,
    inspection: Arc<Mutex<Option<String>>>,
    events: Arc<Mutex<String>>,
    /// After the events: go on, or close.
    closes: bool,
}

impl Daemon {
    fn listen(&self, socket: &Path) -> JoinHandle<()> {
        let listener = UnixListener::bind(socket).unwrap();
        let daemon = self.clone();
        tokio::spawn(async move {
            // What was accepted goes with the daemon.
            let mut conversations = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                conversations.spawn(daemon.clone().converse(stream));
            }
        })
    }

    async fn converse(self, mut stream: UnixStream) -> io::Result<()> {
        let mut head = vec![];
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let text = |shared: &Arc<Mutex<String>>| shared.lock().unwrap().clone();
        if head.contains("/events") {
            let events = text(&self.events);
            stream
                .write_all(format!("HTTP/1.1 200 OK\r\n\r\n{events}").as_bytes())
                .await?;
            if !self.closes {
                std::future::pending::<()>().await;
            }
            return Ok(());
        }
        let inspection = self.inspection.lock().unwrap().clone();
        let (status, body) = if head.contains("/version") {
            (200, VERSION.to_owned())
        } else if head.contains("/containers/json") {
            (200, text(&self.list))
        } else {
            let missing = r#"{"message":"No such container"}"#.to_owned();
            inspection.map_or((404, missing), |body| (200, body))
        };
        let answer = format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await
    }
}

fn id(digit: char) -> String {
    std::iter::repeat_n(digit, 64).collect()
}

fn listed(id: &str, name: &str) -> String {
    format!(r#"[{{"Id":"{id}","Names":["/{name}"],"Image":"shop:1","State":"running"}}]"#)
}

fn inspection(id: &str, name: &str) -> String {
    format!(
        r#"{{"Id":"{id}","Name":"/{name}","Config":{{"Image":"shop:1","StopSignal":"SIGQUIT","StopTimeout":3}}}}"#
    )
}

fn event(action: &str, id: &str, name: &str) -> String {
    format!(
        r#"{{"Type":"container","Action":"{action}","Actor":{{"ID":"{id}","Attributes":{{"name":"{name}","image":"shop:1"}}}}}}"#
    ) + "\n"
}

struct Told(mpsc::Receiver<News>);

impl Told {
    async fn next(&mut self) -> News {
        tokio::time::timeout(Duration::from_secs(20), self.0.recv())
            .await
            .expect("news in time")
            .expect("the origin goes on")
    }

    /// The next container that is told of.
    async fn container(&mut self) -> Container {
        loop {
            if let News::Event(EventKind::Described(description)) = self.next().await
                && let Description::Container(container) = *description
            {
                return container;
            }
        }
    }

    async fn until(&mut self, wanted: impl Fn(&News) -> bool) -> News {
        loop {
            let news = self.next().await;
            if wanted(&news) {
                return news;
            }
        }
    }

    async fn down(&mut self) -> String {
        let news = self
            .until(|news| matches!(news, News::State(_, State::Down(_))))
            .await;
        match news {
            News::State(_, State::Down(why)) => why,
            _ => unreachable!("it was waited for"),
        }
    }
}

struct Scene {
    directory: tempfile::TempDir,
    told: Told,
    following: JoinHandle<()>,
}

impl Scene {
    fn new(prepare: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        prepare(&socket);
        let options = Options {
            origin: Origin::Docker,
            socket,
            explicit: true,
        };
        let (mut tellers, news) = Teller::channel(&[Origin::Docker]);
        let following = tokio::spawn(tell(options, tellers.remove(0)));
        Self {
            directory,
            told: Told(news),
            following,
        }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("s")
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.following.abort();
    }
}

fn is_gone(id: &str) -> impl Fn(&News) -> bool {
    let gone = News::Event(EventKind::Undescribed(Subject::Container(id.to_owned())));
    move |news| *news == gone
}

#[tokio::test]
async fn given_a_container_that_runs_then_it_is_told_at_once_and_with_its_settings_when_inspected() {
    let daemon = Daemon::default();
    *daemon.list.lock().unwrap() = listed(&id('a'), "web");
    *daemon.inspection.lock().unwrap() = Some(inspection(&id('a'), "web"));
    let mut scene = Scene::new(|socket| drop(daemon.listen(socket)));
    let first = scene.told.container().await;
    assert_eq!((first.name.as_str(), first.stop_signal), ("web", None));
    let second = scene.told.container().await;
    assert_eq!((second.stop_signal, second.grace_seconds), (Some(3), Some(3.0)));
}

#[tokio::test]
async fn given_a_container_that_is_gone_before_it_can_be_inspected_then_its_event_has_named_it() {
    let daemon = Daemon::default();
    "[]".clone_into(&mut daemon.list.lock().unwrap());
    *daemon.events.lock().unwrap() = event("create", &id('b'), "brief") + &event("die", &id('b'), "brief");
    let mut scene = Scene::new(|socket| drop(daemon.listen(socket)));
    assert_eq!(scene.told.container().await.name, "brief");
    scene.told.until(is_gone(&id('b'))).await;
}

#[tokio::test]
async fn given_a_container_that_docker_was_asked_to_restart_then_the_time_of_that_is_told() {
    let daemon = Daemon::default();
    "[]".clone_into(&mut daemon.list.lock().unwrap());
    let restart = event("restart", &id('b'), "web").replace(
        r#""Type":"container","#,
        r#""Type":"container","timeNano":1767225600123456789,"#,
    );
    *daemon.events.lock().unwrap() = event("start", &id('b'), "web") + &restart;
    let mut scene = Scene::new(|socket| drop(daemon.listen(socket)));
    assert_eq!(scene.told.container().await.restarted_ms, None);
    assert_eq!(scene.told.container().await.restarted_ms, Some(1_767_225_600_123));
}

#[tokio::test]
async fn given_a_daemon_that_restarts_then_it_is_told_and_what_vanished_meanwhile_is_undescribed() {
    let daemon = Daemon::default();
    *daemon.list.lock().unwrap() = listed(&id('c'), "old");
    *daemon.inspection.lock().unwrap() = Some(inspection(&id('c'), "old"));
    let mut running = None;
    let mut scene = Scene::new(|socket| running = Some(daemon.listen(socket)));
    while scene.told.container().await.stop_signal.is_none() {}
    // It goes, with its socket and its container.
    if let Some(running) = running {
        running.abort();
    }
    let why = scene.told.down().await;
    assert!(why.contains("Docker at") && !why.contains('\n'), "{why}");
    fs::remove_file(scene.socket()).unwrap();
    let why = scene.told.down().await;
    assert!(
        why.contains("there is no") && why.contains("systemctl start docker"),
        "{why}"
    );
    "[]".clone_into(&mut daemon.list.lock().unwrap());
    *daemon.inspection.lock().unwrap() = None;
    let again = daemon.listen(&scene.socket());
    scene.told.until(is_gone(&id('c'))).await;
    again.abort();
}

#[tokio::test]
async fn given_nothing_or_no_socket_at_the_path_then_one_line_says_what_to_do() {
    let mut scene = Scene::new(|_| {});
    let why = scene.told.down().await;
    assert!(
        why.contains("there is no") && why.contains("--docker.socket off"),
        "{why}"
    );

    let mut scene = Scene::new(|socket| fs::create_dir(socket).unwrap());
    let why = scene.told.down().await;
    assert!(why.contains("is not a socket"), "{why}");

    // A socket that nobody listens at any more.
    let mut scene = Scene::new(|socket| drop(std::os::unix::net::UnixListener::bind(socket).unwrap()));
    let why = scene.told.down().await;
    assert!(why.contains("nothing listens at") && !why.contains('\n'), "{why}");
}

#[tokio::test]
async fn given_a_default_socket_that_is_absent_then_nothing_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        origin: Origin::Docker,
        socket: directory.path().join("s"),
        explicit: false,
    };
    assert!(!options.expected());
    let (mut tellers, mut news) = Teller::channel_of(&[(Origin::Docker, false)]);
    let following = tokio::spawn(tell(options, tellers.remove(0)));
    tokio::task::yield_now().await;
    assert!(news.try_recv().is_err());
    following.abort();
}

#[tokio::test]
async fn given_a_daemon_that_lies_then_what_makes_no_sense_is_left_out_and_the_rest_is_bounded() {
    let endless = format!("{{\"Action\":\"{}", "x".repeat(2 << 20));
    for (list, events, complaint) in [
        ("[]", endless.as_str(), "longer than 1 MiB"),
        ("[]", "{\"Action\":5}\n", "Failed to deserialize"),
        ("{\"what\": 1}", "", "deserialize"),
        ("<html>", "", "expected value"),
    ] {
        let daemon = Daemon::default();
        list.clone_into(&mut daemon.list.lock().unwrap());
        events.clone_into(&mut daemon.events.lock().unwrap());
        let mut scene = Scene::new(|socket| drop(daemon.listen(socket)));
        let why = scene.told.down().await;
        assert!(
            why.contains(complaint) && why.len() < 600 && !why.contains('\n'),
            "{why}"
        );
    }
    // Names and ids of all sorts, and one that is right.
    let daemon = Daemon::default();
    "[{}, {\"Id\":\"../x\",\"Names\":[\"/y\"]}]".clone_into(&mut daemon.list.lock().unwrap());
    *daemon.events.lock().unwrap() = event("start", "short", "x")
        + &event("destroy", &id('e'), "never seen")
        + "{}\n"
        + &event("start", &id('d'), "good");
    let mut scene = Scene::new(|socket| drop(daemon.listen(socket)));
    assert_eq!(scene.told.container().await.name, "good");
}

#[tokio::test]
async fn given_a_daemon_that_closes_the_stream_then_it_is_told_and_asked_again() {
    let daemon = Daemon {
        closes: true,
        ..Daemon::default()
    };
    "[]".clone_into(&mut daemon.list.lock().unwrap());
    let mut scene = Scene::new(|socket| drop(daemon.listen(socket)));
    for _ in 0..2 {
        let why = scene.told.down().await;
        assert!(why.contains("it closed the stream of events"), "{why}");
    }
}

#[tokio::test]
async fn given_a_daemon_that_does_not_answer_then_the_line_says_so_in_time() {
    tokio::time::pause();
    let mut scene = Scene::new(|socket| {
        let listener = UnixListener::bind(socket).unwrap();
        tokio::spawn(async move {
            let mut held = vec![];
            while let Ok(accepted) = listener.accept().await {
                held.push(accepted);
            }
        });
    });
    let news = scene.told.0.recv().await;
    assert!(matches!(news, Some(News::Event(EventKind::NamesExpected { .. }))));
    let Some(News::State(_, State::Down(why))) = scene.told.0.recv().await else {
        panic!("it is down");
    };
    assert!(why.contains("did not answer within 10 s"), "{why}");
}

#[test]
fn given_a_socket_that_may_not_be_opened_then_the_line_says_who_may() {
    let options = Options {
        origin: Origin::Podman,
        socket: "/run/podman/podman.sock".into(),
        explicit: false,
    };
    let why = options.explain(&io::Error::from(io::ErrorKind::PermissionDenied).into());
    assert_eq!(
        why,
        "permission denied on /run/podman/podman.sock: run the agent as root or in the group that owns the socket, or \
         use --podman.socket off"
    );
}

#[test]
fn given_the_settings_then_off_is_nobody_and_a_path_is_worth_telling() {
    assert_eq!(Options::find(Origin::Docker, &Socket::Off), None);
    let at = Options::find(Origin::Docker, &Socket::At("/d".into())).unwrap();
    assert!(at.explicit && at.expected());
    let auto = Options::find(Origin::Podman, &Socket::Auto).unwrap();
    assert_eq!((auto.socket, auto.explicit), (PODMAN_SOCKET.into(), false));
}
