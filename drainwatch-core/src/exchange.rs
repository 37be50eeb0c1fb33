//! What was exchanged on a connection, and how far it came: one request and its response.
//!
//! The same shape everywhere: a reader makes it of a record, an event carries it, the tracker judges
//! it, a report lists it.

use serde::{Deserialize, Serialize};

use crate::words::words;

/// The kubelet, as a known prober: the one whose connections come from the node itself.
pub const KUBELET: &str = "kubelet";

words! {
    /// What was spoken, as far as it was read.
    Protocol {
        /// HTTP/1.0 in clear.
        Http10 = "http/1.0",
        /// HTTP/1.1 in clear.
        Http11 = "http/1.1",
        /// `WebSocket` after its upgrade.
        WebSocket = "websocket",
        /// HTTP/2 in clear, and gRPC.
        Http2 = "http/2",
        /// `PostgreSQL`'s protocol, version 3.
        PostgreSql = "postgresql",
        /// Redis's protocol, versions 2 and 3.
        Redis = "redis",
        /// The protocol of `MySQL` and `MariaDB`.
        MySql = "mysql",
        /// AMQP 0-9-1.
        Amqp = "amqp",
        /// memcached's text protocol, and its meta commands.
        Memcached = "memcached",
        /// `MongoDB`'s wire protocol.
        MongoDb = "mongodb",
        /// `FastCGI`.
        FastCgi = "fastcgi",
        /// NATS.
        Nats = "nats",
        /// SMTP in clear.
        Smtp = "smtp",
        /// MQTT, versions 3.1, 3.1.1 and 5.
        Mqtt = "mqtt",
        /// Kafka.
        Kafka = "kafka",
        /// TLS: known by its records and its handshake, not read.
        Tls = "tls",
        /// Nothing was read.
        Tcp = "tcp",
    }
}

/// How sure we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// The protocol was read in clear.
    Exact,
    /// From turn-taking on the wire only.
    Inferred,
}

words! {
    /// Why the evidence does not say what became of a request.
    Doubt {
        /// A head longer than what is kept of it, which says where the message ends.
        HeadTooLong = "head_too_long",
        /// The connection is older than the agent, and nothing began on it since.
        OlderThanAgent = "older_than_agent",
        /// A response without a length ends with its connection, and that was cut.
        CloseDelimited = "close_delimited",
        /// The end of a chunked response is not among the last bytes that are kept.
        ChunkedEnd = "chunked_end",
        /// Bytes moved that could not be looked at (`sendfile`, `splice`, `io_uring`, a skipped run).
        Gap = "gap",
        /// A message that contradicts itself, or breaks off into something else.
        Malformed = "malformed",
        /// More requests were sent at once than is kept of them.
        Pipelined = "pipelined",
        /// The rest of an upload that had been answered before its end.
        EarlyAnswer = "early_answer",
        /// Which side ended the connection cannot be told.
        End = "end",
        /// The kernel could not deliver events.
        EventsLost = "events_lost",
        /// More shutdowns were under way than are followed at once: this one was finished before its end.
        CutShort = "cut_short",
        /// A job, which serves nobody, was ended by a signal that it did not handle: how far it had come nobody knows.
        Job = "job",
        /// MPTCP at both ends, whose bytes are not recorded.
        Mptcp = "mptcp",
        /// The kernel had no memory for what is open on a connection of HTTP/2.
        NoStorage = "no_storage",
        /// It was answered, by a header that refers to what is not kept any more: perhaps with an error.
        Status = "status",
    }
}

/// What stood on the connection at the moment of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExchangeState {
    /// The request's head or body had not arrived (been sent) completely.
    RequestIncomplete,
    /// The request was complete, no byte of a final response had been written.
    Unanswered,
    /// The response had begun and was not complete.
    ResponseIncomplete,
    /// Request and response complete.
    Complete,
    /// A long-lived stream (101, CONNECT, SSE) without its protocol's goodbye.
    Stream,
    /// Nothing was outstanding, but a transaction of the client's was open.
    Transaction,
    /// The evidence does not say (head beyond the capture, close-delimited body, seeded socket).
    Unknown,
    /// Nobody reads its protocol, and its connection was not seen to take turns: whether anything is
    /// outstanding is not judged.
    Opaque,
}

/// Which exchange of its connection it is: the same however often it is told of, and not its place in
/// time, as what begins first need not end first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ExchangeId {
    /// Where one side speaks after the other.
    Turn {
        /// Number of the turn on its connection, from 1; 0 for what is older than the agent.
        turn: u64,
        /// Which of the turn's exchanges, from 0.
        index: u32,
    },
    /// Where many go on at once.
    Stream {
        /// Number of the stream; 0 for what belongs to none.
        id: u32,
    },
}

/// What was asked for, in the terms of its kind of protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A request of HTTP.
    Http(Http),
    /// A statement or a command to a database or a cache.
    Database(Database),
    /// A message of a queue.
    Message(Message),
    /// Not read, but how its connection began: TLS says in clear for whom it is.
    Tls(Tls),
    /// Not read.
    Opaque,
}

/// A request of HTTP and its response, as far as their heads were seen. All text is bounded and printable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http {
    /// Method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Path without query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Host header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Status of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Known sender of webhooks, by the request's head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// Known prober (health checks, scrapes), by the request's head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prober: Option<String>,
    /// Numbers of the rules `[[class]]`, from 0, whose condition on headers holds; of the headers
    /// themselves nothing is kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub header_rules: Vec<u8>,
    /// It is a call of gRPC: the path is `/package.Service/Method`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub grpc: bool,
    /// What the call's server said of it in the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<u8>,
}

