use serde_json::{Value, json};

use super::*;

fn pod(metadata: &Value, container: &Value, status: &Value) -> ApiPod {
    let pod = json!({"metadata": metadata, "spec": {"containers": [container]}, "status": status});
    serde_json::from_value(pod).unwrap()
}

fn of(metadata: &Value, container: &Value) -> Vec<(u16, Option<String>)> {
    let probes = described(&pod(metadata, container, &json!({})));
    probes.into_iter().map(|probe| (probe.port, probe.path)).collect()
}

#[test]
fn given_probes_of_every_kind_when_described_then_port_and_path_are_those_that_requests_show() {
    let container = json!({
        "name": "web",
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/ready?full=1", "port": "http"}},
        "livenessProbe": {"tcpSocket": {"port": 9000}},
        "startupProbe": {"grpc": {"port": 9001}},
    });
    assert_eq!(
        of(&json!({}), &container),
        [(8080, Some("/ready".into())), (9000, None), (9001, None)]
    );
    let bare = json!({"name": "web", "livenessProbe": {"httpGet": {"path": "up", "port": 80}}});
    assert_eq!(of(&json!({}), &bare), [(80, Some("/up".into()))]);
    let root = json!({"name": "web", "livenessProbe": {"httpGet": {"port": 80}}});
    assert_eq!(of(&json!({}), &root), [(80, Some("/".into()))]);
}

#[test]
fn given_probes_that_are_alike_when_described_then_each_is_there_with_its_own_period() {
    let get = json!({"path": "/up", "port": 80});
    let container = json!({
        "name": "web",
        "readinessProbe": {"httpGet": get, "periodSeconds": 1},
        "livenessProbe": {"httpGet": get},
        "startupProbe": {"httpGet": get, "periodSeconds": 1},
    });
    let annotations = json!({"annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "80"}});
    let probes = described(&pod(&annotations, &container, &json!({})));
    let periods: Vec<_> = probes.into_iter().map(|probe| probe.period_seconds).collect();
    assert_eq!(periods, [Some(1), Some(10), Some(1), None]);
}

#[test]
fn given_what_asks_nothing_over_tcp_or_no_port_when_described_then_there_is_nothing() {
    for probe in [
        json!({"exec": {"command": ["true"]}}),
        json!({"httpGet": {"port": "nowhere"}}),
        json!({"httpGet": {"port": 0}}),
        json!({"httpGet": {"port": 70_000}}),
        json!({"tcpSocket": {"port": -1}}),
        json!({}),
    ] {
        let container = json!({"name": "web", "readinessProbe": probe});
        assert_eq!(of(&json!({}), &container), [], "{container}");
    }
    let long = json!({"name": "web", "readinessProbe": {"httpGet": {"port": 80, "path": "/a".repeat(5000)}}});
    assert_eq!(of(&json!({}), &long), [(80, None)], "its port is still a probe's");
}

#[test]
fn given_annotations_of_scrapes_when_described_then_they_are_probes_where_they_are_switched_on() {
    let container = json!({"name": "web", "ports": [{"containerPort": 80}, {"containerPort": 9100}]});
    let annotated = |annotations: Value| of(&json!({"annotations": annotations}), &container);
    let metrics = |port| (port, Some("/metrics".to_owned()));
    assert_eq!(
        annotated(json!({"prometheus.io/scrape": "true"})),
        [metrics(80), metrics(9100)]
    );
    let whole = json!({
        "prometheus.io/scrape": "true", "prometheus.io/port": "9102", "prometheus.io/path": "/stats?format=prometheus",
    });
    assert_eq!(annotated(whole), [(9102, Some("/stats".into()))]);
    for off in [
        json!({"prometheus.io/scrape": "false", "prometheus.io/port": "80"}),
        json!({"prometheus.io/port": "80"}),
        json!({"prometheus.io/scrape": "true", "prometheus.io/port": "http"}),
    ] {
        assert_eq!(annotated(off.clone()), [], "{off}");
    }
}

#[test]
fn given_addresses_of_the_node_when_read_then_each_is_there_once_and_no_other_text_is() {
    let hosts_of = |status: Value| hosts(&pod(&json!({}), &json!({"name": "web"}), &status));
    let status =
        json!({"hostIP": "10.0.0.5", "hostIPs": [{"ip": "10.0.0.5"}, {"ip": "fd00::5"}, {"ip": "nonsense"}]});
    let expected: Vec<IpAddr> = vec!["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()];
    assert_eq!(hosts_of(status), expected);
    assert_eq!(hosts_of(json!({})), Vec::<IpAddr>::new());
}
