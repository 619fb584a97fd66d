//! One config file: which kind it is, its text as a tree, and what stands in it. What concerns several files
//! (names, who is told) is the loader's.

use super::{
    Kinds, NotifierPolicy, Pace, Problem, Problems, Reader, SourcePolicy,
    agent::{AgentState, Defaults, LoadOptions},
    check::{self, ALERT_FROM, CheckContext, Draft, Read, read_hours},
    formats::{cimaa, dwmon, flake, ini, json},
    guard,
    keys::{HIDDEN_NOTIFIER_KEYS, LATER_TABLES, NOT_DEFAULTS, NOT_FLAKES, NOTIFIER_KEYS, TABLES},
    reader::nearest,
    refs::{Reference, reference},
    source, toml,
    tree::{Entry, FileId, Span, Table, Value},
};
use crate::model::Name;
use jiff::tz::TimeZone;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// The file that speaks for the agent.
pub const AGENT_FILE: &str = "watchbell.toml";

/// How long one config file may be, in bytes; the shell reads no more of it. Ten thousand checks take less than half of it.
pub const FILE_SIZE_MAX: usize = 4 << 20;
/// No config file is called so: faults of what `watchbell exec` ran are, and what is the agent's own.
const RESERVED_STEMS: [&str; 5] = ["exec", "fleet", "flakes", "groups", "in"];

/// One file as the shell found it; or a folder that it can't look into, whose files it gives as they were.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InputFile {
    /// Its path relative to the config folder, as shown to people. A folder's ends with a slash.
    pub path: String,
    /// Its absolute path.
    pub absolute: String,
    /// Its text, or why it can't be read ("permission denied", "not UTF-8 at byte 17").
    pub text: Result<String, String>,
}

/// What a file is, by its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// `watchbell.toml` in the config folder itself.
    Agent,
    /// Any other `*.toml`.
    Toml,
    /// `*.flake.json`.
    Flake,
    /// `*.cfg`: CIMAA's checks, or its agent's file.
    Cimaa,
    /// `*.dwmon`.
    Dwmon,
    /// A folder that can't be read: which checks stand below it, nobody knows.
    Folder,
}

