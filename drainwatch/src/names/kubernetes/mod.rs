//! The pods of this node, from the Kubernetes API: one watch.
//!
//! | file | what it holds |
//! |---|---|
//! | `client` | the way to the API server: where it is, who this node is, how much it may answer |
//! | `watch` | list and watch, whatever the server does; what changed is told |
//! | `pod` | a pod to its description. Pure, total |
//! | `events` | reports as Kubernetes Events (opt-in) |

mod client;
mod pod;

pub use client::Options;

use super::{Probed, Teller};
use crate::{config::Settings, workload::description::Origin};

/// Tells of the pods of this node, for as long as the agent runs.
pub async fn tell(options: Options, teller: Teller) {
    let _ = (options, teller);
}

/// Asks once: the pods of this node.
pub async fn probe(settings: &Settings) -> Probed {
    let Some(_options) = Options::find(settings) else {
        return Probed {
            origin: Origin::Kubernetes,
            asked: false,
            ok: false,
            says: "no cluster".into(),
        };
    };
    std::future::ready(()).await;
    Probed {
        origin: Origin::Kubernetes,
        asked: true,
        ok: false,
        says: String::new(),
    }
}
