//! Who checks health and scrapes metrics, told by the head of the request: a closed list, so that nothing
//! a stranger writes into a header gets any further.
//!
//! Only what is certain is in it. Programs that check health and also carry users' traffic under one name
//! (`curl`, `Go-http-client`) are not: `[[class]]` and a pod's description are for those.

use httparse::Header;

use crate::exchange::{KUBELET, Protocol};

/// `HAProxy`, which sends no name.
const HAPROXY: &str = "haproxy";

/// Methods of checks and scrapes. What a prober's program sends by another one (Prometheus's remote write,
/// Telegraf's outputs) delivers something.
const METHODS: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// A header of requests that Prometheus makes to discover targets, under the `User-Agent` of its scrapes.
const DISCOVERY: &str = "x-prometheus-refresh-interval-seconds";

/// Where in `User-Agent` a prober's name stands.
enum Agent {
    /// It begins with this.
    Begins(&'static str),
    /// It has this in it: those that begin as browsers do.
    Has(&'static str),
}
use Agent::{Begins, Has};

/// A prober, its `User-Agent`, and headers that only its requests have.
struct Prober {
    name: &'static str,
    agents: &'static [Agent],
    headers: &'static [&'static str],
}

const fn prober(name: &'static str, agents: &'static [Agent]) -> Prober {
    Prober {
        name,
        agents,
        headers: &[],
    }
}

/// The list; above each line where it says so.
const KNOWN: [Prober; 25] = [
    // github.com/kubernetes/kubernetes, pkg/probe/http/request.go
    prober(KUBELET, &[Begins("kube-probe/")]),
    // cloud.google.com/load-balancing/docs/health-check-concepts
    prober("google", &[Begins("GoogleHC/")]),
    // cloud.google.com/monitoring/uptime-checks
    prober(
        "google-uptime",
        &[Begins("GoogleStackdriverMonitoring-UptimeChecks")],
    ),
    // docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
    prober("elb", &[Begins("ELB-HealthChecker/")]),
    // docs.aws.amazon.com/Route53/latest/DeveloperGuide/dns-failover-determining-health-of-endpoints.html
    prober("route53", &[Begins("Amazon-Route53-Health-Check-Service")]),
    // learn.microsoft.com/azure/frontdoor/health-probes
    prober("azure-front-door", &[Begins("Edge Health Probe")]),
    // learn.microsoft.com/azure/traffic-manager/traffic-manager-monitoring
    prober(
        "azure-traffic-manager",
        &[Begins("Azure Traffic Manager Endpoint Monitor")],
    ),
    // Always On; learn.microsoft.com/azure/app-service/monitor-instances-health-check
    prober(
        "azure-app-service",
        &[
            Begins("AlwaysOn"),
            Begins("ReadyForRequest/"),
            Begins("HealthCheck/"),
        ],
    ),
    // developers.cloudflare.com/health-checks
    prober("cloudflare", &[Has("Cloudflare-Healthchecks/")]),
    // github.com/hashicorp/consul, agent/checks/check.go
    prober("consul", &[Begins("Consul Health Check")]),
    // github.com/envoyproxy/envoy, source/extensions/health_checkers/http/health_checker_impl.cc
    prober("envoy", &[Begins("Envoy/HC")]),
    // github.com/prometheus/prometheus, scrape/scrape.go; the header is also that of everything that is built
    // on it or copies it: OpenTelemetry's collector, Grafana's agents, VictoriaMetrics.
    Prober {
        name: "prometheus",
        agents: &[Begins("Prometheus/")],
        headers: &["x-prometheus-scrape-timeout-seconds"],
    },
    // github.com/VictoriaMetrics/VictoriaMetrics, lib/promscrape/client.go
    prober("victoriametrics", &[Begins("vm_promscrape")]),
    // github.com/prometheus/blackbox_exporter, prober/http.go
    prober("blackbox", &[Begins("Blackbox Exporter/")]),
    // github.com/DataDog/integrations-core, datadog_checks_base/datadog_checks/base/utils/headers.py;
    // docs.datadoghq.com/synthetics/guide/identify_synthetics_bots
    Prober {
        name: "datadog",
        agents: &[
            Begins("Datadog Agent/"),
            Begins("Datadog/Synthetics"),
            Has("DatadogSynthetics"),
        ],
        headers: &["sec-datadog"],
    },
    // github.com/influxdata/telegraf, internal/internal.go: ProductToken
    prober("telegraf", &[Begins("Telegraf/")]),
    // uptimerobot.com/help/locations
    prober("uptimerobot", &[Has("UptimeRobot/")]),
    // documentation.solarwinds.com/en/success_center/pingdom
    prober("pingdom", &[Has("Pingdom.com_bot_version_")]),
    // site24x7.com/help/admin/configure-user-agent.html
    prober("site24x7", &[Has("Site24x7")]),
    // statuscake.com/kb/knowledge-base/what-user-agent-does-statuscake-use
    prober("statuscake", &[Has("StatusCake")]),
    // betterstack.com/docs/uptime/frequently-asked-questions
    prober(
        "better-uptime",
        &[
            Begins("Better Uptime Bot"),
            Begins("Better Stack Better Uptime Bot"),
        ],
    ),
    // github.com/louislam/uptime-kuma, server/model/monitor.js
    prober("uptime-kuma", &[Begins("Uptime-Kuma/")]),
    // docs.hetrixtools.com/uptime-monitoring-user-agent
    prober("hetrixtools", &[Has("HetrixTools Uptime Monitoring Bot")]),
    // github.com/monitoring-plugins/monitoring-plugins, plugins/check_http.c and check_curl.c
    prober("nagios", &[Begins("check_http/"), Begins("check_curl/")]),
    // www.zabbix.com/documentation/current/en/manual/web_monitoring
    prober("zabbix", &[Begins("Zabbix")]),
];

/// The prober of a request with this first line and these headers. `whole`: no header is missing.
pub(super) fn of(
    method: Option<&str>,
    path: Option<&str>,
    protocol: Protocol,
    headers: &[Header<'_>],
    whole: bool,
) -> Option<&'static str> {
    let method = method.filter(|method| METHODS.contains(method))?;
    let named = |header: &&Header<'_>, name: &str| header.name.eq_ignore_ascii_case(name);
    let has = |name: &str| headers.iter().any(|header| named(&header, name));
    let agent = headers
        .iter()
        .find(|header| named(header, "user-agent"))
        .map_or(&b""[..], |header| header.value);
    let same = |a: &[u8], b: &str| a.eq_ignore_ascii_case(b.as_bytes());
    let agrees = |wanted: &Agent| match wanted {
        Begins(start) => agent.get(..start.len()).is_some_and(|begin| same(begin, start)),
        Has(part) => agent.windows(part.len()).any(|window| same(window, part)),
    };
    let known = KNOWN
        .iter()
        .find(|known| known.agents.iter().any(agrees) || known.headers.iter().any(|name| has(name)));
    if let Some(known) = known {
        return (!has(DISCOVERY)).then_some(known.name);
    }
    // `option httpchk` without more: docs.haproxy.org, "option httpchk". Browsers' and proxies' OPTIONS have
    // headers; newer versions say `Connection: close`.
    let bare = headers
        .iter()
        .filter(|header| !header.name.is_empty())
        .all(|header| header.name.eq_ignore_ascii_case("connection"));
    let httpchk = (method, path, protocol) == ("OPTIONS", Some("/"), Protocol::Http10);
    (httpchk && whole && bare).then_some(HAPROXY)
}
