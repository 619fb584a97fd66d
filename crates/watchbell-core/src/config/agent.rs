//! Reads `[agent]`: what the engine must know of it ([`AgentPolicy`]) and what the shell must
//! ([`AgentSettings`]), as plain data. Nothing is opened or resolved here but paths and time zones.

use super::{
    AgentPolicy, Problems, Reader, Secret,
    keys::{AGENT_KEYS, HIDDEN_AGENT_KEYS, TOKEN_KEYS},
    reader::nearest,
    refs::Reference,
    tree::{Entry, Node, Span, Table, Value},
};
use crate::model::Name;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

/// Where the agent's state is unless the config says otherwise.
pub const STATE_DEFAULT: &str = "/var/lib/watchbell";
/// Where the HTTP listener is unless the config says otherwise.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:7878";
/// How long one try of a delivery may take, as a part of the base interval, unless the config says otherwise.
const ALERT_TIMEOUT_PERCENT: u32 = 20;

/// What the shell must know of the agent.
#[derive(Clone, PartialEq, Debug)]
pub struct AgentSettings {
    /// Folder of the agent's state.
    pub state: String,
    /// Address and port of the HTTP listener; `None` is none.
    pub listen: Option<String>,
    /// Who may call the HTTP API.
    pub tokens: Vec<Token>,
    /// Nothing is answered over TCP without a token: `tokens` are written, however wrong. Closed when in doubt.
    pub token_wanted: bool,
    /// Where the agent's own errors are reported to.
    pub sentry_dsn: Option<Secret>,
    /// The agent's own log.
    pub log: LogSettings,
    /// The logs of checks.
    pub check_log: CheckLogSettings,
    /// The credentials file of the flakes.
    pub credentials: Option<String>,
    /// More folders to read config files from.
    pub conf: Vec<String>,
    /// Zone of civil times.
    pub zone: TimeZone,
    /// The logger that every sample is logged by as a JSON line (CIMAA's metrics log).
    pub metrics_log: Option<String>,
}

/// Who may call the HTTP API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// Whose it is.
    pub name: String,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// The SHA-256 of the token.
    pub sha256: [u8; 32],
}

/// What a token may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scope {
    /// See everything.
    Read,
    /// Squelch, acknowledge, run now.
    Operate,
    /// Send events and results.
    Ingest,
}

/// The agent's own log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogSettings {
    /// How it is written.
    pub format: LogFormat,
    /// The least level that is written: `error`, `warn`, `info`, `debug`, `trace`.
    pub level: &'static str,
    /// To syslog too.
    pub syslog: bool,
    /// To systemd's journal.
    pub journald: bool,
}

/// How the agent's log is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// Text on a terminal, JSON else.
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

/// The logs of checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckLogSettings {
    /// Rotated at this size.
    pub size_max_bytes: u64,
    /// So many rotated ones are kept.
    pub count: u32,
}

/// What a translated or native `[agent]` comes to.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct AgentState {
    pub(super) policy: AgentPolicy,
    pub(super) settings: AgentSettings,
    pub(super) notify: Vec<Reference>,
    /// Who gets every result of look-backs that name no one.
    pub(super) on_result: Vec<Reference>,
    /// Where `[agent]` stands.
    pub(super) span: Option<Span>,
    /// `[flakes]`: what holds for every flake.
    pub(super) flakes: Defaults,
    /// The time limit that CIMAA's agent file gives to every run.
    pub(super) cimaa_timeout: Option<Duration>,
}

/// What holds for checks that don't say otherwise.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Defaults {
    /// All of it but `notify`, which is resolved apart.
    pub(super) table: Table,
    pub(super) notify: Option<Vec<Reference>>,
}

/// What is true where the config says nothing.
#[derive(Clone, PartialEq, Debug)]
pub struct LoadOptions {
    /// The config folder, as an absolute path: relative paths in files start there.
    pub root: String,
    /// The agent's name: the host's full name.
    pub default_agent_name: String,
    /// The machine's zone.
    pub local_zone: TimeZone,
}

impl AgentSettings {
    /// What holds where the config says nothing.
    pub fn new(zone: TimeZone) -> AgentSettings {
        AgentSettings {
            state: STATE_DEFAULT.to_owned(),
            listen: Some(LISTEN_DEFAULT.to_owned()),
            tokens: Vec::new(),
            token_wanted: false,
            sentry_dsn: None,
            log: LogSettings { format: LogFormat::Auto, level: "info", syslog: false, journald: false },
            check_log: CheckLogSettings { size_max_bytes: 1_000_000, count: 3 },
            credentials: None,
            conf: Vec::new(),
            zone,
            metrics_log: None,
        }
    }
}

