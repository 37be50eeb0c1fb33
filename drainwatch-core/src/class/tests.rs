use proptest::prelude::*;

use super::*;
use crate::exchange::Http;

/// A request that gets a class.
#[derive(Debug, Clone)]
struct Given {
    http: Http,
    port: u16,
    stream: bool,
}

fn post(path: &str) -> Given {
    Given {
        http: Http {
            path: Some(path.into()),
            method: Some("POST".into()),
            ..Http::default()
        },
        port: 80,
        stream: false,
    }
}

impl Given {
    /// The same with another head.
    fn with(&self, change: impl FnOnce(&mut Http)) -> Self {
        let mut changed = self.clone();
        change(&mut changed.http);
        changed
    }

    fn class(&self, classes: &Classes) -> Arc<str> {
        classes.of(&Traffic {
            operation: &Operation::Http(self.http.clone()),
            port: self.port,
            stream: self.stream,
            described: false,
        })
    }
}

fn rules(toml: &str) -> Result<Classes, String> {
    #[derive(Deserialize)]
    struct File {
        class: Vec<Rule>,
    }
    let file: File = toml::from_str(toml).map_err(|error| error.message().to_owned())?;
    Ok(Classes::new(file.class))
}

#[test]
fn given_no_configuration_when_a_path_has_a_segment_of_webhooks_then_it_is_one() {
    let classes = Classes::default();
    for path in [
        "/webhook",
        "/webhooks/stripe",
        "/hooks/17",
        "/callback",
        "/callbacks/paid",
        "/api/v1/webhooks/stripe",
        "/WebHooks/Stripe",
        "/webhooks/…",
    ] {
        assert_eq!(&*post(path).class(&classes), WEBHOOK, "{path}");
    }
    for path in [
        "/",
        "",
        "/webhooked",
        "/my-webhooks/1",
        "/hook",
        "/hookshot",
        "/callbackurl",
        "/webhook…",
        "webhooks2",
        "/%77ebhooks",
    ] {
        assert_eq!(&*post(path).class(&classes), REQUEST, "{path}");
    }
}

#[test]
fn given_a_request_that_only_fetches_when_its_path_is_one_of_webhooks_then_it_is_none() {
    let classes = Classes::default();
    let of = |method: Option<&str>| {
        let asked = post("/oauth/callback").with(|http| http.method = method.map(str::to_owned));
        asked.class(&classes)
    };
    assert_eq!(&*of(Some("GET")), REQUEST);
    assert_eq!(&*of(Some("PUT")), WEBHOOK);
    assert_eq!(&*of(None), WEBHOOK, "a method that was not seen may deliver");
    let signed = post("/sms").with(|http| {
        http.method = Some("GET".into());
        http.sender = Some("twilio".into());
    });
    assert_eq!(&*signed.class(&classes), WEBHOOK, "but a known sender delivers");
}

#[test]
fn given_a_stream_when_no_rule_of_the_users_holds_then_it_stays_a_stream() {
    let stream = Given {
        stream: true,
        ..post("/webhooks/live")
    };
    assert_eq!(&*stream.class(&Classes::default()), STREAM);
    let own = rules("[[class]]\nname = \"live\"\npath = \"/webhooks/live\"").unwrap();
    assert_eq!(&*stream.class(&own), "live");
}

#[test]
fn given_rules_when_several_hold_then_the_first_decides_and_the_defaults_come_last() {
    let classes = rules(
        "[[class]]\nname = \"request\"\npath = \"/webhooks/health\"\n\
         [[class]]\nname = \"payments\"\npath = [\"/pay\", \"/api/*/orders/**\"]\nmethod = [\"POST\", \"PUT\"]\n\
         host = \"*.shop.example\"\nport = 8443\n\
         [[class]]\nname = \"stripe\"\nsender = \"stripe\"\n",
    )
    .unwrap();
    let names: Vec<_> = classes.names().iter().map(|name| &**name).collect();
    assert_eq!(names, ["request", "stream", "webhook", "payments", "stripe"]);
    let paid = Given {
        port: 8443,
        ..post("/pay/17").with(|http| http.host = Some("EU.shop.example:8443".into()))
    };
    assert_eq!(&*paid.class(&classes), "payments");
    let path = |path: &str| paid.with(|http| http.path = Some(path.into()));
    assert_eq!(&*path("/API/v2/orders/1/lines").class(&classes), "payments");
    for (asked, why) in [
        (path("/payments"), "a prefix ends at a segment"),
        (path("/api/v2/x/orders/1"), "a star is one segment"),
        (paid.with(|http| http.path = None), "a path that was not seen"),
        (
            paid.with(|http| http.method = Some("GET".into())),
            "another method",
        ),
        (
            paid.with(|http| http.host = Some("shop.example".into())),
            "not below the host",
        ),
        (paid.with(|http| http.host = None), "a host that was not seen"),
        (
            Given {
                port: 80,
                ..paid.clone()
            },
            "another port",
        ),
    ] {
        assert_eq!(&*asked.class(&classes), REQUEST, "{why}");
    }
    let signed = post("/x").with(|http| http.sender = Some("stripe".into()));
    assert_eq!(&*signed.class(&classes), "stripe");
    assert_eq!(&*post("/webhooks/health/1").class(&classes), REQUEST);
    assert_eq!(&*post("/webhooks/stripe").class(&classes), WEBHOOK);
}

