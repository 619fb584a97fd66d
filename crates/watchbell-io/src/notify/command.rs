//! Command: hands each delivery to a program, as one line of JSON on its standard input.
//!
//! Exit 0 says that it was taken. The codes of `sysexits.h` that mean "this will never do" (64 wrong use, 65
//! wrong data, 78 wrong configuration) are believed; everything else, a time-out and a program that is not there
//! included, may pass. How it is run is [`crate::shared::process`]'s.

use super::{
    Attempt, Channel, Notifier,
    http_retry::{MASKED, Mask},
    template::{cut, first_line},
};
use crate::{
    shared::{
        process::{Command, Line},
        secret,
    },
    source::BoxFuture,
};
use std::{collections::BTreeMap, sync::Arc};
use watchbell_core::{
    config::{Capabilities, Key, Kind, Reader, Secret, Shape},
    model::{Delivery, Exit, Failure, Raw, Receipt},
};

/// Exit codes of `sysexits.h` that will be the same at every try.
pub const EXITS_PERMANENT: [i32; 3] = [64, 65, 78];
/// What a command writes is kept up to this many bytes.
const OUTPUT_MAX_BYTES: usize = 64 * 1024;
/// A variable of the environment holds at most this much.
const VARIABLE_MAX_CHARS: usize = 4_096;

/// The kind.
pub const KIND: Kind<Channel> = Kind {
    key: "command",
    doc: "Runs a command for each delivery, which is one line of JSON on its standard input; the variables \
          `WATCHBELL_KEY`, `_ACTION`, `_NAME`, `_SEVERITY`, `_STATE`, `_MESSAGE`, `_HOST` and `_NOTIFIER` say the same \
          in short. Exit 0 means taken; 64, 65 and 78 mean that it will never be; any other code is tried again. \
          Deliveries may come twice, with the same key.",
    example: r#"
[notify.script]
kind = "command"
command = "cat >> told.jsonl"
"#,
    keys: &[
        Key { name: "command", shape: Shape::String, doc: "The command line; a shell runs it where it needs one." },
        Key { name: "cwd", shape: Shape::String, doc: "The folder to run it in. Default: the agent's own." },
        Key { name: "env", shape: Shape::StringMap, doc: "More variables; each value may be a reference to a secret." },
        Key { name: "user", shape: Shape::String, doc: "Another user to run it as (`NAME` or `NAME:GROUP`)." },
    ],
    capabilities: Capabilities { edits: false, digests: true, acknowledges: true, gap_ms: 0 },
    read,
};

#[derive(Debug)]
struct Program {
    command: Command,
}

fn read(reader: &mut Reader<'_>) -> Option<Channel> {
    let (cwd, user) = (reader.string("cwd"), reader.string("user"));
    let env = reader.secret_map("env").unwrap_or_default();
    for name in env.keys().filter(|name| name.is_empty() || name.contains(['=', '\0'])) {
        reader.error("env", format!("`{name}` is no name of a variable"));
    }
    let line = Line::parse(&reader.require_string("command")?)?;
    let command = Command { cwd: cwd.map(Into::into), env, user, output_max: OUTPUT_MAX_BYTES, ..Command::new(line) };
    Some(Arc::new(Program { command }))
}

/// The delivery in short.
fn variables(delivery: &Delivery) -> BTreeMap<String, Secret> {
    let event = &delivery.event;
    let state = serde_json::to_value(event.state).ok().and_then(|v| v.as_str().map(str::to_owned));
    [
        ("KEY", delivery.key.as_str()),
        ("ACTION", delivery.action.word()),
        ("NAME", &event.name),
        ("SEVERITY", event.severity.word()),
        ("STATE", state.as_deref().unwrap_or_default()),
        ("MESSAGE", first_line(&event.text)),
        ("HOST", &event.host),
        ("NOTIFIER", &delivery.notifier),
    ]
    .into_iter()
    .map(|(name, value)| {
        let value = cut(&value.replace('\0', " "), VARIABLE_MAX_CHARS);
        (format!("WATCHBELL_{name}"), Secret::Value(value))
    })
    .collect()
}

impl Program {
    /// What it reads: the delivery as one line of JSON.
    fn body(&self, delivery: &Delivery) -> String {
        serde_json::to_string(delivery).unwrap_or_default() + "\n"
    }

    async fn tell(&self, delivery: &Delivery, attempt: &Attempt<'_>) -> Result<Receipt, Failure> {
        let mut mask = Mask::default();
        for value in self.command.env.values() {
            if let Ok(text) = secret::read(value) {
                mask.add(&text);
            }
        }
        let mut command = self.command.clone();
        let mut env = variables(delivery);
        env.extend(std::mem::take(&mut command.env));
        command.env = env;
        let ran = command.run(self.body(delivery).into_bytes(), attempt.timeout).await;
        judge(&ran.raw, &mask)
    }
}

/// What a run means.
fn judge(raw: &Raw, mask: &Mask) -> Result<Receipt, Failure> {
    let said = |bytes: &[u8]| mask.quote(&String::from_utf8_lossy(bytes));
    let because = match said(&raw.stderr) {
        text if text.is_empty() => String::new(),
        text => format!(": {text}"),
    };
    match raw.exit {
        Some(Exit::Code(0)) => Ok(Receipt { id: None, text: said(&raw.stdout) }),
        Some(Exit::Code(code)) if EXITS_PERMANENT.contains(&code) => {
            Err(Failure::permanent(format!("the command ended with {code}, which says it never will{because}")))
        }
        Some(Exit::Code(code)) => Err(Failure::retry(format!("the command ended with {code}{because}"))),
        Some(Exit::Signal(signal)) => Err(Failure::retry(format!("signal {signal} ended the command{because}"))),
        Some(Exit::TimedOut) => {
            let secs = raw.took.as_secs_f64();
            Err(Failure::retry(format!("the command was killed after {secs:.1} s, its time limit{because}")))
        }
        None => Err(Failure::retry(said(&raw.stderr))),
    }
}

