//! What the scenarios and the simulations share: configs of files in one text, with kinds that run nothing.

pub mod audit;

use jiff::tz::TimeZone;
use std::sync::Arc;
use watchbell_core::config::{Capabilities, Config, InputFile, Key, Kind, Kinds, LoadOptions, Policy, Shape, render};

/// The agent's file where a config brings none.
const AGENT: &str = r#"
[agent]
name = "web-1"
notify = ["ops"]

[notify.ops]
kind = "plain"

[notify.pager]
kind = "plain"
"#;

const COMMAND: Key = Key { name: "command", shape: Shape::String, doc: "for tests" };
const NONE: Capabilities = Capabilities { edits: false, digests: false, acknowledges: false, gap_ms: 0 };
const ALL: Capabilities = Capabilities { edits: true, digests: true, acknowledges: true, gap_ms: 0 };

const fn notifier(key: &'static str, capabilities: Capabilities) -> Kind<()> {
    Kind { key, doc: "", example: "", keys: &[], capabilities, read: |_| Some(()) }
}

/// Checks run nothing. Of the notifiers `plain` can do nothing but tell, `chat` everything, `mail` also digests.
pub const KINDS: Kinds<(), ()> = Kinds {
    checks: &[
        Kind {
            key: "command",
            doc: "",
            example: "",
            keys: &[COMMAND],
            capabilities: NONE,
            read: |r| r.require_string("command").map(drop),
        },
        Kind {
            key: "nagios",
            doc: "",
            example: "",
            keys: &[Key { name: "nagios", ..COMMAND }],
            capabilities: NONE,
            read: |r| r.require_string("nagios").map(drop),
        },
        Kind {
            key: "query",
            doc: "",
            example: "",
            keys: watchbell_core::config::keys::QUERY_KEYS,
            capabilities: NONE,
            read: |r| r.require_string("query").map(drop),
        },
    ],
    notifiers: &[
        notifier("plain", NONE),
        notifier("chat", ALL),
        notifier("mail", Capabilities { digests: true, ..NONE }),
    ],
};

/// The config of one agent, read anew as a running agent does.
pub struct Agent {
    config: Config<(), ()>,
}

impl Agent {
    pub fn new() -> Agent {
        let options = LoadOptions {
            root: "/etc/watchbell".into(),
            default_agent_name: "web-1".into(),
            local_zone: TimeZone::UTC,
        };
        Agent { config: Config::new(KINDS, options, |()| Vec::new()) }
    }

    /// The policy of a text that is `main.toml`, up to a line `--- FILE` that begins another file.
    /// `strict`: a mistake is an error of the test.
    pub fn load(&mut self, text: &str, strict: bool) -> Result<Arc<Policy>, String> {
        let mut files = vec![("main.toml".to_owned(), String::new())];
        for line in text.lines() {
            match (line.strip_prefix("--- "), files.last_mut()) {
                (Some(name), _) => files.push((name.to_owned(), String::new())),
                (None, Some((_, text))) => text.push_str(&format!("{line}\n")),
                (None, None) => {}
            }
        }
        if !files.iter().any(|(name, _)| name == "watchbell.toml") {
            files.push(("watchbell.toml".to_owned(), AGENT.to_owned()));
        }
        files.retain(|(_, text)| !text.trim().is_empty());
        let input = |(path, text): (String, String)| {
            let absolute = format!("/etc/watchbell/{path}");
            InputFile { path, absolute, text: Ok(text) }
        };
        self.config.update(files.into_iter().map(input).collect());
        let loaded = self.config.assemble();
        if strict && loaded.problems.errors() > 0 {
            return Err(render(&loaded.problems, false));
        }
        Ok(Arc::new(loaded.policy))
    }
}
