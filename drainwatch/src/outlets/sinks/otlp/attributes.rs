//! Attributes, by the semantic conventions of OpenTelemetry where they have a name.

use drainwatch_core::{
    exchange::Protocol,
    report::{Report, Rpc, Workload},
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};
use serde_json::Value as Json;

use crate::outlets::sinks::summary::Summary;

/// Methods that the conventions let stand as they are.
const METHODS: [&str; 10] = [
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE",
];

/// Collects attributes; what is not known is left away.
#[derive(Debug, Default)]
pub struct Attributes(Vec<KeyValue>);

impl Attributes {
    /// A string.
    pub fn text(self, key: &str, value: impl Into<String>) -> Self {
        self.value(key, Value::StringValue(value.into()))
    }

    /// A string, if any.
    pub fn maybe(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(key, value),
            None => self,
        }
    }

    /// Strings, unless there are none.
    pub fn texts(self, key: &str, values: &[String]) -> Self {
        if values.is_empty() {
            return self;
        }
        let value = |text: &String| AnyValue {
            value: Some(Value::StringValue(text.clone())),
        };
        let values = values.iter().map(value).collect();
        self.value(key, Value::ArrayValue(ArrayValue { values }))
    }

    /// A whole number.
    pub fn int(self, key: &str, value: impl Into<i64>) -> Self {
        self.value(key, Value::IntValue(value.into()))
    }

    /// Yes or no.
    pub fn flag(self, key: &str, value: bool) -> Self {
        self.value(key, Value::BoolValue(value))
    }

    /// Both.
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The list.
    pub fn list(self) -> Vec<KeyValue> {
        self.0
    }

    fn value(mut self, key: &str, value: Value) -> Self {
        self.0.push(KeyValue {
            key: key.into(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        });
        self
    }

    /// `address:port`; an address alone, or whatever it is, stands as the address.
    pub fn socket(self, address: &str, port: &str, socket: &str) -> Self {
        match socket.parse::<std::net::SocketAddr>() {
            Ok(parsed) => self
                .text(address, parsed.ip().to_string())
                .int(port, parsed.port()),
            Err(_) => self.text(address, socket),
        }
    }

    /// What was to be done with what, in the terms of its kind of protocol.
    pub fn operation(self, protocol: Option<Protocol>, method: Option<&str>, path: Option<&str>) -> Self {
        match kind(protocol) {
            Kind::Http => self.method(method).maybe("url.path", path),
            Kind::Database(system) => self
                .text("db.system.name", system)
                .maybe("db.operation.name", method),
            Kind::Messaging(system) => self
                .text("messaging.system", system)
                .maybe("messaging.operation.name", method)
                .maybe("messaging.destination.name", path),
        }
    }

    /// What was called.
    pub fn rpc(self, rpc: Option<&Rpc>) -> Self {
        let Some(Rpc {
            system,
            service,
            method,
            status_code,
        }) = rpc
        else {
            return self;
        };
        let call = self
            .text("rpc.system", system)
            .text("rpc.service", service)
            .text("rpc.method", method);
        match status_code {
            Some(status) => call.int("rpc.grpc.status_code", u32::from(*status)),
            None => call,
        }
    }

    /// Method of a request. What is no method of HTTP's is `_OTHER`, so that nobody can make names.
    fn method(self, method: Option<&str>) -> Self {
        match method {
            Some(known) if METHODS.contains(&known) => self.text("http.request.method", known),
            Some(other) => self
                .text("http.request.method", "_OTHER")
                .text("http.request.method_original", other),
            None => self,
        }
    }
}

/// The method as names of spans have it. What databases are asked for is of closed lists.
pub fn method_name(protocol: Option<Protocol>, method: Option<&str>) -> Option<&str> {
    let known = |method| !matches!(kind(protocol), Kind::Http) || METHODS.contains(&method);
    method.map(|method| if known(method) { method } else { "HTTP" })
}

