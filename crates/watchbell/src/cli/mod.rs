//! The command line: what was typed, parsed; one file per command. Data goes to standard output, everything else to
//! standard error; exit codes are 0 fine, 1 found problems, 2 wrong use.

mod ack;
mod backtest;
mod checks;
mod client;
mod completions;
mod down;
mod env_file;
mod events;
mod exec;
mod faults;
mod heat;
mod histogram;
mod history;
mod man;
mod next;
mod place;
mod rehearse;
mod run;
mod send;
mod slow;
mod squelch;
mod squelches;
mod status;
mod store;
mod suggest;
mod table;
mod test;
mod token;
mod ui;
mod unsquelch;
mod validate;
mod when;
mod why;

use clap::Parser;
use std::process::ExitCode;

/// Turns the scripts, plugins and checks that a team already has into alarms that are told once
///
/// Drop a file for each application into a folder; the agent on that host runs what the file says, on time, judges the
/// results, tells the right people once, and keeps the history.
#[derive(Parser, Debug)]
#[command(
    name = "watchbell",
    version = env!("WATCHBELL_VERSION"),
    max_term_width = 100,
    propagate_version = true,
    disable_help_subcommand = false,
    after_help = "Exit codes: 0 fine, 1 found problems, 2 wrong use. `watchbell help COMMAND` says more about one."
)]
pub struct Cli {
    #[command(flatten)]
    place: place::Place,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Run(run::Args),
    Validate(validate::Args),
    Test(test::Args),
    Next(next::Args),
    Rehearse(rehearse::Args),
    Status(status::Args),
    Faults(faults::Args),
    Events(events::Args),
    Checks(checks::Args),
    Slow(slow::Args),
    Histogram(histogram::Args),
    Suggest(suggest::Args),
    Backtest(backtest::Args),
    Why(why::Args),
    Squelch(squelch::Args),
    Unsquelch(unsquelch::Args),
    Squelches(squelches::Args),
    Ack(ack::Args),
    Send(send::Args),
    Exec(exec::Args),
    #[command(hide = true)]
    PassOn(exec::PassOn),
    Token(token::Args),
    Store(store::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Does what was typed.
pub fn main() -> ExitCode {
    let Cli { place, command } = Cli::parse();
    let done = match command {
        Command::Run(args) => args.run(&place),
        Command::Validate(args) => args.run(&place),
        Command::Test(args) => args.run(&place),
        Command::Next(args) => args.run(),
        Command::Rehearse(args) => args.run(&place),
        Command::Status(args) => args.run(&place),
        Command::Faults(args) => args.run(&place),
        Command::Events(args) => args.run(&place),
        Command::Checks(args) => args.run(&place),
        Command::Slow(args) => args.run(&place),
        Command::Histogram(args) => args.run(&place),
        Command::Suggest(args) => args.run(&place),
        Command::Backtest(args) => args.run(&place),
        Command::Why(args) => args.run(&place),
        Command::Squelch(args) => args.run(&place),
        Command::Unsquelch(args) => args.run(&place),
        Command::Squelches(args) => args.run(&place),
        Command::Ack(args) => args.run(&place),
        Command::Send(args) => args.run(&place),
        Command::Exec(args) => args.run(&place),
        Command::PassOn(args) => args.run(),
        Command::Token(args) => args.run(),
        Command::Store(args) => args.run(&place),
        Command::Completions(args) => args.run(),
        Command::Man(args) => args.run(),
    };
    // A run that was given up may leave nothing behind.
    watchbell_io::shared::process::settle();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => trouble.exit(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }
}
