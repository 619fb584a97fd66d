//! The checks of all files: which of several with one name counts, who is told, what depends on what.

use super::{
    super::{
        CheckPolicy, Level, Problem,
        file::{self, CheckState, FileKind, FileState, Subject},
        reader::nearest,
        refs::cycles,
    },
    Config,
    merged::{Merged, Place},
    names::{Notified, Owner, owners},
};
use crate::model::Name;
use std::{collections::BTreeMap, sync::Arc};

/// What all checks come to.
pub(super) struct Checks<P> {
    pub(super) policies: BTreeMap<Name, Arc<CheckPolicy>>,
    pub(super) programs: BTreeMap<Name, P>,
    /// Who is told where a check of a file names no one.
    pub(super) file_notify: BTreeMap<String, Vec<Name>>,
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

/// Where a check of the final list stands.
type CheckAt<'a> = (&'a str, usize);

impl<P: Clone, N: Clone> Config<P, N> {
    fn check(&self, at: CheckAt<'_>) -> Option<&CheckState<P>> {
        self.files.get(at.0)?.checks.get(at.1)
    }

    pub(super) fn assemble_checks(
        &mut self,
        names: &Notified<'_>,
        agent_notify: &[Name],
        problems: &mut Merged,
    ) -> Checks<P> {
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
            None if draft.policy.counts().is_some() => names.on_result.clone(),
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
            let near = nearest(word, sections).or_else(|| nearest(word, owned.keys().map(|name| name.as_str())));
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
            let (first, last) = (&cycle.first, &cycle.last);
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
                .error(place, subject, format!("`parents` go in a circle: {}", cycle.shown))
                .hint("a parent is what must work for this check to mean anything; remove one of these steps");
        }
    }
}
