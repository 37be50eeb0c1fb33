// Elements without markup: everything that comes from a report is set as text, never parsed.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

/** An HTML element; a function among the attributes listens to the event of that name. */
export const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

/** An SVG element. */
export const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

// Control characters, direction overrides, invisible and unassigned ones: shown by their number.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}\p{Cs}]/gu;

/** Text of a report, made visible: nothing in it can reorder or hide what stands beside it. */
export const shown = (text) =>
  String(text ?? "").replace(UNSEEN, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);

/** Text of a report as an element of its own direction. */
export const name = (text, attributes) => el("bdi", attributes, shown(text));

/** At most so many characters, the middle left out: beginnings and ends of paths tell most. */
export function cut(text, most) {
  const all = [...text];
  if (all.length <= most) return text;
  const head = Math.ceil((most - 1) * 0.6);
  const tail = Math.max(most - 1 - head, 0);
  return `${all.slice(0, head).join("")}…${tail ? all.slice(-tail).join("") : ""}`;
}

/** Milliseconds as people say them. */
export function span(ms) {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return "–";
  const size = Math.abs(ms);
  if (size < 9.95) return `${(Math.round(ms * 10) / 10).toString()} ms`;
  if (size < 999.5) return `${Math.round(ms)} ms`;
  if (size < 9_950) return `${(ms / 1000).toFixed(1)} s`;
  if (size < 119_500) return `${Math.round(ms / 1000)} s`;
  if (size < 7_170_000) return `${Math.round(ms / 60_000)} min`;
  return `${Math.round(ms / 3_600_000)} h`;
}

/** Seconds of a setting. */
export const seconds = (value) => (value === null || value === undefined ? "–" : `${+value.toFixed(3)} s`);

/** Whose time is shown: this browser's, or everybody's. */
export const zone = {
  utc: false,
  get name() {
    return this.utc ? "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone || "local";
  },
};

/** A moment as the clocks of the zone show it, in the fields of UTC. */
const onTheWall = (at) => new Date(zone.utc ? at.getTime() : at.getTime() - at.getTimezoneOffset() * 60_000);

/** A time as a field for dates has it, and back. */
export function field(text) {
  const at = new Date(text ?? "");
  return Number.isNaN(at.getTime()) ? "" : onTheWall(at).toISOString().slice(0, 16);
}
export const ofField = (value) => (value ? new Date(zone.utc ? `${value}Z` : value).toISOString() : undefined);

const pad = (n, width = 2) => String(n).padStart(width, "0");

/** The time of day in the zone; with the day where it is not today. */
export function clock(text, precise) {
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return shown(text);
  const wall = onTheWall(at);
  const time = `${pad(wall.getUTCHours())}:${pad(wall.getUTCMinutes())}:${pad(wall.getUTCSeconds())}`;
  const whole = precise ? `${time}.${pad(wall.getUTCMilliseconds(), 3)}` : time;
  const day = (moment) => moment.toISOString().slice(0, 10);
  if (day(onTheWall(new Date())) === day(wall) && !precise) return whole;
  return `${day(wall)} ${whole}`;
}

/** How long ago, roughly. */
export function ago(text) {
  const ms = Date.now() - new Date(text).getTime();
  if (!Number.isFinite(ms)) return "";
  if (ms < 5_000) return "just now";
  if (ms < 60_000) return `${Math.floor(ms / 1000)} s ago`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min ago`;
  if (ms < 48 * 3_600_000) return `${Math.floor(ms / 3_600_000)} h ago`;
  return `${Math.floor(ms / 86_400_000)} days ago`;
}

/** `1 request`, `2 requests`. */
export const count = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

const SHAPES = {
  severed: "M4 4l8 8M12 4l-8 8",
  refused: "M8 2a6 6 0 1 1 0 12a6 6 0 1 1 0-12M4 12L12 4",
  clean: "M3 8.5l3.5 3.5L13 4.5",
  unknown: "M5.5 6a2.5 2.5 0 1 1 3.6 2.2c-.7.4-1.1.9-1.1 1.8M8 12.6v.2",
  open: "M8 2a6 6 0 1 1 0 12a6 6 0 1 1 0-12M8 5v3.2l2 1.6",
  back: "M9.5 3L4.5 8l5 5M5 8h8",
};

/** A small sign that stands beside a word, never for it. */
export const icon = (shape) =>
  svg("svg", { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: SHAPES[shape] }));

/** The word of a verdict with its sign; `open` while the shutdown goes on. */
export const badge = (report) => {
  const open = report.ended_at === null && !report.timeline.some((moment) => moment.what === "agent_stopped");
  const [shape, word] = open ? ["open", "under way"] : [report.verdict, report.verdict];
  return el("span", { class: `badge is-${shape}` }, icon(shape in SHAPES ? shape : "unknown"), shown(word));
};
