// One shutdown: what was stopped and how it went, its findings, its timeline, and every severed request.

import { ago, badge, clock, count, el, icon, name, seconds, shown, span } from "./dom.js";
import { Timeline } from "./timeline.js";
import {
  CAUSES,
  DISPOSITIONS,
  FINDINGS,
  MOMENTS,
  REASONS,
  TRIGGERS,
  VERDICTS,
  duration,
  findings,
  request,
  webhooks,
  workload,
  worded,
} from "./words.js";

const none = el("span", { class: "none" }, "–");
const or = (value, of = (v) => name(v)) => (value === null || value === undefined ? none.cloneNode(true) : of(value));

/** The view of one shutdown. `back` says where the list is. */
export class Shutdown {
  element = el("article", { class: "shutdown" });
  title = "";
  #feed;
  #back;
  #id = "";
  #report = null;
  #drawn = "";
  #timeline = null;
  #sort = { column: "at", down: false };
  /** What the reader has unfolded of it. */
  #unfolded = new Set();

  constructor(feed, back) {
    this.#feed = feed;
    this.#back = back;
  }

  /** Opens another one, or this one anew; the focus goes to its title. */
  show(id) {
    if (id === this.#id && this.#report) return this.update();
    this.#id = id;
    this.#report = null;
    this.#drawn = "";
    this.#sort = { column: "at", down: false };
    this.#unfolded = new Set();
    this.title = "";
    this.element.replaceChildren(this.#way(), el("p", { class: "loading" }, "Loading …"));
    return this.update(true);
  }

  /** Asks for the report if it may have changed. */
  async update(opened) {
    const id = this.#id;
    // What is not among the feed's was asked for by its id, once: it has ended, or is not there.
    if (!opened && !this.#feed.reports.has(id)) return;
    try {
      const report = await this.#feed.one(id);
      if (id !== this.#id) return;
      this.#report = report;
    } catch (error) {
      if (id !== this.#id || this.#report) return;
      this.element.replaceChildren(
        this.#way(),
        el("div", { class: "empty" }, el("h1", { tabindex: -1 }, "This shutdown cannot be shown"), el("p", {}, shown(error.message))),
      );
      this.element.querySelector("h1").focus();
      return;
    }
    const now = JSON.stringify(this.#report);
    if (now === this.#drawn) return;
    this.#drawn = now;
    this.#draw(opened);
  }

  /** Draws it anew: in another time zone. */
  redraw() {
    if (this.#report) this.#draw();
  }

  #way() {
    return el("p", { class: "way" }, el("a", { href: this.#back(), "data-nav": true }, icon("back"), "All shutdowns"));
  }

  #draw(opened) {
    const report = this.#report;
    this.title = shown(workload(report.workload));
    const focused = this.element.contains(document.activeElement) ? document.activeElement.id : "";
    const open = this.element.querySelector("details")?.open ?? false;
    this.#timeline?.end();
    this.#timeline = new Timeline(report, this.#unfolded);
    this.element.replaceChildren(
      this.#way(),
      header(report),
      ...alarms(report),
      numbers(report),
      section("Findings", "findings", found(report)),
      section("Timeline", "timeline", [this.#timeline.element, moments(report, open)]),
      ...(report.severed_requests.length ? [section("Severed requests", "severed", [this.#severed()])] : []),
      ...(report.signals.length ? [section("Signals", "signals", [this.#signals()])] : []),
      section("Names and settings", "names", [names(report)]),
      tools(report),
    );
    this.#timeline.begin();
    if (opened) this.element.querySelector("h1").focus({ preventScroll: true });
    else if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  }

  #severed() {
    const report = this.#report;
    const { column, down } = this.#sort;
    const by = COLUMNS.find((c) => c.key === column).by;
    const rows = [...report.severed_requests].sort((a, b) => {
      const [x, y] = [by(a) ?? "", by(b) ?? ""];
      const sign = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
      return down ? -sign : sign;
    });
    const anew = (focus) => {
      document.getElementById("severed-table").replaceWith(this.#severed());
      document.getElementById(focus)?.focus({ preventScroll: true });
    };
    const sort = (key) => () => {
      this.#sort = { column: key, down: this.#sort.column === key && !this.#sort.down };
      anew(`sort-${key}`);
    };
    const head = COLUMNS.map((c) => {
      const sorted = c.key === column ? (down ? "descending" : "ascending") : null;
      const button = el("button", { type: "button", id: `sort-${c.key}`, click: sort(c.key) }, c.label, el("span", { class: "arrow", "aria-hidden": "true" }, sorted ? (down ? "▾" : "▴") : ""));
      return el("th", { scope: "col", class: c.kind, "aria-sort": sorted }, button);
    });
    const { first, button } = this.#folded("severed", rows, anew);
    const body = first.map((r) =>
      el("tr", { class: r.maybe_taken_for_delivered ? "taken" : null }, COLUMNS.map((c) => el("td", { class: c.kind }, c.cell(r)))),
    );
    const left = report.severed_requests_omitted;
    const caption = `${count(rows.length, "severed request")}${left ? `; ${left.toLocaleString("en")} more are counted but not listed` : ""}`;
    return el(
      "div",
      { class: "wide", id: "severed-table", tabindex: 0, role: "region", "aria-label": "Table of severed requests" },
      el("table", { class: "requests" }, el("caption", {}, caption), el("thead", {}, el("tr", {}, head)), el("tbody", {}, body)),
      button,
    );
  }

  #signals() {
    const anew = (focus) => {
      document.getElementById("signals-table").replaceWith(this.#signals());
      document.getElementById(focus)?.focus({ preventScroll: true });
    };
    const { first, button } = this.#folded("signals", this.#report.signals, anew);
    return signals(first, button);
  }

  /** The first rows of a table, or all of them, and the button for the others. */
  #folded(key, rows, anew) {
    if (rows.length <= ROWS + SPARE) return { first: rows, button: null };
    const open = this.#unfolded.has(key);
    const id = `all-${key}`;
    const turn = () => {
      if (!this.#unfolded.delete(key)) this.#unfolded.add(key);
      anew(id);
    };
    const words = open ? `Show the first ${ROWS}` : `Show all ${rows.length.toLocaleString("en")}`;
    const button = el("p", { class: "all" }, el("button", { type: "button", id, "aria-expanded": String(open), click: turn }, words));
    return { first: open ? rows : rows.slice(0, ROWS), button };
  }
}

/** Rows of a table before somebody asks for all; so few more are shown at once. */
const ROWS = 20;
const SPARE = 5;

const COLUMNS = [
  { key: "at", label: "At", kind: "number", by: (r) => r.at_ms, cell: (r) => span(r.at_ms) },
  { key: "cause", label: "Cause", by: (r) => r.cause, cell: (r) => el("span", { class: "cause", title: worded(CAUSES, r.cause) }, shown(r.cause)) },
  { key: "method", label: "Method", by: (r) => r.method, cell: (r) => or(r.method) },
  {
    key: "path",
    label: "Path",
    kind: "path",
    by: (r) => r.path ?? r.protocol,
    cell: (r) => [
      r.path === null ? name(r.protocol, { class: "none" }) : name(r.path),
      r.role === "client" ? [" ", el("span", { class: "tag" }, "outbound")] : null,
      r.maybe_taken_for_delivered ? [" ", el("strong", { class: "tag is-severed" }, "maybe considered delivered")] : null,
    ],
  },
  { key: "host", label: "Host", kind: "host short", by: (r) => r.host, cell: (r) => or(r.host) },
  { key: "class", label: "Class", kind: "short", by: (r) => r.class, cell: (r) => name(r.class) },
  { key: "waited", label: "Waited", kind: "number", by: (r) => r.age_ms ?? -1, cell: (r) => or(r.age_ms, span) },
  { key: "peer", label: "Peer", kind: "peer short", by: (r) => (r.peer_workload ? workload(r.peer_workload) : r.peer), cell: (r) => (r.peer_workload ? [name(workload(r.peer_workload)), el("span", { class: "sub" }, name(r.peer))] : name(r.peer)) },
  { key: "evidence", label: "Evidence", by: (r) => r.evidence, cell: (r) => shown(r.evidence) },
];

const section = (title, id, children) =>
  el("section", { id, "aria-labelledby": `${id}-title` }, el("h2", { id: `${id}-title` }, title), children);

function header(report) {
  const w = report.workload;
  const whose = [w.controller, w.pod, w.container].filter(Boolean);
  return el(
    "header",
    { class: "head" },
    el("div", {}, el("h1", { tabindex: -1 }, name(workload(w))), badge(report)),
    el(
      "p",
      {},
      el("span", {}, worded(TRIGGERS, report.trigger), report.reason ? `: ${worded(REASONS, report.reason)}` : null),
      el("time", { datetime: report.started_at, title: report.started_at }, clock(report.started_at, true)),
      el("span", {}, ago(report.started_at)),
      el("span", {}, "on ", name(report.node)),
      el("a", { href: `?workload=${encodeURIComponent(workload(w))}`, "data-nav": true }, "its deploys"),
      whose.length ? el("span", {}, whose.map((part, n) => [n ? " · " : "", name(part)])) : null,
    ),
  );
}

/** What must not be overlooked. */
function alarms(report) {
  const all = [];
  const { taken } = webhooks(report);
  if (taken) {
    const text = `The response to ${count(taken, "webhook")} had begun when it was cut. A sender may consider that delivered and never send it again: replay ${taken === 1 ? "it" : "them"} from the sender's side.`;
    all.push(el("div", { class: "alarm is-severed" }, el("strong", {}, "Maybe considered delivered. "), text));
  }
  if (report.events_lost) {
    const text = `${count(report.events_lost, "event")} from the kernel were lost during this shutdown: counts may be too low.`;
    all.push(el("div", { class: "alarm is-unknown" }, el("strong", {}, "Evidence was lost. "), text));
  }
  return all;
}

function numbers(report) {
  const { requests: r, configured: c, refused } = report;
  const took = duration(report);
  const causes = Object.entries(report.severed).map(([cause, n]) => `${n} ${cause}`);
  const tile = (kind, label, value, note) =>
    el("div", { class: `tile ${kind}` }, el("dt", {}, label), el("dd", {}, value), note ? el("dd", { class: "note" }, note) : null);
  const grace = c?.grace_seconds;
  const reasons = Object.entries(report.unknown_reasons ?? {})
    .filter(([reason]) => reason !== "events_lost")
    .map(([reason, n]) => `${n} ${reason}`)
    .join(", ");
  return el(
    "dl",
    { class: "tiles" },
    tile(r.severed ? "is-severed" : "", "severed", r.severed.toLocaleString("en"), shown(causes.join(", "))),
    tile(r.drained ? "is-clean" : "", "drained", r.drained.toLocaleString("en"), report.drain_ms === null ? null : `the last after ${span(report.drain_ms)}`),
    r.failed ? tile("is-severed", "failed", r.failed.toLocaleString("en"), "answered with 5xx, or an error of gRPC's, after the stop signal") : null,
    refused?.attempts ? tile("is-severed", "refused", refused.attempts.toLocaleString("en"), `connection attempts of ${count(refused.clients, "client")}`) : null,
    r.unknown || reasons ? tile("is-unknown", "unknown", r.unknown.toLocaleString("en"), shown(reasons || "the evidence is not sufficient")) : null,
    report.probes ? tile("", "probes", report.probes.toLocaleString("en"), "health checks and scrapes: in no other number") : null,
    r.opaque ? tile("", "opaque", r.opaque.toLocaleString("en"), "connections that nobody reads: not judged") : null,
    r.aborted ? tile("", "aborted", r.aborted.toLocaleString("en"), "their clients left first") : null,
    r.destroyed ? tile("", "destroyed", r.destroyed.toLocaleString("en"), "by somebody else on the node, as ss -K does") : null,
    tile("", "took", took === null ? (report.ended_at === null ? "under way" : "–") : span(took), grace === null || grace === undefined ? null : `of ${seconds(grace)} grace`),
    report.still_arriving ? tile("is-unknown", "new traffic", "goes on", "clients still tried when nobody watched any more") : null,
    report.unix_sockets ? tile("is-unknown", "Unix sockets", "not seen", "what was asked on them is not recorded") : null,
    report.endpoint_lag_ms === null ? null : tile("is-unknown", "new traffic for", span(report.endpoint_lag_ms), report.deleted_at ? "after the pod's deletion" : "after the stop signal"),
  );
}

function found(report) {
  if (!report.findings.length) {
    const text = report.ended_at === null ? "None so far." : `None: ${VERDICTS[report.verdict] ?? ""}.`;
    return [el("p", { class: "none" }, text)];
  }
  return [
    el(
      "ul",
      { class: "cards" },
      findings(report).map((finding) =>
        el(
          "li",
          {},
          el("h3", {}, worded(FINDINGS, finding.code), el("code", {}, shown(finding.code))),
          el("p", {}, name(finding.summary)),
          el("p", { class: "advice" }, el("strong", {}, "What to change: "), name(finding.advice)),
        ),
      ),
    ),
  ];
}

/** The timeline in words, for who cannot see the drawing, or wants to copy from it. */
function moments(report, open) {
  const rows = report.timeline.map((moment) => [moment.at_ms, worded(MOMENTS, moment.what), moment.detail, moment.pid]);
  for (const r of report.severed_requests) rows.push([r.at_ms, `severed: ${r.cause}`, request(r), r.pid]);
  for (const r of report.drained_requests) rows.push([r.at_ms, r.failed ? `failed: ${or(r.status, String)}` : "drained", request(r), null]);
  rows.sort((a, b) => a[0] - b[0]);
  const body = rows.map(([at, what, detail, pid]) =>
    el("tr", {}, el("td", { class: "number" }, span(at)), el("td", {}, shown(what)), el("td", { class: "path" }, or(detail)), el("td", { class: "number" }, or(pid, String))),
  );
  const head = ["At", "What", "Which", "Process"].map((label, n) => el("th", { scope: "col", class: n % 3 ? null : "number" }, label));
  return el(
    "details",
    { open },
    el("summary", { id: "moments" }, `The timeline as a table: ${count(rows.length, "row")}`),
    el("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Table of moments" }, el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, body))),
  );
}

function signals(rows, button) {
  const process = (p) => [name(p.comm), el("span", { class: "none" }, ` ${p.pid}${p.pid1 ? ", PID 1" : ""}`)];
  const body = rows.map((s) =>
    el(
      "tr",
      {},
      el("td", { class: "number" }, span(s.at_ms)),
      el("td", {}, shown(s.signal)),
      el("td", { class: "short" }, process(s.sender)),
      el("td", { class: "short" }, process(s.target)),
      el("td", {}, s.dropped ? "dropped by the kernel" : s.signal === "SIGKILL" ? "cannot be handled" : worded(DISPOSITIONS, s.disposition)),
    ),
  );
  const head = ["At", "Signal", "From", "To", "It met"].map((label, n) => el("th", { scope: "col", class: n ? null : "number" }, label));
  return el(
    "div",
    { class: "wide", id: "signals-table", tabindex: 0, role: "region", "aria-label": "Table of signals" },
    el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, body)),
    button,
  );
}

function names(report) {
  const { workload: w, configured: c, exit } = report;
  const ready = { true: "yes: traffic still came", false: "no" }[report.ready_at_stop];
  const ended = exit && (exit.signal !== null ? `signal ${exit.signal}` : exit.code !== null ? `exit code ${exit.code}` : "unknown");
  const all = [
    ["Kind", w.kind],
    ["Namespace", w.namespace],
    ["Workload", w.name],
    ["Controlled by", w.controller],
    ["Pod", w.pod],
    ["Container", w.container],
    ["Image", w.image],
    ["Revision", report.revision?.id],
    ["Container id", w.container_id],
    ["Cgroup", w.cgroup],
    ["Main process", exit && `${exit.pid} ended by ${ended}`],
    ["Deletion requested", report.deleted_at && clock(report.deleted_at, true)],
    ["Ready when stopped", ready],
    ["Grace period", c && c.grace_seconds !== null ? seconds(c.grace_seconds) : null],
    ["preStop", c?.prestop],
    ["preStop takes", c && c.prestop_seconds !== null ? seconds(c.prestop_seconds) : null],
    ["Stop signal", c?.stop_signal],
    ["KillMode", c?.kill_mode],
    ["Ended", report.ended_at ? clock(report.ended_at, true) : null],
  ].filter(([, value]) => value !== null && value !== undefined);
  return el("dl", { class: "names" }, all.map(([label, value]) => el("div", {}, el("dt", {}, label), el("dd", {}, name(value)))));
}

function tools(report) {
  const command = `drainwatch show ${report.id}`;
  const copied = el("span", { class: "copied", role: "status" });
  const field = el("code", {}, shown(command));
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(command);
      copied.textContent = "Copied";
    } catch {
      // Only pages from a secure origin may write there; the reader's own keys may always.
      getSelection().selectAllChildren(field);
      copied.textContent = "Selected: press Ctrl+C";
    }
  };
  return el(
    "p",
    { class: "tools" },
    el("a", { href: `api/v1/shutdowns/${encodeURIComponent(report.id)}` }, "This report as JSON"),
    el("span", { class: "command" }, field, el("button", { type: "button", id: "copy", click: copy }, "Copy"), copied),
  );
}
