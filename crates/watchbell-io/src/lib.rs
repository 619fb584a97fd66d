//! Everything of Watchbell that touches the world: running checks, telling people, keeping rows on disk.

pub mod notify;
pub mod query;
pub mod shared;
pub mod source;
pub mod store;

use shared::apart::{self, Job};

/// What is done in processes apart from the agent.
static JOBS_APART: &[&Job] = &[
    &shared::jq::COMPILE,
    &shared::jq::RUN,
    &notify::TEMPLATE,
    #[cfg(test)]
    &apart::tests::PLAY,
];

/// What a process does that was started with [`apart::CHILD_ARGUMENT`] and nothing else: see [`shared::apart`].
pub fn serve_apart() -> std::process::ExitCode {
    apart::serve(JOBS_APART)
}
