// Recent shutdowns: the last day at a glance, filters that live in the address, and the table.

import { Counts } from "./counts.js";
import { ago, badge, clock, count, el, field as spelled, icon, name, ofField, shown, span, svg } from "./dom.js";
import { Deploys } from "./rollouts.js";
import { FINDINGS, REASONS, TRIGGERS, VERDICTS, duration, findings, request, webhooks, workload, worded } from "./words.js";

/** Rows shown at first, and more of them each time. */
const ROWS = 100;
const HOUR_MS = 3_600_000;
const SPANS = { "15m": 15 * 60_000, "1h": HOUR_MS, "24h": 24 * HOUR_MS, "7d": 7 * 24 * HOUR_MS };

/** What can be filtered by, as the address spells it. */
export const KEYS = ["q", "verdict", "since", "until", "ns", "kind", "class", "cause"];
/** The same in the agent's words, where they differ. */
const PARAMETERS = { ns: "namespace" };
/** Letters of a search that follow so closely are one question. */
const TYPED_MS = 250;

/** What the address asks for, as the agent is asked. */
const asked = (filter) => new URLSearchParams(KEYS.filter((key) => filter[key]).map((key) => [PARAMETERS[key] ?? key, filter[key]])).toString();


const began = (report) => Date.parse(report.started_at);
const underWay = (report) => report.ended_at === null && !report.timeline.some((moment) => moment.what === "agent_stopped");

/** Under way first, then the newest first. */
const order = (a, b) => underWay(b) - underWay(a) || began(b) - began(a) || (a.id < b.id ? 1 : -1);

/** All that a search looks at, made once per report. */
const haystacks = new WeakMap();
function haystack(report) {
  let text = haystacks.get(report);
  if (text === undefined) {
    const w = report.workload;
    const words = [report.id, report.node, workload(w), w.kind, w.pod, w.container, w.cgroup, w.image];
    words.push(report.trigger, report.reason, report.revision?.id, report.verdict, ...Object.keys(report.severed));
    for (const finding of report.findings) words.push(finding.code, worded(FINDINGS, finding.code), finding.summary);
    for (const r of report.severed_requests) words.push(request(r), r.host, r.class, r.peer);
    for (const r of report.drained_requests) words.push(request(r));
    text = words.filter(Boolean).join("\n").toLowerCase();
    haystacks.set(report, text);
  }
  return text;
}

