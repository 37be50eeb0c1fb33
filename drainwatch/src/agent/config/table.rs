//! What one entry of the table of settings becomes.

use clap::Arg;

use super::SETTINGS;

/// Declares the settings: one type with all of them resolved ([`Settings`](super::Settings)), one with what a source
/// says of them ([`Layer`](super::Layer)), and their descriptions ([`SETTINGS`]).
macro_rules! settings {
    ($(
        $(#[doc = $about:literal])+
        $key:literal => $name:ident: $value:ty = $default:tt $($unset:literal)?
            $(, flag $takes:literal of $($command:ident)and+)?;
    )+) => {
        /// Resolved settings of `drainwatch run`.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Settings {
            $($(#[doc = $about])+ pub $name: $value,)+
        }

        /// What one source (flags with environment, or file) gives; `None` where it is silent.
        #[derive(Debug, Clone, Default)]
        pub struct Layer {
            $($name: Option<$value>,)+
        }

        impl Settings {
            /// `first` before `second` before the defaults.
            pub fn resolve(first: Layer, second: Layer) -> Self {
                Self {
                    $($name: first
                        .$name
                        .or(second.$name)
                        .unwrap_or_else(|| table::default!($default, $value)),)+
                }
            }
        }

        impl Layer {
            fn from_flags(flags: &mut clap::ArgMatches) -> Result<Self, String> {
                Ok(Self { $($name: flags::value(flags, $key)?,)+ })
            }

            fn from_file(tables: &mut file::Tables<'_>) -> Result<Self, file::Refusal> {
                Ok(Self { $($name: tables.take($key)?,)+ })
            }
        }

        /// Every setting, in the order of the reference.
        pub const SETTINGS: &[Setting] = &[$(Setting {
            key: $key,
            about: concat!($($about),+),
            default: table::default!($default),
            unset: table::option!($($unset)?),
            flag: table::option!($(table::Flag {
                takes: $takes,
                commands: &[$(stringify!($command)),+],
            })?),
            keys: <$value as Value>::KEYS,
            values: <$value as Value>::values,
            read: <$value as Value>::flag,
        }),+];
    };
}

/// A default as TOML has it, or as the value that it is.
macro_rules! default {
    (none) => {
        None
    };
    ($text:tt) => {
        Some(stringify!($text))
    };
    (none, $value:ty) => {
        <$value>::default()
    };
    ($text:tt, $value:ty) => {
        value::of_default::<$value>(stringify!($text))
    };
}

macro_rules! option {
    () => {
        None
    };
    ($some:expr) => {
        Some($some)
    };
}

pub(super) use {default, option, settings};

/// A setting, as help and reference describe it.
#[derive(Debug)]
pub struct Setting {
    /// Its key in the file, dotted; the flag is `--` and the key.
    pub key: &'static str,
    /// Its default, as TOML.
    pub default: Option<&'static str>,
    /// Keys of the tables that it is made of, where its value is tables.
    pub keys: &'static [&'static str],
    pub(super) about: &'static str,
    /// What holds without a default.
    pub(super) unset: Option<&'static str>,
    pub(super) flag: Option<Flag>,
    pub(super) values: fn() -> String,
    pub(super) read: fn(Arg) -> Arg,
}

/// The flag of a setting.
#[derive(Debug)]
pub(super) struct Flag {
    /// What the help calls its value.
    pub(super) takes: &'static str,
    /// The commands that have it.
    pub(super) commands: &'static [&'static str],
}

impl Setting {
    /// What it is for, as a sentence.
    pub fn meaning(&self) -> &'static str {
        self.about.trim_start()
    }

    /// What may be written.
    pub fn values(&self) -> String {
        (self.values)()
    }

    /// Its environment variable, where it has one.
    pub fn variable(&self) -> Option<String> {
        self.flag
            .as_ref()
            .map(|_| format!("DRAINWATCH_{}", self.key.to_uppercase().replace(['.', '-'], "_")))
    }

    /// Where `--help` shows its flag: in the order of the table, with room for flags that are no settings.
    pub fn help_order(key: &str) -> usize {
        SETTINGS
            .iter()
            .position(|setting| setting.key == key)
            .unwrap_or(SETTINGS.len())
            * 10
    }

    /// Its flag, where this command has it. What `print-config` prints is the configuration of `run`.
    pub(super) fn arg(&self, command: &str) -> Option<Arg> {
        let command = if command == "print-config" { "run" } else { command };
        let flag = self
            .flag
            .as_ref()
            .filter(|flag| flag.commands.contains(&command))?;
        let default = self
            .unset
            .or(self.default.map(|default| default.trim_matches('"')))
            .map(|default| format!(" [default: {default}]"));
        let help = self.meaning().trim_end_matches('.').to_owned() + &default.unwrap_or_default();
        let arg = Arg::new(self.key)
            .long(self.key)
            .env(self.variable()?)
            .value_name(flag.takes)
            .help(help)
            .display_order(Self::help_order(self.key));
        Some((self.read)(arg))
    }
}

/// Every key of the file, dotted.
pub fn keys() -> impl Iterator<Item = &'static str> {
    SETTINGS
        .iter()
        .flat_map(|setting| match setting.keys {
            [] => std::slice::from_ref(&setting.key),
            keys => keys,
        })
        .copied()
}
