//! A monitoring plugin of Nagios, Icinga and their like.

use super::{BoxFuture, Probe, Program, Run, options};
use crate::shared::process::Command;
use std::sync::Arc;
use watchbell_core::{
    config::{Capabilities, Key, Kind, Reader, Shape},
    model::Outcome,
    wire::nagios::{NagiosOptions, judge},
};

const OWN: &[Key] = &[
    Key {
        name: "nagios",
        shape: Shape::Strings,
        doc: "The plugin's command line, or a list of its program and arguments. `./x` counts from `cwd`.",
    },
    Key {
        name: "performance",
        shape: Shape::Boolean,
        doc: "Read performance data behind `|` as metrics. Default: true; false makes it text like any other.",
    },
    Key {
        name: "perfdata_thresholds",
        shape: Shape::Boolean,
        doc: "Judge each value of the performance data on the warning and critical ranges that the plugin gives with it. \
              Default: false, the plugin's exit code is the verdict.",
    },
    Key {
        name: "accept_json",
        shape: Shape::Boolean,
        doc: "Read output that starts with `{`, at exit code 0, as a JSON plugin's. Default: false.",
    },
];
const KEYS: [Key; OWN.len() + options::KEYS.len()] = options::with_common(OWN);

/// `nagios = "…"`.
pub const KIND: Kind<Program> = Kind {
    key: "nagios",
    doc: "A monitoring plugin. Exit code 0 is fine, 1 a warning, 2 an error, 3 an error called unknown, any other \
          `#monitor-status`; no output is `#monitor-no-out`, too slow `#monitor-timeout`, and something on standard error the \
          warning `#monitor-stderr`. Performance \
          data becomes metrics, on which `thresholds` are judged.",
    example: r#"[check.load]
nagios = "/usr/lib/nagios/plugins/check_load -w 8,6,4 -c 16,12,8"
every = "1m"
thresholds = ["load5 warning > 4 error > 8 clear < 3"]
notify = ["ops"]
"#,
    keys: &KEYS,
    capabilities: Capabilities { edits: false, digests: false, acknowledges: false, gap_ms: 0 },
    read,
};

#[derive(Debug)]
struct Plugin {
    command: Command,
    options: NagiosOptions,
}

fn read(r: &mut Reader<'_>) -> Option<Program> {
    let (performance, perfdata_thresholds) = (r.boolean("performance"), r.boolean("perfdata_thresholds"));
    if performance == Some(false) && perfdata_thresholds == Some(true) {
        r.error(
            "perfdata_thresholds",
            "`perfdata_thresholds` needs performance data, which `performance = false` turns off",
        )
        .hint("remove one of them");
    }
    let options = NagiosOptions {
        accept_json: r.boolean("accept_json").unwrap_or(false),
        performance: performance.unwrap_or(true),
        perfdata_thresholds: perfdata_thresholds.unwrap_or(false),
    };
    Some(Arc::new(Plugin { command: options::read_command(r, "nagios")?, options }))
}

impl Probe for Plugin {
    fn run<'a>(&'a self, run: &'a Run<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async {
            let ran = self.command.run(Vec::new(), run.timeout).await;
            options::judge(&ran, |raw| judge(raw, &self.options))
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
mod tests;
