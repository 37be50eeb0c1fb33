//! Every setting: its key, flag and environment variable, its values and default.

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use clap::{CommandFactory, ValueEnum};
use drainwatch::{
    cli::args::Cli,
    config::{self, KEYS, Layer, Settings, Where},
};
use drainwatch_core::{class::MOST_RULES, reading::SENDERS};

use super::source::{Source, cell};

pub fn page() -> String {
    let defaults = Settings::resolve(Layer::default(), Layer::default());
    let source = Source::read(&["drainwatch/src/config.rs"], &[]);
    let cli = Cli::command();
    let run = cli.find_subcommand("run").unwrap();
    let mut page = String::from(
        "Settings of `drainwatch run`. A flag goes before the environment, that before the file, that before the \
         default. The file (`--config FILE`, `DRAINWATCH_CONFIG`) is TOML; a dot in a key is a table; an unknown key is \
         an error that names the nearest valid ones (exit code 78).\n\n\
         | key | flag and environment | values | default | meaning |\n|---|---|---|---|---|\n",
    );
    let mut file = File::default();
    // The keys of `[[class]]` make no setting by themselves.
    for &key in KEYS.iter().filter(|key| !key.starts_with("class.")) {
        let flag = run.get_arguments().find(|flag| flag.get_long() == Some(key));
        let (flag, help) = match flag {
            Some(flag) => {
                let env = flag.get_env().unwrap().to_string_lossy();
                let help = flag.get_help().unwrap().to_string();
                let meaning = help.split(" [default").next().unwrap().to_owned() + ".";
                (format!("`--{key}`, `{env}`"), Some(meaning))
            }
            None => ("–".into(), None),
        };
        let meaning = help.unwrap_or_else(|| meaning(&source, key));
        let (values, default) = describe(key, &defaults);
        file.add(key, default.as_deref(), &meaning);
        let default = default.map_or("none".into(), |default| format!("`{default}`"));
        writeln!(
            page,
            "| `{key}` | {flag} | {values} | {default} | {} |",
            cell(&meaning)
        )
        .unwrap();
    }
    let file = file.text();
    assert_eq!(Settings::resolve(Layer::default(), read(&file)), defaults);
    write!(
        page,
        "\nA file with every key at its default, those without a default commented out:\n\n```toml\n{file}```\n"
    )
    .unwrap();
    page + &classes()
}

/// The tables `[[class]]`.
fn classes() -> String {
    let source = Source::read(&["drainwatch-core/src/class.rs"], &[]);
    let example = "[[class]]\nname = \"webhook\"\npath = [\"/stripe/events\", \"/integrations/*/notify\"]\nmethod = \
                   \"POST\"\n\n[[class]]\nname = \"payments\"\npath = \"/pay\"\nhost = \"*.shop.example\"\nport = 8443\n\n\
                   [[class]]\nname = \"partner\"\nheader = [\"x-partner-signature*\", \"user-agent: *acme*\"]\n";
    assert_eq!(read(example).classes.map(|rules| rules.len()), Some(3));
    let fields = source.fields("Rule");
    for entry in &fields {
        let key = format!("class.{}", entry.name);
        assert!(KEYS.contains(&key.as_str()), "{key}");
    }
    let mut table = String::from("| key | meaning |\n|---|---|\n");
    for entry in &fields {
        writeln!(table, "| `{}` | {} |", entry.name, cell(&entry.doc)).unwrap();
    }
    format!(
        "\n## Classes\n\nWhich traffic a request was: the label `class` of `drainwatch_severed_requests_total`, and the \
         key `class` of a report's severed requests. The first of these decides:\n\n\
         1. the first table `[[class]]` of which every condition holds; at most {MOST_RULES} tables;\n\
         2. `stream`, for what is long-lived by design;\n\
         3. `webhook`, for what a known sender sent (told by `User-Agent` or signature header), and for what was sent, \
         not merely fetched by GET, HEAD or OPTIONS, to a path with a segment `webhook`, `webhooks`, `hooks`, `callback` \
         or `callbacks`;\n\
         4. `request`.\n\n\
         Every condition takes one value or a list of them, of which one must hold.\n\n{table}\n\
         Known senders: {}. Anyone can write headers: they say what a request claims to be. Headers stay in the agent: \
         of those that a rule asks for, reports and recordings have only which rule held; a recording begins with \
         the rules themselves, so write no secret into one.\n\n\
         ```toml\n{example}```\n",
        SENDERS.map(|name| format!("`{name}`")).join(", ")
    )
}

/// The comment of the setting that the layer names after the key.
fn meaning(source: &Source, key: &str) -> String {
    let layer = source.fields("Layer");
    let of_key = layer.iter().find(|entry| entry.doc == format!("`{key}`."));
    let name = &of_key
        .unwrap_or_else(|| panic!("no field of Layer says `{key}`."))
        .name;
    let settings = source.fields("Settings");
    settings
        .into_iter()
        .find(|entry| entry.name == *name)
        .unwrap()
        .doc
}

