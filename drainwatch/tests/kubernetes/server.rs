//! An API server as far as the agent needs one, on recorded traffic. It can be told to misbehave.

use std::{
    collections::{BTreeMap, VecDeque},
    io::Write as _,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

pub const LIST: &str = include_str!("../fixtures/kubernetes/pods-list.json");
pub const WATCH: &str = include_str!("../fixtures/kubernetes/pods-watch.jsonl");
const NODE: &str = include_str!("../fixtures/kubernetes/node.json");

/// What goes wrong, once, with the next request or the next line of a watch.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The next request is answered so late.
    Delay(Duration),
    /// The next request gets this status; with `Retry-After` where it is given.
    Status(u16, Option<u64>),
    /// The next request gets these bytes instead of an answer.
    Raw(Vec<u8>),
    /// The next line of a watch ends in its middle, and with it the connection.
    CutLine,
    /// The next line of a watch ends in its middle, and the watch goes on as if nothing were.
    TruncatedLine,
    /// In place of the next line of a watch come these bytes and the end of the line, and it goes on.
    GarbageLine(Vec<u8>),
    /// Before the next line of a watch comes this one.
    ExtraLine(String),
    /// The next line of a watch has no end.
    EndlessLine,
    /// What was before is forgotten; a watch from then gets 410, as a line or as the status.
    Compact { status: bool },
    /// The next watch ends at once, so many times.
    ShortWatch(u32),
}

impl Fault {
    fn of_request(&self) -> bool {
        matches!(self, Self::Delay(_) | Self::Status(..) | Self::Raw(_))
    }
}

#[derive(Default)]
struct State {
    version: u64,
    oldest: u64,
    gone_by_status: bool,
    pods: BTreeMap<String, Value>,
    /// Versions and lines.
    history: Vec<(u64, String)>,
    faults: VecDeque<Fault>,
    requests: Vec<String>,
    /// `Authorization` of the last request.
    token: Option<String>,
    /// Bodies of Events that were written, newest last.
    events: Vec<(String, Value)>,
    objects: BTreeMap<String, Value>,
    paged: bool,
    watches_open: usize,
}

/// The server. Its listener goes down and up, its state stays.
pub struct Server {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    changed: Arc<watch::Sender<u64>>,
    listener: Mutex<Option<JoinHandle<()>>>,
    dir: tempfile::TempDir,
}

impl Server {
    /// With these pods.
    pub async fn start(list: &Value) -> Self {
        let version = list["metadata"]["resourceVersion"]
            .as_str()
            .map_or(1, |version| version.parse().unwrap());
        let pods = list["items"].as_array().unwrap().iter();
        let state = State {
            version,
            oldest: version,
            pods: pods.map(|pod| (key(pod), pod.clone())).collect(),
            ..State::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::new(Mutex::new(state)),
            changed: Arc::new(watch::channel(0).0),
            listener: Mutex::default(),
            dir: tempfile::tempdir().unwrap(),
        };
        server.listen(listener);
        server
    }

    /// The recorded list.
    pub async fn recorded() -> Self {
        Self::start(&serde_json::from_str(LIST).unwrap()).await
    }

