//! The steps: what a reader does, and what must be seen then.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use testkit::{Cgroup, cgroup::is_empty};

use super::{ENDED_WITHIN, SEEN_WITHIN, Stage, browser::key, id, list, stop};
use crate::table::Server;

/// An expression: the row whose text has this.
fn row(text: &str) -> String {
    format!("[...document.querySelectorAll('tbody tr')].find(row => row.textContent.includes({text:?}))")
}

impl Stage {
    /// Shutdowns of others on this machine are none of ours, but they are shown.
    pub fn nothing_yet(&mut self) -> anyhow::Result<()> {
        self.open("")?;
        self.browser
            .until("document.querySelector('#state').textContent === 'live'")?;
        self.browser
            .until("document.querySelectorAll('tbody tr, .empty:not([hidden])').length > 0")?;
        let empty = self.text(".empty")?;
        ensure!(
            empty.contains("drainwatch demo") || self.count("tbody tr")? > 0,
            "neither a shutdown nor what to do: {empty}"
        );
        self.open("?q=surely-nobody-is-called-that")?;
        self.browser
            .until("document.querySelector('.empty:not([hidden]), tbody tr') !== null")?;
        let nobody = self.count("tbody tr")?;
        ensure!(nobody == 0, "a search for nothing finds {nobody}");
        Ok(())
    }

    pub fn appears(&mut self) -> anyhow::Result<()> {
        self.open("")?;
        self.browser
            .until("document.querySelector('#state').textContent === 'live'")?;
        self.browser
            .script("window.marker = 'not reloaded'", &Value::Null)?;
        let cgroup = self.cgroup("pay")?;
        let mut service = self.serve("pay", &cgroup, Server::Hyper("default"))?;
        let mut webhook = service.deliver("part")?;
        webhook.read_begun()?;
        let hanging = service.get("/orders/17?do=hang")?;
        service.until_said("got /orders/17")?;
        let begun = Instant::now();
        service.signal(Signal::SIGTERM)?;
        self.browser
            .until(&format!("{} !== undefined", row(cgroup.path())))?;
        let seen = begun.elapsed();
        println!("     seen {seen:.0?} after the stop signal");
        ensure!(
            seen < self.clock.stretch(SEEN_WITHIN),
            "seen only after {seen:.1?}"
        );
        service.wait()?;
        drop((webhook, hanging));
        let report = self.report(&cgroup)?;
        let ended = Instant::now();
        self.browser.until(&format!(
            "{}.querySelector('.badge').textContent === 'severed'",
            row(cgroup.path())
        ))?;
        let seen = ended.elapsed();
        ensure!(
            seen < self.clock.stretch(SEEN_WITHIN),
            "its end was seen only after {seen:.1?}"
        );
        let said = self.text("#said")?;
        ensure!(
            said.contains(cgroup.path()) && said.contains("2 requests severed"),
            "announced: {said}"
        );
        ensure!(
            self.browser.eval("window.marker")? == "not reloaded",
            "the page was loaded anew"
        );
        let shown = self
            .browser
            .eval(&format!("{}.innerText", row(cgroup.path())))?
            .to_string();
        for part in [
            "2 severed",
            "1 webhook maybe considered delivered",
            "No handler for the stop signal",
        ] {
            ensure!(shown.contains(part), "{part:?} is not in {shown}");
        }
        self.pay = Some((cgroup, id(&report)?));
        Ok(())
    }

