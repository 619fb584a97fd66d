//! The loader: files as text in, policy, programs, notifiers and problems out; and what was good before stays
//! in use where something new is not.
//!
//! [`Config::update`] takes all files there are now and reads those that changed; [`Config::assemble`] puts the
//! whole together: names, who is told, parents, faults. Nothing is opened here, and nothing can fail: what is
//! wrong becomes a problem with its place, and a [`ConfigFault`] that is told like any other.
//!
//! | what is wrong | what is used | the fault's name |
//! |---|---|---|
//! | a file can't be read or parsed | all that it said when it last could; at start nothing, and what is known of its checks stays, marked stale ([`Policy::broken`]) | `//AGENT/FILE/`, `//AGENT/flakes/X.flake.json`, `//AGENT/dwmon/X.dwmon` |
//! | a folder can't be read | its files as they were; at start nothing, and what is known of any check that is not there stays, marked stale | `//AGENT/FOLDER/` |
//! | a check | the check as it last was; at start nothing | `//AGENT/FILE/CHECK`, with `#config` while a check of that name runs, so that its own faults are not mixed with this one |
//! | a notifier, `[agent]`, `[defaults]`, `[flakes]` | the same | `//AGENT/FILE/[notify.NAME]`, `…/[agent]`, `…/[defaults]`, `…/[flakes]` |
//! | a source | the same | `//AGENT/FILE/[source.NAME]` |
//! | a source that is not there | nothing: the check does not run, and what is known of it stays, marked stale | as for the check |
//! | a name that nobody has (in `notify`, `parents`, `on_result`, `fallback`) | the check without it; where that leaves no one to tell, the agent's `notify` | as for the check |
//! | two things with one name | the one that was there first; at start the one whose path sorts first | `//AGENT/FILE/CHECK#config` |

use super::{
    AgentPolicy, CheckPolicy, ConfigFault, Kinds, Level, NotifierPolicy, Policy, Problem, Problems, SourcePolicy,
    agent::{self, AgentSettings, AgentState, Defaults, LoadOptions},
    check::{self, CheckContext},
    file::{
        self, CheckState, FileContext, FileKind, FileState, InputFile, NotifierState, Parsed, SourceState, Subject,
    },
    formats::cimaa,
    keys::NOT_FLAKES,
    refs::{Reference, cycles, hint_for},
    render::{render_one, summary_line},
    tree::{Entry, FileId, Span, Table, Value},
};
use crate::model::Name;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A fault's detail shows at most so many problems.
pub const FAULT_PROBLEMS_MAX: usize = 20;
/// For at most so many unknown names the nearest known one is looked for: each costs a walk over all names.
const HINTS_MAX: usize = 50;

/// All config files, as they are now and as they last were good. `P` is what a check runs, `N` a way to tell;
/// both are handles that are cheap to clone.
#[derive(Debug)]
pub struct Config<P: 'static, N: 'static> {
    kinds: Kinds<P, N>,
    targets: fn(&N) -> Vec<String>,
    options: LoadOptions,
    files: BTreeMap<String, FileState<P, N>>,
    agent: AgentState,
    agent_file: Option<String>,
    agent_good: bool,
    generation: u64,
}

/// What the config comes to.
#[derive(Debug)]
pub struct Loaded<P, N> {
    /// For the engine.
    pub policy: Policy,
    /// What each check runs, by the check's full name. Passive checks run nothing.
    pub programs: BTreeMap<Name, P>,
    /// Ways to tell, by name.
    pub notifiers: BTreeMap<Name, N>,
    /// All that is wrong, in the order of files and places.
    pub problems: Problems,
    /// For the shell.
    pub agent: AgentSettings,
    /// The file that speaks for the agent, as shown; `None` where there is none.
    pub agent_file: Option<String>,
    /// There is an agent file and it could never be used, so that `agent` is only what is true without one: a
    /// fresh start should be refused, since even the state folder may be another.
    pub agent_broken: bool,
    /// The files that were read.
    pub files: Vec<LoadedFile>,
}

/// One file that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadedFile {
    /// As shown.
    pub path: String,
    /// The whole path.
    pub absolute: String,
    /// What it is.
    pub kind: FileKind,
    /// It could not be read or parsed; what it said before is used.
    pub broken: bool,
    /// How many checks of it are used.
    pub checks: usize,
    /// How many notifiers of it are used.
    pub notifiers: usize,
    /// How many sources of it are used.
    pub sources: usize,
}

impl<P: Clone, N: Clone> Config<P, N> {
    /// No files yet. `targets` says where a notifier sends, if it can send to several places.
    pub fn new(kinds: Kinds<P, N>, options: LoadOptions, targets: fn(&N) -> Vec<String>) -> Config<P, N> {
        let agent = AgentState::new(&options);
        Config {
            kinds,
            targets,
            options,
            files: BTreeMap::new(),
            agent,
            agent_file: None,
            agent_good: false,
            generation: 0,
        }
    }

