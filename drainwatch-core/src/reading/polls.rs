//! Requests that wait for something to change, by their target: a closed list of interfaces that say so in it.
//!
//! Whoever asks one of these asks again when it ends, whatever ended it, and is told what changed meanwhile. So a
//! workload that ends with one open has lost nothing by it.

/// An interface: how its paths begin and end, and what in the query makes a request wait (a value of `None` stands for any
/// but `0`).
struct Poll {
    begins: &'static str,
    ends: &'static str,
    query: &'static [(&'static str, Option<&'static str>)],
}

const KNOWN: [Poll; 4] = [
    // Consul's blocking queries, and Nomad's: https://developer.hashicorp.com/consul/api-docs/features/blocking
    Poll {
        begins: "/v1/",
        ends: "",
        query: &[("index", None)],
    },
    // Kubernetes' watches: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
    Poll {
        begins: "/api",
        ends: "",
        query: &[("watch", Some("true")), ("watch", Some("1"))],
    },
    // CouchDB's feeds of changes: https://docs.couchdb.org/en/stable/api/database/changes.html
    Poll {
        begins: "/",
        ends: "/_changes",
        query: &[
            ("feed", Some("longpoll")),
            ("feed", Some("continuous")),
            ("feed", Some("eventsource")),
        ],
    },
    // etcd's waits, version 2: https://etcd.io/docs/v2.3/api/#waiting-for-a-change
    Poll {
        begins: "/v2/keys",
        ends: "",
        query: &[("wait", Some("true"))],
    },
];

/// Whether a request of this method for this target waits for a change.
pub(super) fn waits(method: &[u8], target: &[u8]) -> bool {
    let Some(query_at) = target.iter().position(|&byte| byte == b'?') else {
        return false;
    };
    let (path, query) = (&target[..query_at], &target[query_at + 1..]);
    let holds = |(name, value): &(&str, Option<&str>)| {
        query.split(|&byte| byte == b'&').any(|pair| {
            let given = pair
                .strip_prefix(name.as_bytes())
                .and_then(|rest| rest.strip_prefix(b"="));
            given.is_some_and(|given| value.map_or(given != b"0", |value| given == value.as_bytes()))
        })
    };
    method == b"GET"
        && KNOWN.iter().any(|poll| {
            path.starts_with(poll.begins.as_bytes())
                && path.ends_with(poll.ends.as_bytes())
                && poll.query.iter().any(holds)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_targets_then_those_wait_that_say_so_in_the_way_of_a_known_interface() {
        for (target, expected) in [
            ("/v1/health/service/db?index=7&wait=300s", true),
            ("/v1/kv/config?recurse&index=12", true),
            ("/v1/kv/config?index=0", false),
            ("/v1/kv/config?myindex=7", false),
            ("/shop?index=7", false),
            ("/api/v1/pods?resourceVersion=9&watch=true", true),
            ("/apis/apps/v1/deployments?watch=1", true),
            ("/api/v1/pods?watch=false", false),
            ("/films?watch=true", false),
            ("/orders/_changes?feed=longpoll&since=3", true),
            ("/orders/_changes?feed=normal", false),
            ("/v2/keys/a?wait=true", true),
            ("/v2/keys/a", false),
        ] {
            assert_eq!(waits(b"GET", target.as_bytes()), expected, "{target}");
            assert!(!waits(b"POST", target.as_bytes()), "POST {target}");
        }
    }
}