    pub fn filters(&mut self) -> anyhow::Result<()> {
        let (cgroup, _) = self.pay()?;
        let browser = &self.browser;
        let ours = row(cgroup.path());
        let name = cgroup.path().trim_start_matches('/');
        self.open("")?;
        browser.until(&format!("{ours} !== undefined"))?;
        browser.press(['/'])?;
        browser.press(format!("{name} ORDERS/17").chars())?;
        browser.until("document.querySelectorAll('tbody tr').length === 1")?;
        browser.until(&format!("{ours} !== undefined"))?;
        let asked = browser.eval("new URLSearchParams(location.search).get('q')")?;
        ensure!(asked == format!("{name} ORDERS/17"), "the address says {asked}");

        browser.click(".verdicts label:nth-of-type(5)")?;
        browser.until("document.querySelectorAll('tbody tr').length === 0")?;
        ensure!(
            self.text(".empty")?.contains("No shutdown matches"),
            "nothing says that there is none"
        );
        let address = browser.eval("location.search")?;
        ensure!(address.to_string().contains("verdict=clean"), "{address}");
        browser.back()?;
        browser.until(&format!("{ours} !== undefined"))?;
        ensure!(
            browser.eval("document.querySelector('.verdicts input').checked")? == true,
            "back left the choice"
        );

        // As somebody else opens it, who was sent the address.
        self.open(&format!("?verdict=severed&since=1h&kind=cgroup&q={name}"))?;
        browser.until(&format!("{ours} !== undefined"))?;
        let shown = browser.eval("[document.querySelector('#search').value, document.querySelector('input[value=severed]').checked, document.querySelector('[data-key=since]').value, document.querySelector('[data-key=kind]').value]")?;
        ensure!(shown == json!([name, true, "1h", "cgroup"]), "{shown}");
        self.open(&format!("?kind=docker&q={name}"))?;
        browser.until("document.querySelector('.empty:not([hidden])') !== null")?;

        // Class, cause, and two times between which it ended.
        for (query, there) in [
            ("class=webhook&cause=truncated", true),
            ("cause=late", false),
            ("since=2026-01-01T00:00:00Z", true),
            ("since=2026-01-01T00:00:00Z&until=2026-01-02T00:00:00Z", false),
        ] {
            self.open(&format!("?{query}&q={name}"))?;
            browser.until(&format!("({ours} !== undefined) === {there} && (document.querySelector('.empty:not([hidden])') !== null) !== {there}"))?;
        }
        let between = browser.eval("[document.querySelector('select[data-key=since]').value, ...[...document.querySelectorAll('[type=datetime-local]')].map(field => new Date(field.value).toISOString())]")?;
        let times = ["2026-01-01T00:00:00.000Z", "2026-01-02T00:00:00.000Z"];
        ensure!(between == json!(["between", times[0], times[1]]), "{between}");
        Ok(())
    }

    /// More shutdowns than the page loads: an older one is found all the same, and all are counted.
    pub fn crowd(&mut self) -> anyhow::Result<()> {
        const LOADED: usize = 200;
        let (cgroup, _) = self.pay()?;
        let pay = row(cgroup.path());
        let name = cgroup.path().trim_start_matches('/').to_owned();
        let crowd: Vec<Cgroup> = (0..LOADED + 20)
            .map(|_| Cgroup::unique("page-crowd"))
            .collect::<anyhow::Result<_>>()?;
        let mut sleepers = Vec::new();
        for one in &crowd {
            sleepers.push(one.command("sleep").arg("1000").spawn()?);
        }
        self.clock.until("all to have begun", ENDED_WITHIN, || {
            Ok(!crowd.iter().any(|one| is_empty(one.directory())))
        })?;
        for sleeper in &mut sleepers {
            kill(Pid::from_raw(i32::try_from(sleeper.id())?), Signal::SIGTERM)?;
            sleeper.wait()?;
        }
        drop(crowd);
        self.clock
            .until("more shutdowns than are loaded", ENDED_WITHIN, || {
                self.open("")?;
                self.browser.until("document.querySelector('.tile') !== null")?;
                let counted = "/the last 200 loaded/.test(document.querySelector('.shown').textContent)";
                Ok(self.browser.eval(counted)? == true)
            })?;
        ensure!(
            self.browser.eval(&format!("{pay} === undefined"))? == true,
            "the older one is loaded"
        );
        let day = self
            .browser
            .eval("parseInt(document.querySelector('.tile dd').textContent.replace(/\\D/g, ''))")?;
        ensure!(day.as_u64() > Some(220), "the day has {day} shutdowns");
        self.open(&format!("?q={name}"))?;
        self.browser.until(&format!("{pay} !== undefined"))?;
        let counted = self.text(".shown")?;
        ensure!(counted.starts_with("1 of "), "{counted}");
        Ok(())
    }

