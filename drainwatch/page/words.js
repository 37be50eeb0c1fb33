// What the words of a report mean, for people. A test holds this against the agent's own lists.

/** How a workload ended. */
export const TRIGGERS = {
  stop: "stopped from outside",
  kill: "killed without a stop signal",
  oom: "killed for lack of memory",
  crash: "crashed",
  exit: "ended by itself",
  worker: "one of several workers ended",
};

/** Why it was stopped, as the platform tells it. */
export const REASONS = {
  rollout: "a new revision took its place",
  scale_down: "scaled down",
  eviction: "evicted",
  preemption: "preempted by a more important pod",
  node_shutdown: "its node shut down",
  deleted: "deleted",
  liveness: "restarted: its probe failed",
  restart: "restarted",
  finished: "its work was done",
};

/** How a shutdown went. */
export const VERDICTS = {
  severed: "at least one request was cut",
  refused: "no request was cut, but somebody was turned away",
  unknown: "nothing severed was seen, but evidence is missing",
  clean: "nothing was severed",
};

/** Why a request counts as severed. */
export const CAUSES = {
  unanswered: "it arrived, but no byte of a response left",
  truncated: "the response began but did not finish",
  upload: "its body was still arriving",
  stream: "a long-lived stream was cut without its goodbye",
  unaccepted: "the application never accepted the connection",
  late: "it reached a connection that the server had just closed",
  outbound: "a call that the workload had made was in flight",
  unsent: "what the application had written was thrown away",
};

/** What was wrong with a shutdown; the worst first. */
export const FINDINGS = {
  exit_without_drain: "Exited without draining",
  killed_mid_drain: "Killed while draining",
  no_handler: "No handler for the stop signal",
  not_forwarded: "Stop signal not forwarded",
  ignored_by_pid1: "Stop signal dropped at PID 1",
  no_grace: "Killed without a stop signal",
  transaction_open: "Transaction left open",
  oom: "Out of memory",
  crash: "Crashed",
  busy_when_killed: "Still working when killed",
  kept_accepting: "Accepting until it was killed",
  hung_on_idle_connections: "Hung on idle connections",
  refused_after_close: "Closed its port too early",
  errors_while_draining: "Answered with errors while draining",
  backlog_dropped: "Dropped its accept queue",
  keepalive_race: "Keep-alive race",
  handler_late: "Reacted late to the signal",
  traffic_after_stop: "Traffic after the stop signal",
  prestop_cut: "preStop longer than the grace period",
  handed_over: "A successor took over",
};

/** Moments of a timeline. */
export const MOMENTS = {
  stop_signal: "stop signal",
  signal_delivered: "signal handled",
  signal_dropped: "signal dropped",
  listener_opened: "listener opened",
  listener_closed: "listener closed",
  kill: "killed",
  oom: "out of memory",
  exit: "exit",
  exec: "program replaced",
  emptied: "gone",
  agent_stopped: "the agent stopped",
};

/** What a signal met at its target. */
export const DISPOSITIONS = {
  default: "no handler: default action",
  handled: "handled",
  ignored: "ignored",
  blocked: "blocked",
};

const RANK = Object.keys(FINDINGS);
const rank = (finding) => (RANK.includes(finding.code) ? RANK.indexOf(finding.code) : RANK.length);

/** The findings of a report, the worst first. */
export const findings = (report) => [...report.findings].sort((a, b) => rank(a) - rank(b));

/** The words for a code, also for one that is newer than this page. */
export const worded = (words, code) => (Object.hasOwn(words, code) ? words[code] : String(code).replaceAll("_", " "));

/** A workload's name with its namespace. */
export const workload = ({ namespace, name }) => (namespace ? `${namespace}/${name}` : name);

/** A request by method and path, else by its protocol. */
export const request = ({ method, path, protocol }) => [method, path].filter(Boolean).join(" ") || protocol || "request";

/** From the first stop signal until the workload was gone; `null` while nobody knows. */
export function duration(report) {
  const last = (what) => report.timeline.findLast((moment) => moment.what === what);
  const gone = last("emptied") ?? last("exit") ?? last("exec");
  if (gone) return gone.at_ms;
  if (report.ended_at === null || last("agent_stopped")) return null;
  return new Date(report.ended_at) - new Date(report.started_at);
}

/** Webhooks that were severed; of those listed, which their senders may take for delivered. */
export function webhooks(report) {
  const all = report.severed_requests.filter((request) => request.class === "webhook");
  return { severed: all.length, taken: report.severed_requests.filter((r) => r.maybe_taken_for_delivered).length };
}
