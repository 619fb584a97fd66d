//! The problems of all files in one list.

use super::super::{
    Level, Problem, Problems,
    file::Subject,
    problem::FILE_PROBLEMS_MAX,
    refs::hint_for,
    tree::{FileId, Span},
};
use std::collections::{BTreeMap, BTreeSet};

/// For at most so many unknown names the nearest known one is looked for: each costs a walk over all names.
const HINTS_MAX: usize = 50;

/// The problems of all files in one list, each with what it is about.
#[derive(Default)]
pub(super) struct Merged {
    pub(super) problems: Problems,
    pub(super) subjects: Vec<(String, Subject)>,
    ids: BTreeMap<String, FileId>,
    /// Unknown names that were reported, by place: a file's defaults are used by each of its checks.
    pub(super) reported: BTreeSet<(FileId, usize, String)>,
    hints: usize,
}

impl Merged {
    pub(super) fn take(&mut self, path: &str, problems: &Problems, subjects: &[Subject]) {
        let mut known: BTreeSet<&Subject> = BTreeSet::new();
        let mut left_out: Vec<(&Problem, &Subject)> = Vec::new();
        for (at, (problem, subject)) in problems.list.iter().zip(subjects).enumerate() {
            let first = problem.level == Level::Error && known.insert(subject);
            let file = self.file(path, problems);
            if at >= FILE_PROBLEMS_MAX && !first {
                if problem.masked {
                    self.problems.masked.insert((file, problem.span.start));
                }
                left_out.push((problem, subject));
                continue;
            }
            let mut problem = problem.clone();
            problem.span.file = file;
            if let Some((span, _)) = &mut problem.related {
                span.file = file;
            }
            self.problems.add(problem);
            self.subjects.push((path.to_owned(), subject.clone()));
        }
        self.count_the_rest(path, problems, &left_out);
    }

    /// One problem that stands for all that are not told.
    fn count_the_rest(&mut self, path: &str, problems: &Problems, left_out: &[(&Problem, &Subject)]) {
        let Some((worst, subject)) = left_out.iter().max_by_key(|(problem, _)| problem.level) else { return };
        let span = Span { file: self.file(path, problems), ..worst.span };
        let errors = left_out.iter().filter(|(problem, _)| problem.level == Level::Error).count();
        let message = match (errors, left_out.len() - errors) {
            (0, warnings) => format!("this file has {warnings} more warnings, which are not listed"),
            (errors, warnings) => {
                format!("this file has {errors} more errors and {warnings} more warnings, which are not listed")
            }
        };
        self.subjects.push((path.to_owned(), (*subject).clone()));
        let problem = match worst.level {
            Level::Error => self.problems.error(span, message),
            Level::Warning => self.problems.warning(span, message),
        };
        problem.hint("mend those that are listed first");
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
    pub(super) fn error(&mut self, place: Place<'_>, subject: Subject, message: String) -> &mut Problem {
        let span = self.span(place);
        self.subjects.push((place.path.to_owned(), subject));
        self.problems.error(span, message)
    }

    pub(super) fn span(&mut self, place: Place<'_>) -> Span {
        let file = self.file(place.path, place.problems);
        Span { file, ..place.span.unwrap_or_default() }
    }

    /// What to do about a name that is unknown.
    pub(super) fn hint_for<'n>(
        &mut self,
        table: &str,
        word: &str,
        names: impl Iterator<Item = &'n str> + Clone,
    ) -> String {
        if self.may_hint() { hint_for(table, word, names) } else { format!("add `[{table}.{word}]`, or name another") }
    }

    /// Whether a hint may still be looked for.
    pub(super) fn may_hint(&mut self) -> bool {
        self.hints += 1;
        self.hints <= HINTS_MAX
    }

    /// In the order of files and places.
    pub(super) fn sorted(self) -> Problems {
        let mut problems = self.problems;
        let files = &problems.files;
        let path = |file: FileId| files.get(file.0 as usize).map(|f| f.path.as_str());
        problems.list.sort_by(|a, b| {
            (path(a.span.file), a.span.start).cmp(&(path(b.span.file), b.span.start)).then(b.level.cmp(&a.level))
        });
        problems
    }
}

/// A place in one of the files.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) path: &'a str,
    pub(super) problems: &'a Problems,
    pub(super) span: Option<Span>,
}
