//! Cron expressions as Debian's cron understands them.

/// A cron expression.
#[derive(Clone, Debug)]
pub struct Cron {}
