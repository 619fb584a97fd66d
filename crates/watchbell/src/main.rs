//! `watchbell`: the binary. What was typed is parsed in `cli`, the agent is in `run`, its HTTP face in `web`.

mod api;
mod cli;
mod logs;
mod run;
mod web;

use watchbell_io::shared::apart::CHILD_ARGUMENT;

/// What is fuzzed. The inputs in `fuzz/corpus` are played here, without libFuzzer.
#[cfg(test)]
#[path = "../../../fuzz/src/targets.rs"]
mod fuzz_targets;

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

#[cfg(test)]
mod tests {
    use super::fuzz_targets::TARGETS;
    use std::{fs, path::Path};

    #[test]
    fn the_fuzzers_inputs_do_no_harm() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
        for target in TARGETS {
            assert!(fuzz.join(format!("targets/{}.rs", target.name)).exists(), "{} has no file", target.name);
            let mut inputs = 0;
            for input in fs::read_dir(fuzz.join("corpus").join(target.name)).unwrap() {
                let path = input.unwrap().path();
                println!("{}", path.display());
                (target.run)(&fs::read(path).unwrap());
                inputs += 1;
            }
            assert!(inputs > 0, "{} has no inputs", target.name);
        }
        assert!(TARGETS.iter().any(|target| target.outside), "those that strangers reach are fuzzed longer");
    }
}