impl Http {
    /// How the server says itself that it failed, where it does. Of gRPC those of its statuses that are the server's own
    /// doing: what the conventions for telemetry call errors of a server, and a call that was cancelled by it.
    pub fn server_error(&self) -> Option<String> {
        let grpc = match self.grpc_status {
            Some(1) => "CANCELLED",
            Some(2) => "UNKNOWN",
            Some(4) => "DEADLINE_EXCEEDED",
            Some(12) => "UNIMPLEMENTED",
            Some(13) => "INTERNAL",
            Some(14) => "UNAVAILABLE",
            Some(15) => "DATA_LOSS",
            _ => {
                return self
                    .status
                    .filter(|status| *status >= 500)
                    .map(|status| status.to_string());
            }
        };
        Some(grpc.to_owned())
    }
}

/// What a database was asked: nothing of a statement but its first word is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// `SELECT`, `COMMIT`, `HGET`; [`TRANSACTION`] for one that was open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
}

/// The operation of an open transaction.
pub const TRANSACTION: &str = "TRANSACTION";

/// A message on its way to or from a queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `publish`, `process`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Queue, or exchange and routing key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
}

/// What a handshake of TLS says in clear. All text is bounded and printable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// Host that the client named (SNI).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Protocols that it offered (ALPN), or the one that the server chose, where that is said in clear.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<String>,
}

/// One request and its response, as far as they were seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// Which one of its connection.
    pub id: ExchangeId,
    /// What was spoken.
    pub protocol: Protocol,
    /// What was asked for.
    pub operation: Operation,
    /// How sure we are.
    pub evidence: Evidence,
    /// What stood there.
    pub state: ExchangeState,
    /// Why the state is [`ExchangeState::Unknown`], where it is; or [`Doubt::Status`] of what is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<Doubt>,
    /// It was answered before its request had arrived: what still comes is the rest of that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uploading: bool,
    /// Its server gave it up while it was draining, and its connection went on: it is cut, whoever ends that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reset: bool,
    /// No process had read a byte of it: what is said of it stood in the kernel's queue.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unread: bool,
    /// Monotonic time of the request's first byte at our process; 0 unknown.
    pub started_ns: u64,
    /// Monotonic time of the last byte of the exchange.
    pub last_ns: u64,
}

impl Exchange {
    /// Longest goodbye of its protocol, where it was read in clear and has ended: what its client says next, and is
    /// longer, can only be a request.
    pub fn longest_goodbye(&self) -> Option<u32> {
        let ended = matches!(self.state, ExchangeState::Complete | ExchangeState::Transaction);
        if self.evidence != Evidence::Exact || !ended || self.uploading {
            return None;
        }
        match self.protocol {
            // What is shorter than `GET / HTTP/1.0` and two lines' ends is no head: the empty line that some clients
            // send behind a body.
            Protocol::Http10 | Protocol::Http11 => Some(17),
            // Its clients close without a word.
            Protocol::MongoDb => Some(0),
            // Terminate; COM_QUIT.
            Protocol::PostgreSql | Protocol::MySql => Some(5),
            // QUIT, in any spelling.
            Protocol::Redis => Some(14),
            // `quit` and its line's end; QUIT.
            Protocol::Memcached | Protocol::Smtp => Some(6),
            // The end of a request's body, which its server need not read.
            Protocol::FastCgi
            | Protocol::Nats
            | Protocol::Mqtt
            | Protocol::Kafka
            | Protocol::WebSocket
            | Protocol::Http2
            | Protocol::Amqp
            | Protocol::Tls
            | Protocol::Tcp => None,
        }
    }
}

impl Operation {
    /// The request of HTTP that it is.
    pub fn http(&self) -> Option<&Http> {
        match self {
            Self::Http(http) => Some(http),
            Self::Database(_) | Self::Message(_) | Self::Tls(_) | Self::Opaque => None,
        }
    }

    /// What was to be done: method, first word of a statement, name of a command.
    pub fn method(&self) -> Option<&str> {
        match self {
            Self::Http(http) => http.method.as_deref(),
            Self::Database(database) => database.operation.as_deref(),
            Self::Message(message) => message.operation.as_deref(),
            Self::Tls(_) | Self::Opaque => None,
        }
    }

    /// What it was to be done with: path without query, queue.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Http(http) => http.path.as_deref(),
            Self::Message(message) => message.destination.as_deref(),
            Self::Database(_) | Self::Tls(_) | Self::Opaque => None,
        }
    }

    /// Known sender of webhooks, of a protocol whose requests show it.
    pub fn sender(&self) -> Option<&str> {
        self.http()?.sender.as_deref()
    }

    /// Known prober, of a protocol whose requests show it.
    pub fn prober(&self) -> Option<&str> {
        self.http()?.prober.as_deref()
    }

    /// Service and method of a remote procedure call.
    pub fn rpc(&self) -> Option<(&str, &str)> {
        let http = self.http().filter(|http| http.grpc)?;
        http.path.as_deref()?.strip_prefix('/')?.split_once('/')
    }

    /// Host that was asked for, of a protocol that says so.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Http(http) => http.host.as_deref(),
            Self::Tls(tls) => tls.host.as_deref(),
            Self::Database(_) | Self::Message(_) | Self::Opaque => None,
        }
    }

    /// What its client would speak inside TLS.
    pub fn alpn(&self) -> &[String] {
        match self {
            Self::Tls(tls) => &tls.alpn,
            _ => &[],
        }
    }
}
