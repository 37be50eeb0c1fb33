//! Where a collector is, and the headers for it: `--otlp.endpoint` and `--otlp.headers`.

use std::{fmt, str::FromStr};

use axum::http::{HeaderName, HeaderValue, Uri, header};

/// Most headers.
const MOST_HEADERS: usize = 32;

/// Where the collector is: the URL below which it has `/v1/traces` and `/v1/logs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(String);

impl Endpoint {
    /// The URL of this path below it.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// Over TLS.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https:")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `http://collector:4318`. The message of a refusal does not repeat the URL: a password may be in it.
impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let example = "write for example http://collector:4318";
        let uri: Uri = text
            .parse()
            .map_err(|why| format!("this is not a URL ({why}); {example}"))?;
        let scheme = uri.scheme_str().unwrap_or_default();
        if !["http", "https"].contains(&scheme) || uri.host().is_none_or(str::is_empty) {
            return Err(format!("this is not an http:// or https:// URL; {example}"));
        }
        if uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(
                "a URL with a password in it would be logged; give it with --otlp.headers, \
                        Authorization=Basic%20…"
                    .into(),
            );
        }
        if uri.query().is_some() {
            return Err(format!(
                "a URL with a query cannot be joined with /v1/traces; {example}"
            ));
        }
        if uri.path().ends_with("/v1/traces") || uri.path().ends_with("/v1/logs") {
            return Err(format!(
                "/v1/traces and /v1/logs are appended to the URL; omit them: {example}"
            ));
        }
        Ok(Self(text.trim_end_matches('/').into()))
    }
}

/// Headers of every request to the collector. They may be secrets: never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(HeaderName, HeaderValue)>);

impl Headers {
    /// Name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// None were given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Headers({} not shown)", self.0.len())
    }
}

/// `NAME=VALUE,NAME=VALUE`, values percent-encoded where they have a comma, a space or a percent sign: as
/// `OTEL_EXPORTER_OTLP_HEADERS`. A refusal does not repeat what was given.
impl FromStr for Headers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
        let headers: Vec<_> = pairs
            .enumerate()
            .map(|(at, pair)| {
                one(pair).map_err(|why| {
                    format!(
                        "header {} {why}; write NAME=VALUE, for example Authorization=Bearer%20TOKEN",
                        at + 1
                    )
                })
            })
            .collect::<Result<_, _>>()?;
        if headers.len() > MOST_HEADERS {
            return Err(format!("there are more than {MOST_HEADERS} headers"));
        }
        Ok(Self(headers))
    }
}

fn one(pair: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    let (name, value) = pair.split_once('=').ok_or("has no `=`")?;
    let name: HeaderName = name.trim().parse().map_err(|_| "has no valid name")?;
    let ours = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::HOST,
        header::TRANSFER_ENCODING,
    ];
    if ours.contains(&name) {
        return Err("is one that drainwatch sets itself");
    }
    let value: Vec<u8> = percent_encoding::percent_decode_str(value.trim()).collect();
    let mut value = HeaderValue::from_bytes(&value).map_err(|_| "has no valid value")?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_urls_when_parsed_then_only_the_base_of_a_collector_is_taken() {
        let join = |text: &str| text.parse::<Endpoint>().map(|url| url.join("/v1/traces"));
        assert_eq!(join("http://c:4318").unwrap(), "http://c:4318/v1/traces");
        assert_eq!(join("https://c/otlp/").unwrap(), "https://c/otlp/v1/traces");
        for (bad, says) in [
            ("", "not a URL"),
            ("c:4318", "not an http:// or https:// URL"),
            ("grpc://c:4317", "not an http:// or https:// URL"),
            ("http://", "not a URL"),
            ("http://c:4318/v1/traces", "omit them"),
            ("http://c?key=1", "query"),
        ] {
            let why = join(bad).unwrap_err();
            assert!(why.contains(says), "{bad}: {why}");
        }
        let why = join("https://me:secret@c").unwrap_err();
        assert!(!why.contains("secret") && why.contains("--otlp.headers"), "{why}");
    }

    #[test]
    fn given_headers_when_parsed_then_values_are_decoded_and_never_shown() {
        let headers: Headers = "Authorization=Bearer%20a%2Cb==, x-scope=7,".parse().unwrap();
        let pairs: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(pairs, [("authorization", "Bearer a,b=="), ("x-scope", "7")]);
        assert_eq!(format!("{headers:?}"), "Headers(2 not shown)");
        for bad in [
            "secret",
            "=secret",
            "a b=secret",
            "a=sec%0Aret",
            "Content-Type=secret",
        ] {
            let why = bad.parse::<Headers>().unwrap_err();
            assert!(why.starts_with("header 1") && !why.contains("sec"), "{why}");
        }
        assert!("a=b,".repeat(33).parse::<Headers>().is_err());
    }
}
