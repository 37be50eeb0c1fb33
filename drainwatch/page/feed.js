// The reports as the agent has them: asked for once, then again whenever it says that something changed.
// Nothing is asked while nobody looks at the page.

/** How many the page asks for at first. */
const FIRST = 200;
/** The agent's own limit. */
const MOST = 1000;
/** How long an answer may take. */
const PATIENCE_MS = 10_000;
/** Reports that end are stamped before they are stored; look this far back again. */
const OVERLAP_MS = 10_000;
/** How often to ask where events cannot be had, and how long to wait for an agent that is away. */
const POLL_MS = 4_000;
const RETRY_MS = 2_000;

/** An answer that is an error; its text says what to do. */
class Refusal extends Error {}

/** What the agent answers; an error of its own says what to do. */
export async function ask(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(PATIENCE_MS), cache: "no-store" });
  const body = await response.json().catch(() => ({}));
  if (response.ok) return body;
  throw new Refusal(body.error ?? `the agent answered ${response.status}`);
}

/** `{ reports, more }`; dispatches `change` with what began and ended, and `state`. */
export class Feed extends EventTarget {
  reports = new Map();
  /** There are older reports than those that were asked for. */
  more = false;
  /** `loading`, `live`, `polling` or `down`. */
  state = "loading";
  failure = "";

  #events = null;
  #timer = 0;
  #busy = false;
  #again = false;
  #loaded = false;

  start() {
    document.addEventListener("visibilitychange", () => this.#look());
    this.#look();
  }

  /** Older ones: those that this query (in the agent's parameters) finds, or all. Says which, and whether there are more. */
  async older(query, all) {
    try {
      const answer = await ask(`api/v1/shutdowns?${query}${query && "&"}limit=${all ? MOST : FIRST}`);
      if (!query) this.more = answer.more;
      this.#merge(answer.shutdowns, false);
      return { ids: new Set(answer.shutdowns.map((report) => report.id)), more: answer.more };
    } catch (error) {
      this.#fail(error);
      this.#events?.close();
      this.#events = null;
      this.#timer = setTimeout(() => this.#look(), RETRY_MS);
      return null;
    }
  }

  /** One report, whether it is among those that were loaded or not. */
  async one(id) {
    const known = this.reports.get(id);
    if (known) return known;
    return ask(`api/v1/shutdowns/${encodeURIComponent(id)}`);
  }

  #look() {
    clearTimeout(this.#timer);
    if (document.hidden) {
      this.#events?.close();
      this.#events = null;
    } else if (!this.#events) {
      this.#listen();
    }
  }

  #listen() {
    const events = new EventSource("api/v1/events");
    let heard = false;
    this.#events = events;
    events.addEventListener("changed", () => {
      // After a while away anything may have happened, a restart of the agent too.
      const whole = !heard;
      heard = true;
      // Connected is not informed: it is live once what changed has been answered.
      this.refresh(whole).then((answered) => {
        if (answered && this.#events === events) this.#set("live");
      });
    });
    events.addEventListener("error", () => {
      events.close();
      if (this.#events !== events) return;
      this.#events = null;
      this.refresh(true).then((answered) => {
        if (answered) this.#set("polling");
        clearTimeout(this.#timer);
        if (!document.hidden) this.#timer = setTimeout(() => this.#look(), answered ? POLL_MS : RETRY_MS);
      });
    });
  }

  /** Asks for what changed, or for everything anew; `false` without an answer. */
  async refresh(whole) {
    if (this.#busy) {
      this.#again = true;
      return this.#loaded && this.state !== "down";
    }
    this.#busy = true;
    try {
      await this.#take(whole || !this.#loaded);
      return true;
    } catch (error) {
      this.#fail(error);
      return false;
    } finally {
      this.#busy = false;
      if (this.#again) {
        this.#again = false;
        this.refresh(false);
      }
    }
  }

  async #take(whole) {
    if (whole) {
      const answer = await ask(`api/v1/shutdowns?limit=${FIRST}`);
      const live = this.#loaded;
      const kept = new Set(answer.shutdowns.map((report) => report.id));
      // Of a store-less agent that was restarted, what was loaded is all there is; but it is not there any more.
      for (const id of this.reports.keys()) if (!answer.more && !kept.has(id)) this.reports.delete(id);
      if (!this.#loaded) this.more = answer.more;
      this.#loaded = true;
      this.#merge(answer.shutdowns, live);
      return;
    }
    const ends = [...this.reports.values()].map((report) => Date.parse(report.ended_at)).filter(Number.isFinite);
    const since = ends.length ? new Date(Math.max(...ends) - OVERLAP_MS).toISOString() : "";
    const answer = await ask(`api/v1/shutdowns?limit=${MOST}&since=${since}`);
    if (!answer.more) {
      const there = new Set(answer.shutdowns.map((report) => report.id));
      // What went on and is gone was no shutdown after all.
      for (const [id, report] of this.reports)
        if (report.ended_at === null && !there.has(id)) this.reports.delete(id);
    }
    this.#merge(answer.shutdowns, true);
  }

  #merge(reports, live) {
    const [begun, ended] = [[], []];
    for (const report of reports) {
      const known = this.reports.get(report.id);
      if (live && report.ended_at !== null && (!known || known.ended_at === null)) ended.push(report);
      if (live && report.ended_at === null && !known) begun.push(report);
      this.reports.set(report.id, report);
    }
    this.failure = "";
    if (this.state === "down" || this.state === "loading") this.#set("polling");
    this.dispatchEvent(new CustomEvent("change", { detail: { begun, ended } }));
  }

  #fail(error) {
    this.failure = error instanceof Refusal ? error.message : "";
    this.#set("down");
  }

  #set(state) {
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }
}
