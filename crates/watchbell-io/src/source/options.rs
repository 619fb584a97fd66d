//! What all kinds that run a command have in common: their keys, how they are read, and what becomes of a run
//! that a kind's own judgement can't know of.

use crate::shared::process::{Command, Container, LEFT_BEHIND_GRACE, Line, Note, OUTPUT_HARD_MAX, OUTPUT_MAX, Ran};
use std::path::PathBuf;
use watchbell_core::{
    config::{Key, Reader, Shape, tree::Value},
    model::{Finding, Outcome, Raw},
    wire::run,
};

/// Keys of every kind that runs a command.
pub(super) const KEYS: &[Key] = &[
    Key {
        name: "shell",
        shape: Shape::Boolean,
        doc: "Give the line to `/bin/sh` even where it needs none. Default: a shell runs it only if it has shell syntax.",
    },
    Key {
        name: "cwd",
        shape: Shape::String,
        doc: "The folder to run in; relative to the config folder, which is the default.",
    },
    Key {
        name: "env",
        shape: Shape::Other,
        doc: "Variables to set: `{ NAME = \"text\", TOKEN = { env = \"TOKEN\" } }`, values may be secrets by reference. \
              Besides these a command gets `PATH`, `HOME`, `LANG` and `TZ` of the agent, and nothing else.",
    },
    Key {
        name: "env_file",
        shape: Shape::String,
        doc: "A credentials file: a JSON object of variables to set, read at each run; `env` wins over it. Relative to the config \
              folder.",
    },
    Key {
        name: "user",
        shape: Shape::String,
        doc: "Run as this user (`NAME`, `UID`, `NAME:GROUP`) through `setpriv`; the agent must be root. With `image`, a \
              user of the image.",
    },
    Key {
        name: "image",
        shape: Shape::String,
        doc: "A container image to run the command in. It gets `env` and `env_file`, and `cwd` read-only.",
    },
    Key { name: "network", shape: Shape::String, doc: "The container's network. Default: `host`." },
    Key {
        name: "engine",
        shape: Shape::String,
        doc: "The program that runs containers. Default: `docker`, or else `podman`, whichever is in the `PATH`.",
    },
    Key {
        name: "output_max",
        shape: Shape::Integer,
        doc: "How many bytes of each output are kept, at most 16777216; the rest is read and dropped. A command that \
              writes more than 16 MiB is killed. Default: 1048576.",
    },
];

/// A kind's own keys and the common ones in one list. `N` is the sum of both lengths.
pub(super) const fn with_common<const N: usize>(own: &[Key]) -> [Key; N] {
    assert!(own.len() + KEYS.len() == N);
    let mut all = [KEYS[0]; N];
    let mut at = 0;
    while at < N {
        all[at] = if at < own.len() { own[at] } else { KEYS[at - own.len()] };
        at += 1;
    }
    all
}

/// Reads the command that stands under `key`, and the common keys.
pub(super) fn read_command(r: &mut Reader<'_>, key: &str) -> Option<Command> {
    let old = old_style(r).is_some();
    let shell = r.boolean("shell");
    let line = read_line(r, key, shell == Some(true) && !old);
    let image = r.string("image");
    for (unused, needs) in [("network", "image"), ("engine", "image")] {
        if r.has(unused) && !r.has(needs) {
            r.error(unused, format!("`{unused}` has no meaning without `{needs}`"))
                .hint(format!("remove it, or add `{needs}`"));
        }
    }
    let network = non_empty(r, "network").unwrap_or_else(|| "host".to_owned());
    let engine = non_empty(r, "engine");
    let output_max = r.integer("output_max", 1..=OUTPUT_HARD_MAX as i64).and_then(|n| usize::try_from(n).ok());
    if image.as_deref().is_some_and(|image| image.trim().is_empty() || image.starts_with('-')) {
        r.error("image", "`image` is no name of a container image");
    }
    let (cwd, env_file) = (non_empty(r, "cwd").map(PathBuf::from), non_empty(r, "env_file").map(PathBuf::from));
    let env = r.secret_map("env").unwrap_or_default();
    let user = non_empty(r, "user");
    Some(Command {
        cwd,
        // A program written for an old system may need any variable of its old surroundings.
        inherit_env: old,
        env,
        env_file,
        default_env_file: loaders_key(r, "default_env_file").map(PathBuf::from),
        user,
        container: image.map(|image| Container { image, network, engine }),
        output_max: output_max.unwrap_or(OUTPUT_MAX),
        ..Command::new(line?)
    })
}

/// A line, or a list of words that no shell ever sees.
fn read_line(r: &mut Reader<'_>, key: &str, shell: bool) -> Option<Line> {
    if !matches!(r.entry(key)?.value.value, Value::Array(_)) {
        let text = r.require_string(key)?;
        return if shell { Some(Line::shell(&text)) } else { Line::parse(&text) };
    }
    let words = r.strings(key)?;
    if words.first().is_none_or(|program| program.trim().is_empty()) {
        r.error(key, format!("`{key}` names no program"))
            .hint("write a command line, or a list of a program and its arguments");
        return None;
    }
    if shell {
        r.error("shell", format!("`shell` and `{key}` as a list of words contradict each other"))
            .hint("write one line, or remove `shell`");
        return None;
    }
    Some(Line::Words(words))
}

fn non_empty(r: &mut Reader<'_>, key: &str) -> Option<String> {
    if r.has(key) { r.require_string(key) } else { None }
}

/// The old system whose file this check stands in.
pub(super) fn old_style<'a>(r: &Reader<'a>) -> Option<&'a str> {
    loaders_key(r, "style")
}

/// The unit of the check's one value; a key of all checks.
pub(super) fn unit(r: &Reader<'_>) -> Option<String> {
    loaders_key(r, "unit").map(str::to_owned)
}

/// The text of a key that is the loader's: it says what is wrong with it, and whether this file may have it.
fn loaders_key<'a>(r: &Reader<'a>, key: &str) -> Option<&'a str> {
    match &r.table.get(key)?.value.value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// Judges a run, and what happened to it besides.
pub(super) fn judge(ran: &Ran, judge: impl FnOnce(&Raw) -> Outcome) -> Outcome {
    match ran.note {
        None => judge(&ran.raw),
        Some(Note::LeftBehind) => {
            let mut outcome = judge(&ran.raw);
            let grace_secs = LEFT_BEHIND_GRACE.as_secs();
            let gap = if outcome.output.is_empty() || outcome.output.ends_with('\n') { "" } else { "\n" };
            outcome.output.push_str(&format!(
                "{gap}[the command left processes that held its output open for {grace_secs} s; they were killed]\n"
            ));
            outcome
        }
        Some(Note::Overflow) => {
            let message = format!(
                "wrote more than {} MiB and was killed; make it write less, or redirect what nobody reads",
                OUTPUT_HARD_MAX >> 20
            );
            let findings = vec![Finding::monitor("output", message.as_str())];
            Outcome { findings, summary: message, inconclusive: true, ..run::outcome(&ran.raw) }
        }
    }
}