    fn listen(&self, listener: TcpListener) {
        let (state, changed) = (Arc::clone(&self.state), Arc::clone(&self.changed));
        let task = tokio::spawn(async move {
            // Dropped with the task, and so are its connections.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let (state, changed) = (Arc::clone(&state), changed.subscribe());
                connections.spawn(async move {
                    // A client that goes away is no failure of the server's.
                    let _ = serve(stream, &state, changed).await;
                });
            }
        });
        *self.listener.lock().unwrap() = Some(task);
    }

    /// Refuses connections, and ends those that are open.
    pub async fn down(&self) {
        let task = self.listener.lock().unwrap().take().unwrap();
        task.abort();
        let _ = task.await;
        self.state.lock().unwrap().watches_open = 0;
    }

    /// Listens again, at the same address.
    pub fn up(&self) {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        self.listen(socket.listen(64).unwrap());
    }

    /// A kubeconfig for it.
    pub fn kubeconfig(&self) -> PathBuf {
        let path = self.dir.path().join("kubeconfig");
        let text = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]});
        std::fs::write(&path, text.to_string()).unwrap();
        path
    }

    /// Something happens to a pod: a line of the watch.
    pub fn happen(&self, line: &str) {
        let event: Value = serde_json::from_str(line).unwrap();
        let object = &event["object"];
        let version: u64 = object["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        let mut state = self.state.lock().unwrap();
        state.version = version;
        match event["type"].as_str().unwrap() {
            "ADDED" | "MODIFIED" => drop(state.pods.insert(key(object), object.clone())),
            "DELETED" => drop(state.pods.remove(&key(object))),
            _ => {}
        }
        state.history.push((version, line.into()));
        drop(state);
        self.changed.send_modify(|n| *n += 1);
    }

    /// A pod comes, changes or goes, in the next version.
    pub fn change(&self, what: &str, mut pod: Value) {
        let version = self.state.lock().unwrap().version + 1;
        pod["metadata"]["resourceVersion"] = version.to_string().into();
        self.happen(&json!({"type": what, "object": pod}).to_string());
    }

    /// What goes wrong next.
    pub fn fault(&self, fault: Fault) {
        let mut state = self.state.lock().unwrap();
        if let Fault::Compact { status } = fault {
            // Also who saw everything so far has to list again.
            state.oldest = state.version + 1;
            state.gone_by_status = status;
            let version = state.version;
            state.history.retain(|(at, _)| *at > version);
        } else {
            state.faults.push_back(fault);
        }
    }

    pub fn faults_left(&self) -> usize {
        self.state.lock().unwrap().faults.len()
    }

    /// Answers lists in pages, as servers do that do not answer from their cache.
    pub fn paged(&self) {
        self.state.lock().unwrap().paged = true;
    }

    /// An object to be found at this path; nothing, where it is known to be gone.
    pub fn object(&self, path: &str, object: Value) {
        self.state.lock().unwrap().objects.insert(path.into(), object);
    }

    /// Request lines so far.
    pub fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }

    /// What the last request authorized itself with.
    pub fn token(&self) -> Option<String> {
        self.state.lock().unwrap().token.clone()
    }

    pub fn watches_open(&self) -> usize {
        self.state.lock().unwrap().watches_open
    }

    /// Events that were written: method and path, and the body.
    pub fn events(&self) -> Vec<(String, Value)> {
        self.state.lock().unwrap().events.clone()
    }
}

fn key(pod: &Value) -> String {
    let metadata = &pod["metadata"];
    format!("{}/{}", metadata["namespace"], metadata["name"])
}

async fn serve(
    mut stream: TcpStream,
    state: &Mutex<State>,
    changed: watch::Receiver<u64>,
) -> std::io::Result<()> {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let line = text.lines().next().unwrap_or_default().to_owned();
    let length = text
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length:")?
                .trim()
                .parse()
                .ok()
        })
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let fault = {
        let mut state = state.lock().unwrap();
        state.requests.push(line.clone());
        state.token = text.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("authorization")
                .then(|| value.to_owned())
        });
        let of_request = state.faults.front().is_some_and(Fault::of_request) && !is_aside(&line);
        of_request.then(|| state.faults.pop_front()).flatten()
    };
    match fault {
        Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::Status(code, retry_after)) => {
            let says = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                "message": format!("fault {code}"), "reason": "Fault"});
            return answer(&mut stream, code, retry_after, &says).await;
        }
        Some(Fault::Raw(bytes)) => {
            stream.write_all(&bytes).await?;
            return stream.shutdown().await;
        }
        _ => {}
    }
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query: BTreeMap<_, _> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    if method != "GET" {
        let body: Value = serde_json::from_slice(&body).unwrap();
        state
            .lock()
            .unwrap()
            .events
            .push((format!("{method} {path}"), body.clone()));
        return answer(&mut stream, 201, None, &body).await;
    }
    match path {
        "/api/v1/pods" if query.get("watch") == Some(&"true") => {
            let from = query["resourceVersion"].parse().unwrap();
            state.lock().unwrap().watches_open += 1;
            let done = watch_pods(&mut stream, state, changed, from, node_of(&query)).await;
            let mut state = state.lock().unwrap();
            state.watches_open = state.watches_open.saturating_sub(1);
            done
        }
        "/api/v1/pods" => {
            let list = list(&state.lock().unwrap(), &query);
            answer(&mut stream, 200, None, &list).await
        }
        "/api/v1/nodes/node1" => answer(&mut stream, 200, None, &serde_json::from_str(NODE).unwrap()).await,
        _ => {
            let object = state.lock().unwrap().objects.get(path).cloned();
            // What nobody put there may not be asked for; what is gone was put there as nothing.
            let code = match &object {
                None if is_aside(&line) => 403,
                None | Some(Value::Null) => 404,
                Some(_) => 200,
            };
            let missing = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                "message": "not to be had", "reason": if code == 404 { "NotFound" } else { "Forbidden" }});
            let object = object.filter(|object| !object.is_null());
            answer(&mut stream, code, None, &object.unwrap_or(missing)).await
        }
    }
}

/// A question beside the watch: what goes wrong is not meant for it.
fn is_aside(line: &str) -> bool {
    line.starts_with("GET /apis/") || line.starts_with("GET /api/v1/namespaces/")
}

