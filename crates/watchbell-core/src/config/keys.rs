//! The keys that every check, every notifier and the agent have, whatever their kind. The reference, the JSON
//! schema and the hints of [`super::Reader`] derive from these lists; the loader reads what they state.

use super::{Key, Shape};

const fn key(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key { name, shape, doc }
}

/// `[agent]` in `watchbell.toml`.
pub const AGENT_KEYS: &[Key] = &[
    key(
        "name",
        Shape::String,
        "The agent's name, the first part of every fault's name. Default: the host's full name.",
    ),
    key(
        "state",
        Shape::String,
        "The folder that holds what the agent has learned. Relative to the config folder. Default: `/var/lib/watchbell`.",
    ),
    key(
        "listen",
        Shape::String,
        "Address and port of the HTTP listener, or `\"off\"`. Beyond loopback it wants `tokens`. Default: `127.0.0.1:7878`.",
    ),
    key(
        "tokens",
        Shape::Other,
        "Who may call the HTTP API: a list of `{ name = \"…\", scopes = [\"read\", \"operate\", \"ingest\"], sha256 = \"…\" }`; \
         `watchbell token new` makes one.",
    ),
    key("notify", Shape::Strings, "Notifiers that are told of what names no one else."),
    key("base_interval", Shape::Duration, "The tick that CIMAA's check files count in. Default: `60s`."),
    key("time_zone", Shape::String, "Zone of `cron` and `hours`, as in `Europe/Berlin`. Default: the machine's own."),
    key("running_max", Shape::Integer, "How many checks may run at a time. Default: 256."),
    key(
        "timeout_percent",
        Shape::Integer,
        "How long a run may take where the check does not say, as a part of its interval. Default: 70.",
    ),
    key(
        "alert_timeout_percent",
        Shape::Integer,
        "How long one try of a delivery may take, as a part of `base_interval`. Default: 20.",
    ),
    key("give_up_after", Shape::Duration, "For how long a delivery is tried again. Default: `1d`."),
    key(
        "digest_above",
        Shape::Integer,
        "When more deliveries than this wait for one notifier, they are merged into one message. Default: 20.",
    ),
    key(
        "monitor_patience",
        Shape::Duration,
        "How long a `#monitor-…` fault may stand before `AGENT#checks` tells of it. Default: `15m`.",
    ),
    key("squelch_max", Shape::Duration, "A squelch that is not permanent ends after this long. Default: it stays."),
    key(
        "credentials",
        Shape::String,
        "A JSON file `{\"NAME\": \"value\"}` whose members are variables of every flake's command. Relative to the config folder.",
    ),
    key("conf", Shape::Strings, "More folders to read config files from. Relative to the config folder."),
    key("sentry_dsn", Shape::Secret, "Where the agent's own errors are reported to."),
    key(
        "log_format",
        Shape::Choice(&["auto", "text", "json"]),
        "How the agent's log is written: `auto` is text on a terminal and JSON else. Default: `auto`.",
    ),
    key(
        "log_level",
        Shape::Choice(&["error", "warning", "info", "debug", "trace"]),
        "What of the agent's log is written. Default: `info`.",
    ),
    key("syslog", Shape::Boolean, "Write the agent's log to syslog too. Default: false."),
    key("journald", Shape::Boolean, "Write the agent's log to systemd's journal, with fields. Default: false."),
    key(
        "check_log_size",
        Shape::Other,
        "A check's own log is rotated at this size: `\"10MB\"`, or bytes. Default: `1MB`.",
    ),
    key("check_log_count", Shape::Integer, "How many rotated logs of a check are kept. Default: 3."),
];

/// Keys of `[agent]` that only translated old files may use; see [`super::formats`].
pub const HIDDEN_AGENT_KEYS: &[Key] = &[
    key("timeout", Shape::Number, "Seconds that a run of a CIMAA check may take."),
    key("deliver_timeout", Shape::Number, "Seconds that one try of a delivery may take."),
    key("metrics", Shape::Choice(&["log"]), "Every sample is logged as a JSON line."),
    key("metrics_logger", Shape::String, "The logger's name for that."),
];

/// `[[agent.tokens]]`.
pub const TOKEN_KEYS: &[Key] = &[
    key("name", Shape::String, "Whose it is."),
    key("scopes", Shape::Strings, "What it may do: `read`, `operate`, `ingest`. Default: `[\"read\"]`."),
    key("sha256", Shape::String, "The SHA-256 of the token, 64 hexadecimal digits."),
];

