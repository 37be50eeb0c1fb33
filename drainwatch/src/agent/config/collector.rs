//! Where a collector is, and the headers for it.

use super::Text;
use crate::outlets::sinks::otlp::{Endpoint, Headers};

/// A URL with a password in it is refused, without being repeated.
impl Text for Endpoint {
    const VALUES: &str = "an `http://` or `https://` URL";
    const SECRET: bool = true;
}

impl Text for Headers {
    const VALUES: &str = "`NAME=VALUE,…`, values percent-encoded as in `OTEL_EXPORTER_OTLP_HEADERS`";
    const SECRET: bool = true;
}
