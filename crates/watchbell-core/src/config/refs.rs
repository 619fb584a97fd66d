//! Names in the config that mean something defined elsewhere: who is told, what a check stands on. They are
//! kept with their places while a file is read, and resolved once all files are known.

use super::{Reader, reader::nearest, tree::Span};
use crate::model::Name;
use std::collections::BTreeMap;

/// A name that was written, and where.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Reference {
    pub(super) name: String,
    pub(super) span: Span,
}

/// The names that a key lists.
pub(super) fn references(reader: &mut Reader<'_>, key: &str) -> Option<Vec<Reference>> {
    let nodes = reader.string_nodes(key)?;
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

/// Every way round: each is the nodes of one cycle, the last of which points back to the first. Every cycle
/// is cut where it closes, so that what remains without those last steps has none.
pub(super) fn cycles(edges: &BTreeMap<Name, Vec<Name>>) -> Vec<Vec<Name>> {
    let mut done: BTreeMap<&Name, bool> = BTreeMap::new();
    let mut found = Vec::new();
    for start in edges.keys() {
        if done.contains_key(start) {
            continue;
        }
        // A path of (node, next edge to follow); a stack of its own, since a chain may be thousands long.
        let mut path: Vec<(&Name, usize)> = vec![(start, 0)];
        done.insert(start, false);
        while let Some((node, next)) = path.last_mut() {
            let node = *node;
            let Some(target) = edges.get(node).and_then(|targets| targets.get(*next)) else {
                done.insert(node, true);
                path.pop();
                continue;
            };
            *next += 1;
            match done.get(target) {
                Some(true) => {}
                Some(false) => {
                    let from = path.iter().position(|(n, _)| *n == target).unwrap_or(0);
                    found.push(path[from..].iter().map(|(n, _)| (*n).clone()).collect());
                }
                None => {
                    done.insert(target, false);
                    path.push((target, 0));
                }
            }
        }
    }
    found
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
            ("a>b b>a", "a,b"),
            ("a>a", "a"),
            ("a>b a>c b>d c>d", ""),
            ("a>b b>c c>b", "b,c"),
            ("a>b b>a c>d d>c", "a,b c,d"),
        ] {
            let found: Vec<_> = cycles(&edges(text)).iter().map(|c| c.join(",")).collect();
            assert_eq!(found.join(" "), expect, "{text}");
        }
    }

    #[test]
    fn a_long_chain_does_not_overflow() {
        let chain: String = (0..20_000).map(|i| format!("{i:06}>{:06} ", i + 1)).collect();
        assert!(cycles(&edges(&chain)).is_empty());
    }

    #[test]
    fn hints() {
        let names = ["ops", "pager"];
        assert_eq!(hint_for("notify", "opps", names.into_iter()), "did you mean `ops`?");
        assert_eq!(hint_for("notify", "mail", names.into_iter()), "there are `ops`, `pager`");
        assert_eq!(hint_for("notify", "mail", [].into_iter()), "there is none yet: add `[notify.mail]`");
    }
}