/// What may be written there, and the default as TOML.
fn describe(key: &str, settings: &Settings) -> (String, Option<String>) {
    let text = |value: &str| Some(format!("\"{value}\""));
    match key {
        "web.listen-address" => (
            "`ADDRESS:PORT`, `:PORT` (every address), `localhost:PORT`".into(),
            text(&settings.listen.to_string()),
        ),
        "web.telemetry-path" => ("a path".into(), text(&settings.telemetry_path)),
        "web.max-requests" => ("1 to 10000".into(), Some(settings.max_requests.to_string())),
        "log.level" => words(&settings.log_level),
        "log.format" => words(&settings.log_format),
        "capture" => words(&settings.capture),
        "state-dir" => ("a directory".into(), path(settings.state_dir.as_ref())),
        "otlp.endpoint" => ("an `http://` or `https://` URL".into(), None),
        "otlp.headers" => (
            "`NAME=VALUE,…`, values percent-encoded as in `OTEL_EXPORTER_OTLP_HEADERS`".into(),
            None,
        ),
        "record" => (
            "a file that does not exist yet".into(),
            path(settings.record.as_ref()),
        ),
        "history.max-reports" => ("1 to 4294967295".into(), Some(settings.max_reports.to_string())),
        "history.memory-reports" => ("1 to 65535".into(), Some(settings.memory_reports.to_string())),
        "history.max-age" => (DURATION.into(), text(&duration(settings.max_age))),
        "shutdown.linger" => (DURATION.into(), text(&duration(settings.linger))),
        "shutdown.stop-signals" => (
            "array of names (`SIGUSR1`, `USR1`, `SIGRTMIN+3`) or numbers".into(),
            Some(format!("{:?}", settings.stop_signals)),
        ),
        "kubernetes" => words(&settings.kubernetes),
        "kubernetes.kubeconfig" => ("a file".into(), path(settings.kubeconfig.as_ref())),
        "kubernetes.node-name" => (
            "name of a node".into(),
            settings.node_name.as_deref().and_then(text),
        ),
        "kubernetes.events" => (
            "`true`, `false`".into(),
            Some(settings.kubernetes_events.to_string()),
        ),
        "docker.socket" | "podman.socket" | "systemd.bus" => {
            let all = [
                &settings.docker_socket,
                &settings.podman_socket,
                &settings.systemd_bus,
            ];
            assert!(all.iter().all(|setting| **setting == Where::Auto));
            ("`auto`, `off`, or the path of a socket".into(), text("auto"))
        }
        _ => panic!("`{key}` is a new setting: describe its values here"),
    }
}

const DURATION: &str = "a number with `ms`, `s`, `m`, `h` or `d`";

fn duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
        (1, "ms"),
    ];
    let (per, unit) = units.iter().find(|(per, _)| ms.is_multiple_of(*per)).unwrap();
    format!("{}{unit}", ms / per)
}

fn words<T: ValueEnum>(default: &T) -> (String, Option<String>) {
    let name = |value: &T| value.to_possible_value().unwrap().get_name().to_owned();
    let all: Vec<_> = T::value_variants()
        .iter()
        .map(|value| format!("`{}`", name(value)))
        .collect();
    (all.join(", "), Some(format!("\"{}\"", name(default))))
}

fn path(path: Option<&PathBuf>) -> Option<String> {
    path.map(|path| format!("{:?}", path.display().to_string()))
}

/// The file, its tables after the keys that belong to none.
#[derive(Default)]
struct File {
    top: String,
    tables: Vec<(String, String)>,
}

impl File {
    fn add(&mut self, key: &str, default: Option<&str>, meaning: &str) {
        // Whether an origin of names is asked: a word instead of its table.
        if key == "kubernetes" {
            let _ = writeln!(self.top, "# {meaning}\n# {key} = {}", default.unwrap());
            return;
        }
        let line = |key: &str| match default {
            Some(default) => format!("# {meaning}\n{key} = {default}\n"),
            None => format!("# {meaning}\n# {key} = \"…\"\n"),
        };
        let Some((table, key)) = key.split_once('.') else {
            self.top += &line(key);
            return;
        };
        match self.tables.iter_mut().find(|(name, _)| name == table) {
            Some((_, text)) => *text += &line(key),
            None => self.tables.push((table.into(), line(key))),
        }
    }

    fn text(&self) -> String {
        let tables = self
            .tables
            .iter()
            .map(|(name, text)| format!("\n[{name}]\n{text}"));
        self.top.clone() + &tables.collect::<String>()
    }
}

fn read(text: &str) -> Layer {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("drainwatch.toml");
    std::fs::write(&path, text).unwrap();
    config::read(&path).unwrap()
}