/** What the agent found is taken, and what came since and matches. */
function takes(filter, answer) {
  const time = (text, otherwise) => (Number.isNaN(Date.parse(text)) ? otherwise : Date.parse(text));
  const since = SPANS[filter.since] ? Date.now() - SPANS[filter.since] : time(filter.since, -Infinity);
  const until = time(filter.until, Infinity);
  const ended = (report) => Date.parse(report.ended_at ?? report.started_at);
  const terms = (filter.q ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  return (report) =>
    answer?.ids.has(report.id) ||
    ((!filter.verdict || report.verdict === filter.verdict) &&
    (!filter.kind || report.workload.kind === filter.kind) &&
    (!filter.ns || report.workload.namespace === filter.ns) &&
    (!filter.class || report.severed_classes?.[filter.class] > 0) &&
    (!filter.cause || report.severed[filter.cause] > 0) &&
    (underWay(report) ? !filter.until : ended(report) >= since && ended(report) <= until) &&
    terms.every((term) => haystack(report).includes(term)));
}

/** The list and all around it. `go` opens an address; `filter` is what the address says now. */
export class List {
  element;
  #feed;
  #go;
  #filter = {};
  /** What the agent found of it; `null` until it has answered. */
  #answer = null;
  #typing = 0;
  /** Two times are to be given, though the address has none yet. */
  #between = false;
  #counts = new Counts(() => this.#countsCame());
  #rows = new Map();
  #most = ROWS;
  #deploys = new Deploys();
  #parts;

  constructor(feed, go) {
    this.#feed = feed;
    this.#go = go;
    const choose = (key) => (event) => this.#choose({ [key]: event.target.value });
    const at = (key, label) =>
      el("label", { class: "field", hidden: true }, el("span", {}, label), el("input", { type: "datetime-local", "data-key": key, change: (event) => this.#choose({ [key]: ofField(event.target.value) }) }));
    const select = (key, label) =>
      el("label", { class: "field" }, el("span", {}, label), el("select", { "data-key": key, change: choose(key) }));
    this.#parts = {
      title: el("h1", { tabindex: -1 }, "Shutdowns"),
      day: el("section", { class: "day", "aria-label": "The last 24 hours" }),
      search: el("input", {
        type: "search",
        id: "search",
        placeholder: "Workload, path, finding, cause …",
        "aria-label": "Search",
        maxlength: 200,
        spellcheck: "false",
        autocomplete: "off",
        input: (event) => this.#choose({ q: event.target.value }),
      }),
      verdict: el("fieldset", { class: "verdicts" }, el("legend", { class: "hidden" }, "Verdict")),
      since: el("label", { class: "field" }, el("span", {}, "Ended in"), el("select", { "data-key": "since", change: (event) => this.#chooseTime(event.target.value) })),
      from: at("since", "from"),
      until: at("until", "to"),
      ns: select("ns", "Namespace"),
      kind: select("kind", "Kind"),
      class: select("class", "Class"),
      cause: select("cause", "Cause"),
      shown: el("p", { class: "shown" }),
      body: el("tbody", { role: "rowgroup" }),
      after: el("div", { class: "after" }),
      empty: el("div", { class: "empty" }),
    };
    const { title, day, search, verdict, since, from, until, ns, kind, class: classes, cause, shown: counted, body, after, empty } = this.#parts;
    const options = { "": "All", severed: "Severed", refused: "Refused", unknown: "Unknown", clean: "Clean" };
    for (const [value, label] of Object.entries(options)) {
      verdict.append(
        el(
          "label",
          { title: VERDICTS[value] },
          el("input", { type: "radio", name: "verdict", value, change: choose("verdict") }),
          el("span", { class: value && `is-${value}` }, value ? icon(value) : null, label),
        ),
      );
    }
    const times = { "": "any time", "15m": "15 minutes", "1h": "the hour", "24h": "24 hours", "7d": "7 days", between: "from … to …" };
    fillSelect(since.lastChild, times, "");
    const head = ["When", "Workload", "Verdict", "Why", "Requests", "Worst finding", "Took"];
    const columns = head.map((label) => el("th", { scope: "col", role: "columnheader" }, label));
    this.table = el(
      "table",
      { class: "shutdowns", role: "table" },
      el("caption", { class: "hidden" }, "Shutdowns, under way first, then the newest first"),
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, columns)),
      body,
    );
    this.element = el(
      "div",
      { class: "list" },
      title,
      day,
      this.#deploys.element,
      el("form", { class: "filters", role: "search", submit: (e) => e.preventDefault() }, search, verdict, since, from, until, ns, kind, classes, cause),
      counted,
      this.table,
      empty,
      after,
    );
    setInterval(() => document.hidden || this.#ages(), 10_000);
    setInterval(() => document.hidden || this.#counts.refresh(), 60_000);
  }

  /** Shows what the address asks for. */
  show(filter) {
    if (asked(filter) !== asked(this.#filter)) {
      this.#most = ROWS;
      this.#answer = null;
      clearTimeout(this.#typing);
      if (!asked(filter)) this.#counts.of("");
      else this.#typing = setTimeout(() => this.#older(false), filter.q === this.#filter.q ? 0 : TYPED_MS);
    }
    this.#filter = filter;
    this.#counts.refresh();
    const { search, verdict } = this.#parts;
    if (search.value !== (filter.q ?? "")) search.value = filter.q ?? "";
    for (const input of verdict.querySelectorAll("input")) input.checked = input.value === (filter.verdict ?? "");
    this.update();
  }

  /** Something has happened. */
  changed() {
    this.#counts.refresh();
    this.update();
  }

  /** Shows what the feed has now. */
  update() {
    this.#deploys.update();
    const all = [...this.#feed.reports.values()].sort(order);
    const found = all.filter(takes(this.#filter, this.#answer));
    this.#choices();
    // Nothing is known yet, which is not nothing.
    const searching = asked(this.#filter) !== "" && this.#answer === null && this.#feed.more;
    const loading = this.#feed.state === "loading" || searching;
    this.#day();
    const { shown: counted, body, after, empty } = this.#parts;
    counted.textContent = loading ? "" : this.#counted(all.length, found.length);
    keep(body, found.slice(0, this.#most).map((report) => this.#row(report)));
    for (const id of this.#rows.keys()) if (!this.#feed.reports.has(id)) this.#rows.delete(id);
    this.table.hidden = found.length === 0;
    empty.replaceChildren(...(found.length || loading ? [] : this.#nothing(all.length)));
    empty.hidden = empty.childElementCount === 0;
    after.replaceChildren(...this.#further(found.length));
  }

  /** Draws all anew: in another time zone. */
  redraw() {
    this.#rows.clear();
    this.update();
  }

  /** The link of the row that is `step` away from the one with the focus. */
  step(step) {
    const links = [...this.#parts.body.querySelectorAll("a")];
    const at = links.findIndex((link) => link.closest("tr").contains(document.activeElement));
    const next = at < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(Math.max(at + step, 0), links.length - 1);
    links[next]?.focus();
  }

  focusSearch() {
    this.#parts.search.focus();
    this.#parts.search.select();
  }

  /** Puts the focus on the row of this shutdown, or on the title. */
  focusRow(id) {
    const link = this.#rows.get(id)?.element.querySelector("a");
    if (link?.isConnected) link.focus();
    else this.#parts.title.focus({ preventScroll: true });
  }

  #choose(choice) {
    const filter = { ...this.#filter, ...choice };
    const query = new URLSearchParams(KEYS.filter((k) => filter[k]).map((k) => [k, filter[k]]));
    // Each letter of a search is not a step back.
    this.#go(`?${query}`, "q" in choice);
  }

  #chooseTime(value) {
    this.#between = value === "between";
    this.#choose(this.#between ? { since: undefined } : { since: value, until: undefined });
  }

  /** Asks the agent for what the address asks for, of all that it keeps. */
  async #older(all) {
    const query = asked(this.#filter);
    this.#counts.of(query);
    const answer = await this.#feed.older(query, all);
    if (!query || query !== asked(this.#filter)) return;
    this.#answer = answer;
    this.update();
  }

  #countsCame() {
    if (this.element.isConnected) this.update();
  }

  #choices() {
    const { namespaces = {}, kinds = {}, severed_classes: classes = {}, severed: causes = {} } = this.#counts.all ?? {};
    for (const [key, there] of Object.entries({ ns: namespaces, kind: kinds, class: classes, cause: causes })) {
      const field = this.#parts[key];
      const values = Object.keys(there).sort();
      const chosen = this.#filter[key];
      if (chosen && !values.includes(chosen)) values.push(chosen);
      field.hidden = values.length < 2 && !chosen;
      fillSelect(field.lastChild, Object.fromEntries([["", "all"], ...values.map((v) => [v, shown(v)])]), chosen ?? "");
    }
    const { since: chosen, until } = this.#filter;
    const between = this.#between || Boolean(until) || (chosen && !SPANS[chosen]);
    this.#parts.since.lastChild.value = between ? "between" : (chosen ?? "");
    for (const [field, value] of [[this.#parts.from, chosen], [this.#parts.until, until]]) {
      field.hidden = !between;
      if (document.activeElement !== field.lastChild) field.lastChild.value = spelled(value);
    }
  }

  #day() {
    const day = this.#counts.day;
    if (!day) return;
    const { shutdowns, under_way: open, maybe_taken_for_delivered: taken } = day;
    const bad = day.verdicts.severed;
    const partly = day.partial ? "≥ " : "";
    const tile = (kind, value, label, note) =>
      el("div", { class: `tile ${value ? kind : ""}` }, el("dt", {}, label), el("dd", {}, partly + value.toLocaleString("en")), note && el("dd", { class: "note" }, note));
    this.#parts.day.replaceChildren(
      el(
        "dl",
        { class: "tiles" },
        tile("is-plain", shutdowns, "shutdowns, 24 h", open ? `${open} under way` : null),
        tile("is-severed", bad, "of them severed", shutdowns ? `${Math.round((bad / shutdowns) * 100)} %` : null),
        tile("is-severed", day.requests.severed, "requests severed", null),
        tile("is-severed", day.severed_classes.webhook ?? 0, "webhooks severed", taken ? `${taken} maybe considered delivered` : null),
      ),
      hours(day.hours, shutdowns),
    );
  }

  /** How many there are, as the agent counted them; what came since is already here. */
  #counted(loaded, listed) {
    const all = Math.max(loaded, this.#counts.all?.shutdowns ?? 0);
    if (!all) return "";
    const filtered = asked(this.#filter) !== "";
    const found = filtered ? Math.max(listed, this.#counts.found?.shutdowns ?? 0) : all;
    const here = listed < found ? `, the last ${listed.toLocaleString("en")} loaded` : "";
    return filtered ? `${found.toLocaleString("en")} of ${count(all, "shutdown")}${here}` : `${count(all, "shutdown")}${here}`;
  }

  /** There are more of what is asked for than were loaded. */
  get #more() {
    return asked(this.#filter) ? (this.#answer?.more ?? false) : this.#feed.more;
  }

  #further(found) {
    const button = (label, act) => el("button", { type: "button", click: act }, label);
    const rest = found - this.#most;
    if (rest > 0) {
      const more = () => {
        this.#most += ROWS;
        this.update();
      };
      return [button(`Show ${Math.min(rest, ROWS)} more`, more)];
    }
    if (!this.#more) return [];
    if (found < 1000) return [button("Load older shutdowns", () => this.#older(true))];
    return [el("p", {}, "Older shutdowns: choose a time, or run ", el("code", {}, "drainwatch shutdowns --since 7d"), ".")];
  }

  #nothing(all) {
    if (all) {
      return [
        el("h2", {}, "No shutdown matches"),
        el("p", {}, el("a", { href: "?", "data-nav": true }, "Show all of them"), "."),
      ];
    }
    if (this.#feed.state === "down") return [];
    return [
      el("h2", {}, "No shutdown yet"),
      el("p", {}, "The agent watches every workload of this node. As soon as one is stopped, it appears here; nothing has to be set up."),
      el("ul", {}, el("li", {}, "Deploy or restart something, "), el("li", {}, "or see an example at once: ", el("code", {}, "sudo drainwatch demo"))),
    ];
  }

  #row(report) {
    const known = this.#rows.get(report.id);
    if (known?.report === report) return known.element;
    const sign = signature(report);
    if (known?.sign === sign) {
      known.report = report;
      return known.element;
    }
    const element = row(report);
    if (known?.element.contains(document.activeElement)) {
      known.element.replaceWith(element);
      element.querySelector("a").focus();
    }
    this.#rows.set(report.id, { report, sign, element });
    return element;
  }

  #ages() {
    for (const time of this.#parts.body.querySelectorAll("time")) time.nextSibling.textContent = ago(time.dateTime);
  }
}

/** Children as wanted, without touching those that stand right: they may have the focus. */
function keep(parent, wanted) {
  let at = parent.firstChild;
  for (const child of wanted) {
    if (child === at) at = at.nextSibling;
    else parent.insertBefore(child, at);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function fillSelect(select, choices, chosen) {
  const values = Object.keys(choices).join("\n");
  if (select.dataset.values !== values) {
    select.replaceChildren(...Object.entries(choices).map(([value, label]) => el("option", { value }, label)));
    select.dataset.values = values;
  }
  select.value = chosen;
}

const signature = (report) =>
  JSON.stringify([report.ended_at, report.verdict, report.trigger, report.reason, report.requests, report.refused, report.findings.length, report.timeline.length, report.workload]);

function row(report) {
  const { requests, workload: w } = report;
  const worst = findings(report)[0];
  const more = report.findings.length - 1;
  const took = duration(report);
  const hooks = webhooks(report);
  const cell = (label, kind, ...children) => el("td", { role: "cell", class: kind, "data-label": label }, children);
  const whose = [w.kind, w.pod, w.container].filter(Boolean);
  return el(
    "tr",
    { role: "row", class: underWay(report) ? "is-open" : `is-${report.verdict}` },
    cell("When", "when", el("time", { datetime: report.started_at, title: report.started_at }, clock(report.started_at)), el("span", { class: "sub" }, ago(report.started_at))),
    cell(
      "Workload",
      "who",
      el("a", { href: `?id=${encodeURIComponent(report.id)}`, "data-nav": true, "data-id": report.id }, name(workload(w))),
      el("span", { class: "sub" }, whose.map((part, n) => [n ? " · " : "", name(part)])),
    ),
    cell("Verdict", "verdict", badge(report)),
    cell("Why", "why", el("span", { title: worded(TRIGGERS, report.trigger) }, shown(report.trigger)), report.reason ? el("span", { class: "sub", title: worded(REASONS, report.reason) }, shown(report.reason.replaceAll("_", " "))) : null),
    cell("Requests", "requests", any(requests) ? share(requests) : null, el("span", { class: "sub" }, any(requests) || underWay(report) ? counts(requests) : requests.aborted ? `${requests.aborted} aborted` : report.refused?.attempts ? null : "no request"), report.refused?.attempts ? el("span", { class: "sub" }, `${report.refused.attempts} refused`) : null),
    cell(
      "Worst finding",
      "worst",
      hooks.taken ? el("span", { class: "alarm" }, `${count(hooks.taken, "webhook")} maybe considered delivered`) : null,
      worst
        ? [el("span", { title: shown(worst.summary) }, worded(FINDINGS, worst.code)), more > 0 ? el("span", { class: "more" }, ` +${more}`) : null]
        : hooks.taken ? null : el("span", { class: "none" }, "none"),
    ),
    cell("Took", "took", el("span", {}, span(took)), report.drain_ms === null ? null : el("span", { class: "sub" }, `drained ${span(report.drain_ms)}`)),
  );
}

const any = ({ severed, failed = 0, drained, unknown }) => severed + failed + drained + unknown > 0;

function counts({ severed, failed, drained, unknown }) {
  const parts = [];
  parts.push(el("span", { class: severed ? "n-severed" : "n-none" }, `${severed} severed`));
  if (failed) parts.push(`, ${failed} failed`);
  parts.push(`, ${drained} drained`);
  if (unknown) parts.push(`, ${unknown} unknown`);
  return parts;
}

/** Severed, failed, drained and unknown as parts of one bar; the numbers stand below it. */
function share({ severed, failed = 0, drained, unknown }) {
  const all = severed + failed + drained + unknown;
  const bar = svg("svg", { class: "share", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" });
  bar.append(svg("rect", { class: "bg", width: 100, height: 6 }));
  let x = 0;
  for (const [kind, n] of [["severed", severed], ["severed", failed], ["unknown", unknown], ["drained", drained]]) {
    if (!n) continue;
    // One of many is still to be seen.
    const width = Math.max((n / all) * 100, 3);
    bar.append(svg("rect", { class: kind, x, width: Math.min(width, 100 - x), height: 6 }));
    x += width;
  }
  return bar;
}

/** The last 24 hours, one column each. */
function hours(columns, all) {
  const tallest = Math.max(4, ...columns.map((c) => c.severed + c.refused + c.unknown + c.clean));
  const chart = svg("svg", { class: "hours", viewBox: "0 0 240 60", role: "img", "aria-label": `Shutdowns by hour, the last 24 hours: ${all}` });
  columns.forEach((column, n) => {
    let y = 44;
    const there = column.severed + column.refused + column.unknown + column.clean;
    const group = svg("g", {}, svg("title", {}, `${23 - n ? `${23 - n} to ${24 - n} hours ago` : "the last hour"}: ${count(there, "shutdown")}, ${column.severed} severed`));
    group.append(svg("rect", { class: "hit", x: n * 10, y: 0, width: 10, height: 46 }));
    group.append(svg("rect", { class: "base", x: n * 10 + 1, y: 44, width: 8, height: 2 }));
    for (const kind of ["severed", "refused", "unknown", "clean"]) {
      if (!column[kind]) continue;
      const height = Math.max((column[kind] / tallest) * 42, 2);
      y -= height;
      group.append(svg("rect", { class: kind, x: n * 10 + 1, y: y + 0.5, width: 8, height: height - 0.5 }));
    }
    chart.append(group);
  });
  chart.append(svg("text", { x: 1, y: 56 }, "24 h ago"), svg("text", { x: 239, y: 56, "text-anchor": "end" }, "now"));
  return el("figure", {}, chart);
}