/// `[check.NAME]`, for every kind.
pub const CHECK_KEYS: &[Key] = &[
    key(
        "every",
        Shape::Duration,
        "How often it runs, at least `1s`, counted from the epoch and spread by a hash of its name. Default: `1m`.",
    ),
    key(
        "cron",
        Shape::String,
        "When it runs, as a crontab line says it: five fields, or `@hourly` and the like. In place of `every`.",
    ),
    key("time_zone", Shape::String, "Zone of `cron` and `hours`. Default: the agent's."),
    key(
        "passive",
        Shape::Duration,
        "It does not run: others report its result (`watchbell exec NAME -- COMMAND`, or the HTTP API), at the latest this long after the one before.",
    ),
    key("enabled", Shape::Boolean, "false: it is read and judged, and does not run. Default: true."),
    key(
        "retry",
        Shape::Integer,
        "How many more runs an error gets before it is critical. Default: 3; a job and a flake none.",
    ),
    key(
        "retry_interval",
        Shape::Duration,
        "How soon it runs again while an error is not yet certain. Default: `1m`, or `every` if that is shorter.",
    ),
    key(
        "timeout",
        Shape::Duration,
        "How long a run may take. Default: the agent's `timeout_percent` of `every`, at most `1m`; with `cron` `1m`; \
         a flake an hour, a job a day.",
    ),
    key(
        "missed",
        Shape::Choice(&["skip", "once", "all"]),
        "What becomes of runs that were due while nothing could run: left out, made up for by one, or each of them \
         (up to 100). Default: `skip`.",
    ),
    key(
        "overlap",
        Shape::Choice(&["skip", "queue", "allow"]),
        "What becomes of a run that is due while the one before still runs: left out and told as `#monitor-overlap`, \
         started after it, or started beside it. Default: `skip`.",
    ),
    key(
        "thresholds",
        Shape::Strings,
        "Lines as `\"load5 ? warning > 4 error > 8 critical > 16 clear < 3\"`, judged on what every run measures.",
    ),
    key(
        "alert_from",
        Shape::Choice(&["warning", "error", "critical"]),
        "How bad a fault must be to be told. An error that outlasts its retries is critical. Default: `critical`.",
    ),
    key("notify", Shape::Strings, "Notifiers that are told. Default: the file's (`[defaults]`), else the agent's."),
    key(
        "hours",
        Shape::String,
        "When they may be told: `\"weekdays 08:00-18:00 Europe/Berlin\"`; what is still wrong then is told then. Default: always.",
    ),
    key(
        "parents",
        Shape::Strings,
        "Checks that must be well for this one to mean anything: names in the same file, `FILE/CHECK`, or full names. \
         While one of them is down, this one is shown as unreachable and tells no one.",
    ),
    key(
        "renotify",
        Shape::Other,
        "Whether what was told is told again: `\"never\"`, `\"on-change\"` when its message changes, or a duration to repeat it \
         until someone acknowledges it. Default: `\"never\"`.",
    ),
    key(
        "flapping",
        Shape::Other,
        "Hold alerts while the check changes its state too often: true, or `{ high = 30, low = 25 }` in percent of the \
         last 20 results. Default: false.",
    ),
    key("description", Shape::String, "What it is, for people."),
    key("runbook", Shape::String, "What to do when it fires: a text or an address."),
    key("link", Shape::String, "Where to look: an address."),
    key(
        "labels",
        Shape::StringMap,
        "Labels for its events and samples; a file's defaults and the check's own are put together.",
    ),
    key("unit", Shape::String, "Unit of its one value, as `Count`, `Seconds`, `Percent`."),
    key(
        "log",
        Shape::Choice(&["changes", "runs"]),
        "What goes to the check's own log: changes and failures, or every run. Default: `changes`.",
    ),
    key("on_result", Shape::Strings, "Notifiers of kind `command` that get every result, well or not."),
];

/// Keys of `[check.NAME]` that `[defaults]` can't set: they speak of one check only.
pub const NOT_DEFAULTS: &[&str] = &["description", "passive"];

/// Keys of `[check.NAME]` that only translated old files may use, unless a kind declares them for all; see
/// [`super::formats`].
pub const HIDDEN_CHECK_KEYS: &[Key] = &[
    key("style", Shape::Choice(&["flake", "cimaa"]), "Whose texts are spoken."),
    key("type", Shape::Choice(&["metric", "job"]), "Whether output must be one number, or is text."),
    key("ticks", Shape::Integer, "Due when the tick's number can be divided by it."),
    key("retry_ticks", Shape::Integer, "While it fails, it runs every so many ticks."),
    key("section", Shape::String, "The section's name as written."),
    key("shell", Shape::Boolean, "The line is written for a shell."),
    key("cwd", Shape::String, "Folder to run in."),
    key("env_file", Shape::String, "A JSON credentials file."),
    key("image", Shape::String, "Container image to run in."),
    key("accept_json", Shape::Boolean, "Output that starts with `{` is a JSON plugin's."),
    key("performance", Shape::Boolean, "Whether performance data is read."),
    key("keep_quotes", Shape::Boolean, "Thresholds also match labels with their quotes on."),
];

/// `[notify.NAME]`, for every kind.
pub const NOTIFIER_KEYS: &[Key] = &[
    key("kind", Shape::String, "What it is."),
    key("gap", Shape::Duration, "At least this long between two messages. Default: the kind's own."),
    key("in_flight", Shape::Integer, "How many messages may be on their way at a time, 1 to 64. Default: 1."),
    key("fallback", Shape::String, "The notifier that is told what this one can't take."),
];

/// Keys of `[notify.NAME]` that only translated old files may use; see [`super::formats`].
pub const HIDDEN_NOTIFIER_KEYS: &[Key] = &[key("style", Shape::Choice(&["cimaa"]), "Whose texts are spoken.")];

/// Tables whose part of Watchbell comes later. They are read past, with one warning each.
pub const LATER_TABLES: &[&str] = &["fleet", "source", "sensor", "alarm", "route", "inlet", "sink"];

/// Tables that a TOML file may hold.
pub const TABLES: &[&str] = &["agent", "defaults", "check", "notify"];