impl FileKind {
    /// The kind of the file at a path relative to the config folder; `None` for files that are no config.
    pub fn of(path: &str) -> Option<FileKind> {
        if path.ends_with('/') {
            return Some(FileKind::Folder);
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        if name.starts_with('.') {
            return None;
        }
        match name {
            _ if path == AGENT_FILE => Some(FileKind::Agent),
            _ if name.ends_with(".flake.json") => Some(FileKind::Flake),
            _ if name.ends_with(".toml") => Some(FileKind::Toml),
            _ if name.ends_with(".cfg") => Some(FileKind::Cimaa),
            _ if name.ends_with(".dwmon") => Some(FileKind::Dwmon),
            _ => None,
        }
    }
}

/// What a problem is about: it decides which fault tells of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Subject {
    File,
    Agent,
    /// `[defaults]` or `[flakes]`.
    Defaults(&'static str),
    Notifier(String),
    Source(String),
    /// A check by the name of its section, and its full name.
    Check(String, Name),
}

/// A file's text as a tree; the first of two steps, which needs to know nothing of the agent.
pub(super) struct Parsed {
    pub(super) kind: FileKind,
    pub(super) problems: Problems,
    pub(super) tree: Option<Table>,
    /// All sections of a CIMAA check file, in the order of the file; the one check of dwmon's.
    pub(super) sections: Vec<(String, Span)>,
    /// Those that were left out; what is wrong with them was reported.
    pub(super) broken_sections: Vec<cimaa::BrokenSection>,
    /// Checks of which something is wrong already, with stand-ins for that: what else is wrong is told at once.
    pub(super) rest: Table,
    pub(super) cimaa_agent: bool,
    /// The folder of check files that CIMAA's agent file names.
    pub(super) cimaa_conf: Vec<String>,
}

/// Parses a file. Without a tree at least one error was reported, or the file is one to read past.
pub(super) fn parse(input: &InputFile, options: &LoadOptions) -> Parsed {
    let mut problems = Problems::default();
    let file = problems.add_file(&input.path, input.text.as_deref().unwrap_or_default());
    let kind = FileKind::of(&input.path).unwrap_or_else(|| kind_by_content(&problems, file));
    let mut parsed = Parsed::nothing(kind, problems);
    let start = Span { file, ..Span::default() };
    let stem = stem(&input.path, kind);
    if is_reserved(stem) && !matches!(kind, FileKind::Flake | FileKind::Folder) {
        let whose = if stem == "exec" { "faults of `watchbell exec` are called so" } else { "that is the agent's own" };
        let message = format!("a config file can't be called `{stem}`: {whose}");
        let problem = parsed.problems.error(start, message);
        problem.hint("give it another name, which becomes part of its checks' names");
        return parsed;
    }
    let text = match &input.text {
        Ok(text) => text,
        Err(why) => {
            let (what, hint) = match kind {
                FileKind::Folder => {
                    ("folder", "let the agent's user look into it; until then its files count as they were")
                }
                _ if why.contains("UTF-8") => ("file", "save it as UTF-8"),
                _ if why.contains("regular file") => ("file", "move it out of the config folder"),
                _ => ("file", "let the agent's user read it, or move it out of the config folder"),
            };
            parsed.problems.error(start, format!("the {what} can't be read: {why}")).hint(hint);
            return parsed;
        }
    };
    if text.len() > FILE_SIZE_MAX {
        let message =
            format!("the file has {} bytes, more than the {FILE_SIZE_MAX} that a config file may have", text.len());
        parsed.problems.error(start, message).hint("split it into several files");
        return parsed;
    }
    match kind {
        FileKind::Agent | FileKind::Toml => parsed.tree = toml::parse(text, file, &mut parsed.problems),
        FileKind::Dwmon => parse_dwmon(input, start, &mut parsed),
        FileKind::Flake => parse_flake(input, options, file, &mut parsed),
        FileKind::Cimaa => parse_cimaa(file, &mut parsed),
        FileKind::Folder => {}
    }
    parsed
}

/// Of a file that can't even be tried to read: one error, and no tree.
pub(super) fn unreadable(input: &InputFile) -> Parsed {
    let mut problems = Problems::default();
    let file = problems.add_file(&input.path, input.text.as_deref().unwrap_or_default());
    guard::report(Span { file, ..Span::default() }, &mut problems);
    Parsed::nothing(FileKind::of(&input.path).unwrap_or(FileKind::Toml), problems)
}

impl Parsed {
    fn nothing(kind: FileKind, problems: Problems) -> Parsed {
        Parsed {
            kind,
            problems,
            tree: None,
            sections: Vec::new(),
            broken_sections: Vec::new(),
            rest: Table::default(),
            cimaa_agent: false,
            cimaa_conf: Vec::new(),
        }
    }
}

/// What a file is that was named by hand and whose own name does not say: CIMAA's agent file, or else TOML.
fn kind_by_content(problems: &Problems, file: FileId) -> FileKind {
    let mut tried = problems.clone();
    let cimaa = ini::parse(file, &mut tried).is_some_and(|ini| cimaa::is_agent_file(&ini));
    if cimaa { FileKind::Cimaa } else { FileKind::Toml }
}

fn parse_flake(input: &InputFile, options: &LoadOptions, file: FileId, parsed: &mut Parsed) {
    let Some(node) = json::parse(file, &mut parsed.problems) else { return };
    // What the agent's file says of flakes is not known yet: `interpret` adds it.
    let working_dir = flake::working_dir(&input.absolute, &options.root);
    match flake::translate(&node, file, &working_dir, &mut parsed.problems) {
        Ok(tree) => parsed.tree = Some(tree),
        Err(rest) => parsed.rest = rest,
    }
}

/// The file is one check, whose name is known even where nothing else of it can be read.
fn parse_dwmon(input: &InputFile, start: Span, parsed: &mut Parsed) {
    let name = dwmon_check(&input.path).to_owned();
    parsed.tree = dwmon::translate(start.file, &name, &mut parsed.problems).or_else(|| {
        let reason = String::new();
        parsed.broken_sections.push(cimaa::BrokenSection { section: name.clone(), span: start, reason });
        let mut root = Table { span: start, entries: Vec::new() };
        root.put("check", start, Value::Table(Table { span: start, entries: Vec::new() }));
        Some(root)
    });
    parsed.sections.push((name, start));
}

/// The name of a `.dwmon` file's check.
pub(super) fn dwmon_check(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_suffix(".dwmon").unwrap_or(name)
}

fn parse_cimaa(file: FileId, parsed: &mut Parsed) {
    let Some(ini) = ini::parse(file, &mut parsed.problems) else { return };
    if cimaa::is_agent_file(&ini) {
        let agent = cimaa::translate_agent(&ini, &mut parsed.problems);
        parsed.cimaa_agent = true;
        parsed.cimaa_conf = agent.directory.into_iter().map(|(path, _)| path).collect();
        parsed.tree = Some(agent.root);
    } else {
        let checks = cimaa::translate_checks(&ini, &mut parsed.problems);
        parsed.sections = ini.sections.iter().map(|s| (s.name.clone(), s.span)).collect();
        parsed.broken_sections = checks.broken;
        parsed.rest = checks.rest;
        parsed.tree = Some(checks.root);
    }
}

/// Whether a name is no config file's, as what is below it is not.
pub(crate) fn is_reserved(stem: &str) -> bool {
    RESERVED_STEMS.contains(&stem)
}

/// The name of a file's part of a check's name: the stem, or `flakes` or `dwmon`.
pub(super) fn stem(path: &str, kind: FileKind) -> &str {
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or(path);
    match kind {
        FileKind::Folder => name,
        FileKind::Flake => "flakes",
        FileKind::Dwmon => "dwmon",
        FileKind::Agent | FileKind::Toml => name.strip_suffix(".toml").unwrap_or(name),
        FileKind::Cimaa => name.strip_suffix(".cfg").unwrap_or(name),
    }
}

/// One check of a file, as it is used and as it stands in the file now.
#[derive(Clone, Debug)]
pub(super) struct CheckState<P> {
    pub(super) name: Name,
    /// As it is called in its file.
    pub(super) section: String,
    /// Where its name stands now; `None` while the file does not parse.
    pub(super) span: Option<Span>,
    /// What is used; from an earlier text while `fresh` is false.
    pub(super) good: Option<(Draft, Option<P>)>,
    pub(super) fresh: bool,
    /// CIMAA's own words for what is wrong.
    pub(super) reason: Option<String>,
    /// When this file first had it: the older of two with one name stays.
    pub(super) since: u64,
}

impl<P> CheckState<P> {
    /// What was kept from an earlier text may bear the name that the agent had then.
    fn rename(&mut self, name: Name) {
        if let Some((draft, _)) = &mut self.good
            && draft.policy.name != name
        {
            Arc::make_mut(&mut draft.policy).name = name.clone();
        }
        self.name = name;
    }
}

/// One notifier of a file.
#[derive(Clone, Debug)]
pub(super) struct NotifierState<N> {
    pub(super) name: Name,
    pub(super) span: Option<Span>,
    pub(super) good: Option<(Arc<NotifierPolicy>, N)>,
    pub(super) fresh: bool,
    pub(super) fallback: Option<Reference>,
    pub(super) since: u64,
}

/// One source of a file.
#[derive(Clone, Debug)]
pub(super) struct SourceState {
    pub(super) name: Name,
    pub(super) span: Option<Span>,
    pub(super) good: Option<Arc<SourcePolicy>>,
    pub(super) fresh: bool,
    pub(super) since: u64,
}

/// What is known of one file.
#[derive(Clone, Debug)]
pub(super) struct FileState<P, N> {
    pub(super) input: Result<(), String>,
    pub(super) absolute: String,
    pub(super) kind: FileKind,
    pub(super) cimaa_agent: bool,
    /// Its text is in here.
    pub(super) problems: Problems,
    /// What each problem is about.
    pub(super) subjects: Vec<Subject>,
    /// It can't be read or parsed: checks and notifiers are those it had.
    pub(super) broken: bool,
    /// `[defaults]`, as far as it is right; of a flake what the agent's file says of all.
    pub(super) defaults: Defaults,
    pub(super) defaults_fresh: bool,
    pub(super) checks: Vec<CheckState<P>>,
    pub(super) notifiers: Vec<NotifierState<N>>,
    pub(super) sources: Vec<SourceState>,
}

/// What a file is read with.
#[derive(Clone)]
pub(super) struct FileContext<'a, P: 'static, N: 'static> {
    pub(super) kinds: Kinds<P, N>,
    pub(super) agent: &'a AgentState,
    /// The config folder.
    pub(super) root: &'a str,
    /// Whether this file is the one that speaks for the agent.
    pub(super) speaks_for_agent: bool,
    /// Problems with its `[agent]`, if it is that file.
    pub(super) agent_problems: Vec<Problem>,
    pub(super) generation: u64,
}

