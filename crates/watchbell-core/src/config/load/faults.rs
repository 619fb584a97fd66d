//! What is wrong with the config, as faults: of which name, told how, and what it means for what runs.

use super::{
    super::{
        ConfigFault, Level, Policy, Problem, Problems,
        file::{self, CheckState, FileKind, FileState, NotifierState, SourceState, Subject},
        formats::cimaa,
        render::{Shown, summary_line},
    },
    Config, FAULT_PROBLEMS_MAX,
    merged::Merged,
};
use crate::{model::Name, wire::text::DETAIL_CHARS_MAX};
use std::collections::BTreeMap;

/// No fault of the config has a longer name, in bytes.
pub(super) const FAULT_NAME_MAX: usize = 1000;

impl<P: Clone, N: Clone> Config<P, N> {
    /// Every error is a fault of its own subject; and files that can't be read at all leave their mark.
    pub(super) fn add_faults(&self, policy: &mut Policy, file_notify: &BTreeMap<String, Vec<Name>>, problems: &Merged) {
        let mut by_subject: BTreeMap<&(String, Subject), Vec<&Problem>> = BTreeMap::new();
        for (problem, subject) in problems.problems.list.iter().zip(&problems.subjects) {
            if problem.level == Level::Error {
                by_subject.entry(subject).or_default().push(problem);
            }
        }
        let mut faults: BTreeMap<Name, ConfigFault> = BTreeMap::new();
        let shown_of_all = Shown::of(&problems.problems);
        let mut things = Things::default();
        for ((path, subject), list) in by_subject {
            let Some(file) = self.files.get(path) else { continue };
            if things.path != Some(path) {
                things = Things::of(path, file);
            }
            let name = self.fault_name(path, file, subject, policy);
            let shown = list.iter().take(FAULT_PROBLEMS_MAX).map(|p| shown_of_all.render_one(p, false));
            let mut detail = shown.collect::<Vec<_>>().join("\n");
            if list.len() > FAULT_PROBLEMS_MAX {
                detail.push_str(&format!("\nand {} more\n", list.len() - FAULT_PROBLEMS_MAX));
            }
            let message = self.fault_message(file, &things, subject, &list, &problems.problems, policy);
            let notify = file_notify.get(path).cloned().unwrap_or_default();
            match faults.get_mut(&name) {
                Some(fault) if fault.detail.len() > DETAIL_CHARS_MAX => {}
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
        let named = match subject {
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
        };
        // What is wrong with a name that is far too long is not told under it.
        if named.len() > FAULT_NAME_MAX { Name::new(file::prefix(&self.agent, path, file.kind)) } else { named }
    }

    fn fault_message(
        &self,
        file: &FileState<P, N>,
        things: &Things<'_, P, N>,
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
                    let own = things.checks.get(name.as_str()).and_then(|c| c.reason.clone());
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
        message.push_str(consequence(file, things, subject, policy));
        message
    }
}

/// What stands in one file, by name: thousands of them may be wrong.
struct Things<'a, P, N> {
    path: Option<&'a str>,
    checks: BTreeMap<&'a str, &'a CheckState<P>>,
    notifiers: BTreeMap<&'a str, &'a NotifierState<N>>,
    sources: BTreeMap<&'a str, &'a SourceState>,
}

impl<P, N> Default for Things<'_, P, N> {
    fn default() -> Self {
        Things { path: None, checks: BTreeMap::new(), notifiers: BTreeMap::new(), sources: BTreeMap::new() }
    }
}

impl<'a, P, N> Things<'a, P, N> {
    /// Of several with one name the first.
    fn of(path: &'a str, file: &'a FileState<P, N>) -> Things<'a, P, N> {
        Things {
            path: Some(path),
            checks: file.checks.iter().rev().map(|c| (c.name.as_str(), c)).collect(),
            notifiers: file.notifiers.iter().rev().map(|n| (n.name.as_str(), n)).collect(),
            sources: file.sources.iter().rev().map(|s| (s.name.as_str(), s)).collect(),
        }
    }
}

/// What an error means for what runs, as the end of a fault's message.
fn consequence<P, N>(
    file: &FileState<P, N>,
    things: &Things<'_, P, N>,
    subject: &Subject,
    policy: &Policy,
) -> &'static str {
    match subject {
        Subject::File if file.kind == FileKind::Folder => "; what its files said before goes on",
        Subject::File
            if file.broken && file.checks.is_empty() && file.notifiers.is_empty() && file.sources.is_empty() =>
        {
            "; nothing of this file is used"
        }
        Subject::File if file.broken => "; what the file said before goes on",
        Subject::Check(_, name) => match things.checks.get(name.as_str()) {
            Some(check) if check.good.is_none() || !policy.checks.contains_key(name) => "; the check does not run",
            Some(check) if !check.fresh => "; the check runs as it was before",
            _ => "",
        },
        Subject::Notifier(name) => match things.notifiers.get(name.as_str()) {
            Some(notifier) if notifier.good.is_none() => "; nobody is told by it",
            Some(notifier) if !notifier.fresh => "; it tells as it did before",
            _ => "",
        },
        Subject::Source(name) => match things.sources.get(name.as_str()) {
            Some(source) if source.good.is_none() => "; no query can be asked there",
            Some(source) if !source.fresh => "; it is asked as it was before",
            _ => "",
        },
        _ => "",
    }
}