    pub fn one(&mut self) -> anyhow::Result<()> {
        let (cgroup, id) = self.pay()?;
        let name = cgroup.path().trim_start_matches('/');
        self.open(&format!("?q={name}"))?;
        self.browser
            .until(&format!("{} !== undefined", row(cgroup.path())))?;
        self.browser.click("tbody a")?;
        self.browser.until("document.querySelector('.rows') !== null")?;
        let report = self.report(cgroup)?.json;
        let title = self.text("h1")?;
        ensure!(title == cgroup.path(), "{title}");
        let bars = self.count(".bar")?;
        let requests = list(&report, "severed_requests").len() + list(&report, "drained_requests").len();
        ensure!(
            bars == requests as u64 && bars == 2,
            "{bars} bars of {requests} requests"
        );
        let folds = self.count(".fold, .rest, .all button")?;
        ensure!(folds == 0, "{folds} folds for {requests} requests");
        let page = self.text("main")?;
        for finding in list(&report, "findings") {
            for key in ["code", "summary", "advice"] {
                let text = finding[key].as_str().context("a finding without words")?;
                ensure!(page.contains(text), "{text:?} is not shown");
            }
        }
        for part in [
            "Maybe considered delivered",
            "/orders/17",
            "/webhooks/stripe",
            "unanswered",
            "truncated",
            id,
        ] {
            ensure!(page.contains(part), "{part:?} is not shown");
        }
        let legend = self
            .browser
            .eval("[...document.querySelectorAll('figcaption span:not(.hint)')].map(s => s.textContent)")?;
        ensure!(
            legend == json!(["severed", "maybe considered delivered", "listening"]),
            "the legend has not what is drawn: {legend}"
        );
        let moments = self.count("details tbody tr")?;
        ensure!(
            moments == (list(&report, "timeline").len() + requests) as u64,
            "{moments} rows of moments"
        );
        let link = self
            .browser
            .eval("fetch(document.querySelector('.tools a').href).then(r => r.json()).then(r => r.id)")?;
        ensure!(link == id.as_str(), "the JSON is of {link}");

        let sorted = |browser: &super::Browser| {
            browser.eval("[...document.querySelectorAll('.requests tbody tr')].map(r => r.cells[3].querySelector('bdi').textContent)")
        };
        self.browser.click("#sort-path")?;
        ensure!(
            sorted(&self.browser)? == json!(["/orders/17", "/webhooks/stripe"]),
            "not sorted"
        );
        self.browser.click("#sort-path")?;
        ensure!(
            sorted(&self.browser)? == json!(["/webhooks/stripe", "/orders/17"]),
            "not sorted back"
        );
        let aria = self
            .browser
            .eval("document.querySelector('[aria-sort]').ariaSort")?;
        ensure!(aria == "descending", "{aria}");

        self.open("?id=nobody")?;
        self.browser
            .until("document.querySelector('h1')?.textContent === 'This shutdown cannot be shown'")?;
        // The browser itself notes the 404.
        let log = self.browser.log()?;
        ensure!(log.iter().all(|line| line.contains("404")), "{log:?}");
        Ok(())
    }

    pub fn deploys(&mut self) -> anyhow::Result<()> {
        let (cgroup, _) = self.pay()?;
        let path = cgroup.path().to_owned();
        self.open("")?;
        let card = format!(
            "[...document.querySelectorAll('.deploys li')].find(card => card.textContent.includes({path:?}))"
        );
        self.browser.until(&format!("{card} !== undefined"))?;
        let says = self.browser.eval(&format!("{card}.innerText"))?.to_string();
        for part in [
            "2 severed, 1 webhook of them",
            "1 stop",
            "No handler for the stop signal",
        ] {
            ensure!(says.contains(part), "{part:?} is not in {says}");
        }
        self.browser.eval(&format!("{card}.querySelector('a').click()"))?;
        self.browser
            .until("document.querySelectorAll('.workload tbody tr').length === 1")?;
        let title = self.text("h1")?;
        ensure!(title == path, "the history is of {title}");
        let history = self.text(".workload")?;
        for part in [
            "1 of 1",
            "deploys severed requests",
            "Install a SIGTERM handler",
            "drainwatch recommend",
        ] {
            ensure!(history.contains(part), "{part:?} is not in {history}");
        }
        ensure!(self.count(".trend rect")? == 1, "one bar for one deploy");
        self.browser
            .eval("document.querySelector('.workload tbody a').click()")?;
        self.browser.until("document.querySelector('.rows') !== null")?;
        Ok(())
    }

