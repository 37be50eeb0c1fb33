//! The page at `/` and its files: in the program, with a policy that lets the browser load nothing else.
//!
//! What the page shows of reports it asks `/api/v1` for. It takes nothing from the network for markup: its scripts
//! only ever set text, and the policy (`script-src`, trusted types) would refuse anything else.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

/// Only what this server serves; no inline script or style, no markup made of strings, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
     trusted-types 'none'";

/// Headers of every file of the page.
const GUARDS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    // Kept by the browser, but asked for again each time: after an update of the agent no old script runs.
    (header::CACHE_CONTROL, "no-cache"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// Where the files are; a folder of their own, so that the page works below any prefix.
const FOLDER: &str = "/page/";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Name below [`FOLDER`], type, text.
const FILES: [(&str, &str, &str); 12] = [
    (
        "style.css",
        "text/css; charset=utf-8",
        include_str!("../../../page/style.css"),
    ),
    (
        "icon.svg",
        "image/svg+xml",
        include_str!("../../../page/icon.svg"),
    ),
    ("theme.js", SCRIPT, include_str!("../../../page/theme.js")),
    ("main.js", SCRIPT, include_str!("../../../page/main.js")),
    ("dom.js", SCRIPT, include_str!("../../../page/dom.js")),
    ("words.js", SCRIPT, include_str!("../../../page/words.js")),
    ("feed.js", SCRIPT, include_str!("../../../page/feed.js")),
    ("counts.js", SCRIPT, include_str!("../../../page/counts.js")),
    ("list.js", SCRIPT, include_str!("../../../page/list.js")),
    ("rollouts.js", SCRIPT, include_str!("../../../page/rollouts.js")),
    ("shutdown.js", SCRIPT, include_str!("../../../page/shutdown.js")),
    ("timeline.js", SCRIPT, include_str!("../../../page/timeline.js")),
];

const INDEX: &str = include_str!("../../../page/index.html");

/// One file, ready to be sent.
#[derive(Debug, Clone)]
struct File {
    body: Bytes,
    kind: HeaderValue,
    tag: HeaderValue,
}

impl File {
    fn new(kind: &'static str, body: Bytes) -> Self {
        let mut hasher = DefaultHasher::new();
        (env!("CARGO_PKG_VERSION"), &body).hash(&mut hasher);
        let tag = HeaderValue::from_str(&format!("\"{:016x}\"", hasher.finish()));
        Self {
            body,
            kind: HeaderValue::from_static(kind),
            // Hexadecimal digits in quotes are a header's value always.
            tag: tag.unwrap_or(HeaderValue::from_static("\"\"")),
        }
    }

    fn answer(self, asked: &HeaderMap) -> Response {
        let mut response = if self.is_known(asked) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            ([(header::CONTENT_TYPE, self.kind)], self.body).into_response()
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.tag);
        for (name, value) in GUARDS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }

    /// The asker has this very file (`If-None-Match`).
    fn is_known(&self, asked: &HeaderMap) -> bool {
        let Ok(tag) = self.tag.to_str() else {
            return false;
        };
        asked
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|known| known.trim().trim_start_matches("W/"))
            .any(|known| known == tag || known == "*")
    }
}

/// The page for browsers, `index` for who does not ask for HTML, and the page's files.
pub fn router(telemetry_path: &str, index: String) -> Router {
    let page = INDEX
        .replace("{version}", env!("CARGO_PKG_VERSION"))
        .replace("{metrics}", telemetry_path.trim_start_matches('/'));
    let page = File::new("text/html; charset=utf-8", page.into());
    let index = File::new("text/plain; charset=utf-8", index.into());
    let mut router = Router::new().route(
        "/",
        get(move |asked: HeaderMap| async move {
            let file = if wants_html(&asked) { page } else { index };
            let mut response = file.answer(&asked);
            response
                .headers_mut()
                .insert(header::VARY, HeaderValue::from_static("accept"));
            response
        }),
    );
    for (name, kind, text) in FILES {
        let file = File::new(kind, Bytes::from_static(text.as_bytes()));
        router = router.route(
            &format!("{FOLDER}{name}"),
            get(move |asked: HeaderMap| async move { file.answer(&asked) }),
        );
    }
    router
}

/// Browsers name HTML when they open a page; curl and scripts do not.
fn wants_html(asked: &HeaderMap) -> bool {
    asked
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.to_ascii_lowercase().contains("text/html"))
}

#[cfg(test)]
mod tests;
