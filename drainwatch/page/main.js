// The page: what the address asks for is shown, and follows what the agent says.

import { count, shown, zone } from "./dom.js";
import { Feed } from "./feed.js";
import { KEYS, List } from "./list.js";
import { Workload } from "./rollouts.js";
import { Shutdown } from "./shutdown.js";
import { workload } from "./words.js";

const $ = (id) => document.getElementById(id);
const main = $("main");
const feed = new Feed();
const list = new List(feed, go);
const shutdown = new Shutdown(feed, () => listAddress);
const deploys = new Workload(() => listAddress);

/** Where "back" leads: the list as it was filtered. */
let listAddress = "?";
/** The last shutdown that was looked at, and where the list stood then. */
let left = { id: "", scroll: 0 };
let view = null;

function go(address, replace) {
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  render();
}

/** Shows what the address says. */
function render() {
  const query = new URLSearchParams(location.search);
  const id = query.get("id");
  if (id) {
    if (view !== shutdown) left = { id, scroll: scrollY };
    swap(shutdown);
    shutdown.show(id);
  } else if (query.get("workload")) {
    swap(deploys);
    deploys.show(query.get("workload"));
  } else {
    listAddress = location.search || "?";
    list.show(Object.fromEntries(KEYS.map((key) => [key, query.get(key) || undefined])));
    const back = view === shutdown;
    swap(list);
    if (back) {
      scrollTo(0, left.scroll);
      list.focusRow(left.id);
    }
  }
  titled();
}

function swap(to) {
  if (view === to) return;
  view = to;
  main.replaceChildren(to.element);
  if (to !== list) scrollTo(0, 0);
}

function titled() {
  const node = feed.reports.values().next().value?.node ?? "";
  $("node").textContent = shown(node);
  const what = view === list ? "" : view.title;
  document.title = [what, "drainwatch", shown(node)].filter(Boolean).join(" · ");
}

function told({ begun, ended }) {
  const lines = ended.map(
    ({ workload: w, verdict, requests }) =>
      `${workload(w)}: shutdown ended, ${verdict}${requests.severed ? `, ${count(requests.severed, "request")} severed` : ""}.`,
  );
  lines.push(...begun.map(({ workload: w }) => `${workload(w)}: shutting down.`));
  if (!lines.length) return;
  const rest = lines.length - 3;
  $("said").textContent = shown(lines.slice(0, 3).join(" ") + (rest > 0 ? ` And ${rest} more.` : ""));
}

feed.addEventListener("change", ({ detail }) => {
  told(detail);
  if (view === list) list.changed();
  else view.update();
  titled();
});

const STATES = { loading: "connecting", live: "live", polling: "every few seconds", down: "no answer" };

feed.addEventListener("state", () => {
  const state = $("state");
  if (state.dataset.state === feed.state) return;
  state.dataset.state = feed.state;
  state.textContent = STATES[feed.state];
  const banner = $("banner");
  banner.hidden = feed.state !== "down";
  banner.textContent = banner.hidden
    ? ""
    : `${feed.failure ? `The agent could not answer: ${shown(feed.failure)}.` : `No agent answers at ${location.host}: is drainwatch running there and reachable?`} Trying again every few seconds.`;
  if (view === list) list.update();
});

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-nav]");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(link.getAttribute("href"));
});
addEventListener("popstate", render);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const typing = event.target.closest?.("input, select, textarea");
  if (event.key === "Escape") {
    if (view !== list) go(listAddress);
    else if (typing) typing.blur();
    return;
  }
  if (typing || view !== list) return;
  if (event.key === "/") list.focusSearch();
  else if (event.key === "j") list.step(1);
  else if (event.key === "k") list.step(-1);
  else return;
  event.preventDefault();
});

// Themes: the system's, unless one was chosen.
const THEMES = ["system", "light", "dark"];
function themed(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  $("theme").textContent = `Theme: ${theme}`;
}
$("theme").addEventListener("click", () => {
  const theme = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "system") + 1) % THEMES.length];
  themed(theme);
  try {
    localStorage.setItem("drainwatch-theme", theme);
  } catch {
    // Storage is refused: it holds until the page is closed.
  }
});
themed(document.documentElement.dataset.theme ?? "system");

// Times are this browser's, unless everybody's were chosen.
function zoned() {
  $("zone").textContent = `Times: ${zone.name}`;
}
$("zone").addEventListener("click", () => {
  zone.utc = !zone.utc;
  zoned();
  list.redraw();
  if (view !== list) view.redraw();
  try {
    localStorage.setItem("drainwatch-zone", zone.utc ? "utc" : "local");
  } catch {
    // Storage is refused: it holds until the page is closed.
  }
});
try {
  zone.utc = localStorage.getItem("drainwatch-zone") === "utc";
} catch {
  // Storage is refused: this browser's time it is.
}
zoned();

render();
feed.start();