impl AgentState {
    pub(super) fn new(options: &LoadOptions) -> AgentState {
        AgentState {
            policy: AgentPolicy { name: Name::new(&options.default_agent_name), ..AgentPolicy::default() },
            settings: AgentSettings::new(options.local_zone.clone()),
            notify: Vec::new(),
            on_result: Vec::new(),
            span: None,
            flakes: Defaults::default(),
            cimaa_timeout: None,
        }
    }
}

impl AgentState {
    /// Whether checks that were read with one mean the same with the other.
    pub(super) fn same_for_checks(&self, other: &AgentState) -> bool {
        let part = |s: &AgentState| {
            let limits = (s.policy.base_interval, s.policy.timeout_percent, s.cimaa_timeout);
            let flakes = (s.settings.credentials.clone(), s.flakes.clone());
            (s.policy.name.clone(), limits, s.settings.zone.clone(), flakes)
        };
        part(self) == part(other)
    }
}

/// Reads `[agent]`; what is wrong in it keeps its default. `old` is a translated CIMAA file.
pub(super) fn read(table: &Table, old: bool, options: &LoadOptions, problems: &mut Problems) -> AgentState {
    let mut state = AgentState { span: Some(table.span), ..AgentState::new(options) };
    let mut reader = Reader::new(table, problems, "`[agent]`", AGENT_KEYS);
    if old {
        reader.declare(HIDDEN_AGENT_KEYS);
    } else {
        reader.declare_hidden(HIDDEN_AGENT_KEYS);
    }
    read_policy(&mut reader, &mut state);
    read_settings(&mut reader, &mut state.settings, options);
    read_tokens(&mut reader, &mut state.settings.tokens);
    state.settings.token_wanted = table.entries.iter().any(|entry| means(&entry.key, "tokens"));
    read_listen(&mut reader, &mut state.settings);
    reader.finish();
    state
}

fn read_policy(reader: &mut Reader<'_>, state: &mut AgentState) {
    let policy = &mut state.policy;
    if let Some(name) = reader.has("name").then(|| reader.require_string("name")).flatten() {
        if name.contains(['/', '#']) || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
            let problem = reader.error("name", format!("the agent can't be called {name:?}"));
            problem.hint("use no blanks, `/` or `#`: it is the first part of `//AGENT/FILE/CHECK`");
        } else {
            policy.name = Name::new(name);
        }
    }
    state.notify = super::refs::references(reader, "notify").unwrap_or_default();
    state.on_result = super::refs::references(reader, "on_result").unwrap_or_default();
    set(&mut policy.base_interval, reader.duration("base_interval"));
    set(&mut policy.running_max, count(reader, "running_max", 1..=100_000));
    set(&mut policy.timeout_percent, count(reader, "timeout_percent", 1..=100));
    let percent = count(reader, "alert_timeout_percent", 1..=100).unwrap_or(ALERT_TIMEOUT_PERCENT);
    policy.deliver_timeout = policy.base_interval.saturating_mul(percent) / 100;
    set(&mut policy.deliver_timeout, reader.duration("deliver_timeout"));
    set(&mut policy.give_up_after, reader.duration("give_up_after"));
    set(&mut policy.digest_above, count(reader, "digest_above", 1..=100_000));
    set(&mut policy.monitor_patience, reader.duration("monitor_patience"));
    policy.squelch_max = reader.duration("squelch_max");
    state.cimaa_timeout = reader.duration("timeout");
}

