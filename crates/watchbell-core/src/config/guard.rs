//! A bug that shows while one file is read is that file's fault: a panic there becomes an error like any other, and what
//! the file said before stays in use. Nobody can end the agent by what he writes into a config.

use super::{Problem, Problems, tree::Span};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Does what may panic; `None` if it did. What it was at work on must not be used afterwards.
///
/// What the panic says is not kept: it may quote the file, secrets included. The panic hook printed it.
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// Reports the bug as an error of the file.
pub(super) fn report(at: Span, problems: &mut Problems) -> &mut Problem {
    problems
        .error(at, "reading this file ran into a bug of Watchbell's; nothing of it could be read")
        .hint("undo what was changed in it last, and report the bug with the file, or with the line that shows it")
}