    /// Takes the files that there are now: all of them. Those that were there before and are not any more drop
    /// their checks; those whose text did not change are not read again, unless what the agent's file says of
    /// names, zones or time limits did.
    pub fn update(&mut self, inputs: Vec<InputFile>) {
        self.generation += 1;
        let mut parsed: BTreeMap<String, Parsed> = BTreeMap::new();
        for input in inputs.iter().filter(|input| !self.unchanged(input)) {
            parsed.insert(input.path.clone(), file::parse(input, &self.options));
        }
        let mut agent_problems = self.update_agent(&inputs, &mut parsed);
        let mut before = std::mem::take(&mut self.files);
        for input in inputs {
            let last = before.remove(&input.path);
            let state = match (parsed.remove(&input.path), last) {
                (Some(changed), last) => self.interpret(&input, changed, last, &mut agent_problems),
                (None, Some(last)) => last,
                (None, None) => continue,
            };
            self.files.insert(input.path, state);
        }
    }

    fn unchanged(&self, input: &InputFile) -> bool {
        self.files.get(&input.path).is_some_and(|last| {
            let text = last.problems.files.first().map(|f| f.text.as_str()).unwrap_or_default();
            let same_text = match (&last.input, &input.text) {
                (Ok(()), Ok(now)) => text == now,
                (Err(then), Err(now)) => then == now,
                _ => false,
            };
            same_text && last.absolute == input.absolute
        })
    }

    /// Reads what the agent's file says of the agent, and adds to `parsed` every file for which that matters.
    fn update_agent(&mut self, inputs: &[InputFile], parsed: &mut BTreeMap<String, Parsed>) -> Vec<Problem> {
        let path = self.find_agent_file(inputs, parsed);
        let moved = path != self.agent_file;
        let before = self.agent.clone();
        let mut problems = Vec::new();
        if let Some(input) = inputs.iter().find(|input| Some(&input.path) == path.as_ref()) {
            if moved || parsed.contains_key(&input.path) {
                self.agent_good &= !moved;
                let parsed = parsed.entry(input.path.clone()).or_insert_with(|| file::parse(input, &self.options));
                problems = self.read_agent(parsed);
            }
        } else {
            self.agent = AgentState::new(&self.options);
            self.agent_good = false;
        }
        self.agent_file = path;
        if moved || !self.agent.same_for_checks(&before) {
            for input in inputs {
                parsed.entry(input.path.clone()).or_insert_with(|| file::parse(input, &self.options));
            }
        }
        problems
    }

    /// `watchbell.toml`, else the first of CIMAA's agent files.
    fn find_agent_file(&self, inputs: &[InputFile], parsed: &BTreeMap<String, Parsed>) -> Option<String> {
        let is_cimaa_agent = |path: &str| match parsed.get(path) {
            Some(parsed) => parsed.cimaa_agent,
            None => self.files.get(path).is_some_and(|file| file.cimaa_agent),
        };
        let mut paths: Vec<&str> = inputs.iter().map(|input| input.path.as_str()).collect();
        paths.sort_unstable();
        let native = paths.iter().find(|path| FileKind::of(path) == Some(FileKind::Agent));
        native.or_else(|| paths.iter().find(|path| is_cimaa_agent(path))).map(|path| (*path).to_owned())
    }

    /// Problems with `[agent]`. With errors the agent stays what it was; at start what is right counts.
    fn read_agent(&mut self, parsed: &mut Parsed) -> Vec<Problem> {
        let Some(tree) = &parsed.tree else {
            if !self.agent_good {
                self.agent = AgentState::new(&self.options);
            }
            return Vec::new();
        };
        let from = parsed.problems.list.len();
        let old = parsed.kind == FileKind::Cimaa;
        let mut state = match tree.get("agent").map(|entry| &entry.value) {
            None => AgentState::new(&self.options),
            Some(node) => match &node.value {
                Value::Table(table) => agent::read(table, old, &self.options, &mut parsed.problems),
                value => {
                    let message = format!("`agent` must be a table, this is {}", value.type_name());
                    parsed.problems.error(node.span, message).hint("write `[agent]` and its keys below");
                    AgentState::new(&self.options)
                }
            },
        };
        state.flakes = match tree.get("flakes") {
            Some(entry) => {
                self.read_flakes(entry, &state, &parsed.problems).unwrap_or_else(|| self.agent.flakes.clone())
            }
            None => Defaults::default(),
        };
        state.settings.conf.extend(parsed.cimaa_conf.iter().map(|path| agent::join(&self.options.root, path)));
        let problems = parsed.problems.list.split_off(from);
        if !self.agent_good || problems.iter().all(|p| p.level != Level::Error) {
            self.agent = state;
            self.agent_good = true;
        }
        problems
    }

    /// What `[flakes]` says, if nothing in it is wrong: that is told when its file is interpreted.
    fn read_flakes(&self, entry: &Entry, agent: &AgentState, problems: &Problems) -> Option<Defaults> {
        let cx = CheckContext {
            kinds: self.kinds.checks,
            agent,
            root: &self.options.root,
            path: "",
            prefix: "",
            old: false,
            defaults: &Table::default(),
        };
        check::read_defaults(&cx, entry, NOT_FLAKES, &mut problems.clone())
    }

