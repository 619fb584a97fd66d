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

mod checks;
mod faults;
mod merged;
mod names;

use super::{
    AgentPolicy, Kinds, Level, Policy, Problem, Problems,
    agent::{self, AgentSettings, AgentState, Defaults, LoadOptions},
    check::{self, CheckContext},
    file::{self, FileContext, FileKind, FileState, InputFile, Parsed},
    formats::cimaa,
    guard::guarded,
    keys::NOT_FLAKES,
    tree::{Entry, FileId, Span, Table, Value},
};
use crate::model::Name;
use merged::Merged;
use names::Notified;
use std::collections::BTreeMap;

/// A fault's detail shows at most so many problems.
pub const FAULT_PROBLEMS_MAX: usize = 20;

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
    /// CIMAA's agent file where there is a `watchbell.toml` too, which adds to it.
    agent_beside: Option<String>,
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
            agent_beside: None,
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
            parsed.insert(input.path.clone(), self.parse(input));
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
    fn update_agent(&mut self, inputs: &[InputFile], parsed: &mut BTreeMap<String, Parsed>) -> AgentProblems {
        let (path, beside) = self.find_agent_files(inputs, parsed);
        let moved = (&path, &beside) != (&self.agent_file, &self.agent_beside);
        let before = self.agent.clone();
        let mut problems = AgentProblems::default();
        let find = |path: &Option<String>| inputs.iter().find(|input| Some(&input.path) == path.as_ref());
        if let Some(main) = find(&path) {
            let files: Vec<&InputFile> = [Some(main), find(&beside)].into_iter().flatten().collect();
            if moved || files.iter().any(|input| parsed.contains_key(&input.path)) {
                self.agent_good &= !moved;
                let text = |input: &&InputFile| parsed.remove(&input.path).unwrap_or_else(|| self.parse(input));
                let mut texts: Vec<Parsed> = files.iter().map(text).collect();
                if let [text, beside @ ..] = texts.as_mut_slice() {
                    let read = guarded(|| self.read_agent(text, beside.first()));
                    if read.is_none() {
                        *text = file::unreadable(main);
                    }
                    problems = self.take_agent(read.unwrap_or_default());
                }
                parsed.extend(files.iter().map(|input| input.path.clone()).zip(texts));
            }
        } else {
            self.agent = AgentState::new(&self.options);
            self.agent_good = false;
        }
        (self.agent_file, self.agent_beside) = (path, beside);
        if moved || !self.agent.same_for_checks(&before) {
            for input in inputs {
                parsed.entry(input.path.clone()).or_insert_with(|| self.parse(input));
            }
        }
        problems
    }

    fn parse(&self, input: &InputFile) -> Parsed {
        guarded(|| file::parse(input, &self.options)).unwrap_or_else(|| file::unreadable(input))
    }

    /// `watchbell.toml`, and the first of CIMAA's agent files beside it; or that alone.
    fn find_agent_files(
        &self,
        inputs: &[InputFile],
        parsed: &BTreeMap<String, Parsed>,
    ) -> (Option<String>, Option<String>) {
        let is_cimaa_agent = |path: &str| match parsed.get(path) {
            // What it is can't be seen while it can't be read: it is what it was.
            Some(parsed) if parsed.tree.is_some() => parsed.cimaa_agent,
            _ => self.files.get(path).is_some_and(|file| file.cimaa_agent),
        };
        let mut paths: Vec<&str> = inputs.iter().map(|input| input.path.as_str()).collect();
        paths.sort_unstable();
        let native =
            paths.iter().find(|path| FileKind::of(path) == Some(FileKind::Agent)).map(|path| (*path).to_owned());
        let cimaa = paths.iter().find(|path| is_cimaa_agent(path)).map(|path| (*path).to_owned());
        if native.is_some() { (native, cimaa) } else { (cimaa, None) }
    }

    /// The agent as its files have it, unless they can't be read, and problems with `[agent]`.
    fn read_agent(&self, parsed: &Parsed, beside: Option<&Parsed>) -> AgentRead {
        let Some(tree) = &parsed.tree else { return AgentRead::default() };
        // What it said goes on, if it ever said something.
        if beside.is_some_and(|beside| beside.tree.is_none()) && self.agent_good {
            return AgentRead::default();
        }
        let mut problems = Problems::none_of(parsed.problems.files.clone());
        let other = beside.and_then(|beside| {
            let file = beside.problems.files.first()?;
            let id = problems.add_file(&file.path, &file.text);
            Some(agent_table(beside.tree.as_ref()?)?.clone().in_file(id))
        });
        let old = parsed.kind == FileKind::Cimaa || other.is_some();
        let entry = tree.get("agent").map(|entry| &entry.value);
        if let Some(node) = entry.filter(|node| !matches!(node.value, Value::Table(_))) {
            let message = format!("`agent` must be a table, this is {}", node.value.type_name());
            problems.error(node.span, message).hint("write `[agent]` and its keys below");
        }
        let table = match (agent_table(tree).cloned(), other) {
            (Some(table), Some(other)) => Some(table.with(other, cimaa::LISTS)),
            (table, other) => table.or(other),
        };
        let mut state = match table {
            None => AgentState::new(&self.options),
            Some(table) => agent::read(&table, old, &self.options, &mut problems),
        };
        // Where a file can't be read, nobody knows whether it has tokens.
        let unseen = |text: &Parsed| text.tree.as_ref().is_none_or(|tree| agent::strays(tree) || no_table(tree));
        state.settings.token_wanted |= unseen(parsed) || beside.is_some_and(unseen);
        state.flakes = match tree.get("flakes") {
            Some(entry) => {
                self.read_flakes(entry, &state, &parsed.problems).unwrap_or_else(|| self.agent.flakes.clone())
            }
            None => Defaults::default(),
        };
        let is_wrong = |text: &Parsed| text.kind == FileKind::Cimaa && text.problems.errors() > 0;
        let untranslated = is_wrong(parsed) || beside.is_some_and(is_wrong);
        let folders = parsed.cimaa_conf.iter().chain(beside.iter().flat_map(|beside| &beside.cimaa_conf));
        state.settings.conf.extend(folders.map(|path| agent::join(&self.options.root, path)));
        let (main, beside) = problems.take_since(0).into_iter().partition(|p| p.span.file == FileId(0));
        (Some(state), AgentProblems { main, beside: in_first_file(beside), untranslated })
    }

    /// With errors the agent stays what it was; at start what is right counts.
    fn take_agent(&mut self, (state, problems): AgentRead) -> AgentProblems {
        let well =
            !problems.untranslated && problems.main.iter().chain(&problems.beside).all(|p| p.level != Level::Error);
        match state {
            Some(state) if !self.agent_good || well => {
                self.agent = state;
                self.agent_good = true;
            }
            None if !self.agent_good => {
                self.agent = AgentState::new(&self.options);
                // It may have tokens, for all that can be seen of it.
                self.agent.settings.token_wanted = true;
            }
            // The tokens of before still do, if there were any.
            Some(state) => self.agent.settings.token_wanted |= state.settings.token_wanted,
            None => {}
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
        agent_problems: &mut AgentProblems,
    ) -> FileState<P, N> {
        let is = |path: &Option<String>| path.as_deref() == Some(input.path.as_str());
        let (main, beside) = (is(&self.agent_file), is(&self.agent_beside));
        let cx = FileContext {
            kinds: self.kinds,
            agent: &self.agent,
            root: &self.options.root,
            speaks_for_agent: main || beside,
            agent_problems: match (main, beside) {
                (true, _) => std::mem::take(&mut agent_problems.main),
                (_, true) => std::mem::take(&mut agent_problems.beside),
                _ => Vec::new(),
            },
            generation: self.generation,
        };
        // Reading may take parts of what was there before, and then stop half-way.
        let kept = last.clone();
        guarded(|| file::interpret(cx.clone(), input, parsed, last))
            .unwrap_or_else(|| file::interpret(cx, input, file::unreadable(input), kept))
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
            agent: AgentPolicy {
                notify: agent_notify.clone(),
                zone: self.agent.settings.zone.clone(),
                ..self.agent.policy.clone()
            },
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

/// What is wrong with `[agent]`, in each of the files that speak of it.
#[derive(Default)]
struct AgentProblems {
    main: Vec<Problem>,
    beside: Vec<Problem>,
    /// Something was wrong with it before it was translated, which was reported with the file.
    untranslated: bool,
}

/// The agent, if it could be read, and what is wrong with it.
type AgentRead = (Option<AgentState>, AgentProblems);

fn agent_table(tree: &Table) -> Option<&Table> {
    match &tree.get("agent")?.value.value {
        Value::Table(table) => Some(table),
        _ => None,
    }
}

/// Whether `agent` is something else than a table.
fn no_table(tree: &Table) -> bool {
    tree.get("agent").is_some() && agent_table(tree).is_none()
}

/// Problems of the second of two files as those of a file that is read alone.
fn in_first_file(problems: Vec<Problem>) -> Vec<Problem> {
    let first = |span: Span| Span { file: FileId(0), ..span };
    let alone = |mut problem: Problem| {
        problem.related =
            problem.related.filter(|(span, _)| span.file == problem.span.file).map(|(s, text)| (first(s), text));
        problem.span = first(problem.span);
        problem
    };
    problems.into_iter().map(alone).collect()
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

#[cfg(test)]
mod tests;
