//! A headless Chromium, driven through chromedriver.
//!
//! `WebDriver` is a dozen questions in JSON over HTTP: they are asked with what asks the agent, synchronously like the
//! rest of the harness. A crate for it would bring a runtime around that, and half of what is needed here (the
//! browser's log, emulated media and windows) are Chromium's own commands, which it would not have either.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use testkit::{Clock, Port, Process, command};

/// How long the page may take for what is asked of it.
pub const SOON: Duration = Duration::from_secs(10);
/// How often to look whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// Nothing but the page: no first-run pages, no updates, no calls home.
const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-prefers-reduced-motion",
];

/// Keys that `WebDriver` has code points for.
pub mod key {
    pub const TAB: char = '\u{e004}';
    pub const ENTER: char = '\u{e007}';
    pub const ESCAPE: char = '\u{e00c}';
    pub const DOWN: char = '\u{e015}';
}

/// One window.
#[derive(Debug)]
pub struct Browser {
    driver: Process,
    session: String,
    profile: PathBuf,
    asker: ureq::Agent,
    clock: Clock,
    _port: Port,
}

impl Browser {
    /// Starts chromedriver, and with it Chromium with a profile of its own below `out`, in this time zone.
    pub fn start(out: &Path, zone: &str, clock: Clock) -> anyhow::Result<Self> {
        let port = Port::find()?;
        let mut driver = command("chromedriver");
        driver.arg(format!("--port={}", port.number)).env("TZ", zone);
        let driver = Process::start_logging(driver, &out.join("chromedriver.log"), clock)?;
        let mut browser = Self {
            driver,
            session: format!("http://127.0.0.1:{}", port.number),
            profile: out.join("profile"),
            asker: ureq::Agent::config_builder()
                .timeout_global(Some(clock.stretch(Duration::from_mins(1))))
                .http_status_as_error(false)
                .build()
                .into(),
            clock,
            _port: port,
        };
        clock.until("chromedriver", SOON, || {
            let alive = browser.driver.check_alive();
            alive.context("chromedriver; `cargo xtask deps --install` gets it")?;
            Ok(browser.get("/status").is_ok())
        })?;
        let mut flags: Vec<String> = FLAGS.iter().map(|&flag| flag.into()).collect();
        flags.push(format!("--user-data-dir={}", browser.profile.display()));
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": flags },
            "goog:loggingPrefs": { "browser": "ALL" },
        }}});
        let session = browser.post("/session", &wanted)?;
        let id = session["sessionId"].as_str().context("no session")?;
        browser.session = format!("{}/session/{id}", browser.session);
        Ok(browser)
    }

    fn get(&self, path: &str) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.session);
        value(self.asker.get(&url).call()?).with_context(|| format!("GET {path}"))
    }

    fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.session);
        let request = self.asker.post(&url).content_type("application/json");
        value(request.send(body.to_string())?).with_context(|| format!("POST {path} {body}"))
    }

    fn devtools(&self, command: &str, parameters: &Value) -> anyhow::Result<()> {
        let body = json!({ "cmd": command, "params": parameters });
        self.post("/goog/cdp/execute", &body).map(drop)
    }

    /// Opens an address.
    pub fn open(&self, url: &str) -> anyhow::Result<()> {
        self.post("/url", &json!({ "url": url })).map(drop)
    }

    /// One step back, as the button does it.
    pub fn back(&self) -> anyhow::Result<()> {
        self.post("/back", &json!({})).map(drop)
    }

    /// Loads the page anew.
    pub fn reload(&self) -> anyhow::Result<()> {
        self.post("/refresh", &json!({})).map(drop)
    }

    /// What a script returns, which sees `given` as `arguments[0]`. It runs beside the page's policy, not under it.
    pub fn script(&self, script: &str, given: &Value) -> anyhow::Result<Value> {
        self.post("/execute/sync", &json!({ "script": script, "args": [given] }))
    }

    /// What an expression is in the page.
    pub fn eval(&self, expression: &str) -> anyhow::Result<Value> {
        self.script(&format!("return ({expression})"), &Value::Null)
    }

    /// What a script hands to its second argument, when it does.
    pub fn wait_for(&self, script: &str, given: &Value) -> anyhow::Result<Value> {
        self.post("/execute/async", &json!({ "script": script, "args": [given] }))
    }

    /// Waits until an expression is true in the page.
    pub fn until(&self, expression: &str) -> anyhow::Result<()> {
        self.clock.until(expression, SOON, || {
            let ready = self.eval(expression)? == true;
            if !ready {
                thread::sleep(LOOK);
            }
            Ok(ready)
        })
    }

    /// Presses keys, one after the other.
    pub fn press(&self, keys: impl IntoIterator<Item = char>) -> anyhow::Result<()> {
        let strokes: Vec<Value> = keys
            .into_iter()
            .flat_map(|key| {
                ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() }))
            })
            .collect();
        let actions = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": strokes }] });
        self.post("/actions", &actions).map(drop)
    }

    /// Clicks what a CSS selector finds, as a person would: it must be in sight.
    pub fn click(&self, selector: &str) -> anyhow::Result<()> {
        let found = self.post("/element", &json!({ "using": "css selector", "value": selector }))?;
        let element = found
            .as_object()
            .and_then(|found| found.values().next())
            .and_then(Value::as_str)
            .context("no element")?;
        self.post(&format!("/element/{element}/click"), &json!({}))
            .map(drop)
    }

    /// Width and height of the window's inside.
    pub fn resize(&self, width: u32, height: u32) -> anyhow::Result<()> {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &size)
    }

    /// `light` or `dark`, as the system would say.
    pub fn prefer(&self, theme: &str) -> anyhow::Result<()> {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        self.devtools("Emulation.setEmulatedMedia", &media)
    }

    /// What the console has said since the last time: errors and violations of the policy among it.
    pub fn log(&self) -> anyhow::Result<Vec<String>> {
        let entries = self.post("/se/log", &json!({ "type": "browser" }))?;
        let entries = entries.as_array().context("the log is no list")?;
        Ok(entries.iter().map(|entry| entry["message"].to_string()).collect())
    }

    /// Writes a picture of what is in sight, as PNG.
    pub fn picture(&self, to: &Path) -> anyhow::Result<()> {
        let picture = self.get("/screenshot")?;
        let bytes = BASE64_STANDARD.decode(picture.as_str().context("no picture")?)?;
        ensure!(bytes.starts_with(b"\x89PNG"), "the picture is no PNG");
        fs::write(to, bytes).with_context(|| format!("writing {}", to.display()))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends with its session; chromedriver after that, when it is dropped.
        let _ = self.asker.delete(&self.session).call();
        let _ = fs::remove_dir_all(&self.profile);
    }
}

fn value(mut response: ureq::http::Response<ureq::Body>) -> anyhow::Result<Value> {
    let body = response.body_mut().with_config().limit(64 << 20);
    let answer: Value = serde_json::from_str(&body.read_to_string()?)?;
    if response.status().is_success() {
        return Ok(answer["value"].clone());
    }
    let what = answer["value"]["message"].as_str().unwrap_or_default();
    bail!(
        "{}: {}",
        answer["value"]["error"],
        what.lines().next().unwrap_or_default()
    )
}
