//! `watchbell`: the binary. What was typed is parsed in `cli`, the agent is in `run`, its HTTP face in `web`.

mod api;
mod cli;
mod logs;
mod run;
mod web;

/// See `docs/dependencies.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
