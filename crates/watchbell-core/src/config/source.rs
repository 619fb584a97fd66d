//! `[source.NAME]`: where queries are asked, as policy, and its reader. Nothing is connected or resolved here; whether
//! an address can be reached, a filter be compiled or a program be found is for the shell to see.

use super::{
    Problems, Reader, Secret,
    agent::join,
    keys::SOURCE_KEYS,
    reader::nearest,
    tree::{Entry, Value},
};
use crate::model::Name;
use std::{collections::BTreeMap, time::Duration};

/// How many connections a source may have unless it says otherwise.
pub const CONNECTIONS_DEFAULT: usize = 4;

/// So many rows of an answer are read unless the source or check says otherwise.
pub const ROWS_DEFAULT: usize = 100_000;

/// More rows of an answer are never read, whatever the config says.
pub const ROWS_MAX: i64 = 10_000_000;

/// More connections a source may not have.
pub const CONNECTIONS_MAX: i64 = 100;

/// How long to wait for a connection unless the config says otherwise.
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// To wait longer for a connection makes no sense to anyone.
pub const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(300);

/// A source that may be away for longer than this need not be asked.
pub const GRACE_MAX: Duration = Duration::from_secs(86_400);

/// The words an address may begin with.
pub const SCHEMES: &[&str] = &["sqlite", "postgres", "postgresql", "mysql", "mariadb", "odbc", "http", "https"];

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
    /// It may be away for so long before that is a fault.
    pub grace: Duration,
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
        /// What counts in place of parts of the address.
        login: LoginSource,
        /// Path of a file of certificates to trust besides the usual ones.
        ca: Option<String>,
        /// Only for HTTP.
        http: HttpSource,
    },
    /// A command that prints rows. It gets `{"checker", "query", "source", "extra"}` on standard input, and the query as
    /// `WATCHBELL_QUERY` in its environment.
    Command {
        /// Program and arguments; or, where `shell` is set, one command line as it was written.
        line: Vec<String>,
        /// It is one line, to be given to a shell if it has shell syntax.
        shell: bool,
        /// The folder it runs in.
        cwd: String,
        /// Variables to set.
        env: BTreeMap<String, Secret>,
        /// What it prints.
        format: RowFormat,
    },
}

/// Parts of a database server's address that stand beside it, as they often come one by one. They may be names of
/// variables or files, read for each question.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LoginSource {
    /// Where it listens, a name or an address, with `:PORT` or without.
    pub host: Option<Secret>,
    /// The user's name.
    pub user: Option<Secret>,
    /// The database.
    pub database: Option<Secret>,
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

/// What an address leads to, as far as keys depend on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Sqlite,
    Server,
    Odbc,
    Http,
    Command,
    /// The address is a secret: it may be anything.
    Unknown,
}

/// Keys that mean something only to some: (key, to whom, in words).
const ONLY: &[(&str, &[Family], &str)] = &[
    ("password", &[Family::Server, Family::Odbc, Family::Http], "servers and ODBC"),
    ("host", &[Family::Server], "database servers"),
    ("user", &[Family::Server], "database servers"),
    ("database", &[Family::Server], "database servers"),
    ("ca", &[Family::Server, Family::Http], "database servers and HTTP"),
    ("connect_timeout", &[Family::Server, Family::Odbc, Family::Http], "servers and ODBC"),
    ("method", &[Family::Http], "`http:` and `https:`"),
    ("headers", &[Family::Http], "`http:` and `https:`"),
    ("format", &[Family::Http, Family::Command], "HTTP and commands"),
    ("jq", &[Family::Http, Family::Command], "HTTP and commands"),
    ("cwd", &[Family::Command], "commands"),
    ("env", &[Family::Command], "commands"),
];