impl Notifier for Program {
    fn deliver<'a>(
        &'a self,
        delivery: &'a Delivery,
        attempt: &'a Attempt<'a>,
    ) -> BoxFuture<'a, Result<Receipt, Failure>> {
        Box::pin(self.tell(delivery, attempt))
    }

    fn preview(&self, delivery: &Delivery) -> String {
        let mut lines = vec![self.command.line.shown()];
        lines.extend(self.command.env.keys().map(|name| format!("{name}={MASKED}")));
        lines.push(self.body(delivery).trim_end().to_owned());
        lines.join("\n")
    }

    fn preflight(&self) -> Vec<String> {
        self.command.preflight()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        suite::{SECRET, Scratch, problems_of, read_kind},
        template::tests::{samples, trigger},
    };
    use super::*;
    use crate::shared::Shared;
    use std::time::{Duration, Instant};

    async fn send(config: &str, timeout: Duration) -> Result<Receipt, Failure> {
        let shared = Shared::new().unwrap();
        let notifier = read_kind("command", config);
        let result = notifier.deliver(&trigger(), &Attempt { timeout, shared: &shared }).await;
        assert!(!format!("{result:?} {notifier:?} {}", notifier.preview(&trigger())).contains(SECRET));
        result
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn each_delivery_is_one_line_of_json() {
        let scratch = Scratch::new("command");
        let config = format!("command = \"cat >> told.jsonl\"\ncwd = {:?}", scratch.path());
        let shared = Shared::new().unwrap();
        for delivery in samples() {
            let attempt = Attempt { timeout: LONG, shared: &shared };
            read_kind("command", &config).deliver(&delivery, &attempt).await.unwrap();
        }
        let text = std::fs::read_to_string(scratch.path().join("told.jsonl")).unwrap();
        let got: Vec<Delivery> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(got, samples());
    }

    #[tokio::test]
    async fn exits_mean_taken_later_or_never() {
        for (line, expect) in [
            ("exit 0", "taken"),
            // What it leaves behind takes nothing back.
            ("sleep 600 & exit 0", "taken"),
            ("exit 1", "later"),
            ("exit 75", "later"),
            ("exit 127", "later"),
            ("kill -9 $$", "later"),
            ("/no/such/program", "later"),
            ("exit 64", "never"),
            ("exit 65", "never"),
            ("exit 78", "never"),
        ] {
            let got = match send(&format!("command = '{line}'"), LONG).await {
                Ok(_) => "taken",
                Err(Failure::Retry { after: None, .. }) => "later",
                Err(Failure::Permanent { .. }) => "never",
                other => panic!("{line}: {other:?}"),
            };
            assert_eq!(got, expect, "{line}");
        }
    }

    #[tokio::test]
    async fn what_it_says_is_kept_and_its_secrets_are_not() {
        let scratch = Scratch::new("command");
        let file = scratch.path().join("secret");
        std::fs::write(&file, SECRET).unwrap();
        let config = |line: &str| format!("command = '{line}'\nenv = {{ TOKEN = {{ file = {file:?} }} }}");
        let line = "echo $WATCHBELL_ACTION $WATCHBELL_SEVERITY $WATCHBELL_NAME $WATCHBELL_STATE $TOKEN";
        let receipt = send(&config(line), LONG).await.unwrap();
        assert_eq!(receipt.text, "trigger critical //web-1/app/disk problem ***");
        let failure = send(&config("echo no $TOKEN $WATCHBELL_KEY >&2; exit 3"), LONG).await.unwrap_err();
        assert_eq!(failure.reason(), format!("the command ended with 3: no *** {}", trigger().key));
        let failure = send("command = 'yes >&2; exit 3'", Duration::from_millis(500)).await.unwrap_err();
        assert!(failure.reason().len() < 1_000, "{}", failure.reason());
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed_with_its_children() {
        let scratch = Scratch::new("command");
        let config = format!("command = \"sleep 600 & echo $! > pid; sleep 600\"\ncwd = {:?}", scratch.path());
        let started = Instant::now();
        let failure = send(&config, Duration::from_millis(500)).await.unwrap_err();
        assert!(matches!(failure, Failure::Retry { .. }), "{failure:?}");
        assert!(started.elapsed() < Duration::from_secs(60));
        let pid = std::fs::read_to_string(scratch.path().join("pid")).unwrap();
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        for _ in 0..200 {
            if gone() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("process {pid} is still there");
    }

    #[test]
    fn wrong_values_are_found_when_the_config_is_read() {
        for (config, expect) in [
            ("", "has no `command`"),
            ("command = \" \"", "`command` is empty"),
            ("command = \"true\"\nenv = { \"A=B\" = \"c\" }", "`A=B` is no name of a variable"),
        ] {
            let problems = problems_of("command", config);
            assert!(problems.iter().any(|p| p.contains(expect)), "{config}: {problems:?}");
        }
        let missing = read_kind("command", "command = \"/no/such/program\"").preflight();
        assert!(missing.iter().any(|p| p.contains("/no/such/program")), "{missing:?}");
    }
}
