//! The tables `[[class]]`.

use std::sync::Arc;

use serde::{Deserialize, de::Error as _};
use toml::de::ValueDeserializer;

use super::Value;
use drainwatch_core::class::{Classes, MOST_RULES, Rule};

impl Value for Arc<Classes> {
    /// The fields of [`Rule`].
    const KEYS: &'static [&'static str] = &[
        "class.name",
        "class.path",
        "class.host",
        "class.method",
        "class.port",
        "class.sender",
        "class.header",
    ];

    fn values() -> String {
        format!("at most {MOST_RULES} tables")
    }

    /// A bounded number of rules: each class is a label value of metrics.
    fn from_file(value: ValueDeserializer<'_>) -> Result<Self, toml::de::Error> {
        let rules = Vec::<Rule>::deserialize(value)?;
        if rules.len() > MOST_RULES {
            return Err(toml::de::Error::custom(format!(
                "{} [[class]] tables are more than the limit of {MOST_RULES}; one rule can have several values",
                rules.len()
            )));
        }
        Ok(Self::new(Classes::new(rules)))
    }
}
