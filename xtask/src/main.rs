//! Tasks of the workspace, run as `cargo xtask <task>`.

mod bench;
mod build_ebpf;
mod demo;
mod dist;
mod docs;
mod examples;
mod msrv;
mod process;
mod provenance;
mod runtime_bases;
mod schemas;
mod setup;
mod test;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks of the sandbox-trace workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build the eBPF object that the binary embeds, or check that the one in the tree is current.
    BuildEbpf(build_ebpf::Args),
    /// Install what the other tasks need and this machine lacks.
    Setup(setup::Args),
    /// Run every check and test: pure, on this kernel, and in a guest with AppArmor.
    Test(test::Args),
    /// Record the demo agent, write both profiles, prove them, and run it again under them.
    Demo(demo::Args),
    /// Make the worked examples in profiles/ anew: every format, of the recordings there or of new ones.
    Examples(examples::Args),
    /// Measure what recording costs, beside no tracing, empty programs, strace and bpftrace.
    Bench(bench::Args),
    /// Write the man pages and the shell completions, and check them.
    Docs(docs::Args),
    /// Write the JSON schemas in docs/schemas anew, from the types that they describe.
    Schemas(schemas::Args),
    /// Make what is released: archive, Debian package, bill of materials, checksums.
    Dist(dist::Args),
    /// Measure what runc and crun need of a filter, and compare it with profiles/runtime.
    RuntimeBases(runtime_bases::Args),
    /// Boot one of the kernels that the tests run on, and run a command in it.
    Vm(vm::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::BuildEbpf(args) => build_ebpf::main(&args),
        Task::Setup(args) => setup::main(&args),
        Task::Test(args) => test::main(&args),
        Task::Demo(args) => demo::main(&args),
        Task::Examples(args) => examples::main(&args),
        Task::Bench(args) => bench::main(&args),
        Task::Docs(args) => docs::main(&args),
        Task::Schemas(args) => schemas::main(&args),
        Task::Dist(args) => dist::main(&args),
        Task::RuntimeBases(args) => runtime_bases::main(&args),
        Task::Vm(args) => vm::main(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The causes in one line: a backtrace tells nobody which package is missing.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
