//! Names of notifiers and sources: which of several with one name counts, who is next in line, and who is meant.

use super::{
    super::{
        Level, NotifierPolicy, Problem, SourcePolicy,
        file::{CheckState, NotifierState, SourceState, Subject},
        refs::{Reference, cycles},
        tree::{FileId, Span},
    },
    Config,
    merged::{Merged, Place},
};
use crate::model::Name;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Where a thing with a name stands.
#[derive(Clone, Copy)]
pub(super) struct Owner<'a> {
    pub(super) path: &'a str,
    pub(super) index: usize,
    pub(super) has_good: bool,
    pub(super) since: u64,
    pub(super) span: Option<Span>,
}

/// Groups things by name; the one that is used comes first.
pub(super) fn owners<'a>(all: impl Iterator<Item = (&'a Name, Owner<'a>)>) -> BTreeMap<&'a Name, Vec<Owner<'a>>> {
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
pub(super) struct Notified<'a> {
    pub(super) owned: &'a BTreeMap<Name, (String, usize)>,
    pub(super) good: &'a BTreeMap<Name, Arc<NotifierPolicy>>,
    pub(super) sources: &'a Sources,
    /// Who gets every result of look-backs that name no one.
    pub(super) on_result: Vec<Name>,
}

/// All sources that are written, each with its policy if it can be used.
pub(super) type Sources = BTreeMap<Name, Option<Arc<SourcePolicy>>>;

impl<P: Clone, N: Clone> Config<P, N> {
    pub(super) fn place<'a>(&'a self, path: &'a str, span: Option<Span>) -> Option<Place<'a>> {
        self.files.get(path).map(|file| Place { path, problems: &file.problems, span })
    }

    /// Which of several things with one name is used; all others are reported.
    pub(super) fn choose<'a>(
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
    pub(super) fn notifier_owners(&self, problems: &mut Merged) -> BTreeMap<Name, (String, usize)> {
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

    pub(super) fn assemble_sources(&self, problems: &mut Merged) -> Sources {
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
    pub(super) fn has_source(
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
                let hint = problems.hint_for("source", &lookback.source, sources.keys().map(Name::as_str));
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
    pub(super) fn assemble_notifiers(
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
                let hint = problems.hint_for("notify", &reference.name, owned.keys().map(Name::as_str));
                let message = format!("there is no notifier `{}`", reference.name);
                problems.error(place, Subject::Notifier(name.to_string()), message).hint(hint);
            }
        }
        for cycle in cycles(&next) {
            let last = &cycle.last;
            next.remove(last);
            let Some(at) = owned.get(last) else { continue };
            let span =
                self.notifier(at).and_then(|n| if n.fresh { n.fallback.as_ref().map(|f| f.span) } else { n.span });
            let Some(place) = self.place(&at.0, span) else { continue };
            let message = format!("`fallback` goes in a circle: {}", cycle.shown);
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
    pub(super) fn resolve(
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
                    let hint = problems.hint_for("notify", &reference.name, names.owned.keys().map(Name::as_str));
                    let message = format!("there is no notifier `{}`", reference.name);
                    problems.error(place, subject.clone(), message).hint(hint);
                }
            }
        }
        found
    }

    /// The agent's `notify` and `on_result`.
    pub(super) fn resolve_agent(&self, names: &Notified<'_>, problems: &mut Merged) -> (Vec<Name>, Vec<Name>) {
        let Some((place, fresh)) = self.agent_place(self.agent_file.as_ref()) else { return Default::default() };
        let broken = self.files.get(place.path).is_none_or(|file| file.broken);
        if self.agent.notify.is_empty() && !names.owned.is_empty() && !broken {
            let span = problems.span(Place { span: self.agent.span.filter(|_| fresh), ..place });
            problems.subjects.push((place.path.to_owned(), Subject::Agent));
            problems
                .problems
                .warning(span, "`[agent]` has no `notify`: what the agent finds wrong with itself and its config is told to no one")
                .hint("add `notify = [\"NAME\"]` to `[agent]`");
        }
        let mut resolve = |references: &[Reference]| {
            let (main, beside): (Vec<_>, Vec<_>) = references.iter().cloned().partition(|r| r.span.file == FileId(0));
            let mut found = self.resolve(&main, names, place, fresh, &Subject::Agent, problems);
            if let Some((place, fresh)) = self.agent_place(self.agent_beside.as_ref()) {
                let more = self.resolve(&beside, names, place, fresh, &Subject::Agent, problems);
                found.extend(more.into_iter().filter(|name| !found.contains(name)).collect::<Vec<_>>());
            }
            found
        };
        (resolve(&self.agent.notify), resolve(&self.agent.on_result))
    }

    /// A file that speaks for the agent, and whether the agent's references are those of its text as it is.
    fn agent_place<'a>(&'a self, path: Option<&'a String>) -> Option<(Place<'a>, bool)> {
        let (path, file) = (path?, self.files.get(path?)?);
        let fresh = !file.broken && !file.subjects.iter().zip(&file.problems.list).any(is_agent_error);
        Some((Place { path, problems: &file.problems, span: None }, fresh))
    }
}

fn is_agent_error((subject, problem): (&Subject, &Problem)) -> bool {
    *subject == Subject::Agent && problem.level == Level::Error
}