fn node_of(query: &BTreeMap<&str, &str>) -> String {
    let selector = query.get("fieldSelector").copied().unwrap_or_default();
    let selector = selector.replace("%3D", "=");
    selector
        .strip_prefix("spec.nodeName=")
        .unwrap_or_default()
        .to_owned()
}

fn list(state: &State, query: &BTreeMap<&str, &str>) -> Value {
    let node = node_of(query);
    let on_node = |pod: &&Value| pod["spec"]["nodeName"] == node.as_str();
    let pods: Vec<_> = state.pods.values().filter(on_node).collect();
    let from: usize = query.get("continue").map_or(0, |token| token.parse().unwrap());
    let limit = query
        .get("limit")
        .filter(|_| state.paged)
        .map_or(usize::MAX, |limit| limit.parse().unwrap());
    let to = from.saturating_add(limit).min(pods.len());
    let mut metadata = json!({"resourceVersion": state.version.to_string()});
    if to < pods.len() {
        metadata["continue"] = to.to_string().into();
    }
    json!({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": pods[from..to]})
}

async fn answer(
    stream: &mut TcpStream,
    code: u16,
    retry_after: Option<u64>,
    body: &Value,
) -> std::io::Result<()> {
    let body = body.to_string();
    let mut head = vec![];
    write!(
        head,
        "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n",
        body.len()
    )?;
    if let Some(seconds) = retry_after {
        write!(head, "Retry-After: {seconds}\r\n")?;
    }
    head.extend(b"\r\n");
    head.extend(body.as_bytes());
    stream.write_all(&head).await?;
    stream.shutdown().await
}

async fn chunk(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    stream
        .write_all(format!("{:x}\r\n", bytes.len()).as_bytes())
        .await?;
    stream.write_all(bytes).await?;
    stream.write_all(b"\r\n").await
}

async fn watch_pods(
    stream: &mut TcpStream,
    state: &Mutex<State>,
    mut changed: watch::Receiver<u64>,
    mut from: u64,
    node: String,
) -> std::io::Result<()> {
    let gone = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "too old resource version", "reason": "Expired", "code": 410});
    let (too_old, by_status) = {
        let state = state.lock().unwrap();
        (from < state.oldest, state.gone_by_status)
    };
    if too_old && by_status {
        return answer(stream, 410, None, &gone).await;
    }
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        .await?;
    if too_old {
        let line = json!({"type": "ERROR", "object": gone}).to_string() + "\n";
        chunk(stream, line.as_bytes()).await?;
        return stream.write_all(b"0\r\n\r\n").await;
    }
    loop {
        changed.borrow_and_update();
        let (lines, ends) = {
            let mut state = state.lock().unwrap();
            let lines: Vec<_> = state
                .history
                .iter()
                .filter(|(version, _)| *version > from)
                .cloned()
                .collect();
            let ends = match state.faults.front_mut() {
                Some(Fault::ShortWatch(times)) => {
                    *times -= 1;
                    if *times == 0 {
                        state.faults.pop_front();
                    }
                    true
                }
                _ => false,
            };
            (lines, ends)
        };
        if ends {
            return stream.write_all(b"0\r\n\r\n").await;
        }
        for (version, line) in lines {
            from = version;
            let event: Value = serde_json::from_str(&line).unwrap();
            let of_node = event["object"]["spec"]["nodeName"] == node.as_str();
            if event["type"] != "BOOKMARK" && !of_node {
                continue;
            }
            let fault = {
                let mut state = state.lock().unwrap();
                let of_line = state.faults.front().is_some_and(|fault| !fault.of_request());
                of_line.then(|| state.faults.pop_front()).flatten()
            };
            let half = line.floor_char_boundary(line.len() / 2);
            match fault {
                Some(Fault::CutLine) => {
                    chunk(stream, &line.as_bytes()[..half]).await?;
                    return stream.shutdown().await;
                }
                Some(Fault::TruncatedLine) => {
                    chunk(stream, &line.as_bytes()[..half]).await?;
                    chunk(stream, b"\n").await?;
                    continue;
                }
                Some(Fault::GarbageLine(bytes)) => {
                    chunk(stream, &bytes).await?;
                    chunk(stream, b"\n").await?;
                    continue;
                }
                Some(Fault::ExtraLine(extra)) => chunk(stream, (extra + "\n").as_bytes()).await?,
                Some(Fault::EndlessLine) => {
                    chunk(stream, b"{\"type\":\"ADDED\",\"object\":\"").await?;
                    let piece = vec![b'a'; 1 << 16];
                    loop {
                        chunk(stream, &piece).await?;
                    }
                }
                _ => {}
            }
            chunk(stream, (line + "\n").as_bytes()).await?;
        }
        // Also notices a client that has gone.
        let mut byte = [0];
        tokio::select! {
            _ = changed.changed() => {}
            _ = stream.read(&mut byte) => return Ok(()),
        }
    }
}