    fn interpret(
        &self,
        input: &InputFile,
        parsed: Parsed,
        last: Option<FileState<P, N>>,
        agent_problems: &mut Vec<Problem>,
    ) -> FileState<P, N> {
        let speaks_for_agent = self.agent_file.as_deref() == Some(input.path.as_str());
        let cx = FileContext {
            kinds: self.kinds,
            agent: &self.agent,
            root: &self.options.root,
            speaks_for_agent,
            agent_problems: if speaks_for_agent { std::mem::take(agent_problems) } else { Vec::new() },
            generation: self.generation,
        };
        file::interpret(cx, input, parsed, last)
    }

    /// Puts together what the files say.
    pub fn assemble(&mut self) -> Loaded<P, N> {
        let mut problems = Merged::default();
        for (path, file) in &self.files {
            problems.take(path, &file.problems, &file.subjects);
        }
        let owned = self.notifier_owners(&mut problems);
        let notifiers = self.assemble_notifiers(&owned, &mut problems);
        let sources = self.assemble_sources(&mut problems);
        let mut names = Notified { owned: &owned, good: &notifiers.0, sources: &sources, on_result: Vec::new() };
        let (agent_notify, on_result) = self.resolve_agent(&names, &mut problems);
        names.on_result = on_result;
        let checks = self.assemble_checks(&names, &agent_notify, &mut problems);
        let mut policy = Policy {
            agent: AgentPolicy { notify: agent_notify.clone(), ..self.agent.policy.clone() },
            checks: checks.policies,
            notifiers: notifiers.0.clone(),
            sources: sources.into_iter().filter_map(|(name, source)| Some((name, source?))).collect(),
            ..Policy::default()
        };
        self.add_faults(&mut policy, &checks.file_notify, &problems);
        let agent_broken = match &self.agent_file {
            Some(path) => !self.agent_good && self.files.get(path).is_some_and(|file| file.broken),
            None => false,
        };
        Loaded {
            policy,
            programs: checks.programs,
            notifiers: notifiers.1,
            problems: problems.sorted(),
            agent: self.agent.settings.clone(),
            agent_file: self.agent_file.clone(),
            agent_broken,
            files: self.files.iter().map(|(path, file)| loaded_file(path, file)).collect(),
        }
    }
}

fn loaded_file<P, N>(path: &str, file: &FileState<P, N>) -> LoadedFile {
    LoadedFile {
        path: path.to_owned(),
        absolute: file.absolute.clone(),
        kind: file.kind,
        broken: file.broken,
        checks: file.checks.iter().filter(|c| c.good.is_some()).count(),
        notifiers: file.notifiers.iter().filter(|n| n.good.is_some()).count(),
        sources: file.sources.iter().filter(|s| s.good.is_some()).count(),
    }
}

/// The problems of all files in one list, each with what it is about.
#[derive(Default)]
pub(super) struct Merged {
    problems: Problems,
    subjects: Vec<(String, Subject)>,
    ids: BTreeMap<String, FileId>,
    /// Unknown names that were reported, by place: a file's defaults are used by each of its checks.
    reported: BTreeSet<(FileId, usize, String)>,
    hints: usize,
}

impl Merged {
    fn take(&mut self, path: &str, problems: &Problems, subjects: &[Subject]) {
        for (problem, subject) in problems.list.iter().zip(subjects) {
            let file = self.file(path, problems);
            let mut problem = problem.clone();
            problem.span.file = file;
            if let Some((span, _)) = &mut problem.related {
                span.file = file;
            }
            self.problems.list.push(problem);
            self.subjects.push((path.to_owned(), subject.clone()));
        }
    }

    /// The id of a file in the merged list; texts are taken over only when there is something to show.
    fn file(&mut self, path: &str, problems: &Problems) -> FileId {
        if let Some(id) = self.ids.get(path) {
            return *id;
        }
        let text = problems.files.first().map(|f| f.text.as_str()).unwrap_or_default();
        let id = self.problems.add_file(path, text);
        self.ids.insert(path.to_owned(), id);
        id
    }

    /// Reports an error in a file; a place that is not known any more is the file's start.
    fn error(&mut self, place: Place<'_>, subject: Subject, message: String) -> &mut Problem {
        let span = self.span(place);
        self.subjects.push((place.path.to_owned(), subject));
        self.problems.error(span, message)
    }

    fn span(&mut self, place: Place<'_>) -> Span {
        let file = self.file(place.path, place.problems);
        Span { file, ..place.span.unwrap_or_default() }
    }

    /// Whether a hint may still be looked for.
    fn may_hint(&mut self) -> bool {
        self.hints += 1;
        self.hints <= HINTS_MAX
    }

    /// In the order of files and places.
    fn sorted(mut self) -> Problems {
        let files = std::mem::take(&mut self.problems.files);
        let path = |file: FileId| files.get(file.0 as usize).map(|f| f.path.as_str());
        self.problems.list.sort_by(|a, b| {
            (path(a.span.file), a.span.start).cmp(&(path(b.span.file), b.span.start)).then(b.level.cmp(&a.level))
        });
        Problems { files, list: self.problems.list }
    }
}

/// A place in one of the files.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a str,
    problems: &'a Problems,
    span: Option<Span>,
}

