//! Reading the file: which keys it may have, and where in it a mistake is.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::{Layer, SETTINGS, Value, keys};
use crate::names::bounded;

/// The configuration cannot be used. Each message is one line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {why}; give a readable file to --config, or omit it", path.display())]
    Unreadable {
        /// File.
        path: PathBuf,
        /// Cause.
        why: std::io::Error,
    },
    /// It is not TOML, or a value has the wrong type or range.
    #[error("configuration {}, line {line}: {why}", path.display())]
    Malformed {
        /// File.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Cause.
        why: String,
    },
    /// A key that does not exist.
    #[error("configuration {}: unknown key `{key}`; {suggestion}", path.display())]
    UnknownKey {
        /// File.
        path: PathBuf,
        /// Dotted name.
        key: String,
        /// The nearest valid ones.
        suggestion: String,
    },
}

/// The text of a configuration file, or, where its name is `-`, standard input; with what it is called in messages.
pub fn text(path: &Path) -> Result<(String, PathBuf), ConfigError> {
    let (read, path) = if path == Path::new("-") {
        (bounded::text(std::io::stdin()), Path::new("<stdin>"))
    } else {
        (bounded::read(path), path)
    };
    read.map(|text| (text, path.to_owned()))
        .map_err(|why| ConfigError::Unreadable {
            path: path.into(),
            why,
        })
}

/// What the text of a configuration file says.
pub fn parse(text: &str, path: &Path) -> Result<Layer, ConfigError> {
    let malformed = |Refusal { at, why }: Refusal| ConfigError::Malformed {
        path: path.into(),
        line: text
            .get(..at.min(text.len()))
            .map_or(1, |before| before.matches('\n').count() + 1),
        why,
    };
    let table = DeTable::parse(text).map_err(|error| malformed(Refusal::new(&error, 0)))?;
    if let Some(key) = unknown_key(table.get_ref()) {
        return Err(ConfigError::UnknownKey {
            path: path.into(),
            suggestion: suggestion(&key),
            key,
        });
    }
    Layer::from_file(&mut Tables(table.into_inner())).map_err(malformed)
}

/// A value of the file, or a part of it, is not what it must be.
pub(super) struct Refusal {
    /// Where in the file, in bytes.
    at: usize,
    why: String,
}

impl Refusal {
    fn new(error: &toml::de::Error, value_at: usize) -> Self {
        Self {
            at: error.span().map_or(value_at, |span| span.start),
            why: error.message().trim().replace('\n', "; "),
        }
    }
}

/// What has not been taken yet of the file.
pub(super) struct Tables<'i>(DeTable<'i>);

impl Tables<'_> {
    /// Takes the value of this key out, where the file has it.
    pub(super) fn take<T: Value>(&mut self, key: &str) -> Result<Option<T>, Refusal> {
        let value = match key.rsplit_once('.') {
            Some((tables, key)) => match table_of(&mut self.0, tables)? {
                Some(table) => table.remove(key),
                None => None,
            },
            // `kubernetes = "off"` is a setting, and `[kubernetes]` the table of others.
            None if has_settings(key) && self.0.get(key).is_some_and(|value| value.get_ref().is_table()) => {
                None
            }
            None => self.0.remove(key),
        };
        let Some(value) = value else { return Ok(None) };
        let at = value.span().start;
        T::from_file(value.into())
            .map(Some)
            .map_err(|error| Refusal::new(&error, at))
    }
}

/// The table of this name, `web` or `web.config`.
fn table_of<'t, 'i>(of: &'t mut DeTable<'i>, names: &str) -> Result<Option<&'t mut DeTable<'i>>, Refusal> {
    let mut table = of;
    for name in names.split('.') {
        let Some(value) = table.get_mut(name) else {
            return Ok(None);
        };
        let at = value.span().start;
        table = match value.get_mut() {
            DeValue::Table(table) => table,
            other => {
                return Err(Refusal {
                    at,
                    why: format!("invalid type: {}, expected a table", other.type_str()),
                });
            }
        };
    }
    Ok(Some(table))
}

/// It is the table of settings.
fn has_settings(table: &str) -> bool {
    SETTINGS.iter().any(|setting| in_table(setting.key, table))
}

fn in_table(key: &str, table: &str) -> bool {
    key.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'))
}

fn unknown_key(file: &DeTable<'_>) -> Option<String> {
    let is_table = |name: &str| keys().any(|key| in_table(key, name));
    file.iter().find_map(|(name, value)| {
        let name = name.get_ref().as_ref();
        match value.get_ref() {
            DeValue::Table(inner) if is_table(name) => unknown_in(name, inner),
            DeValue::Array(items) if is_table(name) => items
                .iter()
                .filter_map(|item| item.get_ref().as_table())
                .find_map(|inner| unknown_in(name, inner)),
            // A table's name with another kind of value: its type is what is wrong, and refused as that.
            _ if is_table(name) || keys().any(|key| key == name) => None,
            _ => Some(name.to_owned()),
        }
    })
}

fn unknown_in(name: &str, table: &DeTable<'_>) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let whole = format!("{name}.{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) if keys().any(|key| in_table(key, &whole)) => unknown_in(&whole, inner),
            _ => keys()
                .all(|key| key != whole && !in_table(key, &whole))
                .then_some(whole),
        }
    })
}

/// The valid keys nearest to `key`, as a sentence.
fn suggestion(key: &str) -> String {
    let leaf = |key: &str| key.rsplit('.').next().unwrap_or_default().replace('_', "-");
    let mut near: Vec<(f64, &str)> = keys()
        .map(|valid| {
            let whole = strsim::jaro_winkler(&key.replace('_', "-"), valid);
            (whole.max(strsim::jaro_winkler(&leaf(key), &leaf(valid))), valid)
        })
        .filter(|(likeness, _)| *likeness > 0.8)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let near: Vec<_> = near
        .iter()
        .take(3)
        .map(|(_, valid)| format!("`{valid}`"))
        .collect();
    if near.is_empty() {
        format!("valid keys: {}", keys().collect::<Vec<_>>().join(", "))
    } else {
        format!("did you mean {}?", near.join(" or "))
    }
}
