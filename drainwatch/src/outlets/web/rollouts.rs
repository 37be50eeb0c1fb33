//! `/api/v1/rollouts`: what deploys cost.

use axum::{
    Router,
    body::Bytes,
    extract::{RawQuery, State},
    http::StatusCode,
    response::Response,
    routing::get,
};

use super::App;
use crate::outlets::rollouts;

/// The route.
pub(super) fn router(app: App) -> Router {
    Router::new().route("/api/v1/rollouts", get(list)).with_state(app)
}

async fn list(State(app): State<App>, RawQuery(query): RawQuery) -> Response {
    let wanted = match rollouts::query(query.as_deref().unwrap_or_default(), jiff::Timestamp::now()) {
        Ok(wanted) => wanted,
        Err(what) => return super::error(StatusCode::BAD_REQUEST, &what),
    };
    // Never closed.
    let Ok(_made) = app.made.acquire().await else {
        return super::no_room();
    };
    let found = match rollouts::find(&app.handle, wanted).await {
        Ok(found) => found,
        Err(unanswered) => return super::failed(&unanswered),
    };
    match serde_json::to_string(&found) {
        Ok(body) => app.listing([Bytes::from(body)].into()),
        Err(why) => super::error(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
    }
}