/// Where a thing with a name stands.
#[derive(Clone, Copy)]
struct Owner<'a> {
    path: &'a str,
    index: usize,
    has_good: bool,
    since: u64,
    span: Option<Span>,
}

/// Groups things by name; the one that is used comes first.
fn owners<'a>(all: impl Iterator<Item = (&'a Name, Owner<'a>)>) -> BTreeMap<&'a Name, Vec<Owner<'a>>> {
    let mut map: BTreeMap<&Name, Vec<Owner<'_>>> = BTreeMap::new();
    for (name, owner) in all {
        map.entry(name).or_default().push(owner);
    }
    for owners in map.values_mut() {
        owners.sort_by_key(|o| (!o.has_good, o.since, o.path, o.index));
    }
    map
}

/// Names of notifiers and sources: all that are written, and those that can be used.
struct Notified<'a> {
    owned: &'a BTreeMap<Name, (String, usize)>,
    good: &'a BTreeMap<Name, Arc<NotifierPolicy>>,
    sources: &'a Sources,
    /// Who gets every result of look-backs that name no one.
    on_result: Vec<Name>,
}

/// All sources that are written, each with its policy if it can be used.
type Sources = BTreeMap<Name, Option<Arc<SourcePolicy>>>;

/// What all checks come to.
struct Checks<P> {
    policies: BTreeMap<Name, Arc<CheckPolicy>>,
    programs: BTreeMap<Name, P>,
    /// Who is told where a check of a file names no one.
    file_notify: BTreeMap<String, Vec<Name>>,
}

impl<P: Clone, N: Clone> Config<P, N> {
    fn place<'a>(&'a self, path: &'a str, span: Option<Span>) -> Option<Place<'a>> {
        self.files.get(path).map(|file| Place { path, problems: &file.problems, span })
    }

