//! Paths of files, told apart by what must be there.

use std::{
    ops::Deref,
    path::{Path, PathBuf},
};

use clap::{
    Arg, ValueHint,
    builder::{PathBufValueParser, TypedValueParser},
};
use serde::Deserialize;
use toml::de::ValueDeserializer;

use super::Value;

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

paths! {
    /// A directory, made where there is none.
    Directory = "a directory";
    /// A file to read.
    File = "a file";
    /// A file to write, which is never overwritten.
    NewFile = "a file that does not exist yet";
}
