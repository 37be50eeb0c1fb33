//! Ids of traces and spans, from the report's id alone: a report that is sent again is the same trace,
//! and who has a report's id finds its trace.
//!
//! The trace id is the first 16 bytes of the SHA-256 of the report's id:
//! `printf %s ID | sha256sum | cut -c 1-32`. The root span's id is the 8 bytes after them. Any other
//! span's is the first 8 bytes of the SHA-256 of `ID/` and the span's key, such as `severed/0`.

use ring::digest::{SHA256, digest};

/// Of one shutdown.
#[derive(Debug, Clone)]
pub struct Ids<'a> {
    report: &'a str,
    hash: [u8; 32],
}

impl<'a> Ids<'a> {
    /// Of the report with this id.
    pub fn of(report: &'a str) -> Self {
        Self {
            report,
            hash: sha256(report),
        }
    }

    /// Trace.
    pub fn trace(&self) -> Vec<u8> {
        self.hash[..16].into()
    }

    /// Root span.
    pub fn root(&self) -> Vec<u8> {
        self.hash[16..24].into()
    }

    /// Another span.
    pub fn span(&self, key: &str) -> Vec<u8> {
        sha256(&format!("{}/{key}", self.report))[..8].into()
    }
}

fn sha256(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn given_an_id_when_hashed_then_it_is_what_sha256sum_says() {
        // printf %s 01hx | sha256sum
        let ids = Ids::of("01hx");
        let hex = |bytes: &[u8]| {
            bytes.iter().fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").unwrap();
                hex
            })
        };
        assert_eq!(
            hex(&ids.hash),
            "1142a3e77c19910de4ae4ddb9d900be2b1cd85d988dba81a1afc97634348a600"
        );
        assert_eq!(hex(&ids.trace()), hex(&ids.hash)[..32]);
        assert_eq!(hex(&ids.root()), hex(&ids.hash)[32..48]);
        assert_eq!(hex(&ids.span("severed/0")), "368e61eb742326fa");
    }
}