    /// Which of several things with one name is used; all others are reported.
    fn choose<'a>(
        &'a self,
        what: &str,
        short: &str,
        owners: &[Owner<'a>],
        subject: &Subject,
        problems: &mut Merged,
    ) -> Option<Owner<'a>> {
        let first = *owners.first()?;
        let first_place = self.place(first.path, first.span)?;
        for owner in &owners[1..] {
            let Some(place) = self.place(owner.path, owner.span) else { continue };
            let message = if owner.path == first.path {
                format!("there is another {what} named `{short}` in this file, which is used; this one is not")
            } else {
                format!("there is another {what} named `{short}` in `{}`, which is used; this one is not", first.path)
            };
            let related = first.span.map(|_| problems.span(first_place));
            let problem = problems.error(place, subject.clone(), message).hint("rename one of them, or remove it");
            if let Some(span) = related {
                problem.related(span, "this one is used");
            }
        }
        Some(first)
    }

    /// The place of every notifier that counts.
    fn notifier_owners(&self, problems: &mut Merged) -> BTreeMap<Name, (String, usize)> {
        let all = self.files.iter().flat_map(|(path, file)| {
            file.notifiers.iter().enumerate().map(move |(index, n)| {
                (&n.name, Owner { path, index, has_good: n.good.is_some(), since: n.since, span: n.span })
            })
        });
        let mut chosen = BTreeMap::new();
        for (name, owners) in owners(all) {
            let subject = Subject::Notifier(name.to_string());
            if let Some(owner) = self.choose("notifier", name, &owners, &subject, problems) {
                chosen.insert(name.clone(), (owner.path.to_owned(), owner.index));
            }
        }
        chosen
    }

    fn assemble_sources(&self, problems: &mut Merged) -> Sources {
        let all = self.files.iter().flat_map(|(path, file)| {
            file.sources.iter().enumerate().map(move |(index, s)| {
                (&s.name, Owner { path, index, has_good: s.good.is_some(), since: s.since, span: s.span })
            })
        });
        let mut sources = Sources::new();
        for (name, owners) in owners(all) {
            let subject = Subject::Source(name.to_string());
            if let Some(owner) = self.choose("source", name, &owners, &subject, problems) {
                let state: Option<&SourceState> = self.files.get(owner.path).and_then(|f| f.sources.get(owner.index));
                sources.insert(name.clone(), state.and_then(|state| state.good.clone()));
            }
        }
        sources
    }

    /// Whether a check's query can be asked: it has none, or its source can be used. One that nobody has is reported;
    /// one that can't be used was reported where it stands.
    fn has_source(
        &self,
        state: &CheckState<P>,
        sources: &Sources,
        place: Place<'_>,
        subject: &Subject,
        problems: &mut Merged,
    ) -> bool {
        let draft = state.good.as_ref().map(|(draft, _)| draft);
        let Some(lookback) = draft.and_then(|draft| draft.policy.lookback.as_ref()) else { return true };
        match sources.get(&lookback.source) {
            Some(source) => source.is_some(),
            None => {
                let written = draft.and_then(|draft| draft.source.as_ref()).filter(|_| state.fresh);
                let place = Place { span: written.map_or(place.span, |reference| Some(reference.span)), ..place };
                let hint = hint_for("source", &lookback.source, sources.keys().map(Name::as_str));
                let message = format!("there is no source `{}`", lookback.source);
                problems.error(place, subject.clone(), message).hint(hint);
                false
            }
        }
    }

    fn notifier(&self, at: &(String, usize)) -> Option<&NotifierState<N>> {
        self.files.get(&at.0)?.notifiers.get(at.1)
    }

    /// Policies and handles of notifiers, with who is next in line.
    fn assemble_notifiers(
        &self,
        owned: &BTreeMap<Name, (String, usize)>,
        problems: &mut Merged,
    ) -> (BTreeMap<Name, Arc<NotifierPolicy>>, BTreeMap<Name, N>) {
        let mut next: BTreeMap<Name, Vec<Name>> = BTreeMap::new();
        for (name, at) in owned {
            let Some(NotifierState { fallback: Some(reference), fresh, span, .. }) = self.notifier(at) else {
                continue;
            };
            if owned.contains_key(reference.name.as_str()) {
                next.insert(name.clone(), vec![Name::new(&reference.name)]);
            } else if let Some(place) = self.place(&at.0, if *fresh { Some(reference.span) } else { *span }) {
                let hint = hint_for("notify", &reference.name, owned.keys().map(Name::as_str));
                let message = format!("there is no notifier `{}`", reference.name);
                problems.error(place, Subject::Notifier(name.to_string()), message).hint(hint);
            }
        }
        for cycle in cycles(&next) {
            let (Some(first), Some(last)) = (cycle.first(), cycle.last()) else { continue };
            next.remove(last);
            let Some(at) = owned.get(last) else { continue };
            let span =
                self.notifier(at).and_then(|n| if n.fresh { n.fallback.as_ref().map(|f| f.span) } else { n.span });
            let Some(place) = self.place(&at.0, span) else { continue };
            let message = format!("`fallback` goes in a circle: {}", circle(&cycle, first));
            let hint = "let the last of them have no `fallback`";
            problems.error(place, Subject::Notifier(last.to_string()), message).hint(hint);
        }
        let mut policies = BTreeMap::new();
        let mut handles = BTreeMap::new();
        for (name, at) in owned {
            let Some((policy, handle)) = self.notifier(at).and_then(|n| n.good.as_ref()) else { continue };
            let fallback = next.get(name).and_then(|n| n.first()).cloned();
            let targets = (self.targets)(handle);
            policies.insert(name.clone(), Arc::new(NotifierPolicy { fallback, targets, ..(**policy).clone() }));
            handles.insert(name.clone(), handle.clone());
        }
        // One that can't be used takes nothing over.
        let good: BTreeSet<Name> = policies.keys().cloned().collect();
        for policy in policies.values_mut() {
            if policy.fallback.as_ref().is_some_and(|name| !good.contains(name)) {
                Arc::make_mut(policy).fallback = None;
            }
        }
        (policies, handles)
    }

    /// The notifiers of a list that can be used; unknown ones are reported, once for each place. What is written
    /// but can't be used was reported where it stands.
    fn resolve(
        &self,
        references: &[Reference],
        names: &Notified<'_>,
        place: Place<'_>,
        fresh: bool,
        subject: &Subject,
        problems: &mut Merged,
    ) -> Vec<Name> {
        let mut found = Vec::new();
        for reference in references {
            if let Some((name, _)) = names.good.get_key_value(reference.name.as_str()) {
                if !found.contains(name) {
                    found.push(name.clone());
                }
            } else if !names.owned.contains_key(reference.name.as_str()) {
                let place = if fresh { Place { span: Some(reference.span), ..place } } else { place };
                let span = problems.span(place);
                if problems.reported.insert((span.file, span.start, reference.name.clone())) {
                    let hint = hint_for("notify", &reference.name, names.owned.keys().map(Name::as_str));
                    let message = format!("there is no notifier `{}`", reference.name);
                    problems.error(place, subject.clone(), message).hint(hint);
                }
            }
        }
        found
    }

    /// The agent's `notify` and `on_result`.
    fn resolve_agent(&self, names: &Notified<'_>, problems: &mut Merged) -> (Vec<Name>, Vec<Name>) {
        let file = self.agent_file.as_ref().and_then(|path| Some((path, self.files.get(path)?)));
        let Some((path, file)) = file else { return Default::default() };
        let place = Place { path, problems: &file.problems, span: None };
        // The references are those of the text as it is only if that text was taken.
        let fresh = !file.broken && !file.subjects.iter().zip(&file.problems.list).any(is_agent_error);
        let found = self.resolve(&self.agent.notify, names, place, fresh, &Subject::Agent, problems);
        if self.agent.notify.is_empty() && !names.owned.is_empty() && !file.broken {
            let span = problems.span(Place { span: self.agent.span.filter(|_| fresh), ..place });
            problems.subjects.push((path.clone(), Subject::Agent));
            problems
                .problems
                .warning(span, "`[agent]` has no `notify`: what the agent finds wrong with itself and its config is told to no one")
                .hint("add `notify = [\"NAME\"]` to `[agent]`");
        }
        (found, self.resolve(&self.agent.on_result, names, place, fresh, &Subject::Agent, problems))
    }
}