/// Which of the conventions a protocol comes under.
enum Kind {
    Http,
    Database(&'static str),
    Messaging(&'static str),
}

fn kind(protocol: Option<Protocol>) -> Kind {
    match protocol {
        Some(Protocol::PostgreSql) => Kind::Database("postgresql"),
        Some(Protocol::MySql) => Kind::Database("mysql"),
        Some(Protocol::Redis) => Kind::Database("redis"),
        Some(Protocol::Memcached) => Kind::Database("memcached"),
        Some(Protocol::MongoDb) => Kind::Database("mongodb"),
        Some(Protocol::Amqp) => Kind::Messaging("rabbitmq"),
        Some(Protocol::Kafka) => Kind::Messaging("kafka"),
        Some(Protocol::Mqtt) => Kind::Messaging("mqtt"),
        Some(Protocol::Nats) => Kind::Messaging("nats"),
        Some(Protocol::Smtp) => Kind::Messaging("smtp"),
        _ => Kind::Http,
    }
}

/// The keys of the structured log, each behind `drainwatch.`.
pub fn summary(report: &Report) -> Attributes {
    let Ok(Json::Object(fields)) = serde_json::to_value(Summary::from(report)) else {
        return Attributes::default();
    };
    fields
        .into_iter()
        .fold(Attributes::default(), |out, (key, value)| {
            let key = format!("drainwatch.{key}");
            match value {
                Json::String(text) => out.text(&key, text),
                Json::Bool(flag) => out.flag(&key, flag),
                Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                    (Some(int), _) => out.int(&key, int),
                    (None, Some(float)) => out.value(&key, Value::DoubleValue(float)),
                    (None, None) => out,
                },
                Json::Null | Json::Array(_) | Json::Object(_) => out,
            }
        })
}

/// What was stopped.
pub fn workload(report: &Report) -> Attributes {
    let Workload {
        kind,
        namespace,
        name,
        pod,
        container,
        container_id,
        cgroup,
        controller,
        image,
    } = &report.workload;
    let mut out = Attributes::default()
        .maybe("k8s.namespace.name", namespace.as_deref())
        .maybe("k8s.pod.name", pod.as_deref())
        .maybe("container.id", container_id.as_deref())
        .text("process.linux.cgroup", cgroup);
    match kind.as_str() {
        "kubernetes" => {
            out = out.maybe("k8s.container.name", container.as_deref());
            if let Some(key) = controller.as_deref().and_then(controller_key) {
                out = out.text(key, name);
            }
        }
        "docker" | "podman" | "containerd" | "crio" => {
            out = out.text("container.name", container.as_deref().unwrap_or(name));
        }
        "process" => out = out.text("process.executable.name", name),
        _ => {}
    }
    if let Some(image) = image {
        let (name, tag) = image_parts(image);
        out = out.text("container.image.name", name);
        if let Some(tag) = tag {
            out = out.value(
                "container.image.tags",
                Value::ArrayValue(ArrayValue {
                    values: vec![AnyValue {
                        value: Some(Value::StringValue(tag.into())),
                    }],
                }),
            );
        }
    }
    if let Some(exit) = &report.exit {
        out = out.int("process.pid", exit.pid);
        if let Some(code) = exit.code {
            out = out.int("process.exit.code", code);
        }
    }
    out
}

fn controller_key(controller: &str) -> Option<&'static str> {
    Some(match controller {
        "Deployment" => "k8s.deployment.name",
        "StatefulSet" => "k8s.statefulset.name",
        "DaemonSet" => "k8s.daemonset.name",
        "ReplicaSet" => "k8s.replicaset.name",
        "ReplicationController" => "k8s.replicationcontroller.name",
        "Job" => "k8s.job.name",
        "CronJob" => "k8s.cronjob.name",
        _ => return None,
    })
}

/// `registry:5000/shop/web:1.2@sha256:…` → name and tag.
fn image_parts(image: &str) -> (&str, Option<&str>) {
    let named = image.split_once('@').map_or(image, |(named, _)| named);
    match named.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (named, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_statement_or_a_message_then_it_is_named_as_the_conventions_do() {
        let keys = |protocol, method, path| {
            let list = Attributes::default()
                .operation(Some(protocol), method, path)
                .list();
            list.into_iter().map(|one| one.key).collect::<Vec<_>>()
        };
        assert_eq!(
            keys(Protocol::PostgreSql, Some("SELECT"), None),
            ["db.system.name", "db.operation.name"]
        );
        assert_eq!(
            keys(Protocol::Amqp, Some("process"), Some("jobs")),
            [
                "messaging.system",
                "messaging.operation.name",
                "messaging.destination.name"
            ]
        );
        assert_eq!(method_name(Some(Protocol::MySql), Some("COMMIT")), Some("COMMIT"));
    }

    #[test]
    fn given_images_when_split_then_a_port_is_no_tag_and_a_digest_neither() {
        for (image, name, tag) in [
            ("nginx", "nginx", None),
            ("nginx:1.27", "nginx", Some("1.27")),
            ("reg:5000/shop/web", "reg:5000/shop/web", None),
            ("reg:5000/shop/web:2@sha256:ab", "reg:5000/shop/web", Some("2")),
            ("web@sha256:ab", "web", None),
        ] {
            assert_eq!(image_parts(image), (name, tag), "{image}");
        }
    }

    #[test]
    fn given_a_method_of_a_strangers_own_then_it_makes_no_name() {
        let list = Attributes::default().method(Some("EVIL")).list();
        assert_eq!(list[0].key, "http.request.method");
        assert!(format!("{:?}", list[0].value).contains("_OTHER"));
        assert_eq!(method_name(None, Some("EVIL")), Some("HTTP"));
        assert_eq!(method_name(Some(Protocol::Http11), Some("PATCH")), Some("PATCH"));
    }
}
