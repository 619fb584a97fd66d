//! A plugin that prints faults and metrics as JSON.

use super::{BoxFuture, Probe, Program, Run, options};
use crate::shared::process::Command;
use std::sync::Arc;
use watchbell_core::{
    config::{Capabilities, Key, Kind, Reader, Shape},
    model::Outcome,
    wire::json_plugin::judge,
};

const OWN: &[Key] = &[Key {
    name: "json",
    shape: Shape::Strings,
    doc: "The plugin's command line, or a list of its program and arguments. `./x` counts from `cwd`.",
}];
const KEYS: [Key; OWN.len() + options::KEYS.len()] = options::with_common(OWN);

/// `json = "…"`.
pub const KIND: Kind<Program> = Kind {
    key: "json",
    doc: "A plugin that prints `{\"faults\": [{name?, severity, message, escalates?}], \"metrics\": [{name, value, units?, \
          timestamp?}]}`. A severity is a number (30 warning, 40 error, 50 critical) or a name in any case. A document \
          that can't be read is a `#json-error` fault that says where.",
    example: r#"[check.app]
json = "./res/app-health.py"
every = "30s"
env = { APP_TOKEN = { file = "/etc/app/token" } }
"#,
    keys: &KEYS,
    capabilities: Capabilities { edits: false, digests: false, acknowledges: false, gap_ms: 0 },
    read,
};

#[derive(Debug)]
struct JsonPlugin {
    command: Command,
}

fn read(r: &mut Reader<'_>) -> Option<Program> {
    Some(Arc::new(JsonPlugin { command: options::read_command(r, "json")? }))
}

impl Probe for JsonPlugin {
    fn run<'a>(&'a self, run: &'a Run<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async {
            let ran = self.command.run(Vec::new(), run.timeout).await;
            options::judge(&ran, judge)
        })
    }

    fn preflight(&self) -> Vec<String> {
        self.command.preflight()
    }

    fn cwd(&self) -> Option<&std::path::Path> {
        self.command.cwd.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::suite::{outcome, parts};
    use watchbell_core::model::Severity;

    /// S3.5: faults and metrics as a real program prints them, and every way in which it may fail to.
    #[test]
    fn documents() {
        let line = |text: &str| format!("json = '''echo '{text}' '''");
        let table: &[(String, &[&str], usize)] = &[
            (line(r#"{"faults": [], "metrics": [{"name": "a", "value": 1.5, "units": "s"}]}"#), &[], 1),
            (line(r#"{"faults": [{"severity": 40, "message": "bad"}]}"#), &[""], 0),
            (line(r#"{"faults": [{"name": "x", "severity": "WARNING", "message": "so so"}]}"#), &["x"], 0),
            (line(r#"{"faults": ["#), &["json-error"], 0),
            (line(r#"{"faults": 5}"#), &["json-error"], 0),
            ("json = '/usr/bin/env true'".into(), &["monitor-no-out"], 0),
            ("json = 'echo {}; exit 9'".into(), &["monitor-status"], 0),
            ("json = '/no/such/plugin'".into(), &["monitor-start"], 0),
            ("json = 'sleep 612'\ntimeout = 0.3".into(), &["monitor-timeout"], 0),
            ("json = 'head -c 100000000 /dev/zero'".into(), &["monitor-output"], 0),
        ];
        for (lines, wanted, metrics) in table {
            let outcome = outcome(&KIND, lines);
            assert_eq!((parts(&outcome), outcome.metrics.len()), (wanted.to_vec(), *metrics), "{lines}: {outcome:?}");
        }
        let outcome = outcome(&KIND, &line(r#"{"faults": [{"severity": "Critical", "message": "m"}]}"#));
        assert_eq!((outcome.findings[0].severity, outcome.findings[0].message.as_str()), (Severity::Critical, "m"));
    }
}
