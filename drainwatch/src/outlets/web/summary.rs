//! `/api/v1/summary`: what shutdowns came to.

use axum::{
    Router,
    body::Body,
    extract::{RawQuery, State},
    http::StatusCode,
    response::Response,
    routing::get,
};

use super::App;
use crate::outlets::summary;

/// The route.
pub(super) fn router(app: App) -> Router {
    Router::new().route("/api/v1/summary", get(count)).with_state(app)
}

async fn count(State(app): State<App>, RawQuery(query): RawQuery) -> Response {
    let now = jiff::Timestamp::now();
    let filter = match summary::query(query.as_deref().unwrap_or_default(), now) {
        Ok(filter) => filter,
        Err(what) => return super::error(StatusCode::BAD_REQUEST, &what),
    };
    // Never closed.
    let Ok(_made) = app.made.acquire().await else {
        return super::no_room();
    };
    let counted = match summary::count(&app.handle, filter, now).await {
        Ok(counted) => counted,
        Err(unanswered) => return super::failed(&unanswered),
    };
    match serde_json::to_string(&counted) {
        Ok(body) => super::json(StatusCode::OK, Body::from(body)),
        Err(why) => super::error(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
    }
}
