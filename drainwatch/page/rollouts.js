// Deploys as one thing each: the last ones above the list, and the history of one workload.

import { ago, clock, count, cut, el, icon, name, shown, span, svg } from "./dom.js";
import { ask } from "./feed.js";
import { FINDINGS, REASONS, worded, workload } from "./words.js";

/** Deploys above the list. */
const LAST = 6;
/** Not more often than this: each question looks at all shutdowns of a week. */
const PAUSE_MS = 5_000;

const address = (w) => `?workload=${encodeURIComponent(workload(w))}`;
const revision = ({ id, image }) => cut(shown(id ?? image ?? "–"), 18);
const hooks = (one) => one.severed_classes.webhook ?? 0;

const badge = (one) =>
  one.under_way
    ? el("span", { class: "badge is-open" }, icon("open"), "under way")
    : el("span", { class: `badge is-${one.verdict}` }, icon(one.verdict), shown(one.verdict));

/** What it cost, in words. */
function cost(one) {
  const parts = [el("span", { class: one.requests.severed ? "n-severed" : "n-none" }, `${one.requests.severed} severed`)];
  if (hooks(one)) parts.push(`, ${count(hooks(one), "webhook")} of them`);
  if (one.requests.failed) parts.push(`, ${one.requests.failed} failed`);
  if (one.refused.attempts) parts.push(`, ${one.refused.attempts} refused`);
  return parts;
}

const stops = (one) => `${count(one.shutdowns, "stop")}${one.pods ? ` of ${count(one.pods, "pod")}` : ""}`;

/** Asks now and then, and once more when something changed meanwhile. */
class Asker {
  #timer = 0;
  #last = 0;
  #query = "";
  #take;

  constructor(take) {
    this.#take = take;
  }

