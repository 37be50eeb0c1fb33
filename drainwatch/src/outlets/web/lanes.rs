//! Who may be answered at the same time: probes and metrics have lanes of their own, so that no reader keeps them out.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::Response,
};
use tokio::{sync::Semaphore, time::timeout};

use super::{answer, error};

/// Probes at a time.
const PROBES: usize = 16;
/// Scrapes at a time: each holds a whole exposition.
const SCRAPES: usize = 4;
/// How long a scrape waits for its turn: Prometheus gives up after ten seconds unless told otherwise.
const TURN: Duration = Duration::from_secs(5);

/// The lanes; a place in one is held until the answer is sent.
#[derive(Debug, Clone)]
pub(super) struct Lanes {
    telemetry_path: Arc<str>,
    probes: Arc<Semaphore>,
    scrapes: Arc<Semaphore>,
    others: Arc<Semaphore>,
}

impl Lanes {
    pub fn new(telemetry_path: &str, max_requests: usize) -> Self {
        Self {
            telemetry_path: telemetry_path.into(),
            probes: Arc::new(Semaphore::new(PROBES)),
            scrapes: Arc::new(Semaphore::new(SCRAPES)),
            others: Arc::new(Semaphore::new(max_requests)),
        }
    }

    /// The lane of a path; none of a stream that never ends, which has its own.
    fn of(&self, path: &str) -> Option<&Arc<Semaphore>> {
        match path {
            "/healthz" | "/readyz" => Some(&self.probes),
            "/api/v1/events" => None,
            _ if path == &*self.telemetry_path => Some(&self.scrapes),
            _ => Some(&self.others),
        }
    }
}

/// Answers when there is a place for it, and holds it until the answer is sent.
pub(super) async fn limit(State(lanes): State<Lanes>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let Some(lane) = lanes.of(path) else {
        return next.run(request).await;
    };
    let (place, instead) = if path == &*lanes.telemetry_path {
        let turn = timeout(TURN, Arc::clone(lane).acquire_owned()).await;
        (
            turn.ok().and_then(Result::ok),
            "too many scrapes at once; try again",
        )
    } else {
        let place = Arc::clone(lane).try_acquire_owned().ok();
        (
            place,
            "too many concurrent requests; try again, or raise --web.max-requests",
        )
    };
    let Some(place) = place else {
        return error(StatusCode::SERVICE_UNAVAILABLE, instead);
    };
    next.run(request).await.map(|body| answer::held(body, place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_path_then_probes_and_metrics_have_lanes_of_their_own() {
        let lanes = Lanes::new("/scrape", 40);
        let free = |path| lanes.of(path).map(|lane| lane.available_permits());
        assert_eq!(free("/healthz"), Some(PROBES));
        assert_eq!(free("/scrape"), Some(SCRAPES));
        assert_eq!(
            (free("/metrics"), free("/api/v1/shutdowns")),
            (Some(40), Some(40))
        );
        assert_eq!(free("/api/v1/events"), None);
    }
}