/// Says what stands in a parsed file; the second of two steps. What can't be used keeps what it had before.
pub(super) fn interpret<P: Clone, N: Clone>(
    cx: FileContext<'_, P, N>,
    input: &InputFile,
    parsed: Parsed,
    before: Option<FileState<P, N>>,
) -> FileState<P, N> {
    let mut state = FileState {
        input: input.text.as_ref().map(|_| ()).map_err(Clone::clone),
        absolute: input.absolute.clone(),
        kind: parsed.kind,
        cimaa_agent: match parsed.tree {
            Some(_) => parsed.cimaa_agent,
            None => before.as_ref().is_some_and(|before| before.cimaa_agent),
        },
        subjects: Vec::new(),
        problems: parsed.problems,
        broken: parsed.tree.is_none(),
        defaults: Defaults::default(),
        defaults_fresh: true,
        checks: Vec::new(),
        notifiers: Vec::new(),
        sources: Vec::new(),
    };
    let mut filler =
        Filler { prefix: prefix(cx.agent, &input.path, parsed.kind), cx, input, before, state: &mut state };
    filler.mark(&Subject::File);
    if filler.state.kind == FileKind::Flake {
        // They stand in another file.
        filler.state.defaults.table = filler.cx.agent.flakes.table.moved(Span::default());
    }
    filler.place_problems_in_sections(&parsed.sections);
    match parsed.tree {
        Some(tree) => filler.tables(&tree, &parsed.broken_sections),
        None => filler.keep_all(),
    }
    filler.look_at(&parsed.rest);
    state
}

