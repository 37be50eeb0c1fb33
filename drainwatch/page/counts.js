// The numbers: counted by the agent over all that it keeps, not over what happens to be loaded here.

import { ask } from "./feed.js";

/** How often at most the agent counts the day and what was searched for, and everything; the more it has, the rarer. */
const PAUSE_MS = 2_000;
const PAUSE_TIMES = 20;
const ALL_PAUSE_MS = 60_000;

/** Summaries of the last day, of everything, and of what the address asks for; `null` until they are known. */
export class Counts {
  day = null;
  all = null;
  found = null;
  #changed;
  #query = "";
  #paused = false;
  #again = false;
  #allAt = -Infinity;

  constructor(changed) {
    this.#changed = changed;
  }

  /** What is searched for, in the agent's parameters; empty for everything. */
  of(query) {
    if (query === this.#query) return;
    this.#query = query;
    this.found = null;
    if (query) this.#count([this.#found()]);
  }

  /** Something has changed, or may have. */
  refresh() {
    if (this.#paused) {
      this.#again = true;
      return;
    }
    this.#paused = true;
    this.#again = false;
    const asked = [this.#take("day", "since=24h")];
    if (this.#query) asked.push(this.#found());
    if (performance.now() - this.#allAt > ALL_PAUSE_MS) {
      this.#allAt = performance.now();
      asked.push(this.#take("all", ""));
    }
    const begun = performance.now();
    this.#count(asked).then(() => {
      const pause = Math.max(PAUSE_MS, PAUSE_TIMES * (performance.now() - begun));
      setTimeout(() => {
        this.#paused = false;
        if (this.#again && !document.hidden) this.refresh();
      }, pause);
    });
  }

  async #count(asked) {
    // Whether the agent answers at all, the feed says.
    await Promise.allSettled(asked);
    this.#changed();
  }

  async #take(what, query) {
    this[what] = await ask(`api/v1/summary?${query}`);
  }

  async #found() {
    const query = this.#query;
    const found = await ask(`api/v1/summary?${query}`);
    if (query === this.#query) this.found = found;
  }
}