    /// Groups are folded, with their count; a click, a key unfolds them, and nothing is hidden in a box that scrolls.
    pub fn many(&mut self) -> anyhow::Result<()> {
        const REQUESTS: u64 = 130;
        const FIRST: u64 = 12;
        let cgroup = self.cgroup("many")?;
        let mut service = self.serve("many", &cgroup, Server::Hyper("default"))?;
        let mut open = vec![];
        for n in 0..REQUESTS - 1 {
            open.push(service.get(&format!("/r/{n}?do=hang"))?);
        }
        // The last of them, and the one that must not be folded away.
        open.push(service.deliver("hang")?);
        for n in 0..REQUESTS - 1 {
            service.until_said(&format!("got /r/{n}"))?;
        }
        service.until_said("body /webhooks/stripe")?;
        stop(&mut service)?;
        drop(open);
        let report = self.report(&cgroup)?;
        ensure!(report.requests["severed"] == REQUESTS, "{}", report.json);
        let title = "#fold-severed-unanswered";
        for (width, height) in [(1280, 900), (390, 844)] {
            self.browser.resize(width, height)?;
            self.open_one(&id(&report)?)?;
            self.drawn(title, FIRST, 20)?;
            let said = self.text(&format!("{title} text"))?;
            ensure!(
                said == format!("severed, unanswered · {REQUESTS}, {FIRST} shown"),
                "{said}"
            );
            let first = self.text(".rows .path")?;
            ensure!(first.contains("POST /w"), "the webhook is folded away: {first}");
            self.browser
                .picture(&self.out.join(format!("folded-{width}.png")))?;

            // By the keyboard, back, and by a click on what is left.
            let press = |key| -> anyhow::Result<()> {
                let focus = format!("document.querySelector('{title}').focus()");
                self.browser.script(&focus, &Value::Null)?;
                self.browser.press([key])
            };
            // As a reader scrolls to it: the axis stays above what is seen.
            let click = |what: &str| -> anyhow::Result<()> {
                let scroll = format!("document.querySelector('{what}').scrollIntoView({{block: 'center'}})");
                self.browser.script(&scroll, &Value::Null)?;
                self.browser.click(what)
            };
            press(key::ENTER)?;
            self.drawn(title, REQUESTS, 20)?;
            let focused = self.browser.eval("document.activeElement.id")?;
            ensure!(
                focused == "fold-severed-unanswered",
                "the focus is lost: {focused}"
            );
            press(' ')?;
            self.drawn(title, FIRST, 20)?;
            click(".rest")?;
            self.drawn(title, REQUESTS, 20)?;
            click("#all-severed")?;
            self.drawn(title, REQUESTS, REQUESTS)?;
            self.browser
                .picture(&self.out.join(format!("unfolded-{width}.png")))?;
            click("#sort-path")?;
            self.drawn(title, REQUESTS, REQUESTS)?;
            click("#all-severed")?;
            click(title)?;
            self.drawn(title, FIRST, 20)?;
        }
        self.browser.resize(1280, 900)
    }

    /// So many bars with their names, of which the group's title knows; so many rows of lost requests; and all of it in the
    /// page.
    fn drawn(&self, title: &str, bars: u64, rows: u64) -> anyhow::Result<()> {
        self.browser.until(&format!(
            "document.querySelectorAll('.bar').length === {bars} && document.querySelectorAll('.requests tbody tr').length === {rows}"
        ))?;
        let names = self.count(".rows .path")?;
        ensure!(names == bars, "{names} names of {bars} lost requests");
        let open = self
            .browser
            .eval(&format!("document.querySelector('{title}').ariaExpanded"))?;
        let wanted = if bars > 12 { "true" } else { "false" };
        ensure!(open == wanted, "the title says {open}");
        let boxed = self.browser.eval("[...document.querySelectorAll('main, main *')].filter(e => e.scrollHeight > e.clientHeight + 1 && ['auto', 'scroll', 'hidden'].includes(getComputedStyle(e).overflowY) && e.tagName !== 'svg' && !e.matches('.hidden, .who a, .who .sub')).map(e => e.outerHTML.slice(0, 80))")?;
        ensure!(boxed == json!([]), "rows are hidden in {boxed}");
        self.fits()
    }

