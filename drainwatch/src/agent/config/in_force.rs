//! What is in force, as a configuration file that says where each value is from.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use clap::{ArgMatches, parser::ValueSource};
use toml::de::{DeTable, DeValue};

use super::{SETTINGS, Setting};

/// What a flag, or its variable, was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    text: String,
    by: String,
}

/// Everything that the flags of a command were given, by key.
pub(super) fn given(flags: &ArgMatches) -> BTreeMap<&'static str, Given> {
    let one = |setting: &'static Setting| {
        let key = setting.key;
        if !flags.try_contains_id(key).is_ok_and(|given| given) {
            return None;
        }
        let by = match flags.value_source(key)? {
            ValueSource::EnvVariable => setting.variable()?,
            _ => format!("--{key}"),
        };
        let text: Vec<_> = flags
            .get_raw(key)?
            .map(|text| text.to_string_lossy().into_owned())
            .collect();
        // A flag that stands alone switches on.
        let text = if text.is_empty() {
            "true".into()
        } else {
            text.join(",")
        };
        let text = match text.as_str() {
            "true" | "false" => text,
            _ => DeValue::String(text.into()).quoted(),
        };
        Some((key, Given { text, by }))
    };
    SETTINGS.iter().filter_map(one).collect()
}

/// Texts as TOML spells them.
trait Quoted {
    fn quoted(&self) -> String;
}

impl Quoted for DeValue<'_> {
    fn quoted(&self) -> String {
        self.as_str()
            .map_or_else(String::new, |text| toml::Value::from(text).to_string())
    }
}

/// Every setting as these flags, this file (its text and path) and the defaults make it.
pub(super) fn print(given: &BTreeMap<&'static str, Given>, file: Option<(&str, &Path)>) -> String {
    let table = file.and_then(|(text, _)| DeTable::parse(text).ok());
    let table = table.as_ref().map(toml::Spanned::get_ref);
    let in_file = |key: &str| {
        let (text, path) = file?;
        let value = match key.split_once('.') {
            Some((outer, inner)) => table?.get(outer)?.get_ref().as_table()?.get(inner)?,
            None => table?.get(key).filter(|value| !value.get_ref().is_table())?,
        };
        let text = text.get(value.span())?.to_owned();
        let by = path.display().to_string();
        Some(Given { text, by })
    };
    let mut lines = String::new();
    let mut in_table = "";
    let mut switched_off = "";
    // Keys of the file's head before all tables.
    let mut settings: Vec<_> = SETTINGS
        .iter()
        .filter(|setting| setting.keys.is_empty())
        .collect();
    settings.sort_by_key(|setting| setting.key.contains('.'));
    for setting in settings {
        let (outer, key) = setting.key.split_once('.').unwrap_or(("", setting.key));
        if outer != in_table {
            let _ = write!(lines, "\n[{outer}]\n");
            in_table = outer;
        }
        let found = given.get(setting.key).cloned().or_else(|| in_file(setting.key));
        let has_table = SETTINGS.iter().any(|other| {
            other
                .key
                .split_once('.')
                .is_some_and(|(outer, _)| outer == setting.key)
        });
        let _ = match found {
            Some(Given { by, .. }) if is_secret(setting) => {
                writeln!(lines, "# {key} is not shown, it may be a password; from {by}")
            }
            // `kubernetes = "off"` stands where its table stands otherwise.
            Some(Given { text, by }) if has_table && text.contains("off") => {
                switched_off = setting.key;
                writeln!(lines, "{key} = {text}  # {by}")
            }
            Some(Given { text, by }) if has_table || in_table == switched_off && !in_table.is_empty() => {
                writeln!(lines, "# {key} = {text}  # {by}")
            }
            Some(Given { text, by }) => writeln!(lines, "{key} = {text}  # {by}"),
            None => match setting.default {
                Some(text) if has_table || in_table == switched_off && !in_table.is_empty() => {
                    writeln!(lines, "# {key} = {text}  # default")
                }
                Some(text) => writeln!(lines, "{key} = {text}  # default"),
                None => {
                    let unset = setting.unset.unwrap_or("none");
                    writeln!(lines, "# {key} is not set: {unset}")
                }
            },
        };
    }
    lines.push_str(&rules(file));
    // A table of which nothing may stand there is none.
    lines.replace(&format!("[{switched_off}]\n"), "")
}

/// The rules of the file as they are read.
fn rules(file: Option<(&str, &Path)>) -> String {
    let Some(mut table) = file.and_then(|(text, _)| text.parse::<toml::Table>().ok()) else {
        return String::new();
    };
    let tables = ["class", "protocol"].map(|key| Some((key.to_owned(), table.remove(key)?)));
    let table: toml::Table = tables.into_iter().flatten().collect();
    if table.is_empty() {
        return String::new();
    }
    toml::to_string(&table).map_or_else(|_| String::new(), |text| format!("\n{text}"))
}

/// No help and no message repeats its value.
fn is_secret(setting: &Setting) -> bool {
    setting.arg("run").is_some_and(|arg| arg.is_hide_env_values_set())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::{Args as _, Command};

    use super::super::{Flags, Settings, parse};
    use super::*;

    fn printed(arguments: &[&str], file: &str) -> String {
        let command = Flags::augment_args(Command::new("run"));
        let flags = command.get_matches_from(arguments);
        print(&given(&flags), Some((file, Path::new("d.toml"))))
    }

    #[test]
    fn given_flags_and_a_file_when_printed_then_it_is_a_file_with_the_same_settings() {
        let file = "[history]\nmax-age = \"2d\" # short\n[shutdown]\nstop-signals = [\n  \"SIGUSR1\"]\n[kubernetes]\nevents = true\n\
                    [[class]]\nname = \"pay\"\npath = \"/pay\"\n[[protocol]]\nname = \"redis\"\nport = 6380\n";
        let text = printed(&["run", "--web.max-requests", "7", "--processes"], file);
        for line in [
            "max-requests = \"7\"  # --web.max-requests",
            "processes = true  # --processes",
            "max-age = \"2d\"  # d.toml",
            "# kubernetes = \"auto\"  # default",
            "events = true  # d.toml",
            "max-reports = 10000  # default",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
        }
        let again = parse(&text, Path::new("printed")).map_err(|why| format!("{why}\n{text}"));
        let first = parse(file, Path::new("d.toml")).unwrap();
        let resolved = Settings::resolve(again.unwrap(), super::super::Layer::default());
        let expected = Settings::resolve(first, super::super::Layer::default());
        assert_eq!(resolved.classes, expected.classes);
        assert_eq!(resolved.protocols, expected.protocols);
        assert_eq!(*resolved.max_requests, 7);
        assert!(resolved.kubernetes_events && resolved.processes);
    }

    #[test]
    fn given_a_password_or_a_cluster_that_is_off_when_printed_then_neither_breaks_the_file() {
        let file = "kubernetes = \"off\"\n[otlp]\nheaders = \"authorization=secret\"\n";
        let text = printed(&["run"], file);
        assert!(
            !text.contains("secret") && text.contains("headers is not shown"),
            "{text}"
        );
        assert!(text.contains("kubernetes = \"off\"  # d.toml"), "{text}");
        assert!(parse(&text, Path::new("printed")).is_ok(), "{text}");
        assert!(parse(&printed(&["run"], ""), Path::new("printed")).is_ok());
    }
}