/// `//AGENT/FILE/`.
pub(super) fn prefix(agent: &AgentState, path: &str, kind: FileKind) -> String {
    format!("//{}/{}/", agent.policy.name, stem(path, kind))
}

/// Fills a file's state from its tables.
struct Filler<'a, P: 'static, N: 'static> {
    cx: FileContext<'a, P, N>,
    input: &'a InputFile,
    prefix: String,
    before: Option<FileState<P, N>>,
    state: &'a mut FileState<P, N>,
}

impl<P: Clone, N: Clone> Filler<'_, P, N> {
    /// Says what the problems are about that were found since the last call; whether one is an error.
    fn mark(&mut self, subject: &Subject) -> bool {
        let from = self.state.subjects.len();
        let list = &self.state.problems.list;
        self.state.subjects.resize(list.len(), subject.clone());
        list[from..].iter().any(|p| p.level == super::Level::Error)
    }

    /// The translator of CIMAA's sections reports them all together: each problem is about the section that
    /// it stands in.
    fn place_problems_in_sections(&mut self, sections: &[(String, Span)]) {
        for (problem, subject) in self.state.problems.list.iter().zip(&mut self.state.subjects) {
            let after = sections.partition_point(|(_, span)| span.start <= problem.span.start);
            if let Some((section, _)) = after.checked_sub(1).and_then(|i| sections.get(i)) {
                *subject = Subject::Check(section.clone(), check_full_name(&self.prefix, section, true));
            }
        }
    }

    /// Nothing of the file can be used now: everything stays as it was.
    fn keep_all(&mut self) {
        let Some(before) = self.before.take() else { return };
        self.state.defaults = before.defaults;
        self.state.defaults_fresh = false;
        self.state.checks = before.checks.into_iter().filter(|c| c.good.is_some()).collect();
        self.state.notifiers = before.notifiers.into_iter().filter(|n| n.good.is_some()).collect();
        self.state.sources = before.sources.into_iter().filter(|s| s.good.is_some()).collect();
        let old = is_old(self.state.kind);
        for check in &mut self.state.checks {
            (check.span, check.fresh, check.reason) = (None, false, None);
            check.rename(check_full_name(&self.prefix, &check.section, old));
        }
        for notifier in &mut self.state.notifiers {
            (notifier.span, notifier.fresh) = (None, false);
        }
        for source in &mut self.state.sources {
            (source.span, source.fresh) = (None, false);
        }
    }

    fn tables(&mut self, root: &Table, broken: &[cimaa::BrokenSection]) {
        if let Some(entry) = root.get("defaults") {
            self.defaults(entry);
        }
        for entry in &root.entries {
            match (entry.key.as_str(), &entry.value.value) {
                ("agent", _) => self.agent(entry),
                ("flakes", _) => self.flakes(entry),
                ("defaults", _) => {}
                ("check", Value::Table(table)) => self.checks(table, broken),
                ("notify", Value::Table(table)) => self.notifiers(table),
                ("source", Value::Table(table)) => self.sources(table),
                ("check" | "notify" | "source", value) => {
                    let message = format!("`{}` must be a table of tables, this is {}", entry.key, value.type_name());
                    let hint = match entry.key.as_str() {
                        "notify" => "a notifier is `[notify.NAME]`; who is told by default is `notify` in `[defaults]`",
                        "source" => "a source is `[source.NAME]`",
                        _ => "a check is `[check.NAME]`",
                    };
                    self.state.problems.error(entry.value.span, message).hint(hint);
                }
                _ => self.other_table(entry),
            }
            self.mark(&Subject::File);
        }
    }

    fn agent(&mut self, entry: &Entry) {
        if self.cx.speaks_for_agent {
            // It was read before all other tables.
            std::mem::take(&mut self.cx.agent_problems)
                .into_iter()
                .for_each(|problem| self.state.problems.add(problem));
            self.mark(&Subject::Agent);
        } else if self.state.cimaa_agent {
            self.state
                .problems
                .warning(entry.key_span, "another file speaks for the agent already; this one's `[agent]` is not used")
                .hint("keep one of them");
        } else {
            self.state
                .problems
                .error(entry.key_span, "`[agent]` is not read here")
                .hint(format!("move it to `{AGENT_FILE}` in the config folder"));
        }
    }

    fn other_table(&mut self, entry: &Entry) {
        let title = match &entry.value.value {
            Value::Array(_) => format!("[[{}]]", entry.key),
            _ => format!("[{}]", entry.key),
        };
        if LATER_TABLES.contains(&entry.key.as_str()) {
            let message = format!("`{title}` comes with a later version and is not used yet");
            self.state.problems.warning(entry.key_span, message);
            return;
        }
        if !matches!(entry.value.value, Value::Table(_) | Value::Array(_)) {
            let message = format!("`{}` stands outside of any table", entry.key);
            self.state.problems.error(entry.key_span, message).hint("move it below a header such as `[check.NAME]`");
            return;
        }
        let known = TABLES.iter().chain(LATER_TABLES).copied();
        let problem = self.state.problems.error(entry.key_span, format!("there is no table `{title}`"));
        match nearest(&entry.key, known) {
            Some(near) => problem.hint(format!("did you mean `[{near}]`?")),
            None => problem.hint("a file holds `[check.NAME]`, `[notify.NAME]`, `[source.NAME]` and `[defaults]`"),
        };
    }

    fn defaults(&mut self, entry: &Entry) {
        let read = self.read_defaults(entry, NOT_DEFAULTS);
        self.state.defaults_fresh = read.is_some();
        // Where they are wrong, checks go on with those they had.
        self.state.defaults =
            read.or_else(|| self.before.as_ref().map(|before| before.defaults.clone())).unwrap_or_default();
        self.mark(&Subject::Defaults("defaults"));
    }

    /// `[flakes]` was read with the agent; here its mistakes are told.
    fn flakes(&mut self, entry: &Entry) {
        if self.cx.speaks_for_agent {
            self.read_defaults(entry, NOT_FLAKES);
            self.mark(&Subject::Defaults("flakes"));
        } else {
            self.state
                .problems
                .error(entry.key_span, "`[flakes]` is not read here")
                .hint(format!("move it to `{AGENT_FILE}` in the config folder"));
        }
    }

    fn read_defaults(&mut self, entry: &Entry, not: &[&str]) -> Option<Defaults> {
        let cx = CheckContext {
            kinds: self.cx.kinds.checks,
            agent: self.cx.agent,
            root: self.cx.root,
            path: &self.input.path,
            prefix: &self.prefix,
            old: false,
            defaults: &Table::default(),
        };
        check::read_defaults(&cx, entry, not, &mut self.state.problems)
    }

    fn checks(&mut self, table: &Table, broken: &[cimaa::BrokenSection]) {
        self.mark(&Subject::File);
        let lines = Lines::of(&self.state.problems.files[0].text);
        let mut before: BTreeMap<String, CheckState<P>> = match &mut self.before {
            Some(before) => std::mem::take(&mut before.checks).into_iter().map(|c| (c.section.clone(), c)).collect(),
            None => BTreeMap::new(),
        };
        let credentials = self.cx.agent.settings.credentials.clone().filter(|_| self.state.kind == FileKind::Flake);
        for entry in &table.entries {
            if self.stands_outside_of_a_check(entry) {
                break;
            }
            let name = self.full_name(&entry.key);
            let with_credentials = credentials.as_ref().map(|path| with_env_file(entry, path));
            let read = self.read_check(with_credentials.as_ref().unwrap_or(entry), &lines);
            let failed = self.mark(&Subject::Check(entry.key.clone(), name.clone()));
            let good = match read {
                Read::Good(draft, program) if !failed => Some((draft, program)),
                _ => None,
            };
            self.push_check(name, entry.key.clone(), entry.key_span, good, before.remove(&entry.key));
        }
        for section in broken {
            let name = self.full_name(&section.section);
            let last = before.remove(&section.section);
            self.push_check(name, section.section.clone(), section.span, None, last);
            if let Some(check) = self.state.checks.last_mut() {
                check.reason = Some(section.reason.clone());
            }
        }
    }

    /// Checks that are not used: only what is wrong with them counts.
    fn look_at(&mut self, rest: &Table) {
        let Some(Value::Table(checks)) = rest.get("check").map(|entry| &entry.value.value) else { return };
        let lines = Lines::of(&self.state.problems.files[0].text);
        for entry in &checks.entries {
            self.read_check(entry, &lines);
            let subject = match self.state.kind {
                // Its file can't be used.
                FileKind::Flake => Subject::File,
                _ => Subject::Check(entry.key.clone(), self.full_name(&entry.key)),
            };
            self.mark(&subject);
        }
    }

    fn read_check(&mut self, entry: &Entry, lines: &Lines) -> Read<P> {
        let name = self.full_name(&entry.key);
        let cx = CheckContext {
            kinds: self.cx.kinds.checks,
            agent: self.cx.agent,
            root: self.cx.root,
            path: &self.input.path,
            prefix: &self.prefix,
            old: is_old(self.state.kind),
            defaults: &self.state.defaults.table,
        };
        let problems = &mut self.state.problems;
        let can_be_called = match self.state.kind {
            FileKind::Cimaa if is_the_agents(&name, cx.prefix) => {
                problems
                    .error(entry.key_span, format!("a check can't be called `{name}`: that is the agent's own"))
                    .hint("choose a name that does not begin with this agent's, or leave the `//` out");
                false
            }
            FileKind::Flake | FileKind::Cimaa => check::old_check_name(entry, problems),
            _ => check::check_name(entry, problems),
        };
        if !can_be_called {
            return Read::Bad;
        }
        check::read(&cx, name, entry, lines.number(entry.key_span.start), problems)
    }

    fn full_name(&self, section: &str) -> Name {
        check_full_name(&self.prefix, section, is_old(self.state.kind))
    }

    /// `[check]` with a check's keys right below it: its name was forgotten.
    fn stands_outside_of_a_check(&mut self, entry: &Entry) -> bool {
        let a_checks_key = super::keys::CHECK_KEYS.iter().any(|key| key.name == entry.key)
            || self.cx.kinds.checks.iter().any(|kind| kind.key == entry.key);
        let outside = a_checks_key && !matches!(entry.value.value, Value::Table(_));
        if outside {
            let message = format!("`{}` belongs to a check, and `[check]` names none", entry.key);
            self.state.problems.error(entry.key_span, message).hint("write `[check.NAME]` above it");
            self.mark(&Subject::File);
        }
        outside
    }

    fn push_check(
        &mut self,
        name: Name,
        section: String,
        span: Span,
        good: Option<(Draft, Option<P>)>,
        before: Option<CheckState<P>>,
    ) {
        let fresh = good.is_some();
        let since = before.as_ref().map_or(self.cx.generation, |b| b.since);
        let good = good.or_else(|| before.and_then(|b| b.good));
        let mut check = CheckState { name: name.clone(), section, span: Some(span), good, fresh, reason: None, since };
        check.rename(name);
        self.state.checks.push(check);
    }

    fn notifiers(&mut self, table: &Table) {
        self.mark(&Subject::File);
        let mut before: BTreeMap<Name, NotifierState<N>> = match &mut self.before {
            Some(before) => std::mem::take(&mut before.notifiers).into_iter().map(|n| (n.name.clone(), n)).collect(),
            None => BTreeMap::new(),
        };
        for entry in &table.entries {
            let name = Name::new(&entry.key);
            let old = self.state.kind == FileKind::Cimaa;
            let read = read_notifier(
                self.cx.kinds,
                &self.cx.agent.settings.zone,
                (&name, entry),
                old,
                &mut self.state.problems,
            );
            let failed = self.mark(&Subject::Notifier(entry.key.clone()));
            let before = before.remove(&name);
            let since = before.as_ref().map_or(self.cx.generation, |b| b.since);
            let fresh = read.is_some() && !failed;
            let (good, fallback) = match (read.filter(|_| !failed), before) {
                (Some((policy, channel, fallback)), _) => (Some((Arc::new(policy), channel)), fallback),
                (None, Some(before)) => (before.good, before.fallback),
                (None, None) => (None, None),
            };
            let span = Some(entry.key_span);
            self.state.notifiers.push(NotifierState { name, span, good, fresh, fallback, since });
        }
    }
}

