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
    key(
        "on_result",
        Shape::Strings,
        "Notifiers that get every result of look-backs that have no `on_result` of their own, as those in `.dwmon` files.",
    ),
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
        "How long a check may not be judged before `AGENT#checks` tells of it, where its own receivers don't hear. Default: `15m`.",
    ),
    key("squelch_max", Shape::Duration, "A squelch that is not permanent ends after this long. Default: it stays."),
    key(
        "credentials",
        Shape::String,
        "A JSON file `{\"NAME\": \"value\"}` whose members are variables of every flake's command. Relative to the config folder. \
         Default: `creds.json` in the folder that the flake runs in, if it is there.",
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
        "metrics",
        Shape::Choice(&["log"]),
        "`log` writes every sample to the agent's log as a line of JSON (`timestamp`, `name`, `value`, `units`), whatever \
         `log_level` says. Default: no line.",
    ),
    key("metrics_logger", Shape::String, "What `logger` says in these lines. Default: `metrics`."),
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
        Shape::Other,
        "It does not run: others report its result (`watchbell exec NAME -- COMMAND`, a ping, the HTTP API), at the \
         latest this long after the one before: `\"26h\"`. Or `true`, with `cron`: a report is due at each of its times.",
    ),
    key(
        "grace",
        Shape::Duration,
        "With `passive`: how late a report may be. Default: with `cron` `1h`, else none. What was said to begin must end \
         within `timeout`, if that is given; with `cron` within `grace`.",
    ),
    key(
        "ping_key",
        Shape::Secret,
        "With `passive`: a key, 16 characters or more, by which `/ping/KEY` reports without a token.",
    ),
    key("enabled", Shape::Boolean, "false: it is read and judged, and does not run. Default: true."),
    key(
        "retry",
        Shape::Integer,
        "How many more runs an error gets before it is critical. Default: 3; a flake none. A job and a passive check, which \
         Watchbell does not run again to look, have none unless they say so themselves: `[defaults]` and `[flakes]` mean \
         others.",
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
         a query `50s`, a flake an hour, a job a day.",
    ),
    key(
        "missed",
        Shape::Choice(&["skip", "once", "all"]),
        "What becomes of runs that were due while nothing could run: left out, made up for by one, or each of them \
         (up to 100). Default: `skip`; a query with `expect` `once`, as minutes wait to be judged.",
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
    key(
        "on_result",
        Shape::Strings,
        "Notifiers of kind `command` that get every result, well or not. Default: for look-backs the agent's.",
    ),
];

/// Keys of `[check.NAME]` that `[defaults]` can't set: they speak of one check only.
pub const NOT_DEFAULTS: &[&str] = &["description", "passive", "ping_key"];

/// Keys of `[check.NAME]` that `[flakes]` can't set: a flake says itself when it runs.
pub const NOT_FLAKES: &[&str] = &["description", "passive", "ping_key", "every", "cron"];

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
    key("default_env_file", Shape::String, "One that need not be there, where `env_file` is not given."),
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
    key(
        "alert_from",
        Shape::Choice(&["warning", "error", "critical"]),
        "How bad a fault must be to be told here. Where the check says it too, the stricter holds. Default: what the \
         check says, else `critical`.",
    ),
    key(
        "hours",
        Shape::String,
        "When it may be told of faults: `\"weekdays 08:00-18:00 Europe/Berlin\"`; what is still wrong then is told then. \
         Zone: the agent's, unless named. Default: always.",
    ),
    key("recoveries", Shape::Boolean, "Whether it hears that something is well again. Default: `true`."),
];

/// Keys of `[notify.NAME]` that only translated old files may use; see [`super::formats`].
pub const HIDDEN_NOTIFIER_KEYS: &[Key] = &[key("style", Shape::Choice(&["cimaa"]), "Whose texts are spoken.")];

/// The word of the kind whose checks ask a source.
pub const QUERY: &str = "query";

/// Keys of `[check.NAME]` for checks with `query`. The core reads them all but `query` and `rows_max`, which are the
/// program's.
pub const QUERY_KEYS: &[Key] = &[
    key("query", Shape::String, "What the source is asked, in its own language."),
    key("source", Shape::String, "Which `[source.NAME]` is asked."),
    key(
        "expect",
        Shape::Other,
        "A list of what is expected, as `[{ days = \"weekdays\", hours = \"9-17\", every = \"20m\", lookback = \"1h\", min = 5 }]`; \
         each is judged by itself.",
    ),
    key(
        "value",
        Shape::Boolean,
        "In place of `expect`: the query answers one row, whose columns are numbers. One column is the check's value, several \
         are metrics by their names; `thresholds` judge them. Default: false.",
    ),
    key(
        "holidays",
        Shape::Strings,
        "Dates, as `\"2026-12-25\"`, on which only expectations are judged whose `days` name `holidays` or `all`.",
    ),
    key(
        "delay",
        Shape::Duration,
        "A minute is judged once it is this old, for rows that arrive late. Default: at once.",
    ),
    key(
        "retention",
        Shape::Duration,
        "How long seen rows are kept; what look-backs still need is kept in any case. Default: `30d`; of dwmon's \
         files `5d`.",
    ),
    key(
        "bounds",
        Shape::Choice(&["strict", "inclusive"]),
        "Whether rows at the very ends of a window count: with `inclusive` they do. Default: `strict`.",
    ),
    key("extra", Shape::Other, "Any value; it is passed on with every result."),
    key(
        "rows_max",
        Shape::Integer,
        "At most so many rows of an answer are read, up to 10000000. Default: the source's.",
    ),
];

