//! Events, listings and inspections as the socket of Docker or Podman writes them: their descriptions are bounded.
#![no_main]

use bollard::models::{ContainerInspectResponse, ContainerSummary, EventActor};
use drainwatch::names::docker::{of_event, of_inspection, of_summary};
use drainwatch_core::{description::Origin, workload::text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let inspected = serde_json::from_slice::<ContainerInspectResponse>(bytes)
        .ok()
        .and_then(|inspection| of_inspection(Origin::Docker, &inspection));
    let listed = serde_json::from_slice::<ContainerSummary>(bytes)
        .ok()
        .and_then(|summary| of_summary(Origin::Podman, &summary));
    let told = serde_json::from_slice::<EventActor>(bytes)
        .ok()
        .and_then(|actor| of_event(Origin::Docker, &actor, inspected.as_ref()));
    for container in [inspected, listed, told].into_iter().flatten() {
        assert_eq!(container.id.len(), 64, "{}", container.id);
        for name in [
            Some(&container.name),
            container.image.as_ref(),
            container.service.as_ref(),
        ] {
            let name = name.map(String::as_str).unwrap_or_default();
            assert!(
                name.len() <= text::NAME && !name.chars().any(char::is_control),
                "{name:?}"
            );
        }
        assert!(container.grace_seconds.is_none_or(|seconds| seconds >= 0.0));
    }
});