impl<P: Clone, N: Clone> Filler<'_, P, N> {
    fn sources(&mut self, table: &Table) {
        self.mark(&Subject::File);
        let before = self.before.as_mut().map(|before| std::mem::take(&mut before.sources)).unwrap_or_default();
        let mut before: BTreeMap<Name, SourceState> = before.into_iter().map(|s| (s.name.clone(), s)).collect();
        for entry in &table.entries {
            let name = Name::new(&entry.key);
            let read = source::read(self.cx.root, &self.input.path, entry, &mut self.state.problems);
            let failed = self.mark(&Subject::Source(entry.key.clone()));
            let before = before.remove(&name);
            let since = before.as_ref().map_or(self.cx.generation, |b| b.since);
            let read = read.filter(|_| !failed);
            let fresh = read.is_some();
            let good = read.map(Arc::new).or_else(|| before.and_then(|b| b.good));
            self.state.sources.push(SourceState { name, span: Some(entry.key_span), good, fresh, since });
        }
    }
}

/// A format of its own, which is translated first.
fn is_old(kind: FileKind) -> bool {
    matches!(kind, FileKind::Flake | FileKind::Cimaa | FileKind::Dwmon)
}

/// `//AGENT/FILE/SECTION`; a CIMAA section whose name starts with `//` is a full name.
fn check_full_name(prefix: &str, section: &str, old: bool) -> Name {
    if old && section.starts_with("//") { Name::new(section) } else { Name::new(format!("{prefix}{section}")) }
}