  ask(query) {
    this.#query = query;
    if (this.#timer) return;
    const wait = Math.max(0, this.#last + PAUSE_MS - Date.now());
    this.#timer = setTimeout(() => this.#now(), wait);
  }

  async #now() {
    const query = this.#query;
    this.#last = Date.now();
    let found;
    try {
      found = await ask(`api/v1/rollouts?${query}`);
    } catch (error) {
      found = { rollouts: null, error };
    }
    this.#timer = 0;
    if (query === this.#query) this.#take(found);
    else this.ask(this.#query);
  }
}

/** The last deploys, above the list of shutdowns. */
export class Deploys {
  element = el("section", { class: "deploys", "aria-labelledby": "deploys", hidden: true });
  #drawn = "";
  #asker = new Asker((found) => this.#draw(found));

  update() {
    if (!document.hidden) this.#asker.ask(`limit=${LAST}`);
  }

  #draw({ rollouts }) {
    const now = JSON.stringify(rollouts);
    if (!rollouts || now === this.#drawn) return;
    this.#drawn = now;
    this.element.hidden = rollouts.length === 0;
    const focused = this.element.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    this.element.replaceChildren(
      el("h2", { id: "deploys" }, "Last deploys"),
      el("ul", { class: "cards" }, rollouts.map(card)),
    );
    if (focused) [...this.element.querySelectorAll("a")].find((a) => a.getAttribute("href") === focused)?.focus();
  }
}

function card(one) {
  const worst = one.findings[0];
  return el(
    "li",
    { class: `is-${one.verdict}` },
    el("h3", {}, el("a", { href: address(one.workload), "data-nav": true }, name(workload(one.workload))), badge(one)),
    el("p", {}, cost(one)),
    el(
      "p",
      { class: "sub" },
      el("time", { datetime: one.started_at, title: one.started_at }, ago(one.started_at)),
      `, ${stops(one)}, `,
      name(revision(one.from)),
      one.to ? [" → ", name(revision(one.to))] : null,
    ),
    worst ? el("p", { class: "sub", title: shown(worst.summary) }, worded(FINDINGS, worst.code)) : null,
  );
}

/** The history of one workload: what each of its deploys cost. */
export class Workload {
  element = el("article", { class: "workload" });
  title = "";
  #back;
  #who = "";
  #drawn = "";
  #asker = new Asker((found) => this.#draw(found));

  constructor(back) {
    this.#back = back;
  }

  show(who) {
    if (who !== this.#who) {
      this.#who = who;
      this.#drawn = "";
      this.title = shown(who);
      this.element.replaceChildren(this.#way(), el("h1", { tabindex: -1 }, name(who)), el("p", { class: "loading" }, "Loading …"));
      this.element.querySelector("h1").focus({ preventScroll: true });
    }
    this.update();
  }

  /** Draws it anew: in another time zone. */
  redraw() {
    this.#drawn = "";
    this.update();
  }

  update() {
    if (!document.hidden) this.#asker.ask(new URLSearchParams({ workload: this.#who, since: "90d", limit: 100 }));
  }

  #way() {
    return el("p", { class: "way" }, el("a", { href: this.#back(), "data-nav": true }, icon("back"), "All shutdowns"));
  }

  #draw({ rollouts, error }) {
    const now = JSON.stringify(rollouts ?? error?.message);
    if (now === this.#drawn) return;
    this.#drawn = now;
    const focused = document.activeElement === this.element.querySelector("h1");
    const all = el("a", { href: `?q=${encodeURIComponent(this.#who)}`, "data-nav": true }, "its shutdowns");
    this.element.replaceChildren(
      this.#way(),
      el("h1", { tabindex: -1 }, name(this.#who)),
      ...(rollouts?.length
        ? [
            el("p", { class: "sub" }, `${count(rollouts.length, "deploy")} in 90 days on this node; `, all),
            numbers(rollouts),
            trend(rollouts),
            el("div", { class: "wide" }, table(rollouts)),
            advice(rollouts, this.#who),
          ]
        : [el("div", { class: "empty" }, el("p", {}, error ? shown(error.message) : "No deploy of it was seen in the last 90 days; ", error ? null : all))]),
    );
    if (focused) this.element.querySelector("h1").focus({ preventScroll: true });
  }
}

function numbers(rollouts) {
  const sum = (of) => rollouts.reduce((total, one) => total + of(one), 0);
  const longest = (of) => Math.max(...rollouts.map(of).filter(Number.isFinite));
  const bad = rollouts.filter((one) => one.verdict === "severed").length;
  const tile = (kind, value, label) => el("div", { class: `tile ${kind}` }, el("dt", {}, label), el("dd", {}, value));
  return el(
    "dl",
    { class: "tiles" },
    tile(bad ? "is-severed" : "is-clean", `${bad} of ${rollouts.length}`, "deploys severed requests"),
    tile(sum((one) => one.requests.severed) ? "is-severed" : "", String(sum((one) => one.requests.severed)), "requests severed"),
    tile(sum(hooks) ? "is-severed" : "", String(sum(hooks)), "webhooks severed"),
    tile("", span(longest((one) => one.drain_ms ?? NaN)), "longest drain"),
    tile("", span(longest((one) => one.endpoint_lag_ms ?? NaN)), "longest traffic after the stop"),
  );
}

/** Cut requests per deploy, the oldest first. */
function trend(rollouts) {
  const [width, height, foot] = [600, 90, 14];
  const oldest = [...rollouts].reverse();
  const most = Math.max(1, ...oldest.map((one) => one.requests.severed));
  const step = width / Math.max(oldest.length, 12);
  const bars = oldest.map((one, n) => {
    const tall = (one.requests.severed / most) * (height - foot - 6);
    return svg(
      "g",
      {},
      svg("title", {}, `${clock(one.started_at)}: ${one.requests.severed} severed`),
      svg("rect", { x: n * step + 1, y: height - foot - Math.max(tall, 2), width: Math.max(step - 2, 1), height: Math.max(tall, 2), rx: 1.5, class: one.requests.severed ? "severed" : one.verdict === "clean" ? "clean" : "unknown" }),
    );
  });
  const says = `Requests severed by each of the last ${count(oldest.length, "deploy")}, at most ${most === 1 && !oldest.some((one) => one.requests.severed) ? 0 : most}`;
  return el(
    "figure",
    { class: "trend" },
    svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": says }, bars, svg("text", { x: 0, y: height - 2 }, clock(oldest[0].started_at))),
    el("figcaption", {}, says),
  );
}

function table(rollouts) {
  const head = ["When", "Revision", "Verdict", "Stops", "Requests", "Drain", "Lag", "Worst finding"];
  return el(
    "table",
    {},
    el("caption", { class: "hidden" }, "Deploys, the newest first"),
    el("thead", {}, el("tr", {}, head.map((label) => el("th", { scope: "col" }, label)))),
    el("tbody", {}, rollouts.map(row)),
  );
}

function row(one) {
  const worst = one.findings[0];
  return el(
    "tr",
    {},
    el("td", {}, el("a", { href: `?id=${encodeURIComponent(one.ids[0])}`, "data-nav": true, title: "Its first shutdown" }, clock(one.started_at))),
    el("td", {}, name(revision(one.from)), one.to ? [" → ", name(revision(one.to))] : null, one.from.image ? el("span", { class: "sub" }, name(one.from.image)) : null),
    el("td", {}, badge(one)),
    el("td", {}, stops(one), one.reason ? el("span", { class: "sub", title: worded(REASONS, one.reason) }, shown(one.reason)) : null),
    el("td", {}, cost(one), el("span", { class: "sub" }, `${one.requests.drained} drained`)),
    el("td", {}, span(one.drain_ms)),
    el("td", {}, span(one.endpoint_lag_ms)),
    el("td", {}, worst ? el("span", { title: shown(worst.summary) }, `${worded(FINDINGS, worst.code)}${worst.shutdowns > 1 ? ` ×${worst.shutdowns}` : ""}`) : el("span", { class: "none" }, "none")),
  );
}

/** What the last deploys that had findings say to do, each once. */
function advice(rollouts, who) {
  const found = new Map();
  for (const one of rollouts.slice(0, 5)) for (const finding of one.findings) if (!found.has(finding.code)) found.set(finding.code, finding);
  const cards = [...found.values()].map((finding) =>
    el("li", {}, el("h3", {}, worded(FINDINGS, finding.code)), el("p", {}, shown(finding.summary)), el("p", { class: "advice" }, shown(finding.advice))),
  );
  return el(
    "section",
    {},
    el("h2", {}, "What to change"),
    cards.length ? el("ul", { class: "cards" }, cards) : el("p", { class: "sub" }, "Nothing was wrong with the last deploys."),
    el("p", { class: "sub" }, "preStop and grace period from what was measured: ", el("code", {}, `drainwatch recommend ${shown(who)}`)),
  );
}
