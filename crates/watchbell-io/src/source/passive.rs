//! A check that is never run: others must report its result in time (a dead-man's switch). How long they may
//! take, and the fault when they are late, are the loader's and the core's.

use super::{BoxFuture, Probe, Program, Run};
use std::sync::Arc;
use watchbell_core::{
    config::{Capabilities, Key, Kind, Reader, Shape},
    model::{Finding, Outcome},
};

/// `passive = "…"`.
pub const KIND: Kind<Program> = Kind {
    key: "passive",
    doc: "A check that others report to, such as the end of a backup: by `watchbell exec NAME -- COMMAND`, or the HTTP API. \
          It is a fault when nobody has reported for longer than this.",
    example: r#"[check.backup]
passive = "26h"
description = "the nightly backup reports here"
"#,
    keys: &[Key {
        name: "passive",
        shape: Shape::Duration,
        doc: "At the latest this long after a report must come the next.",
    }],
    capabilities: Capabilities { edits: false, digests: false, acknowledges: false, gap_ms: 0 },
    read,
};

#[derive(Debug)]
struct Passive;

fn read(r: &mut Reader<'_>) -> Option<Program> {
    // The loader reads the length of time, and says what is wrong with it.
    r.has("passive").then(|| Arc::new(Passive) as Program)
}

impl Probe for Passive {
    fn run<'a>(&'a self, run: &'a Run<'a>) -> BoxFuture<'a, Outcome> {
        let check = run.check;
        let message = format!(
            "the check is passive and can't be run: report its result with `watchbell exec {check} -- COMMAND`"
        );
        let findings = vec![Finding::monitor("start", message.as_str())];
        Box::pin(async { Outcome { findings, summary: message, inconclusive: true, ..Outcome::default() } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::suite::{outcome, parts};

    #[test]
    fn is_not_run() {
        let outcome = outcome(&KIND, "passive = '1d'");
        assert!(outcome.inconclusive && parts(&outcome) == ["monitor-start"], "{outcome:?}");
        assert!(outcome.findings[0].message.contains("watchbell exec"));
    }
}