/// Reads one `[source.NAME]`; `root` is the config folder, `path` the file as shown. `None` only with an error.
pub(super) fn read(root: &str, path: &str, entry: &Entry, problems: &mut Problems) -> Option<SourcePolicy> {
    let name = &entry.key;
    let Value::Table(table) = &entry.value.value else {
        let found = entry.value.value.type_name();
        problems
            .error(entry.value.span, format!("`source.{name}` must be a table, this is {found}"))
            .hint(format!("write `[source.{name}]` and its keys below"));
        return None;
    };
    let named = name_is_fit(entry, problems);
    let mut r = Reader::new(table, problems, format!("`[source.{name}]`"), SOURCE_KEYS);
    let place = read_place(root, &mut r);
    let positive = |n: i64| usize::try_from(n).ok();
    let connections = r.integer("connections", 1..=CONNECTIONS_MAX).and_then(positive);
    let rows = r.integer("rows_max", 1..=ROWS_MAX).and_then(positive);
    let connect_timeout = connect_timeout(&mut r);
    let grace = grace(&mut r);
    r.finish();
    let policy = SourcePolicy {
        name: Name::new(name),
        file: path.to_owned(),
        place: place?,
        connections_max: connections.unwrap_or(CONNECTIONS_DEFAULT),
        rows_max: rows.unwrap_or(ROWS_DEFAULT),
        connect_timeout,
        grace,
    };
    named.then_some(policy)
}

fn name_is_fit(entry: &Entry, problems: &mut Problems) -> bool {
    let name = &entry.key;
    let fit = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || "#/".contains(c));
    if !fit {
        problems
            .error(entry.key_span, format!("a source can't be called {name:?}"))
            .hint("use letters, digits, `-`, `_` and `.`: it is part of the name of a fault");
    }
    fit
}

fn grace(r: &mut Reader<'_>) -> Duration {
    match r.duration("grace") {
        Some(grace) if grace > GRACE_MAX => {
            r.error("grace", "`grace` must be at most 1d").hint("write \"5m\", or leave it out");
            Duration::ZERO
        }
        grace => grace.unwrap_or(Duration::ZERO),
    }
}

fn connect_timeout(r: &mut Reader<'_>) -> Duration {
    match r.duration("connect_timeout") {
        Some(timeout) if timeout > CONNECT_TIMEOUT_MAX => {
            r.error("connect_timeout", "`connect_timeout` must be at most 5m").hint("write \"10s\", or leave it out");
            CONNECT_TIMEOUT_DEFAULT
        }
        timeout => timeout.unwrap_or(CONNECT_TIMEOUT_DEFAULT),
    }
}

/// All keys are read whatever the others are, so that each mistake is told.
fn read_place(root: &str, r: &mut Reader<'_>) -> Option<SourcePlace> {
    let before = r.problems.errors();
    match (r.table.get("url"), r.table.get("command")) {
        (None, None) => {
            let (span, message) = (r.table.span, format!("{} does not say where to ask", r.title));
            r.problems.error(span, message).hint("add `url = …`, or `command = …`");
        }
        (Some(url), Some(command)) => {
            let message = format!("{} has both `url` and `command`", r.title);
            let problem = r.problems.error(command.key_span, message).hint("remove one of them");
            problem.related(url.key_span, "the other one").mask();
        }
        _ => {}
    }
    let (url, mut family) = read_url(root, r);
    if r.has("command") {
        family = Family::Command;
    }
    foreign_keys(family, r);
    let format = read_format(r);
    let post = r.choice("method", &[("GET", false), ("POST", true)]).unwrap_or_default();
    let headers = read_headers(r);
    let password = r.secret("password");
    let login = LoginSource { host: named(r, "host"), user: named(r, "user"), database: named(r, "database") };
    let ca = non_empty(r, "ca").map(|path| join(root, &path));
    let cwd = non_empty(r, "cwd").map_or_else(|| root.to_owned(), |path| join(root, &path));
    let env = r.secret_map("env").unwrap_or_default();
    let command = read_command(r);
    if r.problems.errors() > before {
        return None;
    }
    match (url, command) {
        (Some(url), _) => {
            Some(SourcePlace::Url { url, password, login, ca, http: HttpSource { post, headers, format } })
        }
        (None, Some((line, shell))) => Some(SourcePlace::Command { line, shell, cwd, env, format }),
        (None, None) => None,
    }
}

fn non_empty(r: &mut Reader<'_>, key: &str) -> Option<String> {
    if r.has(key) { r.require_string(key) } else { None }
}

