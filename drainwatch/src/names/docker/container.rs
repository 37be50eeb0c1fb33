//! From what the API says of a container to its description. Everything in it was chosen by other people.

use std::{collections::HashMap, net::IpAddr};

use bollard::models::{ContainerInspectResponse, ContainerSummary, EventActor};
use drainwatch_core::{
    description::{Container, MOST_ADDRESSES, Origin},
    workload::text::shown_name,
};
use nix::libc::SIGTERM;

use crate::names::signal;

/// What both runtimes give a container that asks for nothing else, in seconds.
const GRACE_SECONDS: f64 = 10.0;
/// Beyond this a timeout means "for ever", in seconds.
const FOREVER: i64 = 366 * 86_400;

/// Labels of Compose, and of podman-compose before it wrote the same ones.
const PROJECT: [&str; 2] = ["com.docker.compose.project", "io.podman.compose.project"];
const SERVICE: [&str; 2] = ["com.docker.compose.service", "io.podman.compose.service"];

/// Compose's hash of a service's configuration.
const CONFIG_HASH: &str = "com.docker.compose.config-hash";

/// A container's whole id, as it stands in the path of a cgroup.
pub(super) fn is_id(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// From an event: its attributes hold name, image and labels, even of a container that is gone already.
/// What was known of it stays, where events do not say.
pub fn of_event(origin: Origin, actor: &EventActor, known: Option<&Container>) -> Option<Container> {
    let id = actor.id.as_deref()?;
    let attributes = actor.attributes.as_ref();
    let name = attributes.and_then(|all| all.get("name")).map(String::as_str);
    let image = attributes.and_then(|all| all.get("image")).map(String::as_str);
    let mut container = named(origin, id, name?, image, attributes)?;
    if let Some(known) = known {
        container.image = container.image.or_else(|| known.image.clone());
        container.project = container.project.or_else(|| known.project.clone());
        container.service = container.service.or_else(|| known.service.clone());
        container.revision = container.revision.or_else(|| known.revision.clone());
        container.restarted_ms = known.restarted_ms;
        container.addresses.clone_from(&known.addresses);
        container.stop_signal = known.stop_signal;
        container.grace_seconds = known.grace_seconds;
    }
    Some(container)
}

/// From a listing.
pub fn of_summary(origin: Origin, summary: &ContainerSummary) -> Option<Container> {
    // Old links give a container more names, with a `/` inside.
    let own = |name: &&String| !name.trim_start_matches('/').contains('/');
    let name = summary.names.as_ref()?.iter().find(own)?;
    let image = summary.image.as_deref();
    named(
        origin,
        summary.id.as_deref()?,
        name,
        image,
        summary.labels.as_ref(),
    )
}

/// From an inspection: all of it.
pub fn of_inspection(origin: Origin, inspection: &ContainerInspectResponse) -> Option<Container> {
    let config = inspection.config.as_ref();
    let image = config.and_then(|config| config.image.as_deref());
    let labels = config.and_then(|config| config.labels.as_ref());
    let (id, name) = (inspection.id.as_deref()?, inspection.name.as_deref()?);
    let mut container = named(origin, id, name, image, labels)?;
    let asked = config
        .and_then(|config| config.stop_signal.as_deref())
        .filter(|text| !text.is_empty());
    container.stop_signal = asked.map_or(Some(SIGTERM.cast_unsigned()), |text| signal(text).ok());
    container.grace_seconds = grace(config.and_then(|config| config.stop_timeout));
    container.addresses = addresses(inspection);
    Some(container)
}

/// Its addresses in the networks that it is in; of the host's network none.
fn addresses(inspection: &ContainerInspectResponse) -> Vec<IpAddr> {
    let networks = inspection.network_settings.as_ref();
    let networks = networks.and_then(|settings| settings.networks.as_ref());
    let endpoints = networks.into_iter().flat_map(|networks| networks.values());
    let texts = endpoints.flat_map(|endpoint| [&endpoint.ip_address, &endpoint.global_ipv6_address]);
    texts
        .filter_map(|text| text.as_deref()?.parse().ok())
        .take(MOST_ADDRESSES)
        .collect()
}

/// Docker takes -1 as "for ever".
fn grace(seconds: Option<i64>) -> Option<f64> {
    match seconds {
        None => Some(GRACE_SECONDS),
        Some(seconds @ 0..=FOREVER) => i32::try_from(seconds).ok().map(f64::from),
        Some(_) => None,
    }
}

fn named(
    origin: Origin,
    id: &str,
    name: &str,
    image: Option<&str>,
    labels: Option<&HashMap<String, String>>,
) -> Option<Container> {
    let name = name.trim_start_matches('/');
    if !is_id(id) || name.is_empty() {
        return None;
    }
    let label = |names: [&str; 2]| {
        let found = names.iter().find_map(|name| labels?.get(*name));
        found.filter(|text| !text.is_empty()).map(|text| shown_name(text))
    };
    Some(Container {
        origin,
        id: id.to_owned(),
        name: shown_name(name),
        image: image.filter(|image| !image.is_empty()).map(shown_name),
        project: label(PROJECT),
        service: label(SERVICE),
        stop_signal: None,
        grace_seconds: None,
        revision: labels
            .and_then(|labels| labels.get(CONFIG_HASH))
            .filter(|hash| !hash.is_empty())
            .map(|hash| shown_name(hash)),
        restarted_ms: None,
        addresses: vec![],
    })
}

#[cfg(test)]
mod tests {
    use bollard::models::ContainerConfig;

    use drainwatch_core::workload::text::NAME;

    use super::*;

    fn id() -> String {
        "0a".repeat(32)
    }

    fn labels(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn event(attributes: &[(&str, &str)]) -> EventActor {
        EventActor {
            id: Some(id()),
            attributes: Some(labels(attributes)),
        }
    }

    fn inspection(stop_signal: Option<&str>, stop_timeout: Option<i64>) -> ContainerInspectResponse {
        ContainerInspectResponse {
            id: Some(id()),
            name: Some("/web".into()),
            config: Some(ContainerConfig {
                image: Some("shop/web:1.2".into()),
                labels: Some(labels(&[
                    ("com.docker.compose.project", "shop"),
                    ("com.docker.compose.service", "web"),
                ])),
                stop_signal: stop_signal.map(str::to_owned),
                stop_timeout,
                ..ContainerConfig::default()
            }),
            ..ContainerInspectResponse::default()
        }
    }

    #[test]
    fn given_an_event_then_its_attributes_name_the_container_and_its_compose_service() {
        let actor = event(&[
            ("name", "shop-web-1"),
            ("image", "shop/web:1.2"),
            ("com.docker.compose.project", "shop"),
            ("com.docker.compose.service", "web"),
            ("exitCode", "0"),
        ]);
        let container = of_event(Origin::Docker, &actor, None).unwrap();
        assert_eq!(container.name, "shop-web-1");
        assert_eq!(container.image.as_deref(), Some("shop/web:1.2"));
        assert_eq!(
            (container.project.as_deref(), container.service.as_deref()),
            (Some("shop"), Some("web"))
        );
        assert_eq!((container.stop_signal, container.grace_seconds), (None, None));
    }

    #[test]
    fn given_an_event_about_a_known_container_then_what_was_inspected_stays() {
        let known = of_inspection(Origin::Docker, &inspection(Some("SIGUSR1"), Some(3))).unwrap();
        let renamed = of_event(Origin::Docker, &event(&[("name", "other")]), Some(&known)).unwrap();
        assert_eq!(
            renamed,
            Container {
                name: "other".into(),
                ..known
            }
        );
    }

    #[test]
    fn given_the_labels_of_podman_compose_then_they_are_read_too() {
        let actor = event(&[
            ("name", "shop_web_1"),
            ("io.podman.compose.project", "shop"),
            ("io.podman.compose.service", "web"),
        ]);
        let container = of_event(Origin::Podman, &actor, None).unwrap();
        assert_eq!(
            (container.project.as_deref(), container.service.as_deref()),
            (Some("shop"), Some("web"))
        );
    }

    #[test]
    fn given_stop_signals_in_every_spelling_then_each_is_its_number() {
        for (text, number) in [
            (None, Some(15)),
            (Some(""), Some(15)),
            (Some("SIGTERM"), Some(15)),
            (Some("TERM"), Some(15)),
            (Some("15"), Some(15)),
            (Some("SIGRTMIN+3"), Some(37)),
            (Some("sigquit"), Some(3)),
            (Some("SIGNONSENSE"), None),
            (Some("4711"), None),
        ] {
            let container = of_inspection(Origin::Docker, &inspection(text, None)).unwrap();
            assert_eq!(container.stop_signal, number, "{text:?}");
        }
    }

    #[test]
    fn given_stop_timeouts_then_none_asked_for_is_ten_seconds_and_less_than_none_is_for_ever() {
        for (asked, grace) in [
            (None, Some(10.0)),
            (Some(0), Some(0.0)),
            (Some(30), Some(30.0)),
            (Some(-1), None),
            (Some(i64::MAX), None),
        ] {
            let container = of_inspection(Origin::Docker, &inspection(None, asked)).unwrap();
            assert_eq!(container.grace_seconds, grace, "{asked:?}");
        }
    }

    #[test]
    fn given_a_listing_then_the_name_without_a_link_is_taken() {
        let summary = ContainerSummary {
            id: Some(id()),
            names: Some(vec!["/other/alias".into(), "/web".into()]),
            ..ContainerSummary::default()
        };
        assert_eq!(of_summary(Origin::Docker, &summary).unwrap().name, "web");
    }

    #[test]
    fn given_hostile_names_then_they_are_bounded_and_escaped_and_what_is_no_id_is_left_out() {
        let long = "x".repeat(100_000);
        let actor = event(&[
            ("name", "a\u{1b}[31m\nb"),
            ("image", &long),
            ("com.docker.compose.project", &long),
            ("com.docker.compose.service", "\u{202e}"),
        ]);
        let container = of_event(Origin::Docker, &actor, None).unwrap();
        assert_eq!(container.name, "a\\x1b[31m\\x0ab");
        assert!(container.image.unwrap().len() <= NAME && container.project.unwrap().len() <= NAME);
        assert_eq!(container.service.as_deref(), Some("\\u{202e}"));
        for id in [
            String::new(),
            "../etc".into(),
            "0".repeat(63),
            "g".repeat(64),
            long,
        ] {
            let actor = EventActor {
                id: Some(id),
                ..event(&[("name", "web")])
            };
            assert_eq!(of_event(Origin::Docker, &actor, None), None);
        }
        assert_eq!(of_event(Origin::Docker, &event(&[("name", "/")]), None), None);
        assert_eq!(of_event(Origin::Docker, &event(&[]), None), None);
    }
}