    pub fn hostile(&mut self) -> anyhow::Result<()> {
        let cgroup = self.cgroup("<img src=x onerror=alert(1)>\u{202e}gnp.&amp;")?;
        let mut service = self.serve("hostile", &cgroup, Server::Raw("default"))?;
        let long = format!("/{}", "a".repeat(4000));
        let targets = [
            "/<script>alert(1)</script>?do=hang",
            "/\u{202e}txt.exe?do=hang",
            "/\"onload=alert(1)//?do=hang",
            &format!("{long}?do=hang"),
        ];
        let mut open = vec![];
        for target in targets {
            open.push(service.get(target)?);
        }
        self.clock.until("the requests to arrive", ENDED_WITHIN, || {
            let said = fs::read_to_string(self.out.join("hostile/events")).unwrap_or_default();
            Ok(said.lines().filter(|line| line.starts_with("got ")).count() == targets.len())
        })?;
        stop(&mut service)?;
        drop(open);
        let report = self.report(&cgroup)?;
        ensure!(report.requests["severed"] == 4, "{}", report.json);
        let id = id(&report)?;
        for address in ["?q=onerror".to_owned(), format!("?id={id}")] {
            self.open(&address)?;
            // A script that had run would have opened a dialogue, which fails the question.
            self.browser
                .until("document.querySelector('tbody tr, .rows') !== null")?;
            let text = self.text("main")?;
            ensure!(
                text.contains("<img src=x onerror=alert(1)>\\u{202e}gnp.&amp;"),
                "the name is not shown as it is"
            );
            let whole = self
                .browser
                .eval("document.documentElement.innerHTML.includes('\\u202e')")?;
            ensure!(
                whole == false,
                "{address}: an override of the direction is in the page"
            );
            let made = self.browser.eval("[document.scripts.length, document.images.length, document.querySelectorAll('iframe, object, embed, style').length]")?;
            ensure!(
                made == json!([2, 1, 0]),
                "{address}: elements of the page's own: {made}"
            );
            self.fits()?;
        }
        let rows = self.text(".requests tbody tr")?;
        for path in list(&report.json, "severed_requests") {
            let path = path["path"].as_str().context("a request without a path")?;
            ensure!(rows.contains(path), "{path:?} is not shown");
        }
        ensure!(rows.contains("script"), "{rows}");
        self.hostile = Some((cgroup, id));
        Ok(())
    }

    pub fn keyboard(&mut self) -> anyhow::Result<()> {
        let (cgroup, _) = self.pay()?;
        let browser = &self.browser;
        let focus = |what: &str| browser.until(&format!("document.activeElement.matches({what:?})"));
        let name = cgroup.path().trim_start_matches('/');
        self.open(&format!("?q={name}"))?;
        browser.until(&format!("{} !== undefined", row(cgroup.path())))?;
        browser.press([key::TAB])?;
        focus(".skip")?;
        // Every control is on the way, in the order of the page.
        let mut way = vec![];
        for _ in 0..16 {
            browser.press([key::TAB])?;
            let at = browser.eval("document.activeElement.id || document.activeElement.className || document.activeElement.name || document.activeElement.dataset.key || document.activeElement.tagName")?;
            way.push(at.as_str().unwrap_or_default().to_owned());
            if browser.eval("document.activeElement.matches('tbody a')")? == true {
                break;
            }
        }
        let place = |what: &str| way.iter().position(|at| at == what);
        ensure!(
            place("theme") < place("search")
                && place("search") < place("verdict")
                && place("theme").is_some(),
            "{way:?}"
        );
        let outline = browser.eval("getComputedStyle(document.activeElement, '::after').outlineStyle")?;
        ensure!(outline == "solid", "the focus is not seen: {outline}, {way:?}");

        browser.script("document.activeElement.blur()", &Value::Null)?;
        browser.press(['j'])?;
        focus("tbody a")?;
        browser.press([key::ENTER])?;
        browser.until("document.querySelector('.rows') !== null")?;
        focus("h1")?;
        // From the title: the timeline is one stop, and the arrows go on from there.
        for _ in 0..6 {
            browser.press([key::TAB])?;
            if browser.eval("document.activeElement.matches('[data-tip]')")? == true {
                break;
            }
        }
        focus("[data-tip]")?;
        let first = browser.eval("document.activeElement.getAttribute('aria-label')")?;
        browser.press([key::DOWN])?;
        let second = browser.eval("document.activeElement.getAttribute('aria-label')")?;
        ensure!(first != second && second.is_string(), "{first} {second}");
        ensure!(
            self.count(".tip:not([hidden])")? == 1,
            "no words for the mark with the focus"
        );
        browser.press([key::ESCAPE])?;
        browser.until("document.querySelector('tbody a') !== null")?;
        focus("tbody a")?;
        let address = browser.eval("location.search")?;
        ensure!(
            address.to_string().contains(name),
            "the filter is lost: {address}"
        );
        Ok(())
    }