/// Plain text or a reference, and not empty as far as is known.
fn named(r: &mut Reader<'_>, key: &str) -> Option<Secret> {
    let text = r.text(key)?;
    if matches!(&text, Secret::Value(text) if text.trim().is_empty()) {
        r.error(key, format!("`{key}` is empty")).hint("write it, or leave the key out");
    }
    Some(text)
}

/// A line as it is, or a list of words that no shell ever sees.
fn read_command(r: &mut Reader<'_>) -> Option<(Vec<String>, bool)> {
    if !matches!(r.entry("command")?.value.value, Value::Array(_)) {
        return r.require_string("command").map(|line| (vec![line], true));
    }
    let words = r.strings("command")?;
    if words.first().is_none_or(|program| program.trim().is_empty()) {
        r.error("command", "`command` names no program")
            .hint("write a command line, or a list of a program and its arguments");
        return None;
    }
    Some((words, false))
}

fn foreign_keys(family: Family, r: &mut Reader<'_>) {
    for (key, families, whose) in ONLY {
        let Some(entry) = r.table.get(key) else { continue };
        // What a secret address leads to is not known: only what no address has is wrong.
        let fits = match family {
            Family::Unknown => families.iter().any(|family| *family != Family::Command),
            family => families.contains(&family),
        };
        if !fits {
            let message = format!("{} can't have `{key}`: it is for {whose}", r.title);
            r.problems.error(entry.key_span, message).hint("remove it");
        }
    }
}

fn read_format(r: &mut Reader<'_>) -> RowFormat {
    let format = r.choice("format", &[("json", false), ("csv", true)]);
    let jq = non_empty(r, "jq");
    match (format, jq) {
        (Some(true), Some(_)) => {
            r.error("jq", "`jq` filters JSON, and `format` is \"csv\"").hint("remove one of them");
            RowFormat::Csv
        }
        (Some(true), None) => RowFormat::Csv,
        (None, None) => RowFormat::Guess,
        (_, jq) => RowFormat::Json { jq },
    }
}

fn read_headers(r: &mut Reader<'_>) -> BTreeMap<String, Secret> {
    let headers = r.secret_map("headers").unwrap_or_default();
    let Some(Value::Table(table)) = r.table.get("headers").map(|entry| &entry.value.value) else { return headers };
    for entry in &table.entries {
        let fit = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if entry.key.is_empty() || !entry.key.chars().all(fit) {
            // Who writes `"Authorization: Bearer …"` means the value, too.
            let name = entry.key.split(':').next().unwrap_or_default();
            let message = format!("{name:?} is no name of a header");
            r.problems.error(entry.key_span, message).mask().hint("letters, digits and `-`, as `X-Api-Key`");
        }
        if entry.key.eq_ignore_ascii_case("authorization") && matches!(entry.value.value, Value::String(_)) {
            let message = format!("`{}` holds a secret, and stands in a file that many read", entry.key);
            let problem = r.problems.warning(entry.value.span, message).mask();
            problem.hint(format!("write `{} = {{ env = \"NAME\" }}`", entry.key));
        }
    }
    headers
}

