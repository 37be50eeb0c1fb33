//! Settings that are one word of a few.

use std::fmt;

use clap::{Arg, ValueEnum, builder::EnumValueParser};
use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor, value::StrDeserializer},
};
use toml::de::ValueDeserializer;

use super::Value;
use crate::{kernel::CaptureMode, names::Use};

/// Level of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What fails.
    Error,
    /// And what degrades.
    Warn,
    /// And every shutdown.
    Info,
    /// And what the agent does.
    Debug,
    /// Everything.
    Trace,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// Form of the log's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

fn values<T: ValueEnum>() -> String {
    let words: Vec<_> = T::value_variants()
        .iter()
        .filter_map(ValueEnum::to_possible_value)
        .map(|word| format!("`{}`", word.get_name()))
        .collect();
    words.join(", ")
}

fn flag<T: ValueEnum + Clone + Send + Sync + 'static>(flag: Arg) -> Arg {
    flag.value_parser(EnumValueParser::<T>::new())
}

macro_rules! words {
    ($($name:ident),+) => {$(
        impl Value for $name {
            fn values() -> String {
                values::<Self>()
            }

            fn from_file(value: ValueDeserializer<'_>) -> Result<Self, toml::de::Error> {
                Self::deserialize(value)
            }

            fn flag(arg: Arg) -> Arg {
                flag::<Self>(arg)
            }
        }
    )+};
}

words!(LogLevel, LogFormat, CaptureMode);

/// In the file it stands where the table of its origin can stand instead.
impl Value for Use {
    fn values() -> String {
        values::<Self>()
    }

    fn from_file(value: ValueDeserializer<'_>) -> Result<Self, toml::de::Error> {
        struct Word;
        impl Visitor<'_> for Word {
            type Value = Use;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"auto\", \"off\" or a table")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Use, E> {
                Use::deserialize(StrDeserializer::new(text))
            }
        }
        value.deserialize_any(Word)
    }

    fn flag(arg: Arg) -> Arg {
        flag::<Self>(arg)
    }
}
