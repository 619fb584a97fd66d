//! `[source.NAME]`: where queries are asked.

use super::Secret;
use crate::model::Name;
use std::{collections::BTreeMap, time::Duration};

/// How many connections a source may have unless it says otherwise.
pub const CONNECTIONS_DEFAULT: usize = 4;

/// So many rows of an answer are read unless the source or check says otherwise.
pub const ROWS_DEFAULT: usize = 100_000;

/// Where queries are asked. Nothing is connected before the first one.
#[derive(Clone, PartialEq, Debug)]
pub struct SourcePolicy {
    /// Its name.
    pub name: Name,
    /// The file it stands in, as shown to people.
    pub file: String,
    /// What is asked.
    pub place: SourcePlace,
    /// At most so many connections, or commands, at a time; queries beyond wait their turn.
    pub connections_max: usize,
    /// At most so many rows of an answer are read.
    pub rows_max: usize,
    /// How long to wait for a connection, its greeting included.
    pub connect_timeout: Duration,
}

/// What is asked.
#[derive(Clone, PartialEq, Debug)]
pub enum SourcePlace {
    /// An address; its scheme says how it is spoken to: `sqlite:PATH`, `postgres://…`, `mysql://…`, `odbc:DSN…`,
    /// `http(s)://…`.
    Url {
        /// The address; it may hold a password.
        url: Secret,
        /// The password, where it is not in the address.
        password: Option<Secret>,
        /// Path of a file of certificates to trust besides the usual ones.
        ca: Option<String>,
        /// Only for HTTP.
        http: HttpSource,
    },
    /// A command that prints rows; the query is its standard input, and `WATCHBELL_QUERY` in its environment.
    Command {
        /// Program and arguments, or one line for the shell where `shell` is set.
        line: Vec<String>,
        /// The line wants a shell.
        shell: bool,
        /// The folder it runs in.
        cwd: String,
        /// Variables to set.
        env: BTreeMap<String, Secret>,
        /// What it prints.
        format: RowFormat,
    },
}

/// How a source over HTTP is asked. The query is the path and parameters for GET (joined to the address), the body for
/// POST.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct HttpSource {
    /// POST the query rather than GET it.
    pub post: bool,
    /// Headers to send.
    pub headers: BTreeMap<String, Secret>,
    /// What it answers.
    pub format: RowFormat,
}

/// How rows are written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum RowFormat {
    /// JSON: an array of objects or arrays, one such per line, or what a jq filter makes of the document.
    Json {
        /// The filter; its outputs are the rows.
        jq: Option<String>,
    },
    /// CSV with a line of names.
    Csv,
    /// By what it looks like: JSON if it begins with `[` or `{`, else CSV.
    #[default]
    Guess,
}
