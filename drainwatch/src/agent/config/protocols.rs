//! The tables `[[protocol]]`.

use std::sync::Arc;

use drainwatch_core::reading::{MOST_PINS, Pin, Pins};
use serde::{Deserialize, de::Error as _};
use toml::de::ValueDeserializer;

use super::Value;

impl Value for Arc<Pins> {
    /// The fields of [`Pin`].
    const KEYS: &'static [&'static str] = &["protocol.name", "protocol.port"];

    fn values() -> String {
        format!("tables with at most {MOST_PINS} ports")
    }

    fn from_file(value: ValueDeserializer<'_>) -> Result<Self, toml::de::Error> {
        let pins = Vec::<Pin>::deserialize(value)?;
        Pins::new(&pins).map(Self::new).map_err(toml::de::Error::custom)
    }
}