/// One of a check's expectations.
pub const EXPECT_KEYS: &[Key] = &[
    key(
        "days",
        Shape::Strings,
        "On which days, in the check's zone: `weekdays`, `weekends`, names as `mon`, ranges as `mon-thu`, `holidays` (the \
         check's), or `all`, holidays included; several with commas or as a list. Default: `all`.",
    ),
    key(
        "hours",
        Shape::Other,
        "In which hours, 0 to 23: `\"9-17\"` is from 9:00 to 17:59; several as `\"9,14-17\"` or a list; for a night \
         `[\"22-23\", \"0-5\"]`. Default: all.",
    ),
    key(
        "minutes",
        Shape::Other,
        "At which minutes of these hours, 0 to 59: as for hours, or `\"*/20\"` for 0, 20 and 40. Default: each.",
    ),
    key(
        "every",
        Shape::Duration,
        "In place of `minutes`: every so many whole minutes from midnight on; a day must hold a whole number of them.",
    ),
    key(
        "lookback",
        Shape::Duration,
        "How far the window reaches back from the minute that is judged: whole seconds, at most a year. Rows at its very \
         ends do not count.",
    ),
    key("min", Shape::Integer, "At least so many rows. `min` or `max` must be there."),
    key("max", Shape::Integer, "At most so many rows."),
    key(
        "severity",
        Shape::Choice(&["warning", "error", "critical"]),
        "How bad it is when it is not met. Default: `critical`.",
    ),
    key(
        "name",
        Shape::String,
        "The part of its fault's name, `//AGENT/FILE/CHECK#NAME`. Default: none for an only expectation, else `expect-1`, \
         `expect-2` and so on.",
    ),
];

/// `[source.NAME]`.
pub const SOURCE_KEYS: &[Key] = &[
    key(
        "url",
        Shape::Text,
        "Where queries are asked: `sqlite:PATH` (relative to the config folder), `postgres://USER@HOST/DATABASE` (Redshift too), \
         `mysql://…`, `mariadb://…`, `odbc:DSN=…`, `http://…`, `https://…`.",
    ),
    key(
        "password",
        Shape::Secret,
        "The password, where it is not part of `url`. Over HTTP, where `url` names no user, a bearer token.",
    ),
    key(
        "host",
        Shape::Text,
        "Of a database server: its name or address, with `:PORT` or without, in place of that in `url`, which is then \
         as short as `postgres://` or `mysql://`.",
    ),
    key("user", Shape::Text, "Of a database server: the user's name, in place of that in `url`."),
    key("database", Shape::Text, "Of a database server: the database, in place of that in `url`."),
    key("ca", Shape::String, "A file of certificates to trust besides the usual ones. Relative to the config folder."),
    key(
        "connections",
        Shape::Integer,
        "How many connections, or commands, there may be at a time, 1 to 100; queries beyond wait. Default: 4.",
    ),
    key("rows_max", Shape::Integer, "At most so many rows of an answer are read, up to 10000000. Default: 100000."),
    key("connect_timeout", Shape::Duration, "How long to wait for a connection, at most `5m`. Default: `10s`."),
    key(
        "grace",
        Shape::Duration,
        "It may be away for so long, at most `1d`, before that is a fault and told: a restart of the database then wakes nobody. \
         Its checks' minutes are judged once it answers. Default: `0s`.",
    ),
    key(
        "method",
        Shape::Choice(&["GET", "POST"]),
        "Over HTTP: with `GET` the query is put behind the address, with `POST` it is the body. Default: `GET`.",
    ),
    key(
        "headers",
        Shape::Other,
        "Over HTTP: `{ Authorization = { env = \"TOKEN\" } }`, values may be secrets by reference.",
    ),
    key(
        "format",
        Shape::Choice(&["json", "csv"]),
        "What HTTP or a command answers: JSON rows or lines, or CSV with a line of names. Default: what it looks like.",
    ),
    key("jq", Shape::String, "A jq filter for JSON answers; its outputs are the rows."),
    key(
        "command",
        Shape::Strings,
        "In place of `url`: a command that prints rows, as one line or as a list of a program and its arguments. It gets \
         `{\"checker\", \"query\", \"source\", \"extra\"}` on standard input, and the query in the variable `WATCHBELL_QUERY`. A shell runs it only if it has shell syntax.",
    ),
    key("cwd", Shape::String, "The command's folder; relative to the config folder, which is the default."),
    key(
        "env",
        Shape::Other,
        "The command's variables: `{ NAME = \"text\", TOKEN = { env = \"TOKEN\" } }`, values may be secrets by reference.",
    ),
];

/// Tables whose part of Watchbell comes later. They are read past, with one warning each.
pub const LATER_TABLES: &[&str] = &["fleet", "sensor", "alarm", "route", "inlet", "sink"];

/// Tables that a TOML file may hold.
pub const TABLES: &[&str] = &["agent", "flakes", "defaults", "check", "notify", "source"];
