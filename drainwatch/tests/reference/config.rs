//! Every setting: its key, flag and environment variable, its values and default.

use std::fmt::Write as _;

use drainwatch::agent::config::{self, Layer, SETTINGS, Setting, Settings};
use drainwatch_core::{
    class::MOST_RULES,
    reading::{self, MOST_PINS, SENDERS},
};

use super::source::{Source, cell};

pub fn page() -> String {
    let defaults = Settings::resolve(Layer::default(), Layer::default());
    let mut page = String::from(
        "Settings of `drainwatch run`. A flag goes before the environment, that before the file, that before the \
         default. The file (`--config FILE`, `DRAINWATCH_CONFIG`) is TOML; a dot in a key is a table; an unknown key is \
         an error that names the nearest valid ones (exit code 78).\n\n\
         | key | flag and environment | values | default | meaning |\n|---|---|---|---|---|\n",
    );
    let mut file = File::default();
    // Tables have a section of their own.
    for setting in SETTINGS.iter().filter(|setting| setting.keys.is_empty()) {
        let Setting { key, default, .. } = setting;
        file.add(key, *default, setting.meaning());
        writeln!(
            page,
            "| `{key}` | {} | {} | {} | {} |",
            setting
                .variable()
                .map_or("–".into(), |variable| format!("`--{key}`, `{variable}`")),
            setting.values(),
            default.map_or("none".into(), |default| format!("`{default}`")),
            cell(setting.meaning())
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
    page + &classes() + &protocols()
}

/// The tables `[[class]]`.
fn classes() -> String {
    let source = Source::read(&["drainwatch-core/src/class.rs"], &[]);
    let example = "[[class]]\nname = \"webhook\"\npath = [\"/stripe/events\", \"/integrations/*/notify\"]\nmethod = \
                   \"POST\"\n\n[[class]]\nname = \"payments\"\npath = \"/pay\"\nhost = \"*.shop.example\"\nport = 8443\n\n\
                   [[class]]\nname = \"partner\"\nheader = [\"x-partner-signature*\", \"user-agent: *acme*\"]\n";
    let settings = Settings::resolve(Layer::default(), read(example));
    assert_eq!(settings.classes.rules().len(), 3);
    let fields = source.fields("Rule");
    for entry in &fields {
        let key = format!("class.{}", entry.name);
        assert!(config::keys().any(|known| known == key), "{key}");
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
    let (text, path) = config::text(&path).unwrap();
    config::parse(&text, &path).unwrap()
}

/// The tables `[[protocol]]`.
fn protocols() -> String {
    let source = Source::read(&["drainwatch-core/src/reading/pins.rs"], &[]);
    let example =
        "[[protocol]]\nname = \"redis\"\nport = [6380, 6381]\n\n[[protocol]]\nname = \"tcp\"\nport = 7000\n";
    assert_ne!(
        Settings::resolve(Layer::default(), read(example)).protocols,
        Settings::resolve(Layer::default(), Layer::default()).protocols
    );
    let mut table = String::from("| key | meaning |\n|---|---|\n");
    for entry in source.fields("Pin") {
        let key = format!("protocol.{}", entry.name);
        assert!(config::keys().any(|known| known == key), "{key}");
        writeln!(table, "| `{}` | {} |", entry.name, cell(&entry.doc)).unwrap();
    }
    let words: Vec<_> = reading::protocols().map(|word| format!("`{word}`")).collect();
    format!(
        "\n## Protocols\n\nA protocol is known by how its connection begins and by what both sides say, not by its port. A \
         table `[[protocol]]` pins one: connections to the port are read as that protocol and as no other, and what does \
         not look like it is what nobody reads. At most {MOST_PINS} ports.\n\n{table}\n\
         Protocols: {}. HTTP/2 and TLS still have to begin as such.\n\n```toml\n{example}```\n",
        words.join(", ")
    )
}
