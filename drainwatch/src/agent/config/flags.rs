//! Settings as flags of a command, with their environment variables.

use std::{collections::BTreeMap, path::Path};

use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::{
    Layer, SETTINGS, Value,
    in_force::{self, Given},
};

/// The flags that the command has of the settings: of `run` all, of `doctor` those that say who is asked for names.
#[derive(Debug)]
pub struct Flags {
    layer: Result<Box<Layer>, String>,
    given: BTreeMap<&'static str, Given>,
}

impl Flags {
    /// What they and the environment say; or one sentence on a value that is refused.
    pub fn layer(&self) -> Result<Layer, String> {
        self.layer.clone().map(|layer| *layer)
    }

    /// Every setting as they, a file (its text and path) and the defaults make it: a configuration file that says where
    /// each value is from.
    pub fn in_force(&self, file: Option<(&str, &Path)>) -> String {
        in_force::print(&self.given, file)
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let name = command.get_name().to_owned();
        command.args(SETTINGS.iter().filter_map(|setting| setting.arg(&name)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(flags: &ArgMatches) -> Result<Self, clap::Error> {
        Self::from_arg_matches_mut(&mut flags.clone())
    }

    fn from_arg_matches_mut(flags: &mut ArgMatches) -> Result<Self, clap::Error> {
        let given = in_force::given(flags);
        let layer = Layer::from_flags(flags).map(Box::new);
        Ok(Self { layer, given })
    }

    fn update_from_arg_matches(&mut self, flags: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(flags)?;
        Ok(())
    }
}

/// What the flag `key` was given, where the command has it.
pub(super) fn value<T: Value>(flags: &mut ArgMatches, key: &str) -> Result<Option<T>, String> {
    if flags.try_contains_id(key).is_ok_and(|given| given) {
        T::from_flag(flags, key).map_err(|why| format!("invalid value for '--{key}': {why}"))
    } else {
        Ok(None)
    }
}