fn is_agent_error((subject, problem): (&Subject, &Problem)) -> bool {
    *subject == Subject::Agent && problem.level == Level::Error
}

/// `a → b → a`.
fn circle(cycle: &[Name], first: &Name) -> String {
    let short = |name: &Name| format!("`{}`", name.rsplit('/').next().unwrap_or(name));
    let mut words: Vec<_> = cycle.iter().map(short).collect();
    words.push(short(first));
    words.join(" → ")
}

/// Where a check of the final list stands.
type CheckAt<'a> = (&'a str, usize);

impl<P: Clone, N: Clone> Config<P, N> {
    fn check(&self, at: CheckAt<'_>) -> Option<&CheckState<P>> {
        self.files.get(at.0)?.checks.get(at.1)
    }

    fn assemble_checks(&mut self, names: &Notified<'_>, agent_notify: &[Name], problems: &mut Merged) -> Checks<P> {
        let resolved = self.resolve_checks(names, agent_notify, problems);
        let mut checks =
            Checks { policies: BTreeMap::new(), programs: BTreeMap::new(), file_notify: resolved.file_notify };
        for check in resolved.checks {
            let Some(state) = self.files.get_mut(&check.path).and_then(|file| file.checks.get_mut(check.index)) else {
                continue;
            };
            let Some((draft, program)) = &mut state.good else { continue };
            if draft.policy.notify != check.notify
                || draft.policy.parents != check.parents
                || draft.policy.on_result != check.on_result
            {
                let policy = Arc::make_mut(&mut draft.policy);
                policy.notify = check.notify;
                policy.parents = check.parents;
                policy.on_result = check.on_result;
            }
            checks.policies.insert(state.name.clone(), draft.policy.clone());
            if let Some(program) = program {
                checks.programs.insert(state.name.clone(), program.clone());
            }
        }
        checks
    }

    fn resolve_checks(&self, names: &Notified<'_>, agent_notify: &[Name], problems: &mut Merged) -> Resolved {
        let all = self.files.iter().flat_map(|(path, file)| {
            file.checks.iter().enumerate().map(move |(index, c)| {
                (&c.name, Owner { path, index, has_good: c.good.is_some(), since: c.since, span: c.span })
            })
        });
        let mut owned: BTreeMap<Name, CheckAt<'_>> = BTreeMap::new();
        for (name, owners) in owners(all) {
            let section = owners.first().and_then(|o| self.check((o.path, o.index))).map_or("", |c| c.section.as_str());
            let subject = Subject::Check(section.to_owned(), name.clone());
            if let Some(owner) = self.choose("check", section, &owners, &subject, problems) {
                owned.insert(name.clone(), (owner.path, owner.index));
            }
        }
        let mut file_notify = BTreeMap::new();
        for (path, file) in &self.files {
            let found = self.resolve_default_notify(path, file, names, problems);
            file_notify.insert(path.clone(), found.unwrap_or_else(|| agent_notify.to_vec()));
        }
        let mut checks = Vec::with_capacity(owned.len());
        for (name, at) in &owned {
            let default = file_notify.get(at.0).map(Vec::as_slice).unwrap_or_default();
            checks.extend(self.resolve_check(name, *at, &owned, names, default, problems));
        }
        self.cut_cycles(&mut checks, problems);
        Resolved { checks, file_notify }
    }

    /// Who is told of a file's checks by its defaults, which for flakes stand in the agent's file. `None`: they don't
    /// say, or nobody of those they name is there.
    fn resolve_default_notify(
        &self,
        path: &str,
        file: &FileState<P, N>,
        names: &Notified<'_>,
        problems: &mut Merged,
    ) -> Option<Vec<Name>> {
        let (references, subject, path, file, fresh) = if file.kind == FileKind::Flake {
            let (path, agent) = self.files.get_key_value(self.agent_file.as_ref()?)?;
            let subject = Subject::Defaults("flakes");
            let wrong = |(about, problem): (&Subject, &Problem)| {
                [&Subject::Agent, &subject].contains(&about) && problem.level == Level::Error
            };
            let fresh = !agent.broken && !agent.subjects.iter().zip(&agent.problems.list).any(wrong);
            (&self.agent.flakes.notify, subject, path.as_str(), agent, fresh)
        } else {
            (&file.defaults.notify, Subject::Defaults("defaults"), path, file, file.defaults_fresh)
        };
        let references = references.as_ref()?;
        let place = Place { path, problems: &file.problems, span: None };
        let found = self.resolve(references, names, place, fresh, &subject, problems);
        (references.is_empty() || !found.is_empty()).then_some(found)
    }

