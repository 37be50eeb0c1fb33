//! Who sends webhooks, told by the head of the request: a closed list, so that nothing a stranger
//! writes into a header gets any further.
//!
//! Anyone can write these headers: they say what a request claims to be, which is enough for a class.

use httparse::Header;

/// A sender, the beginnings of its `User-Agent`, and headers that only its requests have (most of
/// them carry the signature that the receiver is to check).
struct Sender {
    name: &'static str,
    agents: &'static [&'static str],
    headers: &'static [&'static str],
}

const fn sender(
    name: &'static str,
    agents: &'static [&'static str],
    headers: &'static [&'static str],
) -> Sender {
    Sender {
        name,
        agents,
        headers,
    }
}

/// The list, the most particular first: `x-hub-signature-256` alone may be GitHub, Meta or any `WebSub` hub.
const KNOWN: [Sender; 22] = [
    sender("stripe", &["Stripe/"], &["stripe-signature"]),
    sender(
        "github",
        &["GitHub-Hookshot"],
        &["x-github-event", "x-github-delivery"],
    ),
    sender("gitlab", &[], &["x-gitlab-event", "x-gitlab-token"]),
    sender("bitbucket", &["Bitbucket-Webhooks/"], &[]),
    sender("shopify", &["Shopify-Captain-Hook"], &["x-shopify-hmac-sha256"]),
    sender("slack", &["Slackbot 1.0"], &["x-slack-signature"]),
    sender("twilio", &["TwilioProxy/"], &["x-twilio-signature"]),
    sender("sendgrid", &[], &["x-twilio-email-event-webhook-signature"]),
    sender("paypal", &[], &["paypal-transmission-sig"]),
    sender("square", &[], &["x-square-hmacsha256-signature"]),
    sender("paddle", &[], &["paddle-signature"]),
    sender("adyen", &["Adyen HttpClient"], &[]),
    sender("discord", &["Discord-Interactions/"], &["x-signature-ed25519"]),
    sender("telegram", &[], &["x-telegram-bot-api-secret-token"]),
    sender("zoom", &[], &["x-zm-signature"]),
    sender("linear", &[], &["linear-signature"]),
    sender("pagerduty", &["PagerDuty-Webhook/"], &["x-pagerduty-signature"]),
    sender("sentry", &[], &["sentry-hook-signature"]),
    sender("hubspot", &[], &["x-hubspot-signature", "x-hubspot-signature-v3"]),
    sender(
        "amazon-sns",
        &["Amazon Simple Notification Service"],
        &["x-amz-sns-message-type"],
    ),
    sender(
        "hub",
        &["facebookexternalua"],
        &["x-hub-signature-256", "x-hub-signature"],
    ),
    // standardwebhooks.com, and Svix that it came from.
    sender(
        "standard-webhooks",
        &["Svix-Webhooks/"],
        &["webhook-signature", "svix-signature"],
    ),
];

/// Names of all known senders.
pub const NAMES: [&str; KNOWN.len()] = {
    let mut names = [""; KNOWN.len()];
    let mut at = 0;
    while at < KNOWN.len() {
        names[at] = KNOWN[at].name;
        at += 1;
    }
    names
};

/// The sender of a request with these headers.
pub(super) fn of(headers: &[Header<'_>]) -> Option<&'static str> {
    let agent = headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("user-agent"))
        .map_or(&b""[..], |header| header.value);
    let begins = |start: &str| {
        agent
            .get(..start.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
    };
    let has = |name: &str| {
        headers
            .iter()
            .any(|header| header.name.eq_ignore_ascii_case(name))
    };
    KNOWN
        .iter()
        .find(|known| {
            known.agents.iter().any(|start| begins(start)) || known.headers.iter().any(|name| has(name))
        })
        .map(|known| known.name)
}
