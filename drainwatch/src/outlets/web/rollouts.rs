//! `/api/v1/rollouts`: what deploys cost.

use axum::{
    Router,
    extract::{RawQuery, State},
    http::StatusCode,
    response::Response,
    routing::get,
};

use crate::outlets::{questions::Handle, rollouts};

/// The route.
pub fn router(handle: Handle) -> Router {
    Router::new()
        .route("/api/v1/rollouts", get(list))
        .with_state(handle)
}

async fn list(State(handle): State<Handle>, RawQuery(query): RawQuery) -> Response {
    let wanted = match rollouts::query(query.as_deref().unwrap_or_default(), jiff::Timestamp::now()) {
        Ok(wanted) => wanted,
        Err(what) => return super::error(StatusCode::BAD_REQUEST, &what),
    };
    let found = match rollouts::find(&handle, wanted).await {
        Ok(found) => found,
        Err(unanswered) => return super::failed(&unanswered),
    };
    match serde_json::to_string(&found) {
        Ok(body) => super::json(StatusCode::OK, body),
        Err(why) => super::error(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
    }
}
