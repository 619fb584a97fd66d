//! Configuration: text → spanned tree → policy and problems. Pure: files arrive as text, nothing is opened.
//!
//! Every format ends in the same [`tree`], is read through the same [`Reader`], and reports through the
//! same [`Problems`]: all of them at once, each with file, line, column and a hint.

mod agent;
mod check;
mod expect;
mod file;
pub mod formats;
mod guard;
pub mod keys;
mod kind;
mod load;
mod policy;
mod problem;
mod reader;
mod reference;
mod refs;
mod render;
mod secret;
mod source;
pub mod toml;
pub mod tree;

pub use agent::{AgentSettings, CheckLogSettings, LoadOptions, LogFormat, LogSettings, Scope, Token, sentry_dsn_in};
pub use expect::{RETENTION_DEFAULT, parse_expectations};
pub(crate) use file::is_reserved;
pub use file::{AGENT_FILE, FILE_SIZE_MAX, FileKind, InputFile};
pub use kind::{Capabilities, Key, Kind, Kinds, Shape};
pub use load::{Config, Loaded, LoadedFile};
pub use policy::{
    AgentPolicy, CheckPolicy, ConfigFault, Missed, NotifierPolicy, Overlap, Pace, Passive, Policy, Renotify, Retry,
    Style,
};
pub use problem::{Level, Problem, Problems, SourceFile};
pub use reader::{Reader, nearest, parse_duration};
pub use reference::{json_schema, reference_markdown};
pub use render::{render, render_one, source_line, summary_line, to_json};
pub use secret::{Secret, names_secret};
pub use source::{
    CONNECTIONS_DEFAULT, CONNECTIONS_MAX, HttpSource, LoginSource, ROWS_DEFAULT, ROWS_MAX, RowFormat, SCHEMES,
    SourcePlace, SourcePolicy,
};