    fn resolve_check(
        &self,
        name: &Name,
        at: CheckAt<'_>,
        owned: &BTreeMap<Name, CheckAt<'_>>,
        names: &Notified<'_>,
        default_notify: &[Name],
        problems: &mut Merged,
    ) -> Option<ResolvedCheck> {
        let state = self.check(at)?;
        let (draft, _) = state.good.as_ref()?;
        if !draft.enabled {
            return None;
        }
        let place = self.place(at.0, state.span)?;
        let subject = Subject::Check(state.section.clone(), name.clone());
        if !self.has_source(state, names.sources, place, &subject, problems) {
            return None;
        }
        let notify = match &draft.notify {
            Some(references) => {
                let found = self.resolve(references, names, place, state.fresh, &subject, problems);
                if found.is_empty() && !references.is_empty() { default_notify.to_vec() } else { found }
            }
            None => default_notify.to_vec(),
        };
        let on_result = match &draft.on_result {
            Some(references) => self.resolve(references, names, place, state.fresh, &subject, problems),
            None if draft.policy.lookback.is_some() => names.on_result.clone(),
            None => Vec::new(),
        };
        let mut parents = Vec::new();
        for reference in &draft.parents {
            match self.find_check(&reference.name, at.0, owned) {
                Some((parent, _)) if parent == name => {}
                Some((parent, at)) => {
                    let runs = self.check(at).and_then(|c| c.good.as_ref()).is_some_and(|(draft, _)| draft.enabled);
                    if runs && !parents.contains(parent) {
                        parents.push(parent.clone());
                    }
                }
                None => {
                    let place = if state.fresh { Place { span: Some(reference.span), ..place } } else { place };
                    self.unknown_parent(&reference.name, place, &subject, owned, problems);
                }
            }
        }
        Some(ResolvedCheck { name: name.clone(), path: at.0.to_owned(), index: at.1, notify, on_result, parents })
    }

    /// A check by a short name of the same file, by `FILE/CHECK`, or by its full name.
    fn find_check<'a>(
        &self,
        word: &str,
        path: &str,
        owned: &'a BTreeMap<Name, CheckAt<'a>>,
    ) -> Option<(&'a Name, CheckAt<'a>)> {
        let prefix = file::prefix(&self.agent, path, self.files.get(path)?.kind);
        let agent = &self.agent.policy.name;
        let candidates = [format!("{prefix}{word}"), word.to_owned(), format!("//{agent}/{word}")];
        candidates.iter().find_map(|c| owned.get_key_value(c.as_str()).map(|(name, at)| (name, *at)))
    }

    fn unknown_parent(
        &self,
        word: &str,
        place: Place<'_>,
        subject: &Subject,
        owned: &BTreeMap<Name, CheckAt<'_>>,
        problems: &mut Merged,
    ) {
        let span = problems.span(place);
        if !problems.reported.insert((span.file, span.start, word.to_owned())) {
            return;
        }
        let may_hint = problems.may_hint();
        let problem = problems.error(place, subject.clone(), format!("there is no check `{word}` to be a parent"));
        if may_hint {
            let here = self.files.get(place.path).map(|f| f.checks.as_slice()).unwrap_or_default();
            let sections = here.iter().map(|c| c.section.as_str());
            let near = super::reader::nearest(word, sections)
                .or_else(|| super::reader::nearest(word, owned.keys().map(|name| name.as_str())));
            match near {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem
                    .hint("a check of the same file is `NAME`, of another `FILE/NAME`; `watchbell checks` lists all"),
            };
        }
    }

    /// Parents that go in a circle: the step that closes it is reported and left out.
    fn cut_cycles(&self, checks: &mut [ResolvedCheck], problems: &mut Merged) {
        let edges =
            checks.iter().filter(|c| !c.parents.is_empty()).map(|c| (c.name.clone(), c.parents.clone())).collect();
        for cycle in cycles(&edges) {
            let (Some(first), Some(last)) = (cycle.first(), cycle.last()) else { continue };
            let Ok(index) = checks.binary_search_by(|c| c.name.cmp(last)) else { continue };
            let check = &mut checks[index];
            check.parents.retain(|parent| parent != first);
            let Some(state) = self.check((&check.path, check.index)) else { continue };
            let written = state.good.as_ref().filter(|_| state.fresh).and_then(|(draft, _)| {
                let tail = first.rsplit('/').next().unwrap_or(first);
                draft.parents.iter().find(|r| r.name.ends_with(tail)).map(|r| r.span)
            });
            let Some(place) = self.place(&check.path, written.or(state.span)) else { continue };
            let subject = Subject::Check(state.section.clone(), last.clone());
            problems
                .error(place, subject, format!("`parents` go in a circle: {}", circle(&cycle, first)))
                .hint("a parent is what must work for this check to mean anything; remove one of these steps");
        }
    }

    /// Every error is a fault of its own subject; and files that can't be read at all leave their mark.
    fn add_faults(&self, policy: &mut Policy, file_notify: &BTreeMap<String, Vec<Name>>, problems: &Merged) {
        let mut by_subject: BTreeMap<&(String, Subject), Vec<&Problem>> = BTreeMap::new();
        for (problem, subject) in problems.problems.list.iter().zip(&problems.subjects) {
            if problem.level == Level::Error {
                by_subject.entry(subject).or_default().push(problem);
            }
        }
        let mut faults: BTreeMap<Name, ConfigFault> = BTreeMap::new();
        for ((path, subject), list) in by_subject {
            let Some(file) = self.files.get(path) else { continue };
            let name = self.fault_name(path, file, subject, policy);
            let shown = list.iter().take(FAULT_PROBLEMS_MAX).map(|p| render_one(&problems.problems, p, false));
            let mut detail = shown.collect::<Vec<_>>().join("\n");
            if list.len() > FAULT_PROBLEMS_MAX {
                detail.push_str(&format!("\nand {} more\n", list.len() - FAULT_PROBLEMS_MAX));
            }
            let message = self.fault_message(file, subject, &list, &problems.problems, policy);
            let notify = file_notify.get(path).cloned().unwrap_or_default();
            match faults.get_mut(&name) {
                Some(fault) => {
                    fault.message = format!("{}; {message}", fault.message);
                    fault.detail = format!("{}\n{detail}", fault.detail);
                }
                None => {
                    faults.insert(name.clone(), ConfigFault { name, message, detail, notify });
                }
            }
        }
        policy.faults = faults.into_values().collect();
        for (path, file) in &self.files {
            if file.kind == FileKind::Folder {
                // Any check may stand in it that is not known from elsewhere.
                policy.broken.insert(format!("//{}/", self.agent.policy.name));
            } else if file.broken && file.checks.is_empty() {
                let mut prefix = file::prefix(&self.agent, path, file.kind);
                if file.kind == FileKind::Dwmon {
                    prefix.push_str(file::dwmon_check(path));
                }
                policy.broken.insert(prefix);
            }
            for check in &file.checks {
                let wanted = check.good.as_ref().is_none_or(|(draft, _)| draft.enabled);
                if wanted && !policy.checks.contains_key(&check.name) {
                    policy.broken.insert(check.name.to_string());
                }
            }
        }
    }

    fn fault_name(&self, path: &str, file: &FileState<P, N>, subject: &Subject, policy: &Policy) -> Name {
        let prefix = file::prefix(&self.agent, path, file.kind);
        match subject {
            Subject::File if matches!(file.kind, FileKind::Flake | FileKind::Dwmon) => {
                Name::new(format!("{prefix}{}", path.rsplit('/').next().unwrap_or(path)))
            }
            Subject::File => Name::new(prefix),
            Subject::Agent => Name::new(format!("{prefix}[agent]")),
            Subject::Defaults(table) => Name::new(format!("{prefix}[{table}]")),
            Subject::Notifier(name) => Name::new(format!("{prefix}[notify.{name}]")),
            Subject::Source(name) => Name::new(format!("{prefix}[source.{name}]")),
            Subject::Check(_, name) if policy.checks.contains_key(name) => name.part("config"),
            Subject::Check(_, name) => name.clone(),
        }
    }

    fn fault_message(
        &self,
        file: &FileState<P, N>,
        subject: &Subject,
        list: &[&Problem],
        all: &Problems,
        policy: &Policy,
    ) -> String {
        let Some(first) = list.first() else { return String::new() };
        if file.kind == FileKind::Cimaa && !file.cimaa_agent {
            match subject {
                Subject::File if file.broken => return cimaa::file_fault(&file.absolute),
                Subject::Check(section, name) => {
                    let own = file.checks.iter().find(|c| c.name == *name).and_then(|c| c.reason.clone());
                    let reason = own.unwrap_or_else(|| first.message.clone());
                    return cimaa::check_fault(&file.absolute, section, &reason);
                }
                _ => {}
            }
        }
        let mut message = summary_line(all, first);
        if list.len() > 1 {
            message.push_str(&format!(" (and {} more)", list.len() - 1));
        }
        message.push_str(consequence(file, subject, policy));
        message
    }
}