/// Whether a full name is below what no file of this agent is called.
fn is_the_agents(name: &Name, prefix: &str) -> bool {
    let agent = prefix.trim_end_matches('/').rsplit_once('/').map_or("", |(agent, _)| agent);
    let rest = name.strip_prefix(agent).and_then(|rest| rest.strip_prefix('/'));
    rest.and_then(|rest| rest.split(['/', '#']).next()).is_some_and(is_reserved)
}

/// A flake's entry with the agent's credentials file added.
fn with_env_file(entry: &Entry, path: &str) -> Entry {
    let mut entry = entry.clone();
    if let Value::Table(table) = &mut entry.value.value {
        table.put("env_file", entry.key_span, Value::String(path.to_owned()));
    }
    entry
}

fn read_notifier<P, N>(
    kinds: Kinds<P, N>,
    zone: &TimeZone,
    (name, entry): (&Name, &Entry),
    old: bool,
    problems: &mut Problems,
) -> Option<(NotifierPolicy, N, Option<Reference>)> {
    let Value::Table(table) = &entry.value.value else {
        let found = entry.value.value.type_name();
        problems
            .error(entry.value.span, format!("`notify.{name}` must be a table, this is {found}"))
            .hint(format!("write `[notify.{name}]` and its keys below"));
        return None;
    };
    if name.trim().is_empty() {
        problems.error(entry.key_span, "a notifier can't have an empty name").hint("write `[notify.NAME]`");
    }
    let mut reader = Reader::new(table, problems, format!("`[notify.{name}]`"), NOTIFIER_KEYS);
    reader.zone = zone.clone();
    if old {
        reader.declare(HIDDEN_NOTIFIER_KEYS);
    } else {
        reader.declare_hidden(HIDDEN_NOTIFIER_KEYS);
    }
    let words: Vec<_> = kinds.notifiers.iter().map(|kind| (kind.key, kind)).collect();
    if !reader.has("kind") {
        let all: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        reader.missing("kind");
        if let Some(problem) = reader.problems.list.last_mut() {
            problem.hint(format!("add `kind = …`, one of {}", all.join(", ")));
        }
        return None;
    }
    let kind = reader.choice("kind", &words)?;
    reader.declare(kind.keys);
    let pace = Pace {
        gap: reader.duration("gap").unwrap_or(Duration::from_millis(kind.capabilities.gap_ms.into())),
        in_flight_max: reader.integer("in_flight", 1..=64).and_then(|n| usize::try_from(n).ok()).unwrap_or(1),
    };
    let fallback = reference(&mut reader, "fallback");
    let alert_from = reader.choice("alert_from", &ALERT_FROM);
    let hours = read_hours(zone, &mut reader);
    let recoveries = reader.boolean("recoveries").unwrap_or(true);
    let channel = (kind.read)(&mut reader);
    reader.finish();
    let policy = NotifierPolicy {
        name: name.clone(),
        kind: kind.key,
        capabilities: kind.capabilities,
        pace,
        fallback: None,
        alert_from,
        hours,
        recoveries,
        targets: Vec::new(),
    };
    Some((policy, channel?, fallback))
}

/// Where the lines of a text start, to number thousands of places without reading the text each time.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Lines {
        Lines(text.match_indices('\n').map(|(at, _)| at + 1).collect())
    }

    fn number(&self, at: usize) -> usize {
        self.0.partition_point(|start| *start <= at) + 1
    }
}
