//! What a setting can be: how its value is read from a flag, from a variable and from the file, with the same check.

use std::{
    num::{NonZeroU16, NonZeroU32},
    str::FromStr,
};

use clap::{Arg, ArgMatches, builder::ValueParser};
use serde::Deserialize;
use toml::de::ValueDeserializer;

/// A type of value. Whatever is a text with a check of its own is a [`Text`].
pub trait Value: Sized + Clone + Send + Sync + 'static {
    /// Keys of the tables that it is made of, dotted; none where it is no tables.
    const KEYS: &'static [&'static str] = &[];

    /// What may be written, in the words of the reference.
    fn values() -> String;

    /// The value in the file, or why it is refused.
    fn from_file(value: ValueDeserializer<'_>) -> Result<Self, toml::de::Error>;

    /// Tells the flag how it is read. Only settings of the file do without.
    fn flag(flag: Arg) -> Arg {
        flag
    }

    /// What the flag `key`, or its variable, was given; an error of what clap has not checked.
    fn from_flag(flags: &mut ArgMatches, key: &str) -> Result<Option<Self>, String> {
        Ok(flags.remove_one(key))
    }
}

/// A text with a check, which is its [`FromStr`]: the error is one sentence that says what to write instead.
pub trait Text: FromStr<Err = String> + Clone + Send + Sync + 'static {
    /// What may be written, in the words of the reference.
    const VALUES: &'static str;
    /// It may be a password: no message and no help repeats it.
    const SECRET: bool = false;
}

impl<T: Text> Value for T {
    fn values() -> String {
        T::VALUES.into()
    }

    fn from_file(value: ValueDeserializer<'_>) -> Result<Self, toml::de::Error> {
        Checked::deserialize(value).map(|checked| checked.0)
    }

    fn flag(flag: Arg) -> Arg {
        if T::SECRET {
            // Messages of clap's own repeat the value: it is checked afterwards.
            flag.hide_env_values(true)
        } else {
            flag.value_parser(ValueParser::new(|text: &str| text.parse::<T>()))
        }
    }

    fn from_flag(flags: &mut ArgMatches, key: &str) -> Result<Option<Self>, String> {
        if T::SECRET {
            flags
                .remove_one::<String>(key)
                .map(|text| text.parse())
                .transpose()
        } else {
            Ok(flags.remove_one(key))
        }
    }
}

/// A text from the file, where a whole number does as well.
#[derive(Deserialize)]
#[serde(try_from = "Raw", bound = "T: FromStr<Err = String>")]
pub(super) struct Checked<T>(pub(super) T);

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string or a whole number")]
enum Raw {
    Number(i64),
    Text(String),
}

impl<T: FromStr<Err = String>> TryFrom<Raw> for Checked<T> {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        match raw {
            Raw::Number(number) => number.to_string().parse(),
            Raw::Text(text) => text.parse(),
        }
        .map(Self)
    }
}

/// A setting that may be left unset.
impl<T: Value> Value for Option<T> {
    const KEYS: &'static [&'static str] = T::KEYS;

    fn values() -> String {
        T::values()
    }

    fn from_file(value: ValueDeserializer<'_>) -> Result<Self, toml::de::Error> {
        T::from_file(value).map(Some)
    }

    fn flag(flag: Arg) -> Arg {
        T::flag(flag)
    }

    fn from_flag(flags: &mut ArgMatches, key: &str) -> Result<Option<Self>, String> {
        Ok(T::from_flag(flags, key)?.map(Some))
    }
}

impl Value for bool {
    fn values() -> String {
        "`true`, `false`".into()
    }

    fn from_file(value: ValueDeserializer<'_>) -> Result<Self, toml::de::Error> {
        Self::deserialize(value)
    }

    /// The flag alone is `true`.
    fn flag(flag: Arg) -> Arg {
        // Without a value it is switched on.
        flag.value_parser(clap::value_parser!(bool))
            .num_args(0..=1)
            .default_missing_value("true")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
    }
}

impl Value for NonZeroU32 {
    fn values() -> String {
        format!("1 to {}", Self::MAX)
    }

    fn from_file(value: ValueDeserializer<'_>) -> Result<Self, toml::de::Error> {
        Self::deserialize(value)
    }
}

impl Value for NonZeroU16 {
    fn values() -> String {
        format!("1 to {}", Self::MAX)
    }

    fn from_file(value: ValueDeserializer<'_>) -> Result<Self, toml::de::Error> {
        Self::deserialize(value)
    }
}

/// A default of the table. A test resolves them all, so that none is refused here.
pub(super) fn of_default<T: Value>(text: &str) -> T {
    ValueDeserializer::parse(text)
        .and_then(T::from_file)
        .unwrap_or_else(|why| panic!("the default {text} of a setting does not pass its own check: {why}"))
}
