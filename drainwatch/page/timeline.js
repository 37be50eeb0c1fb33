// The timeline drawn to scale: signals, listeners, processes, and every request as a bar.

import { cut, el, shown, span, svg } from "./dom.js";
import { CAUSES, MOMENTS, request, worded } from "./words.js";

/** Heights, in px. */
const AXIS = 34;
const LANE = 26;
const HEAD = 24;
const BAR = 12;
const GAP = 5;
/** Width of a character of the labels, in px. */
const CHAR = 6.65;
/** Marks that are closer than this are one. */
const NEAR = 11;
/** Lanes of listeners, and requests of a group, that are drawn before somebody asks for all. */
const LISTENERS = 4;
const REQUESTS = 12;
/** So few more are drawn at once: folding them away would save nothing. */
const SPARE = 3;

const MARKS = {
  stop_signal: { lane: "signals", shape: "M-6 -5h12l-6 10z", ink: "unknown" },
  signal_delivered: { lane: "signals", shape: "M-4 -3.500h8l-4 7z", ink: "faint" },
  signal_dropped: { lane: "signals", shape: "M-6 -5h12l-6 10zM-6 6l12 -12", ink: "severed" },
  kill: { lane: "signals", shape: "M-5 -5l10 10M5 -5l-10 10", ink: "severed" },
  oom: { lane: "processes", shape: "M-5 -5l10 10M5 -5l-10 10", ink: "severed" },
  exit: { lane: "processes", shape: "M-4.5 -4.500h9v9h-9z", ink: "plain" },
  emptied: { lane: "processes", shape: "M-4.5 -4.500h9v9h-9z", ink: "hollow" },
  agent_stopped: { lane: "processes", shape: "M0 -6l6 6l-6 6l-6 -6z", ink: "unknown" },
};
const OTHER = { lane: "processes", shape: "M0 -4l4 4l-4 4l-4 -4z", ink: "plain" };

/** The drawing of one report; it follows the width that it is given. */
export class Timeline {
  element;
  #report;
  #body = el("div", { class: "chart" });
  #legend = el("figcaption", {});
  #tip = el("div", { class: "tip", role: "tooltip", hidden: true });
  #watch;
  #width = 0;
  #focus = 0;
  #unfolded;

