//! Pods as the Kubernetes API writes them: whatever stands in them, their description is bounded.
#![no_main]

use drainwatch::names::kubernetes::describe;
use drainwatch_core::{description::MOST_CONTAINERS, workload::text};
use k8s_openapi::api::core::v1::Pod;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(pod) = serde_json::from_slice::<Pod>(bytes) else {
        return;
    };
    let Some(first) = describe(&pod, None) else {
        return;
    };
    // Told again, as after a deletion: what was known is carried over.
    let again = describe(&pod, Some(&first)).expect("a pod that was described once is described again");
    for described in [first, again] {
        assert!(described.containers.len() <= MOST_CONTAINERS);
        for name in [&described.name, &described.namespace, &described.workload] {
            assert!(
                name.len() <= text::NAME && !name.chars().any(char::is_control),
                "{name:?}"
            );
        }
    }
});