    pub fn themes(&mut self) -> anyhow::Result<()> {
        let browser = &self.browser;
        let light = || -> anyhow::Result<bool> {
            let ground = browser.eval("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")?;
            Ok(ground
                .as_str()
                .and_then(|red| red.parse::<u8>().ok())
                .context("no colour")?
                > 128)
        };
        self.open("")?;
        browser.prefer("dark")?;
        ensure!(!light()?, "the system is dark, the page is not");
        browser.click("#theme")?;
        ensure!(light()?, "light was chosen");
        browser.reload()?;
        ensure!(light()?, "the choice is forgotten");
        browser.click("#theme")?;
        browser.prefer("light")?;
        ensure!(!light()?, "dark was chosen");
        browser.click("#theme")?;
        ensure!(light()?, "the system's is light again");
        Ok(())
    }

    pub fn zones(&mut self) -> anyhow::Result<()> {
        let (_, id) = self.pay()?;
        let browser = &self.browser;
        // Half an hour is in no other zone by chance. Shown, there, everywhere.
        let times = || -> anyhow::Result<(bool, bool)> {
            let times = browser.eval("(time => [time.textContent.match(/\\d\\d:\\d\\d:\\d\\d/)[0], new Date(Date.parse(time.dateTime) + 5.5 * 3600000).toISOString().slice(11, 19), time.dateTime.slice(11, 19)])(document.querySelector('tbody time, .head time'))")?;
            Ok((times[0] == times[1], times[0] == times[2]))
        };
        self.open("")?;
        browser.until("document.querySelector('tbody time') !== null")?;
        ensure!(times()? == (true, false), "not the reader's time");
        let button = self.text("#zone")?;
        ensure!(button.contains("Asia/"), "{button}");
        browser.click("#zone")?;
        ensure!(times()? == (false, true), "not everybody's time");
        ensure!(
            self.text("#zone")? == "Times: UTC",
            "the button says something else"
        );
        self.open(&format!("?id={id}"))?;
        browser.until("document.querySelector('.rows') !== null")?;
        ensure!(times()? == (false, true), "the choice is forgotten");
        browser.click("#zone")?;
        ensure!(times()? == (true, false), "one shutdown is not drawn anew");
        Ok(())
    }

    pub fn phone(&mut self) -> anyhow::Result<()> {
        let ids = [
            self.pay()?.1.clone(),
            self.hostile.as_ref().context("no hostile one")?.1.clone(),
        ];
        self.browser.resize(360, 740)?;
        self.open("")?;
        self.browser
            .until("document.querySelector('tbody tr') !== null")?;
        self.fits()?;
        self.browser.picture(&self.out.join("phone-list.png"))?;
        for id in ids {
            self.open_one(&id)?;
            self.fits()?;
        }
        self.browser.picture(&self.out.join("phone-one.png"))?;
        self.browser.resize(1280, 900)
    }