  /** `unfolded` has the keys of what was unfolded, and outlives this drawing. */
  constructor(report, unfolded) {
    this.#report = report;
    this.#unfolded = unfolded;
    this.element = el(
      "figure",
      { class: "drawing" },
      el("div", { click: (e) => this.#fold(e), mouseover: (e) => this.#point(e), mouseleave: () => this.#hide(), focusin: (e) => this.#point(e), focusout: () => this.#hide(), keydown: (e) => this.#move(e) }, this.#body),
      this.#tip,
      this.#legend,
    );
    this.#watch = new ResizeObserver(() => this.#draw());
  }

  /** Draws, now that it is in the page. */
  begin() {
    this.#draw();
    this.#watch.observe(this.element);
  }

  end() {
    this.#watch.disconnect();
  }

  #draw(anew = false) {
    const width = Math.floor(this.#body.clientWidth);
    if (!width || (width === this.#width && !anew)) return;
    this.#width = width;
    const drawn = draw(this.#report, width, this.#unfolded);
    const focused = document.activeElement;
    const kept = this.#body.contains(focused);
    this.#body.replaceChildren(...drawn);
    this.#legend.replaceChildren(...legend(this.#body));
    const all = this.#stops();
    this.#focus = Math.min(this.#focus, Math.max(all.length - 1, 0));
    all[this.#focus]?.setAttribute("tabindex", "0");
    if (kept) (document.getElementById(focused.id) ?? all[this.#focus])?.focus({ preventScroll: true });
  }

  /** Folds or unfolds what was clicked; `true` where that is something. */
  #fold(event) {
    const key = event.target.closest?.("[data-fold]")?.dataset.fold;
    if (!key) return false;
    if (!this.#unfolded.delete(key)) this.#unfolded.add(key);
    this.#hide();
    this.#draw(true);
    return true;
  }

  #stops() {
    return [...this.#body.querySelectorAll("[data-tip]")];
  }

  /** One stop for the Tab key, and the arrows from there: nobody tabs through hundreds of bars. */
  #move(event) {
    if (["Enter", " "].includes(event.key) && this.#fold(event)) return event.preventDefault();
    const all = this.#stops();
    const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, PageDown: 10, PageUp: -10, Home: -all.length, End: all.length };
    const step = steps[event.key];
    if (!step || !all.includes(event.target)) return;
    event.preventDefault();
    const to = Math.min(Math.max(this.#focus + step, 0), all.length - 1);
    all[this.#focus]?.setAttribute("tabindex", "-1");
    this.#focus = to;
    all[to].setAttribute("tabindex", "0");
    all[to].focus();
  }

  #point(event) {
    const target = event.target.closest?.("[data-tip]");
    if (!target) return this.#hide();
    if (event.type === "focusin") {
      const all = this.#stops();
      all[this.#focus]?.setAttribute("tabindex", "-1");
      this.#focus = Math.max(all.indexOf(target), 0);
      target.setAttribute("tabindex", "0");
    }
    this.#tip.replaceChildren(...target.dataset.tip.split("\n").map((line) => el("span", {}, el("bdi", {}, line))));
    this.#tip.hidden = false;
    const outer = this.element.getBoundingClientRect();
    const at = (target.querySelector(".anchor") ?? target).getBoundingClientRect();
    const wanted = (Math.max(at.left, outer.left) + Math.min(at.right, outer.right)) / 2 - outer.left - this.#tip.offsetWidth / 2;
    const left = Math.min(Math.max(wanted, 0), outer.width - this.#tip.offsetWidth);
    const above = at.top - outer.top - this.#tip.offsetHeight - 8;
    this.#tip.style.left = `${left}px`;
    this.#tip.style.top = `${above > -40 ? above : at.bottom - outer.top + 8}px`;
  }

  #hide() {
    this.#tip.hidden = true;
  }
}

/** As the bars look: what may be considered delivered has an edge around it. */
function swatch(kind) {
  const rect = { class: kind, x: 1, y: 1, width: 16, height: 8, rx: 2 };
  return kind === "taken" ? [svg("rect", { class: "severed", x: 3, y: 3, width: 12, height: 4, rx: 1 }), svg("rect", rect)] : svg("rect", rect);
}

/** What stands in the drawing, and nothing else. */
function legend(drawing) {
  const item = (kind, label) => el("span", {}, svg("svg", { viewBox: "0 0 18 10", "aria-hidden": "true" }, swatch(kind)), label);
  const known = [
    [".bar.severed", "severed", "severed"],
    [".bar.outbound", "outbound", "severed, outbound"],
    ["rect.taken", "taken", "maybe considered delivered"],
    [".bar.drained", "drained", "drained"],
    ["rect.listening", "listening", "listening"],
    ["rect.grace", "grace", "grace period"],
  ];
  const there = known.filter(([selector]) => drawing.querySelector(selector));
  return [
    ...there.map(([, kind, label]) => item(kind, label)),
    drawing.querySelector(".bar") ? el("span", { class: "hint" }, "Bars begin when the request did. Arrow keys go from one to the next.") : "",
  ];
}

/** From when to when, in ms since the first stop signal; and where that lies, in px. */
function scale(report, labels, width) {
  const started = Date.parse(report.started_at);
  const deleted = report.deleted_at ? Date.parse(report.deleted_at) - started : null;
  const refused = [report.refused?.first_ms, report.refused?.last_ms].filter(Number.isFinite).map((at_ms) => ({ at_ms, age_ms: 0 }));
  const requests = [...report.severed_requests, ...report.drained_requests, ...refused];
  const ends = [...report.timeline, ...requests].map((at) => at.at_ms);
  const ongoing = report.ended_at === null && !report.timeline.some((moment) => moment.what === "emptied");
  if (ongoing) ends.push(Date.now() - started);
  const last = Math.max(0.5, ...ends);
  const first = Math.min(0, deleted ?? 0, ...report.timeline.map((moment) => moment.at_ms));
  const earliest = Math.min(first, ...requests.map((r) => r.at_ms - (r.age_ms ?? 0)));
  // What came before the stop is shown as far as it leaves room for what came after.
  const before = Math.min(first - earliest, (last - first) * 0.6);
  const from = first - Math.max(before, (last - first) * 0.06);
  const to = last + (last - from) * 0.04;
  const room = width - labels - 8;
  const x = (ms) => labels + ((Math.min(Math.max(ms, from), to) - from) / (to - from)) * room;
  return { from, to, x, deleted, left: labels, right: width - 8 };
}

function draw(report, width, unfolded) {
  const labels = width < 560 ? 92 : width < 900 ? 170 : 230;
  const at = scale(report, labels, width);
  const label = (text, y, kind = "label") =>
    svg("text", { class: kind, x: 0, y: y + 4 }, cut(shown(text), Math.floor((labels - 12) / CHAR)));
  const rows = [];
  let y = 4;

  for (const lane of ["signals", "listeners", "processes"]) {
    if (lane === "listeners") {
      const all = listeners(report);
      const open = unfolded.has(lane);
      const folds = all.length > LISTENERS + 1;
      for (const listener of folds && !open ? all.slice(0, LISTENERS) : all) {
        rows.push(...listening(listener, at, y + LANE / 2), label(listener.label, y + LANE / 2));
        y += LANE;
      }
      if (folds) {
        rows.push(fold(lane, open ? "fewer listeners" : `${all.length - LISTENERS} more listeners`, "plain", open, y, width));
        y += HEAD;
      }
      continue;
    }
    const marks = report.timeline.filter((moment) => moment.what in MARKS ? MARKS[moment.what].lane === lane : lane === "processes" && !moment.what.startsWith("listener"));
    if (!marks.length) continue;
    rows.push(svg("line", { class: "rail", x1: at.left, x2: at.right, y1: y + LANE / 2, y2: y + LANE / 2 }));
    rows.push(label(lane, y + LANE / 2), ...marked(marks, at, y + LANE / 2));
    y += LANE;
  }

  const groups = grouped(report);
  const bars = groups.reduce((sum, group) => sum + group.requests.length, 0);
  for (const group of groups) {
    const folds = group.requests.length > REQUESTS + SPARE;
    const open = unfolded.has(group.key);
    const [first, rest] = folds && !open ? parted(group.requests) : [group.requests, []];
    y += 6;
    const words = rest.length ? `${group.label}, ${first.length} shown` : group.label;
    rows.push(folds ? fold(group.key, words, group.kind, open, y, width) : svg("text", { class: `group ${group.kind}`, x: 0, y: y + HEAD / 2 + 4 }, words));
    y += HEAD;
    const list = svg("g", { role: "list", "aria-label": group.label });
    for (const one of first) {
      list.append(bar(one, at, y, BAR, width), label(request(one), y + BAR / 2, "label path"));
      y += BAR + GAP;
    }
    if (first.length) rows.push(list);
    if (rest.length) {
      rows.push(extent(group, rest, at, y, width), label(`${rest.length} more`, y + BAR / 2, "label more"));
      y += BAR + GAP;
    }
    if (group.omitted) {
      rows.push(svg("text", { class: "omitted", x: at.left, y: y + 11 }, `and ${group.omitted.toLocaleString("en")} more, not listed in the report`));
      y += 18;
    }
  }
  if (!groups.length) {
    rows.push(svg("text", { class: "omitted", x: at.left, y: y + 20 }, "No request was under way."));
    y += 30;
  }
  const tall = y + 8;
  const title = `Timeline from ${span(at.from)} to ${span(at.to)} around the first stop signal: ${report.timeline.length} moments, ${bars} requests as bars`;
  return [
    svg("svg", { class: "axis", width, height: AXIS, "aria-hidden": "true" }, ticks(at), flags(report, at)),
    svg("svg", { class: "rows", width, height: tall, role: "group", "aria-label": title }, shades(report, at, tall), rows),
  ];
}

function ticks(at) {
  const most = Math.max(2, Math.floor((at.right - at.left) / 95));
  const rough = (at.to - at.from) / most;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * unit).find((size) => size >= rough);
  const all = [];
  for (let n = Math.ceil(at.from / step); n * step <= at.to; n += 1) {
    const [ms, x] = [n * step, at.x(n * step)];
    if (n) all.push(svg("text", { x, y: AXIS - 9, "text-anchor": x > at.right - 24 ? "end" : "middle" }, ms < 0 ? `−${span(-ms)}` : span(ms)));
    all.push(svg("line", { class: "tick", x1: x, x2: x, y1: AXIS - 5, y2: AXIS }));
  }
  return all;
}

/** The stop signal's own place on the axis, and the pod's deletion. */
function flags(report, at) {
  const first = report.signals[0]?.signal;
  const flag = (ms, text) => svg("text", { class: "flag", x: Math.min(Math.max(at.x(ms), at.left + 20), at.right - 30), y: 11, "text-anchor": "middle" }, cut(shown(text), 24));
  const all = [flag(0, first ?? report.trigger)];
  if (at.deleted !== null && at.x(0) - at.x(at.deleted) > 90) all.push(flag(at.deleted, "pod deleted"));
  return all;
}

/** Grace period and preStop behind everything; lines where something happened to all. */
function shades(report, at, tall) {
  const all = [];
  const box = (kind, from, to) => all.push(svg("rect", { class: kind, x: at.x(from), y: 0, width: Math.max(at.x(to) - at.x(from), 0), height: tall }));
  const line = (kind, ms) => all.push(svg("line", { class: `rule ${kind}`, x1: at.x(ms), x2: at.x(ms), y1: 0, y2: tall }));
  const begin = at.deleted ?? 0;
  const grace = report.configured?.grace_seconds;
  if (grace !== null && grace !== undefined) box("grace", begin, begin + grace * 1000);
  if (at.deleted !== null && at.deleted < 0) {
    box("prestop", at.deleted, 0);
    line("deleted", at.deleted);
  }
  line("stop", 0);
  for (const moment of report.timeline) {
    if (moment.what === "kill" || moment.what === "oom") line("kill", moment.at_ms);
    if (moment.what === "emptied") {
      box("gone", moment.at_ms, at.to);
      line("gone-line", moment.at_ms);
    }
  }
  return all;
}

/** Addresses with when they were open. */
function listeners(report) {
  const all = new Map();
  for (const { what, detail, at_ms } of report.timeline) {
    if (!what.startsWith("listener_")) continue;
    const one = all.get(detail) ?? { label: detail ?? "listener", open: [], from: -Infinity };
    if (what === "listener_closed") {
      one.open.push([one.from, at_ms]);
      one.from = null;
    } else {
      if (!one.open.length) one.from = at_ms;
      one.from = at_ms;
    }
    all.set(detail, one);
  }
  return [...all.values()];
}

function listening(listener, at, y) {
  const spans = listener.from === null ? listener.open : [...listener.open, [listener.from, Infinity]];
  return spans.map(([from, to]) => {
    const [x1, x2] = [at.x(from), at.x(to)];
    const ends = to === Infinity ? "still open at the end" : `closed at ${span(to)}`;
    const begins = from === -Infinity ? "" : `opened at ${span(from)}, `;
    const text = `${shown(listener.label)}\n${begins}${ends}`;
    return svg(
      "g",
      { class: "band", "data-tip": text, tabindex: -1, role: "img", "aria-label": `listener ${text.replace("\n", ", ")}` },
      svg("rect", { class: "listening anchor", x: x1, y: y - 5, width: Math.max(x2 - x1, 3), height: 10, rx: 2 }),
      to === Infinity ? null : svg("line", { class: "closed", x1: x2, x2, y1: y - 8, y2: y + 8 }),
    );
  });
}

/** Marks of one lane; those that would lie upon each other are one, with its number. */
function marked(moments, at, y) {
  const clusters = [];
  for (const moment of moments) {
    const x = at.x(moment.at_ms);
    const last = clusters.at(-1);
    if (last && x - last.x < NEAR) last.moments.push(moment);
    else clusters.push({ x, moments: [moment] });
  }
  return clusters.map((cluster, n) => {
    const { x, moments: here } = cluster;
    const main = here.find((moment) => (MARKS[moment.what] ?? OTHER).ink === "severed") ?? here[0];
    const mark = MARKS[main.what] ?? OTHER;
    const line = (moment) => shown([span(moment.at_ms), worded(MOMENTS, moment.what), moment.detail, moment.pid && `(${moment.pid})`].filter(Boolean).join(" "));
    const text = here.map(line);
    const tip = text.length > 12 ? [...text.slice(0, 11), `and ${text.length - 11} more`] : text;
    const words = `${worded(MOMENTS, main.what)}${main.detail ? `: ${main.detail}` : ""}${here.length > 1 ? ` +${here.length - 1}` : ""}`;
    const room = ((clusters[n + 1]?.x ?? at.right) - x - 22) / 6.1;
    // At the right edge there is room on the other side.
    const before = n === clusters.length - 1 && room < 12 ? (x - (clusters[n - 1]?.x ?? at.left) - 34) / 6.1 - (n ? 14 : 0) : 0;
    const most = Math.floor(Math.max(room, before));
    return svg(
      "g",
      { class: `mark ${mark.ink}`, "data-tip": tip.join("\n"), tabindex: -1, role: "img", "aria-label": tip.join("; ") },
      svg("rect", { class: "hit", x: x - 9, y: y - 12, width: 18, height: 24 }),
      svg("path", { class: "anchor", d: mark.shape, transform: `translate(${x} ${y})` }),
      most >= 6 ? svg("text", { x: room >= before ? x + 11 : x - 11, y: y + 4, "text-anchor": room >= before ? "start" : "end" }, cut(shown(words), most)) : null,
    );
  });
}

const begun = (r) => r.at_ms - (r.age_ms ?? 0);

/** What is drawn of a folded group, in its order, and the others: what hurts most is not folded away. */
function parted(requests) {
  const weight = (r) => (r.maybe_taken_for_delivered ? 2 : 0) + (r.class === "webhook" ? 1 : 0);
  const first = new Set([...requests].sort((a, b) => weight(b) - weight(a)).slice(0, REQUESTS));
  return [requests.filter((r) => first.has(r)), requests.filter((r) => !first.has(r))];
}

/** The title of what can be folded; it stays where it is when that happens. */
function fold(key, words, kind, open, y, width) {
  const caret = open ? "M1 -2l4 4l4 -4" : "M3 -4l4 4l-4 4";
  return svg(
    "g",
    { class: "fold", id: `fold-${key}`, "data-fold": key, tabindex: 0, role: "button", "aria-expanded": String(open) },
    svg("rect", { class: "hit", x: 0, y, width, height: HEAD }),
    svg("path", { class: "caret", d: caret, transform: `translate(0 ${y + HEAD / 2})` }),
    svg("text", { class: `group ${kind}`, x: 15, y: y + HEAD / 2 + 4 }, words),
  );
}

/** From when to when those were under way that are folded. A click unfolds them, as one on the title does. */
function extent(group, rest, at, y, width) {
  const [x1, x2] = [at.x(Math.min(...rest.map(begun))), at.x(Math.max(...rest.map((r) => r.at_ms)))];
  return svg(
    "g",
    { class: `rest ${group.kind}`, "data-fold": group.key, "aria-hidden": "true" },
    svg("rect", { class: "hit", x: 0, y: y - 1, width, height: BAR + 3 }),
    svg("rect", { class: "extent", x: x1, y, width: Math.max(x2 - x1, 3), height: BAR, rx: 2.5 }),
  );
}

/** Requests by what became of them: severed by cause, failed, refused attempts as one, drained; the longest first. */
function grouped(report) {
  const sorted = (list) => [...list].sort((a, b) => begun(a) - begun(b) || a.at_ms - b.at_ms);
  const causes = Object.entries(Object.groupBy(report.severed_requests, (r) => r.cause));
  const place = ([cause]) => Object.keys(CAUSES).indexOf(cause);
  const groups = causes.sort((a, b) => place(a) - place(b)).map(([cause, list]) => ({
    key: `severed-${cause}`,
    kind: "severed",
    label: `severed, ${shown(cause)} · ${(report.severed[cause] ?? list.length).toLocaleString("en")}`,
    requests: sorted(list),
    omitted: 0,
  }));
  const listed = report.severed_requests.length;
  if (groups.length && report.severed_requests_omitted) groups.at(-1).omitted = report.severed_requests_omitted;
  else if (!listed && report.requests.severed) groups.push({ key: "severed", kind: "severed", label: "severed", requests: [], omitted: report.requests.severed });
  const drained = report.drained_requests.filter((r) => !r.failed);
  const failed = report.drained_requests.filter((r) => r.failed);
  if (report.requests.failed) {
    groups.push({
      key: "failed",
      kind: "severed",
      label: `failed (5xx) · ${report.requests.failed.toLocaleString("en")}`,
      requests: sorted(failed),
      omitted: report.requests.failed - failed.length,
    });
  }
  if (report.refused?.attempts) {
    const { attempts, clients, first_ms, last_ms } = report.refused;
    const all = { at_ms: last_ms, age_ms: last_ms - first_ms, refused: `${attempts.toLocaleString("en")} connection attempts of ${clients.toLocaleString("en")} clients found the port closed` };
    groups.push({ key: "refused", kind: "severed", label: `refused · ${attempts.toLocaleString("en")}`, requests: [all], omitted: 0 });
  }
  if (report.requests.drained) {
    groups.push({
      key: "drained",
      kind: "drained",
      label: `drained · ${report.requests.drained.toLocaleString("en")}`,
      requests: sorted(drained),
      omitted: report.requests.drained - drained.length,
    });
  }
  return groups;
}

function bar(one, at, y, height, width) {
  const severed = "cause" in one;
  const bad = severed || one.failed || "refused" in one;
  const from = begun(one);
  const [x1, x2] = [at.x(from), at.x(one.at_ms)];
  const size = Math.max(x2 - x1, 3);
  const kind = bad ? (one.role === "client" ? "outbound" : "severed") : "drained";
  const fate = one.failed ? `failed at ${span(one.at_ms)} with ${one.rpc?.status_code ? `gRPC status ${one.rpc.status_code}` : one.status ?? "5xx"}` : `drained at ${span(one.at_ms)}`;
  const lines = "refused" in one ? [one.refused, `from ${span(from)} to ${span(one.at_ms)}`] : [
    shown(request(one)) + (one.host ? ` at ${shown(one.host)}` : ""),
    severed ? `severed at ${span(one.at_ms)}: ${worded(CAUSES, one.cause)}` : fate,
    [one.age_ms === null ? "" : `${severed ? "waited" : "took"} ${span(one.age_ms)}`, one.class, one.peer, one.evidence].filter(Boolean).map(shown).join(" · "),
  ];
  if (one.maybe_taken_for_delivered) lines.push("its sender may consider it delivered");
  const group = svg(
    "g",
    { class: `bar ${kind}`, "data-tip": lines.join("\n"), tabindex: -1, role: "listitem", "aria-label": lines.join(", ") },
    svg("rect", { class: "hit", x: 0, y: y - 1, width, height: height + 3 }),
    svg("rect", { class: "anchor", x: x2 - size, y, width: size, height, rx: Math.min(2.5, height / 2) }),
  );
  // It began before what is drawn.
  if (from < at.from) group.append(svg("path", { class: "torn", d: `M${x1 - 1} ${y - 1}h5l-3 ${(height + 2) / 4}l3 ${(height + 2) / 4}l-3 ${(height + 2) / 4}l3 ${(height + 2) / 4}h-5z` }));
  if (severed) {
    const [cx, cy] = [x2 + 7, y + height / 2];
    group.append(svg("path", { class: "cut", d: `M${cx - 4} ${cy - 4}l8 8M${cx + 4} ${cy - 4}l-8 8` }));
  }
  if (one.maybe_taken_for_delivered) group.append(svg("rect", { class: "taken", x: x2 - size - 1.5, y: y - 1.5, width: size + 3, height: height + 3, rx: 3.5 }));
  return group;
}
