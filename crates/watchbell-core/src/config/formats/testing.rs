//! What the tests of the formats share: trees and problems as one text each.

use crate::config::{
    Problems, Secret,
    tree::{FileId, Value},
};

/// Problems with one file in them.
pub(super) fn file(path: &str, text: &str) -> (FileId, Problems) {
    let mut problems = Problems::default();
    let file = problems.add_file(path, text);
    (file, problems)
}

/// A value in one line: `{check: {a: {command: "x", shell: true}}}`. Secrets are shown, behind a `*`.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Table(table) => {
            let entries: Vec<_> =
                table.entries.iter().map(|e| format!("{}: {}", e.key, shown(&e.value.value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Array(nodes) => {
            let nodes: Vec<_> = nodes.iter().map(|node| shown(&node.value)).collect();
            format!("[{}]", nodes.join(", "))
        }
        Value::Secret(Secret::Value(text)) => format!("*{text:?}"),
        other => other.to_string(),
    }
}

/// Problems, one line each: `LINE:COLUMN "what the span covers" error: message; hint: …; see LINE:COLUMN label`.
pub(super) fn told(problems: &Problems) -> String {
    let mut lines = Vec::new();
    for problem in &problems.list {
        let (line, column) = problems.position(problem.span);
        let text = &problems.files[problem.span.file.0 as usize].text;
        let covered = &text[problem.span.start..problem.span.end];
        let level = format!("{:?}", problem.level).to_lowercase();
        let mut shown = format!("{line}:{column} {covered:?} {level}: {}", problem.message);
        if let Some(hint) = &problem.hint {
            shown.push_str(&format!("; hint: {hint}"));
        }
        if let Some((span, label)) = &problem.related {
            let (line, column) = problems.position(*span);
            shown.push_str(&format!("; see {line}:{column} {label}"));
        }
        lines.push(shown);
    }
    lines.join("\n")
}