/// What an error means for what runs, as the end of a fault's message.
fn consequence<P, N>(file: &FileState<P, N>, subject: &Subject, policy: &Policy) -> &'static str {
    match subject {
        Subject::File if file.kind == FileKind::Folder => "; what its files said before goes on",
        Subject::File
            if file.broken && file.checks.is_empty() && file.notifiers.is_empty() && file.sources.is_empty() =>
        {
            "; nothing of this file is used"
        }
        Subject::File if file.broken => "; what the file said before goes on",
        Subject::Check(_, name) => match file.checks.iter().find(|c| c.name == *name) {
            Some(check) if check.good.is_none() || !policy.checks.contains_key(name) => "; the check does not run",
            Some(check) if !check.fresh => "; the check runs as it was before",
            _ => "",
        },
        Subject::Notifier(name) => match file.notifiers.iter().find(|n| *n.name == **name) {
            Some(notifier) if notifier.good.is_none() => "; nobody is told by it",
            Some(notifier) if !notifier.fresh => "; it tells as it did before",
            _ => "",
        },
        Subject::Source(name) => match file.sources.iter().find(|s| *s.name == **name) {
            Some(source) if source.good.is_none() => "; no query can be asked there",
            Some(source) if !source.fresh => "; it is asked as it was before",
            _ => "",
        },
        _ => "",
    }
}

/// All checks with the names they refer to, in the order of their own names.
struct Resolved {
    checks: Vec<ResolvedCheck>,
    file_notify: BTreeMap<String, Vec<Name>>,
}

struct ResolvedCheck {
    name: Name,
    path: String,
    index: usize,
    notify: Vec<Name>,
    on_result: Vec<Name>,
    parents: Vec<Name>,
}

#[cfg(test)]
mod tests;
