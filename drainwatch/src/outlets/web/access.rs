//! `--web.config.file`: TLS, client certificates and basic auth, in the format of Prometheus's exporters.
//!
//! The file is read once, at the start. A key that would have no effect is an error.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{hmac, rand::SystemRandom};
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use serde::Deserialize;
use tokio::{sync::Semaphore, time::timeout};
use tokio_rustls::TlsAcceptor;

use super::error;
use crate::names::bounded;

/// Passwords that are looked at at the same time: each takes a tenth of a second of a core or more.
const LOOKED_AT: usize = 2;
/// How long one may wait for that.
const LOOKED_AT_WITHIN: Duration = Duration::from_secs(2);
/// Most pairs of user and password that are known to be right.
const KNOWN: usize = 64;
/// The hash of a password that nobody knows: whether a user exists must not show by the time that the answer takes.
const NOBODYS: &str = "$2y$10$S9fr4THeEY6PK9x/uCeA3u/qO6vasg5Cay0zY1ZW3KBAmoJvZuS.2";

/// Who may ask, and how.
#[derive(Clone, Default)]
pub struct Access {
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) users: Option<Users>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("tls", &self.tls.is_some())
            .field("users", &self.users.is_some())
            .finish()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tls_server_config: Option<Tls>,
    #[serde(default)]
    basic_auth_users: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    cert_file: PathBuf,
    key_file: PathBuf,
    #[serde(default)]
    client_auth_type: ClientAuth,
    client_ca_file: Option<PathBuf>,
    #[serde(default)]
    min_version: MinVersion,
}

/// The names that Go gives them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
enum ClientAuth {
    #[default]
    NoClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
enum MinVersion {
    #[default]
    #[serde(rename = "TLS12")]
    Tls12,
    #[serde(rename = "TLS13")]
    Tls13,
}

impl Access {
    /// Reads the file; the error is one line that says what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, String> {
        let bad = |why: String| format!("{}: {}", path.display(), why.trim().replace('\n', "; "));
        let text = bounded::read(path).map_err(|why| bad(why.to_string()))?;
        let file: File = serde_saphyr::from_str(&text).map_err(|why| bad(why.to_string()))?;
        let beside = path.parent().unwrap_or(Path::new("."));
        let tls = file.tls_server_config.map(|tls| tls.acceptor(beside));
        let users = Users::new(file.basic_auth_users).map_err(bad)?;
        Ok(Self {
            tls: tls.transpose().map_err(bad)?,
            users,
        })
    }
}