fn read_url(root: &str, r: &mut Reader<'_>) -> (Option<Secret>, Family) {
    let text = match r.text("url") {
        Some(Secret::Value(text)) => text,
        reference => return (reference, Family::Unknown),
    };
    let Some((word, rest)) = text.split_once(':') else {
        let problem = r.error("url", "`url` is no address: it has no `:` behind its first word").mask();
        problem.hint("write it as `sqlite:/var/lib/app.db` or `postgres://user@host/database`");
        return (None, Family::Unknown);
    };
    let word = word.trim().to_ascii_lowercase();
    let family = match word.as_str() {
        "sqlite" => Family::Sqlite,
        "odbc" => Family::Odbc,
        "http" | "https" => Family::Http,
        other if SCHEMES.contains(&other) => Family::Server,
        other => {
            let known: Vec<_> = SCHEMES.iter().map(|word| format!("`{word}:`")).collect();
            let mean = nearest(other, SCHEMES.iter().copied());
            let mean = mean.map_or(String::new(), |near| format!("did you mean `{near}:`? "));
            let problem = r.error("url", format!("`url` begins with `{other}:`, which nothing here speaks")).mask();
            problem.hint(format!("{mean}there is {}, and `command = …` for all else", known.join(", ")));
            return (None, Family::Unknown);
        }
    };
    if rest.trim().is_empty() {
        r.error("url", format!("`url` says nothing behind `{word}:`")).hint("write the whole address");
        return (None, family);
    }
    if holds_password(rest) {
        let message = "`url` holds a password, and stands in a file that many read";
        let span = r.span("url");
        r.problems
            .warning(span, message)
            .mask()
            .hint("write `password = { env = \"NAME\" }` beside it, or the whole as `url = { env = \"NAME\" }`");
    }
    let relative = family == Family::Sqlite && !rest.starts_with(['/', ':']) && !rest.starts_with("file:");
    let url = if relative { format!("{word}:{}", join(root, rest)) } else { format!("{word}:{rest}") };
    (Some(Secret::Value(url)), family)
}

