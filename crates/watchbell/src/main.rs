//! `watchbell`: the binary. What was typed is parsed in `cli`, the agent is in `run`, its HTTP face in `web`.

mod api;
mod cli;
mod logs;
mod run;
mod web;

use watchbell_io::shared::apart::CHILD_ARGUMENT;

/// See `docs/dependencies.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // Before the command line: it is not for people, and shows in no help.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == CHILD_ARGUMENT) && arguments.next().is_none() {
        return watchbell_io::serve_apart();
    }
    cli::main()
}