impl Tls {
    fn acceptor(&self, beside: &Path) -> Result<TlsAcceptor, String> {
        let provider = Arc::new(default_provider());
        let versions: &[&SupportedProtocolVersion] = match self.min_version {
            MinVersion::Tls12 => &[&TLS12, &TLS13],
            MinVersion::Tls13 => &[&TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|why| why.to_string())?;
        let builder = match (&self.client_ca_file, self.client_auth_type) {
            (None, ClientAuth::NoClientCert) => builder.with_no_client_auth(),
            (Some(_), ClientAuth::NoClientCert) => {
                return Err("client_ca_file has no effect without client_auth_type".into());
            }
            (None, _) => return Err("client_auth_type needs client_ca_file".into()),
            (Some(file), asked) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(&beside.join(file))? {
                    roots
                        .add(certificate)
                        .map_err(|why| format!("{}: {why}", file.display()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                let verifier = if asked == ClientAuth::VerifyClientCertIfGiven {
                    verifier.allow_unauthenticated()
                } else {
                    verifier
                };
                let verifier = verifier
                    .build()
                    .map_err(|why| format!("{}: {why}", file.display()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key_file = beside.join(&self.key_file);
        let key = pem(&key_file, PrivateKeyDer::from_pem_slice)?;
        let mut config = builder
            .with_single_cert(certificates(&beside.join(&self.cert_file))?, key)
            .map_err(|why| format!("{}: {why}", key_file.display()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = pem(path, |text| {
        CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>()
    })?;
    if certificates.is_empty() {
        return Err(format!("{}: no certificate in it", path.display()));
    }
    Ok(certificates)
}

fn pem<T>(
    path: &Path,
    of: impl FnOnce(&[u8]) -> Result<T, rustls::pki_types::pem::Error>,
) -> Result<T, String> {
    let bad = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let text = bounded::read(path).map_err(|why| bad(&why))?;
    of(text.as_bytes()).map_err(|why| bad(&why))
}

/// Users with the hashes of their passwords.
#[derive(Clone)]
pub(super) struct Users(Arc<Inner>);

struct Inner {
    hashes: BTreeMap<String, String>,
    /// What is known to be right, by a key that nobody has.
    known: Mutex<HashSet<Vec<u8>>>,
    key: hmac::Key,
    room: Arc<Semaphore>,
}

impl Users {
    fn new(hashes: BTreeMap<String, String>) -> Result<Option<Self>, String> {
        if hashes.is_empty() {
            return Ok(None);
        }
        for (user, hash) in &hashes {
            if hash.parse::<bcrypt::HashParts>().is_err() {
                return Err(format!(
                    "basic_auth_users: what stands for `{user}` is no bcrypt hash"
                ));
            }
        }
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let key = key.map_err(|_| "the system has no random numbers".to_owned())?;
        Ok(Some(Self(Arc::new(Inner {
            hashes,
            known: Mutex::default(),
            key,
            room: Arc::new(Semaphore::new(LOOKED_AT)),
        }))))
    }

    /// Whether this is a user with that password; an error when too many are looked at.
    async fn are(&self, pair: &str) -> Result<bool, io::Error> {
        let known = || self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        let tag = hmac::sign(&self.0.key, pair.as_bytes()).as_ref().to_vec();
        if known().contains(&tag) {
            return Ok(true);
        }
        let Some((user, password)) = pair.split_once(':') else {
            return Ok(false);
        };
        let room = timeout(LOOKED_AT_WITHIN, Arc::clone(&self.0.room).acquire_owned()).await;
        let Ok(Ok(room)) = room else {
            return Err(io::ErrorKind::TimedOut.into());
        };
        let hash = self.0.hashes.get(user);
        let exists = hash.is_some();
        let (hash, password) = (
            hash.map_or(NOBODYS, String::as_str).to_owned(),
            password.to_owned(),
        );
        let looked_at = tokio::task::spawn_blocking(move || {
            let is_right = bcrypt::verify(password, &hash).unwrap_or(false);
            drop(room);
            is_right
        });
        let is_right = looked_at.await.unwrap_or(false) && exists;
        if is_right {
            let mut known = known();
            if known.len() >= KNOWN {
                known.clear();
            }
            known.insert(tag);
        }
        Ok(is_right)
    }
}

/// Answers users alone, where there are any.
pub(super) async fn check(State(users): State<Option<Users>>, request: Request, next: Next) -> Response {
    let Some(users) = users else {
        return next.run(request).await;
    };
    let given = request.headers().get(header::AUTHORIZATION);
    let pair = given
        .and_then(|value| value.to_str().ok()?.strip_prefix("Basic "))
        .and_then(|encoded| STANDARD.decode(encoded.trim()).ok())
        .and_then(|pair| String::from_utf8(pair).ok());
    let is_user = match pair {
        Some(pair) => users.are(&pair).await,
        None => Ok(false),
    };
    match is_user {
        Ok(true) => next.run(request).await,
        Ok(false) => {
            let mut refused = error(StatusCode::UNAUTHORIZED, "user and password are needed");
            let basic = HeaderValue::from_static("Basic realm=\"drainwatch\"");
            refused.headers_mut().insert(header::WWW_AUTHENTICATE, basic);
            refused
        }
        Err(_) => error(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many passwords to look at; try again",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `secret`, with the least cost that there is.
    fn hash() -> String {
        bcrypt::hash("secret", 4).unwrap()
    }

    fn read(text: &str) -> Result<Access, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Access::read(file.path())
    }

    #[tokio::test]
    async fn given_users_then_their_password_is_right_and_no_other_and_no_other_user_is() {
        let access = read(&format!("basic_auth_users:\n  prometheus: {}\n", hash())).unwrap();
        let users = access.users.unwrap();
        for _ in 0..2 {
            assert!(users.are("prometheus:secret").await.unwrap());
        }
        for wrong in [
            "prometheus:",
            "prometheus:other",
            "somebody:secret",
            "prometheus",
            "",
        ] {
            assert!(!users.are(wrong).await.unwrap(), "{wrong}");
        }
        assert!(NOBODYS.parse::<bcrypt::HashParts>().is_ok());
    }

    #[test]
    fn given_a_file_that_cannot_be_used_then_the_refusal_is_one_line_that_says_why() {
        for (text, says) in [
            ("basic_auth_users:\n  a: plain\n", "no bcrypt hash"),
            ("tls_server_config:\n  cert_file: a.pem\n", "key_file"),
            (
                "tls_server_config:\n  cert_file: /nowhere/a.pem\n  key_file: /nowhere/b.pem\n",
                "/nowhere/b.pem",
            ),
            (
                "tls_server_config:\n  cert_file: a\n  key_file: b\n  client_auth_type: RequireAndVerifyClientCert\n",
                "needs client_ca_file",
            ),
            ("http_server_config:\n  http2: true\n", "http_server_config"),
            ("- 1\n", ""),
        ] {
            let why = read(text).unwrap_err();
            assert!(why.contains(says) && !why.contains('\n'), "{text}: {why}");
        }
        let access = read("").unwrap_or_default();
        assert!(access.tls.is_none() && access.users.is_none());
    }
}