#[test]
fn given_a_rule_that_cannot_be_meant_when_read_then_the_error_says_what_to_write() {
    for (rule, says) in [
        ("name = \"Pay\"\nport = 1", "not a class name"),
        ("name = \"\"\nport = 1", "not a class name"),
        ("name = \"_other\"\nport = 1", "not a class name"),
        ("name = \"a\\n\"\nport = 1", "not a class name"),
        ("name = \"x\"", "has no condition"),
        ("name = \"x\"\npath = []", "has no condition"),
        ("port = 1", "missing field `name`"),
        (
            "name = \"x\"\npath = \"pay\"",
            "class `x`: path `pay` is not a path",
        ),
        ("name = \"x\"\npath = \"/a?b=\\\"1\"", "is not a path"),
        ("name = \"x\"\npath = \"/{a,b}\"", "is not a path"),
        ("name = \"x\"\nhost = \"shop:80\"", "without port"),
        ("name = \"x\"\nmethod = \"post\"", "in capitals"),
        ("name = \"x\"\nport = 0", "class `x`: port 0"),
        ("name = \"x\"\nport = 70000", "one value or a list"),
        ("name = \"x\"\nsender = \"me\"", "the known ones are"),
        ("name = \"x\"\nheader = \"a b\"", "not a header or header pattern"),
        ("name = \"x\"\npaths = \"/a\"", "unknown field `paths`"),
    ] {
        let error = rules(&format!("[[class]]\n{rule}")).unwrap_err();
        assert!(error.contains(says), "{rule}: {error}");
    }
}

#[test]
fn given_rules_with_headers_when_the_head_held_one_then_it_decides_with_the_other_conditions() {
    let classes = rules(
        "[[class]]\nname = \"partner\"\npath = \"/in\"\nheader = \"x-partner: acme*\"\n\
         [[class]]\nname = \"bots\"\nheader = [\"user-agent: *bot*\", \"x-bot\"]\n",
    )
    .unwrap();
    let with = |path, header_rules: &[u8]| {
        let asked = post(path).with(|http| http.header_rules = header_rules.into());
        asked.class(&classes)
    };
    assert_eq!(&*with("/in/1", &[0, 1]), "partner");
    assert_eq!(&*with("/out", &[0, 1]), "bots", "its path is another");
    assert_eq!(&*with("/in/1", &[]), REQUEST);
    assert_eq!(
        &*with("/in/1", &[7, 255]),
        REQUEST,
        "of a recording that somebody changed"
    );
    assert_eq!(
        classes.header_rules(),
        HeaderRules::new([
            &["x-partner: acme*".into()][..],
            &["user-agent: *bot*".into(), "x-bot".into()]
        ])
    );
    let text = serde_json::to_string(classes.rules()).unwrap();
    assert_eq!(Classes::new(serde_json::from_str(&text).unwrap()), classes);
}

#[test]
fn given_classes_when_written_to_a_recording_and_read_back_then_they_are_the_same() {
    let classes = rules("[[class]]\nname = \"x\"\npath = \"/a\"\nport = [1, 2]").unwrap();
    let text = serde_json::to_string(classes.rules()).unwrap();
    assert_eq!(text, r#"[{"name":"x","path":["/a"],"port":[1,2]}]"#);
    assert_eq!(Classes::new(serde_json::from_str(&text).unwrap()), classes);
}

proptest! {
    /// Whatever comes from the network, the class is one of the configuration's.
    #[test]
    fn given_hostile_text_when_classified_then_the_class_is_a_known_one(
        path in ".{0,300}", host in ".{0,200}", method in ".{0,20}", port: u16, stream: bool,
    ) {
        let classes = rules(
            "[[class]]\nname = \"a\"\npath = \"/**/*a*/?b*\"\n[[class]]\nname = \"b\"\nhost = \"*.*.*x\"",
        ).unwrap();
        let (path, host, method) = (Some(path), Some(host), Some(method));
        let http = Http { path, host, method, header_rules: vec![0], ..Http::default() };
        let class = Given { http, port, stream }.class(&classes);
        prop_assert!(classes.names().contains(&class));
    }
}

#[test]
fn given_a_probe_by_head_or_description_when_a_rule_of_the_users_holds_too_then_it_stays_a_probe() {
    let everything = rules("[[class]]\nname = \"web\"\npath = \"/\"\n").unwrap();
    let asked = post("/up").with(|http| http.prober = Some("kubelet".into()));
    assert_eq!(&*asked.class(&everything), PROBE);
    let traffic = Traffic {
        operation: &Operation::Http(post("/up").http),
        port: 80,
        stream: false,
        described: true,
    };
    assert_eq!(&*everything.of(&traffic), PROBE);
}

#[test]
fn given_a_rule_that_is_named_probe_when_it_holds_then_it_makes_probes_and_no_class_of_requests() {
    let classes = rules("[[class]]\nname = \"probe\"\npath = \"/up\"\n").unwrap();
    assert_eq!(&*post("/up").class(&classes), PROBE);
    assert_eq!(&*post("/pay").class(&classes), REQUEST);
    assert!(!classes.names().iter().any(|name| **name == *PROBE));
}