/// `//user:password@host`, `?password=…`, `PWD=…;`.
pub(super) fn holds_password(rest: &str) -> bool {
    let authority = rest.trim_start_matches('/').split(['/', '?', '#']).next().unwrap_or_default();
    let in_authority = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':'));
    let named = rest.split(['?', '&', ';', '{', ' ']).filter_map(|part| part.split_once('='));
    let is_password = |(key, value): (&str, &str)| {
        let key = key.trim().to_ascii_lowercase();
        ["password", "pwd", "passwd"].contains(&key.as_str()) && !value.trim().is_empty()
    };
    in_authority.is_some_and(|(_, password)| !password.is_empty()) || named.into_iter().any(is_password)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Level, Problem, tree::Table};

    /// The one source of a text, and its problems as `LEVEL: message`.
    fn read_text(text: &str) -> (Option<SourcePolicy>, Vec<String>) {
        let mut problems = Problems::default();
        let file = problems.add_file("a.toml", text);
        let root = crate::config::toml::parse(text, file, &mut problems).unwrap();
        let sources = root.get("source").unwrap();
        let Value::Table(Table { entries, .. }) = &sources.value.value else { panic!("{sources:?}") };
        let policy = read("/etc/watchbell", "a.toml", &entries[0], &mut problems);
        let told =
            |p: &Problem| format!("{}: {}", if p.level == Level::Error { "error" } else { "warning" }, p.message);
        (policy, problems.list.iter().map(told).collect())
    }

    fn url(policy: &SourcePolicy) -> &str {
        match &policy.place {
            SourcePlace::Url { url: Secret::Value(url), .. } => url,
            other => panic!("{other:?}"),
        }
    }

    /// S2.4: a source is an address or a command; a path counts from the config folder.
    #[test]
    fn addresses() {
        for (written, expect) in [
            ("sqlite:/var/lib/shop.db", "sqlite:/var/lib/shop.db"),
            ("sqlite:shop.db?mode=ro", "sqlite:/etc/watchbell/shop.db?mode=ro"),
            ("sqlite:./db/shop.db", "sqlite:/etc/watchbell/db/shop.db"),
            ("sqlite:///srv/shop.db", "sqlite:///srv/shop.db"),
            ("sqlite::memory:", "sqlite::memory:"),
            ("sqlite:file:shop.db", "sqlite:file:shop.db"),
            ("Postgres://reader@db/shop", "postgres://reader@db/shop"),
            ("mariadb://reader@db/shop", "mariadb://reader@db/shop"),
            ("odbc:DSN=shop;UID=reader", "odbc:DSN=shop;UID=reader"),
            ("https://lake.example.com/rows?x=1", "https://lake.example.com/rows?x=1"),
        ] {
            let (policy, told) = read_text(&format!("[source.lake]\nurl = {written:?}\n"));
            assert_eq!((url(&policy.unwrap()), told.as_slice()), (expect, &[] as &[String]), "{written}");
        }
    }

    /// S2.4: credentials come from the environment or a file; one that stands in the config is told.
    #[test]
    fn passwords_in_addresses() {
        for (url, secret) in [
            ("postgres://reader:hunter2@db/shop", true),
            ("postgres://reader@db/shop?password=hunter2", true),
            ("postgres://reader:@db/shop", false),
            ("https://lake/a:b@c", false),
            ("odbc:DSN=shop;PWD=hunter2", true),
            ("odbc:DSN=shop;Pwd=", false),
            ("postgres://db:5432/shop?sslmode=require", false),
        ] {
            let (policy, told) = read_text(&format!("[source.lake]\nurl = {url:?}\n"));
            assert!(policy.is_some(), "{url}");
            let expect: &[&str] =
                if secret { &["warning: `url` holds a password, and stands in a file that many read"] } else { &[] };
            assert_eq!(told, expect, "{url}");
        }
    }

    #[test]
    fn all_keys() {
        let text = "[source.lake]\nurl = { env = \"LAKE\" }\nhost = { env = \"LAKE_HOST\" }\npassword = { file = \"/run/lake\" }\nca = \"ca.pem\"\nconnections = 2\n\
                    rows_max = 500\nconnect_timeout = \"3s\"\nmethod = \"POST\"\njq = \".rows[]\"\n\
                    headers = { Accept = \"a/b\", Authorization = { env = \"TOKEN\" } }\n";
        let (policy, told) = read_text(text);
        let policy = policy.unwrap();
        assert_eq!(told, [""; 0]);
        assert_eq!((policy.connections_max, policy.rows_max), (2, 500));
        assert_eq!(policy.connect_timeout, Duration::from_secs(3));
        let headers = [("Accept", Secret::Value("a/b".into())), ("Authorization", Secret::Env("TOKEN".into()))];
        let http = HttpSource {
            post: true,
            headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            format: RowFormat::Json { jq: Some(".rows[]".into()) },
        };
        let expect = SourcePlace::Url {
            url: Secret::Env("LAKE".into()),
            password: Some(Secret::File("/run/lake".into())),
            login: LoginSource { host: Some(Secret::Env("LAKE_HOST".into())), ..LoginSource::default() },
            ca: Some("/etc/watchbell/ca.pem".into()),
            http,
        };
        assert_eq!(policy.place, expect);
    }

    /// S2.4: a command is one line as it is written, or a list of words.
    #[test]
    fn commands() {
        for (written, line, shell) in [
            ("\"./rows.sh | head\"", &["./rows.sh | head"] as &[&str], true),
            ("[\"./rows.sh\", \"a b\"]", &["./rows.sh", "a b"], false),
        ] {
            let text =
                format!("[source.lake]\ncommand = {written}\ncwd = \"res\"\nformat = \"csv\"\nenv = {{ A = \"b\" }}\n");
            let (policy, told) = read_text(&text);
            let policy = policy.unwrap();
            assert_eq!(told, [""; 0]);
            assert_eq!((policy.connections_max, policy.rows_max), (CONNECTIONS_DEFAULT, ROWS_DEFAULT));
            let expect = SourcePlace::Command {
                line: line.iter().map(|word| (*word).to_owned()).collect(),
                shell,
                cwd: "/etc/watchbell/res".to_owned(),
                env: [("A".to_owned(), Secret::Value("b".to_owned()))].into(),
                format: RowFormat::Csv,
            };
            assert_eq!(policy.place, expect);
        }
    }

    #[test]
    fn a_secret_is_not_shown_by_another_problem_of_its_line() {
        let text = "source = { lake = { url = \"mysql://a:hunter2@b/c\", retries = 3 } }\n";
        let mut problems = Problems::default();
        let file = problems.add_file("a.toml", text);
        let root = crate::config::toml::parse(text, file, &mut problems).unwrap();
        let Value::Table(table) = &root.entries[0].value.value else { panic!() };
        read("/etc", "a.toml", &table.entries[0], &mut problems);
        let shown = crate::config::render(&problems, false);
        assert!(shown.contains("no key `retries`") && !shown.contains("hunter2"), "{shown}");
    }
}
