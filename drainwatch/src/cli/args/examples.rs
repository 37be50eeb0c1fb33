//! What stands below the help of each command.

pub const RUN_EXAMPLES: &str = "\
Every flag is also an environment variable and a key of the configuration file (a dot separates tables):
--web.listen-address, DRAINWATCH_WEB_LISTEN_ADDRESS, listen-address in [web].
A flag overrides the environment, which overrides the file, which overrides the default.
Only in the file: [history] max-reports, max-age, memory-reports; [shutdown] linger, stop-signals.

Examples:
  sudo drainwatch run
  sudo drainwatch run --state-dir /var/lib/drainwatch --web.listen-address :9669
  sudo drainwatch run --record shutdowns.jsonl --log.level debug
  sudo drainwatch run --otlp.endpoint http://collector:4318";
pub const DEMO_EXAMPLES: &str = "\
Examples:
  sudo drainwatch demo
  sudo drainwatch demo --format json | jq '.shutdowns[].verdict'";
pub const CHECK_EXAMPLES: &str = "\
The command runs in a cgroup of its own; its output goes to standard error. Half of the clients keep their connections.
A container runs as Docker or Podman runs it, on this machine, is asked at its own address, stopped with its image's stop
signal, and removed.
Exits with 0 if nobody lost anything, 1 if requests were severed or clients turned away, 2 if that could not be found out.

Examples:
  sudo drainwatch check -- node server.js
  sudo drainwatch check --request / --request /slow --like docker -- ./server
  sudo drainwatch check --prestop 5s --grace 30s --format github -- gunicorn app:app
  sudo drainwatch check --traffic 'hey -z 10s http://$DRAINWATCH_ADDRESS/' -- ./server
  sudo drainwatch check --container shop/web:1.2 --run-option=--env=PORT=8080";
pub const SHUTDOWNS_EXAMPLES: &str = "\
Examples:
  drainwatch shutdowns
  drainwatch shutdowns --since 1h --verdict severed
  drainwatch shutdowns --workload shop.service -o json
  drainwatch shutdowns --finding killed_mid_drain -o wide";
pub const SHOW_EXAMPLES: &str = "\
Examples:
  drainwatch show             the last one
  drainwatch show shop/web    the last one of a workload
  drainwatch show 01hx        a unique prefix of the id is enough
  drainwatch show 01hx -o json";
pub const ROLLOUTS_EXAMPLES: &str = "\
Examples:
  drainwatch rollouts
  drainwatch rollouts --workload shop/web --since 30d
  drainwatch rollouts --verdict severed -o json";
pub const RECOMMEND_EXAMPLES: &str = "\
Over the last 20 stops of each workload that this agent has. Nothing to change is an answer too.

Examples:
  drainwatch recommend
  drainwatch recommend shop/web
  drainwatch recommend shop/web --output kubectl-patch
  drainwatch recommend backup.service --output systemd";
pub const WATCH_EXAMPLES: &str = "\
Examples:
  drainwatch watch
  drainwatch watch --verdict severed --namespace shop
  drainwatch watch -o jsonl | jq -r .workload.name";
pub const REPLAY_EXAMPLES: &str = "\
Examples:
  drainwatch replay shutdowns.jsonl
  drainwatch replay shutdowns.jsonl --format json";
pub const DOCTOR_EXAMPLES: &str = "\
Exits with 0 if the agent can run here, 77 if a privilege is missing, 69 if the kernel does not support it.

Examples:
  sudo drainwatch doctor
  drainwatch doctor --format json";
pub const UNINSTALL_EXAMPLES: &str = "\
An agent that is stopped as a service leaves its programs recording, for the one that comes next. Stop it first.
Exits with 0, also if there was nothing, else with 69 if an agent still uses them.

Examples:
  sudo drainwatch uninstall
  sudo drainwatch uninstall --pin-dir /sys/fs/bpf/drainwatch";
pub const CHECK_CONFIG_EXAMPLES: &str = "\
Exits with 0 if the file can be used, else with 78, the line and the reason.

Examples:
  drainwatch check-config /etc/drainwatch/drainwatch.toml
  helm template … | yq … | drainwatch check-config -";
pub const PRINT_CONFIG_EXAMPLES: &str = "\
What it prints is a configuration file. Values that may be passwords are left out.

Examples:
  drainwatch print-config --config /etc/drainwatch/drainwatch.toml";
pub const COMPLETIONS_EXAMPLES: &str = "\
Ids and names are those of the agent at DRAINWATCH_URL, else of this host's.

Examples:
  drainwatch completions bash > /etc/bash_completion.d/drainwatch
  drainwatch completions zsh > ~/.zfunc/_drainwatch";
