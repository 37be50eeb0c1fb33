//! The project's tasks. Each is a file with `Options` and `run`; this one only dispatches.
#![forbid(unsafe_code)]

mod bench;
mod cluster;
mod dashboards;
mod deploy;
mod deps;
mod dist;
mod docs;
mod ebpf;
mod fuzz;
mod lint;
mod page;
mod shell;
mod test;
mod torture;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_version_flag = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure what the agent costs
    Bench(bench::Options),
    /// Play rollouts on a real Kubernetes node and compare the reports with what clients saw
    Cluster(cluster::Options),
    /// Check the alerts and dashboards, or prove them with a real Prometheus
    Dashboards(dashboards::Options),
    /// Write what under deploy/ is made from other files, or check all of it
    Deploy(deploy::Options),
    /// Say, or install, what the other tasks need
    Deps(deps::Options),
    /// Make a release: packages, image, manual, hashes; or install and run the one that is there
    Dist(dist::Options),
    /// Write docs/reference and the manual from the code, or check that they say what the code says
    Docs(docs::Options),
    /// Build the BPF object, or check that the one in the tree is not stale
    Ebpf(ebpf::Options),
    /// Build the fuzz targets and run them
    Fuzz(fuzz::Options),
    /// Formatting, clippy and documentation of both sides; dependencies
    Lint(lint::Options),
    /// Take the README's pictures, of the page and of a report in a terminal
    Pictures(page::Options),
    /// Everything that must hold: lint, the BPF object, unit tests, the ledger, other kernels
    Test(test::Options),
    /// End the agent again and again while servers are stopped, and compare its reports with what clients saw
    Torture(torture::Options),
    /// Run a command, or the ledger, on another kernel
    Vm(vm::Options),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Bench(options) => bench::run(&options),
        Task::Cluster(options) => cluster::run(&options),
        Task::Dashboards(options) => dashboards::run(&options),
        Task::Deploy(options) => deploy::run(&options),
        Task::Deps(options) => deps::run(&options),
        Task::Dist(options) => dist::run(&options),
        Task::Docs(options) => docs::run(&options),
        Task::Ebpf(options) => ebpf::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Lint(options) => lint::run(&options),
        Task::Pictures(options) => page::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Torture(options) => torture::run(&options),
        Task::Vm(options) => vm::run(&options),
    };
    if let Err(error) = result {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