fn read_settings(reader: &mut Reader<'_>, settings: &mut AgentSettings, options: &LoadOptions) {
    let path = |text: String| join(&options.root, &text);
    let mut given_path = |key| reader.has(key).then(|| reader.require_string(key)).flatten().map(path);
    set(&mut settings.state, given_path("state"));
    settings.credentials = given_path("credentials");
    settings.conf = reader.strings("conf").unwrap_or_default().into_iter().map(path).collect();
    set(&mut settings.zone, zone(reader));
    settings.sentry_dsn = reader.secret("sentry_dsn");
    let formats = [("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
    set(&mut settings.log.format, reader.choice("log_format", &formats));
    set(&mut settings.log.level, log_level(reader));
    set(&mut settings.log.syslog, reader.boolean("syslog"));
    set(&mut settings.log.journald, reader.boolean("journald"));
    set(&mut settings.check_log.size_max_bytes, size(reader, "check_log_size"));
    set(&mut settings.check_log.count, count(reader, "check_log_count", 0..=1000));
    let logger = reader.string("metrics_logger").unwrap_or_else(|| "metrics".to_owned());
    settings.metrics_log = reader.choice("metrics", &[("log", logger)]);
}

/// Where errors go by an agent file that can't be used, as far as a line of it still says so: that it can't be used is
/// the first of them.
pub fn sentry_dsn_in(text: &str) -> Option<Secret> {
    let value = |line: &'_ str| {
        let (key, value) = line.split_once(['=', ':'])?;
        (key.trim() == "sentry_dsn").then(|| value.trim().to_owned())
    };
    let (line, value) = text.lines().find_map(|line| Some((line.trim(), value(line)?)))?;
    let mut problems = Problems::default();
    let file = problems.add_file("", line);
    let table = super::toml::parse(line, file, &mut problems);
    match table {
        Some(table) => Reader::new(&table, &mut problems, "", AGENT_KEYS).secret("sentry_dsn"),
        // CIMAA's: the value as it is.
        None => Some(Secret::Value(value)),
    }
}

fn log_level(reader: &mut Reader<'_>) -> Option<&'static str> {
    let cimaa = [("critical", "error"), ("error", "error"), ("warning", "warn"), ("info", "info"), ("debug", "debug")];
    let native = [("error", "error"), ("warning", "warn"), ("info", "info"), ("debug", "debug"), ("trace", "trace")];
    // `critical` is Python's: no need to propose it.
    let critical = reader.entry("log_level").is_some_and(|e| e.value.value == Value::String("critical".into()));
    reader.choice("log_level", if critical { &cimaa } else { &native })
}

fn read_tokens(reader: &mut Reader<'_>, tokens: &mut Vec<Token>) {
    let Some(entry) = reader.entry("tokens") else { return };
    let Value::Array(nodes) = &entry.value.value else {
        reader.error("tokens", format!("`tokens` must be a list of tables, this is {}", entry.value.value.type_name()));
        return;
    };
    for node in nodes {
        let Value::Table(table) = &node.value else {
            reader.problems.error(node.span, format!("a token must be a table, this is {}", node.value.type_name()));
            continue;
        };
        tokens.extend(read_token(table, node.span, reader.problems));
    }
}

fn read_token(table: &Table, span: Span, problems: &mut Problems) -> Option<Token> {
    let table = Table { span, entries: table.entries.clone() };
    let mut reader = Reader::new(&table, problems, "the token", TOKEN_KEYS);
    let name = reader.require_string("name");
    let mut scopes = BTreeSet::new();
    for (word, node) in reader.string_nodes("scopes").unwrap_or_default() {
        match word.as_str() {
            "read" => scopes.insert(Scope::Read),
            "operate" => scopes.insert(Scope::Operate),
            "ingest" => scopes.insert(Scope::Ingest),
            _ => {
                let problem = reader.problems.error(node.span, format!("there is no scope {word:?}"));
                problem.hint("it is one of \"read\", \"operate\", \"ingest\"");
                false
            }
        };
    }
    if !reader.has("scopes") {
        scopes.insert(Scope::Read);
    }
    let text = reader.require_string("sha256");
    let sha256 = text.as_deref().and_then(from_hex);
    if text.is_some() && sha256.is_none() {
        let problem = reader.error("sha256", "`sha256` must be 64 hexadecimal digits");
        problem.hint("`watchbell token new` prints a token and the line for this file");
    }
    reader.finish();
    Some(Token { name: name?, scopes, sha256: sha256? })
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// Whether a key is this one of `[agent]`, or is none and looks most like it.
fn means(key: &str, wanted: &str) -> bool {
    let mut known = AGENT_KEYS.iter().chain(HIDDEN_AGENT_KEYS).map(|known| known.name);
    if known.any(|known| known == key) {
        return key == wanted;
    }
    let small = key.to_ascii_lowercase();
    small.contains(wanted.trim_end_matches('s')) || nearest(&small, AGENT_KEYS.iter().map(|k| k.name)) == Some(wanted)
}

/// Whether somebody meant to write `tokens` where they are not read: beside `[agent]`, below another section's head, or
/// in a section that is none.
pub(super) fn strays(tree: &Table) -> bool {
    let is_token = |node: &Node| matches!(&node.value, Value::Table(table) if table.get("sha256").is_some());
    let are_tokens = |value: &Value| match value {
        Value::Array(nodes) => nodes.iter().any(is_token),
        Value::Table(table) => table.get("sha256").is_some(),
        _ => false,
    };
    tree.entries.iter().any(|entry| {
        let section_is_off = entry.key != "agent" && nearest(&entry.key, ["agent"].into_iter()).is_some();
        match &entry.value.value {
            _ if means(&entry.key, "tokens") => true,
            Value::Table(table) => {
                let keys = || table.entries.iter();
                let deep =
                    |table: &Table| table.entries.iter().any(|e| means(&e.key, "tokens") && are_tokens(&e.value.value));
                let below = |e: &Entry| matches!(&e.value.value, Value::Table(table) if deep(table));
                section_is_off && keys().any(|e| means(&e.key, "tokens")) || deep(table) || keys().any(below)
            }
            _ => false,
        }
    })
}

fn read_listen(reader: &mut Reader<'_>, settings: &mut AgentSettings) {
    if !reader.keys().any(|key| means(key, "listen")) {
        return;
    }
    // What can't be read opens nothing: the default may be more than was meant.
    settings.listen = None;
    let Some(text) = reader.has("listen").then(|| reader.require_string("listen")).flatten() else { return };
    if text == "off" {
        return;
    }
    let address = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}").parse::<SocketAddr>(),
        None => text.parse::<SocketAddr>(),
    };
    match address {
        Err(_) => {
            let problem = reader.error("listen", format!("`listen` is not an address and a port: {text:?}"));
            problem.hint("write it as \"127.0.0.1:7878\", \"[::1]:7878\" or \"off\"");
        }
        Ok(address) if !address.ip().is_loopback() && !settings.token_wanted => {
            let problem =
                reader.error("listen", format!("`{text}` can be reached from outside, and there are no `tokens`"));
            problem.hint("add what `watchbell token new` prints, or listen on 127.0.0.1");
        }
        Ok(address) => settings.listen = Some(address.to_string()),
    }
}

/// The zone that `time_zone` names.
pub(super) fn zone(reader: &mut Reader<'_>) -> Option<TimeZone> {
    let name = reader.string("time_zone")?;
    // The bundled database, so that the same config means the same everywhere.
    let database = TimeZoneDatabase::bundled();
    if let Ok(zone) = database.get(&name) {
        return Some(zone);
    }
    let names: Vec<String> = database.available().map(|n| n.as_str().to_owned()).collect();
    let near = nearest(&name, names.iter().map(String::as_str)).map(str::to_owned);
    let problem = reader.error("time_zone", format!("there is no time zone {name:?}"));
    match near {
        Some(near) => problem.hint(format!("did you mean \"{near}\"?")),
        None => problem.hint("write it as \"Europe/Berlin\" or \"UTC\""),
    };
    None
}

/// A whole number that fits its type by its range.
fn count<T: TryFrom<i64>>(reader: &mut Reader<'_>, key: &str, range: std::ops::RangeInclusive<i64>) -> Option<T> {
    reader.integer(key, range).and_then(|n| T::try_from(n).ok())
}

/// Bytes: `"10MB"`, `"512kB"`, `"1GiB"`, or a number.
fn size(reader: &mut Reader<'_>, key: &str) -> Option<u64> {
    let entry = reader.entry(key)?;
    let bytes = match &entry.value.value {
        Value::Integer(n) => u64::try_from(*n).ok(),
        Value::String(text) => parse_size(text),
        _ => None,
    };
    let bytes = bytes.filter(|b| *b >= 1000);
    if bytes.is_none() {
        let found = entry.value.value.to_string();
        let problem = reader.error(key, format!("`{key}` is not a size of 1 kB or more: {found}"));
        problem.hint("write it as \"500kB\", \"10MB\" or a number of bytes");
    }
    bytes
}

fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let factor = match text[digits..].trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// A path as seen from a folder, without `.` steps.
pub(super) fn join(folder: &str, path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let path = path.trim_start_matches("./");
    match path {
        "" | "." => folder.to_owned(),
        _ => format!("{}/{path}", folder.trim_end_matches('/')),
    }
}

fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_meant() {
        for (key, tokens, listen) in [
            ("tokens", true, false),
            ("token", true, false),
            ("Tokens", true, false),
            ("tokns", true, false),
            ("api_tokens", true, false),
            ("listen", false, true),
            ("lisen", false, true),
            ("Listen", false, true),
            ("listen_on", false, true),
            ("name", false, false),
            ("notify", false, false),
            ("zzz", false, false),
        ] {
            assert_eq!((means(key, "tokens"), means(key, "listen")), (tokens, listen), "{key}");
        }
    }

    /// S3.14: errors at start-up go to Sentry too, that of an agent file that is broken elsewhere among them.
    #[test]
    fn a_broken_file_still_says_where_errors_go() {
        for (text, expect) in [
            ("[agent\nsentry_dsn = { env = \"DSN\" } # x\n", Some(Secret::Env("DSN".into()))),
            ("[agent]\n  sentry_dsn = { file = \"/dsn\" }\nname = \n", Some(Secret::File("/dsn".into()))),
            ("[agent]\nsentry_dsn: https://k@s/1\n[x\n", Some(Secret::Value("https://k@s/1".into()))),
            ("[agent]\nsentry_dsn = \"https://k@s/1\"\n[x\n", None),
            ("[agent\n# sentry_dsn = 1\n", None),
        ] {
            assert_eq!(sentry_dsn_in(text), expect, "{text}");
        }
    }
}