    /// Contrast, names, roles, order: axe-core's rules for WCAG 2.1 AA, and its best practices.
    pub fn accessible(&mut self) -> anyhow::Result<()> {
        self.artefacts.prepare_browser()?;
        let axe = self.artefacts.browser.join("node_modules/axe-core/axe.min.js");
        let axe = fs::read_to_string(&axe).with_context(|| format!("{} is missing", axe.display()))?;
        let mut wrong = vec![];
        for theme in ["light", "dark"] {
            self.browser.prefer(theme)?;
            let one = format!("?id={}", self.pay()?.1);
            let hostile = format!("?id={}", self.hostile.as_ref().context("no hostile one")?.1);
            let history = format!("?workload={}", self.pay()?.0.path());
            for address in ["", "?q=surely-nobody", &one, &hostile, &history] {
                self.open(address)?;
                self.browser
                    .until("document.querySelector('tbody tr, .empty:not([hidden]), .rows') !== null")?;
                self.browser.script(&axe, &Value::Null)?;
                let found = self.browser.wait_for(
                    "axe.run(document).then(r => arguments[1](r), e => arguments[1](String(e)))",
                    &Value::Null,
                )?;
                ensure!(list(&found, "passes").len() > 20, "axe did not run: {found}");
                for violation in list(&found, "violations") {
                    let node = &violation["nodes"][0];
                    wrong.push(format!(
                        "{theme} {address}: {}: {} {}",
                        violation["id"], node["html"], node["failureSummary"]
                    ));
                }
            }
        }
        self.browser.prefer("light")?;
        // What axe itself tried is none of the page's.
        self.browser.log()?;
        ensure!(wrong.is_empty(), "\n  {}", wrong.join("\n  "));
        Ok(())
    }

    /// As behind `kubectl proxy` or an ingress: everything is below a prefix.
    pub fn prefixed(&mut self) -> anyhow::Result<()> {
        let agent = self.agent()?.address().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let proxy = listener.local_addr()?;
        // It lives as long as the harness; each connection carries one request.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let agent = agent.clone();
                thread::spawn(move || forward(stream, &agent));
            }
        });
        let (cgroup, id) = self.pay()?;
        self.browser.open(&format!(
            "http://{proxy}/some/where/?q={}",
            cgroup.path().trim_start_matches('/')
        ))?;
        self.browser
            .until("document.querySelector('#state').textContent === 'live'")?;
        self.browser
            .until("document.querySelectorAll('tbody a').length === 1")?;
        self.browser.click("tbody a")?;
        self.browser.until("document.querySelector('.rows') !== null")?;
        let address = self.browser.eval("location.pathname + location.search")?;
        ensure!(address == format!("/some/where/?id={id}"), "{address}");
        Ok(())
    }

    pub fn quiet(&mut self) -> anyhow::Result<()> {
        self.open_one(&self.pay()?.1)?;
        let foreign = self.browser.eval("performance.getEntriesByType('resource').map(e => e.name).filter(name => !name.startsWith(location.origin))")?;
        ensure!(foreign == json!([]), "loaded from elsewhere: {foreign}");
        let log = self.browser.log()?;
        ensure!(log.is_empty(), "the console says {log:?}");
        // The policy holds: what a hostile path would need is refused.
        let refused = self.browser.eval("(() => { try { document.querySelector('main').innerHTML = '<b>x</b>'; return false } catch { return true } })()")?;
        ensure!(refused == true, "markup could be made of a string");
        self.browser.log()?;
        Ok(())
    }

    pub fn stops(&mut self) -> anyhow::Result<()> {
        self.open("")?;
        self.browser
            .until("document.querySelector('#state').textContent === 'live'")?;
        let begun = Instant::now();
        self.agent.take().context("the agent has been stopped")?.stop()?;
        let took = begun.elapsed();
        ensure!(
            took < self.clock.stretch(Duration::from_secs(1)),
            "with a page open it took {took:.1?} to stop"
        );
        self.browser
            .until("document.querySelector('#banner').textContent.includes('No agent answers')")?;
        ensure!(self.count("tbody tr")? > 0, "what is known is shown no more");
        Ok(())
    }
}

/// One request to the agent, without its prefix; what comes back goes on until either end is closed.
fn forward(mut client: TcpStream, agent: &str) -> std::io::Result<()> {
    let mut head = vec![];
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte)? == 0 {
            return Ok(());
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head)
        .replacen("/some/where/", "/", 1)
        .replace("Connection: keep-alive", "Connection: close");
    let mut server = TcpStream::connect(agent)?;
    server.write_all(head.as_bytes())?;
    std::io::copy(&mut server, &mut client)?;
    Ok(())
}
