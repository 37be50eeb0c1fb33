//! The manual: a page of every command, by its name.

use std::collections::BTreeMap;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use drainwatch::cli::args::Cli;

pub fn pages() -> BTreeMap<String, String> {
    let mut root = Cli::command().disable_help_subcommand(true);
    // So that pages bear names as `drainwatch-run`.
    root.build();
    let mut pages = BTreeMap::new();
    let commands = root.get_subcommands().filter(|command| !command.is_hide_set());
    for command in commands.chain([&root]) {
        let (name, page) = page(command);
        pages.insert(name, page);
    }
    pages
}

fn page(command: &Command) -> (String, String) {
    let name = command
        .get_display_name()
        .unwrap_or(command.get_name())
        .to_owned();
    let source = format!("drainwatch {}", env!("CARGO_PKG_VERSION"));
    let manual = Man::new(command.clone())
        .title(&name)
        .source(source)
        .manual("drainwatch");
    let mut page = Vec::new();
    manual.render(&mut page).unwrap();
    (format!("{name}.1"), String::from_utf8(page).unwrap())
}
