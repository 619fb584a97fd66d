//! Names in the config that mean something defined elsewhere: who is told, what a check stands on. They are
//! kept with their places while a file is read, and resolved once all files are known.

use super::{Reader, reader::nearest, tree::Span};
use crate::model::Name;
use std::collections::BTreeMap;

/// A key lists at most so many names.
pub(super) const REFERENCES_MAX: usize = 1000;

/// A name that was written, and where.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Reference {
    pub(super) name: String,
    pub(super) span: Span,
}

/// The names that a key lists.
pub(super) fn references(reader: &mut Reader<'_>, key: &str) -> Option<Vec<Reference>> {
    let nodes = reader.string_nodes(key)?;
    if nodes.len() > REFERENCES_MAX {
        reader.error(key, format!("`{key}` names {} things, more than {REFERENCES_MAX}", nodes.len()));
        return None;
    }
    Some(nodes.into_iter().map(|(name, node)| Reference { name, span: node.span }).collect())
}

/// The one name that a key gives.
pub(super) fn reference(reader: &mut Reader<'_>, key: &str) -> Option<Reference> {
    let name = reader.string(key)?;
    Some(Reference { name, span: reader.span(key) })
}

/// "did you mean …", or which notifiers or sources there are; `table` is `notify` or `source`.
pub(super) fn hint_for<'n>(table: &str, word: &str, names: impl Iterator<Item = &'n str> + Clone) -> String {
    if let Some(near) = nearest(word, names.clone()) {
        return format!("did you mean `{near}`?");
    }
    let mut some: Vec<_> = names.take(NAMES_SHOWN_MAX + 1).map(|n| format!("`{n}`")).collect();
    match some.len() {
        0 => format!("there is none yet: add `[{table}.{word}]`"),
        n if n > NAMES_SHOWN_MAX => {
            some.truncate(NAMES_SHOWN_MAX);
            format!("there are {} and more", some.join(", "))
        }
        1 => format!("there is {}", some[0]),
        _ => format!("there are {}", some.join(", ")),
    }
}

/// A hint lists at most so many names.
const NAMES_SHOWN_MAX: usize = 8;

/// A way round. It is cut where it closes: what remains without the step from `last` to `first` has none.
#[derive(Debug)]
pub(super) struct Cycle {
    pub(super) first: Name,
    pub(super) last: Name,
    /// `a → b → … → a`, by the last parts of their names.
    pub(super) shown: String,
}

/// How far a node of the graph is looked into.
#[derive(Clone, Copy)]
enum Seen {
    /// It stands on the path at hand, so far from its start.
    OnPath(usize),
    Done,
}

/// Every way round.
pub(super) fn cycles(edges: &BTreeMap<Name, Vec<Name>>) -> Vec<Cycle> {
    let mut seen: BTreeMap<&Name, Seen> = BTreeMap::new();
    let mut found = Vec::new();
    for start in edges.keys() {
        if seen.contains_key(start) {
            continue;
        }
        // A path of (node, next edge to follow); a stack of its own, since a chain may be thousands long.
        let mut path: Vec<(&Name, usize)> = vec![(start, 0)];
        seen.insert(start, Seen::OnPath(0));
        while let Some((node, next)) = path.last_mut() {
            let node = *node;
            let Some(target) = edges.get(node).and_then(|targets| targets.get(*next)) else {
                seen.insert(node, Seen::Done);
                path.pop();
                continue;
            };
            *next += 1;
            match seen.get(target) {
                Some(Seen::Done) => {}
                Some(Seen::OnPath(from)) => found.push(Cycle {
                    first: target.clone(),
                    last: node.clone(),
                    shown: circle(path[*from..].iter().map(|(name, _)| *name), path.len() - from),
                }),
                None => {
                    seen.insert(target, Seen::OnPath(path.len()));
                    path.push((target, 0));
                }
            }
        }
    }
    found
}

/// `a → b → a`; of a long one both ends.
fn circle<'n>(names: impl Iterator<Item = &'n Name> + Clone, len: usize) -> String {
    let short = |name: &Name| format!("`{}`", name.rsplit('/').next().unwrap_or(name));
    let mut words: Vec<_> = names.clone().take(NAMES_SHOWN_MAX).map(short).collect();
    if len > NAMES_SHOWN_MAX {
        words.push(format!("{} more", len - NAMES_SHOWN_MAX));
    }
    words.extend(names.take(1).map(short));
    words.join(" → ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(text: &str) -> BTreeMap<Name, Vec<Name>> {
        let mut map: BTreeMap<Name, Vec<Name>> = BTreeMap::new();
        for edge in text.split_whitespace() {
            let (from, to) = edge.split_once('>').unwrap();
            map.entry(from.into()).or_default().push(to.into());
        }
        map
    }

    #[test]
    fn cycles_are_found_and_chains_are_not() {
        for (text, expect) in [
            ("a>b b>c", ""),
            ("a>b b>a", "a→b→a"),
            ("a>a", "a→a"),
            ("a>b a>c b>d c>d", ""),
            ("a>b b>c c>b", "b→c→b"),
            ("a>b b>a c>d d>c", "a→b→a c→d→c"),
        ] {
            let found: Vec<_> = cycles(&edges(text)).into_iter().map(|c| c.shown.replace(['`', ' '], "")).collect();
            assert_eq!(found.join(" "), expect, "{text}");
        }
    }

    #[test]
    fn a_long_chain_does_not_overflow() {
        let chain: String = (0..20_000).map(|i| format!("{i:06}>{:06} ", i + 1)).collect();
        assert!(cycles(&edges(&chain)).is_empty());
        // Every step leads back to the first too: as many circles, each shown by its ends.
        let back: String = (1..20_000).map(|i| format!("{i:06}>000000 ")).collect();
        let found = cycles(&edges(&(chain + &back)));
        assert_eq!(found.len(), 19_999);
        assert!(found.iter().all(|cycle| cycle.shown.len() < 200), "{:?}", found.last());
    }

    #[test]
    fn hints() {
        let names = ["ops", "pager"];
        assert_eq!(hint_for("notify", "opps", names.into_iter()), "did you mean `ops`?");
        assert_eq!(hint_for("notify", "mail", names.into_iter()), "there are `ops`, `pager`");
        assert_eq!(hint_for("notify", "mail", [].into_iter()), "there is none yet: add `[notify.mail]`");
    }
}
