//! Text from the network, made fit for reports: bounded, printable ASCII, no secrets.

use std::fmt::Write as _;

/// Most characters of a method.
pub(super) const METHOD: usize = 16;
/// Most characters of a path.
pub(super) const PATH: usize = 256;
/// Most characters of a host.
pub(super) const HOST: usize = 128;

/// Stands at the end of what was cut.
const CUT: char = '…';

/// A method as it may be shown.
pub(super) fn method(raw: &[u8]) -> String {
    escape(raw, METHOD, false)
}

/// A host as it may be shown: without the user name and password that an authority may carry.
pub(super) fn host(raw: &[u8]) -> String {
    let start = raw.iter().rposition(|&byte| byte == b'@').map_or(0, |at| at + 1);
    escape(&raw[start..], HOST, false)
}

/// The name of a queue as it may be shown.
pub(super) fn name(raw: &[u8]) -> String {
    escape(raw, PATH, false)
}

/// Path and host of a request target (RFC 9112 section 3.2). Query and fragment may hold secrets and
/// are never shown. `whole` is false when the target's end was not seen.
pub(super) fn target(raw: &[u8], connect: bool, whole: bool) -> (Option<String>, Option<String>) {
    if connect {
        return (None, Some(host(raw)));
    }
    let (authority, path_on) = match raw.windows(3).position(|window| window == b"://") {
        Some(scheme) if !raw.starts_with(b"/") && !raw[..scheme].contains(&b'?') => {
            let rest = &raw[scheme + 3..];
            let end = rest
                .iter()
                .position(|byte| b"/?#".contains(byte))
                .unwrap_or(rest.len());
            (Some(host(&rest[..end])), &rest[end..])
        }
        _ => (None, raw),
    };
    let end = path_on.iter().position(|byte| b"?#".contains(byte));
    let path = &path_on[..end.unwrap_or(path_on.len())];
    let cut = !whole && end.is_none();
    let path = if path.is_empty() && !cut {
        "/".to_owned()
    } else {
        escape(path, PATH, cut)
    };
    (Some(path), authority)
}

/// Percent-encodes what could do harm in a terminal, a label or HTML, and cuts to `most` characters.
fn escape(raw: &[u8], most: usize, cut: bool) -> String {
    let mut out = String::with_capacity(raw.len().min(most));
    let mut whole = !cut;
    for &byte in raw {
        let plain = byte.is_ascii_graphic() && !b"\"'<>\\`".contains(&byte);
        let before = out.len();
        if plain {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}"); // writing to a String cannot fail
        }
        if out.len() > most {
            out.truncate(before);
            whole = false;
            break;
        }
    }
    if !whole {
        while out.len() >= most {
            // Never leave half of an escape that we wrote.
            let keep = out.len() - 1;
            out.truncate(keep);
            if let Some(percent) = out.rfind('%')
                && out.len() - percent < 3
            {
                out.truncate(percent);
            }
        }
        out.push(CUT);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_target_in_any_form_when_shown_then_path_without_query_and_the_authority_without_password() {
        let table: &[(&str, Option<&str>, Option<&str>)] = &[
            ("/a/b", Some("/a/b"), None),
            ("/a?token=s3cret", Some("/a"), None),
            ("/a#fragment", Some("/a"), None),
            ("/?next=http://x/y", Some("/"), None),
            ("/proxy/http://x/y", Some("/proxy/http://x/y"), None),
            (
                "http://shop.example:8080/cart?id=1",
                Some("/cart"),
                Some("shop.example:8080"),
            ),
            (
                "http://user:s3cret@shop.example/",
                Some("/"),
                Some("shop.example"),
            ),
            ("http://shop.example", Some("/"), Some("shop.example")),
            ("http://shop.example?x=/y", Some("/"), Some("shop.example")),
            ("*", Some("*"), None),
        ];
        for &(raw, path, authority) in table {
            let shown = target(raw.as_bytes(), false, true);
            assert_eq!(
                (shown.0.as_deref(), shown.1.as_deref()),
                (path, authority),
                "{raw}"
            );
        }
        assert_eq!(
            target(b"db.example:443", true, true),
            (None, Some("db.example:443".to_owned()))
        );
    }

    #[test]
    fn given_harmful_bytes_when_shown_then_they_are_percent_encoded() {
        assert_eq!(
            target(b"/\x1b[2J<b>\"'\n\xff\\", false, true).0.unwrap(),
            "/%1B[2J%3Cb%3E%22%27%0A%FF%5C"
        );
    }

    #[test]
    fn given_a_long_path_when_shown_then_it_is_cut_with_an_ellipsis_and_no_half_escape() {
        let exact = format!("/{}", "a".repeat(PATH - 1));
        assert_eq!(target(exact.as_bytes(), false, true).0.unwrap(), exact);
        for fill in 0..6 {
            let raw = [b"/".to_vec(), vec![b'a'; PATH - 8 + fill], vec![0xff; 9]].concat();
            let shown = target(&raw, false, true).0.unwrap();
            assert!(shown.chars().count() <= PATH && shown.ends_with(CUT), "{shown}");
            let tail = shown.trim_end_matches(CUT).trim_start_matches(['/', 'a']);
            assert_eq!(tail.replace("%FF", ""), "", "{shown}");
        }
    }

    #[test]
    fn given_a_target_whose_end_was_not_seen_when_shown_then_it_says_so_unless_the_query_had_begun() {
        assert_eq!(target(b"/upl", false, false).0.unwrap(), "/upl…");
        assert_eq!(target(b"/upload?na", false, false).0.unwrap(), "/upload");
    }
}
