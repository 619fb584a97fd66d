//! The formats that people already have: flakes, CIMAA's INI files and dwmon's files. Each is translated into the tree of a
//! native file ([`super::tree`]), with spans that point into the original, and then one loader reads it.
//! What a value means (is this cron line right, is this threshold) is judged there, once for all formats;
//! here only what the old format itself lays down is judged. Files that aren't there, duplicate names among
//! files, and where a file's checks are hung (`//AGENT/FILE/`) are the loader's too.
//!
//! # The shape
//! A root table as TOML would give it: `agent` is a table, `check` a table of check tables, `notify` a table of
//! notifier tables. Keys are the native ones. Beside them stand keys that only old formats write; the loader
//! accepts them without advertising them:
//!
//! | table | key | value |
//! |---|---|---|
//! | check | `style` | `"flake"` or `"cimaa"`: whose texts are spoken ([`super::Style`]) |
//! | check | `type` | `"metric"` (output must be one number) or `"job"` (output is text; starts are committed first) |
//! | check | `ticks` | integer >= 1: due when `tick % ticks == 0`, a tick being the agent's `base_interval` |
//! | check | `retry_ticks` | integer >= 1: while it fails, run every so many ticks ([`super::Retry::Ticks`]) |
//! | check | `shell` | true: the line is written for a shell, and is run as `sh -c` would |
//! | check | `cwd` | folder to run in, as written or as [`flake::working_dir`] gives it |
//! | check | `env_file` | path of a JSON credentials file |
//! | check | `default_env_file` | path of one that need not be there, for where `env_file` is not given |
//! | check | `image` | container image to run the command in |
//! | check | `accept_json` | true: output that starts with `{` at exit 0 is a JSON plugin's |
//! | check | `performance` | false: Nagios performance data is text like any other |
//! | check | `keep_quotes` | true: thresholds also match labels with their quotes on (`'a b'`) |
//! | check | `query`, `expect`, `source`, `extra` | as in native files |
//! | check | `section` | the name of the section as written; absolute, and the check's full name, when it starts with `//` |
//! | agent | `name`, `base_interval`, `notify` | as in native files; `base_interval` is a number of seconds |
//! | agent | `timeout` | seconds (float) that a run of a CIMAA check may take |
//! | agent | `deliver_timeout` | seconds (float) that one try of a delivery may take |
//! | agent | `log_level` | `"debug"`, `"info"`, `"warning"`, `"error"`, `"critical"` |
//! | agent | `sentry_dsn` | where the agent's own errors go; a secret |
//! | agent | `metrics` | `"log"`: every sample is logged as a JSON line |
//! | agent | `metrics_logger` | the logger's name for that, by default `"metrics"` |
//! | notify | `style` | `"cimaa"`: CIMAA's texts instead of our own |
//!
//! The one notifier that CIMAA's agent file gives is `notify.alerter`: kind `pagerduty` with `key`, `slack` with `token`,
//! `channels` and `mention`, or `log`.
//!
//! Secrets that an old format writes into its file are [`super::tree::Value::Secret`], which no parser makes, so
//! that [`super::Reader::secret`] takes them from there and goes on refusing them in native files.
//!
//! # The functions
//! ```text
//! json::parse(file: FileId, problems: &mut Problems) -> Option<Node>
//! json::parse_part(file: FileId, start: usize, end: usize, problems: &mut Problems) -> Option<Node>
//! ini::parse(file: FileId, problems: &mut Problems) -> Option<Ini>
//!
//! flake::working_dir(path: &str, root: &str) -> String
//! flake::translate(node: &Node, file: FileId, working_dir: &str, problems: &mut Problems) -> Result<Table, Table>  // Err: the rest
//!
//! dwmon::translate(file: FileId, name: &str, problems: &mut Problems) -> Option<Table>
//!
//! cimaa::is_agent_file(ini: &Ini) -> bool
//! cimaa::translate_agent(ini: &Ini, problems: &mut Problems) -> CimaaAgent    // .root: agent, notify; .directory
//! cimaa::translate_checks(ini: &Ini, problems: &mut Problems) -> CimaaChecks  // .root: check; .broken, .rest: the sections left out
//! cimaa::file_fault(path) -> String              // "error parsing PATH"
//! cimaa::check_fault(path, section, reason) -> String  // "error loading check PATH [SECTION]: REASON"
//! ```

pub mod cimaa;
pub mod dwmon;
pub mod flake;
pub mod ini;
pub mod json;

use super::{
    Problems,
    tree::{Entry, FileId, Node, Span, Table, Value},
};

/// How long one config file may be, in bytes.
pub const TEXT_LEN_MAX: usize = 1 << 20;

/// After so many errors a parser stops reading the file: what follows is mostly their echo.
pub const ERRORS_MAX: usize = 20;

/// Reports a file that is longer than [`TEXT_LEN_MAX`].
fn too_long(file: FileId, len: usize, problems: &mut Problems) {
    let span = Span { file, start: 0, end: 0 };
    problems
        .error(span, format!("the file has {len} bytes, more than the {TEXT_LEN_MAX} that a config file may have"))
        .hint("split it into several files");
}

/// The root table of a file with one check.
fn one_check(name: String, name_span: Span, check: Table) -> Table {
    let span = check.span;
    let checks = Table { span, entries: vec![table_entry(name, name_span, check)] };
    Table { span, entries: vec![table_entry("check".to_owned(), span, checks)] }
}

/// A key and the table that it holds.
fn table_entry(key: String, key_span: Span, table: Table) -> Entry {
    Entry { key, key_span, value: Node { span: table.span, value: Value::Table(table) } }
}

#[cfg(test)]
mod testing;
