//! Answers that are compressed for who takes that: an exposition shrinks to a twentieth.
//!
//! With gzip alone. Prometheus asks for zstd only with the feature flag `zstd-scrape` (prometheus#19502), and takes gzip then,
//! too; its rules for exporters name gzip alone. The encoder would be a C library or a young crate.

use std::io::Write as _;

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use flate2::{Compression, write::GzEncoder};

use super::answer::whole;

/// Below it a packet is saved at best.
const SMALL: usize = 1400;

/// This text, compressed where the asker accepts gzip; not on the loop's thread.
pub async fn answer(asked: &HeaderMap, kind: &'static str, text: String) -> Response {
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let vary = (header::VARY, HeaderValue::from_static("accept-encoding"));
    let text = Bytes::from(text);
    if text.len() < SMALL || !accepts_gzip(asked) {
        return ([kind, vary], whole(text)).into_response();
    }
    let plain = text.clone();
    match tokio::task::spawn_blocking(move || compress(&text)).await {
        Ok(Some(packed)) => {
            let encoding = (header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            ([kind, vary, encoding], whole(packed.into())).into_response()
        }
        _ => ([kind, vary], whole(plain)).into_response(),
    }
}

fn compress(text: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    encoder.write_all(text).ok()?;
    encoder.finish().ok()
}

/// `gzip`, or anything, without a `q=0`.
fn accepts_gzip(asked: &HeaderMap) -> bool {
    let values = asked.get_all(header::ACCEPT_ENCODING).iter();
    let codings = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let mut accepted = false;
    for coding in codings {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let refused = parts.any(|part| {
            let weight = part.strip_prefix("q=").map(str::parse::<f64>);
            matches!(weight, Some(Ok(weight)) if weight <= 0.0)
        });
        if name.eq_ignore_ascii_case("gzip") {
            return !refused;
        }
        accepted |= name == "*" && !refused;
    }
    accepted
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use http_body_util::BodyExt as _;

    use super::*;

    fn asked(accept: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(accept))])
    }

    #[test]
    fn given_what_is_accepted_when_read_then_weights_count() {
        for (accept, taken) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("identity, *", true),
            ("gzip;q=0", false),
            ("*, gzip;q=0.0", false),
            ("identity", false),
            ("", false),
        ] {
            assert_eq!(accepts_gzip(&asked(accept)), taken, "{accept}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn given_a_large_text_when_asked_for_with_gzip_then_it_is_the_same_in_less() {
        let text = "drainwatch_shutdowns_total{workload=\"web\"} 0\n".repeat(1000);
        let packed = answer(&asked("gzip"), "text/plain", text.clone()).await;
        assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
        assert_eq!(packed.headers()[header::VARY], "accept-encoding");
        let body = packed.into_body().collect().await.unwrap().to_bytes();
        assert!(body.len() * 20 < text.len(), "{}", body.len());
        let mut unpacked = String::new();
        flate2::read::GzDecoder::new(&*body)
            .read_to_string(&mut unpacked)
            .unwrap();
        assert_eq!(unpacked, text);
        let plain = answer(&HeaderMap::new(), "text/plain", text.clone()).await;
        assert!(plain.headers().get(header::CONTENT_ENCODING).is_none());
        assert_eq!(plain.into_body().collect().await.unwrap().to_bytes(), text);
    }
}
