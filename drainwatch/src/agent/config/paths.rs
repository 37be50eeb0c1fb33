//! Paths of files, told apart by what must be there.

use std::{
    ops::Deref,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::{
    Arg, ValueHint,
    builder::{PathBufValueParser, TypedValueParser},
};
use drainwatch_core::workload::text::shown_name;
use serde::Deserialize;
use toml::de::ValueDeserializer;

use super::{Text, Value};

macro_rules! paths {
    ($($(#[$about:meta])+ $name:ident = $values:literal;)+) => {$(
        $(#[$about])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(pub(super) PathBuf);

        impl Value for $name {
            fn values() -> String {
                $values.into()
            }

            fn from_file(value: ValueDeserializer<'_>) -> Result<Self, toml::de::Error> {
                PathBuf::deserialize(value).map(Self)
            }

            fn flag(flag: Arg) -> Arg {
                flag.value_parser(PathBufValueParser::new().map(Self))
                    .value_hint(ValueHint::AnyPath)
            }
        }

        impl Deref for $name {
            type Target = Path;

            fn deref(&self) -> &Path {
                &self.0
            }
        }
    )+};
}

/// Where programs are pinned, or nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinDir(Option<PathBuf>);

impl PinDir {
    /// The directory, if programs are to be pinned.
    pub fn path(&self) -> Option<&Path> {
        self.0.as_deref()
    }
}

impl Text for PinDir {
    const VALUES: &'static str = "a directory on a bpf file system, or `off`";
}

impl FromStr for PinDir {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self(None)),
            path if path.starts_with('/') && path.len() > 1 && !path.contains('\0') => {
                Ok(Self(Some(path.into())))
            }
            _ => Err(format!(
                "`{}` is no directory to pin programs in; write off, or its path, for example /sys/fs/bpf/drainwatch",
                shown_name(text)
            )),
        }
    }
}

paths! {
    /// A directory, made where there is none.
    Directory = "a directory";
    /// A file to read.
    File = "a file";
    /// A file to write, which is never overwritten.
    NewFile = "a file; a recording that is there is renamed";
}
