//! The reference (Markdown) and the JSON schema of the TOML files, from the key lists and the kinds: what is
//! printed is what is read. Both are checked in, and a test proves that they are current.

use super::{
    Key, Kind, Kinds, Shape,
    keys::{
        AGENT_KEYS, CHECK_KEYS, EXPECT_KEYS, LATER_TABLES, NOT_DEFAULTS, NOT_FLAKES, NOTIFIER_KEYS, QUERY, SOURCE_KEYS,
        TOKEN_KEYS,
    },
};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// `docs/reference.md`.
pub fn reference_markdown<P, N>(kinds: Kinds<P, N>) -> String {
    let mut out = String::from(HEAD);
    section(&mut out, "## `[agent]`", "Only in `watchbell.toml`: what concerns the agent itself.", AGENT_KEYS);
    section(&mut out, "### `[[agent.tokens]]`", "", TOKEN_KEYS);
    let defaults = format!(
        "What holds for every check of the same file that does not say otherwise: any common key of a check but {}.",
        words(NOT_DEFAULTS.iter().copied())
    );
    section(&mut out, "## `[defaults]`", &defaults, &[]);
    let flakes = format!(
        "Only in `watchbell.toml`: what holds for every flake, as any common key of a check but {}.",
        words(NOT_FLAKES.iter().copied())
    );
    section(&mut out, "## `[flakes]`", &flakes, &[]);
    let checks = "Every check is of one kind, by the one key that says what to run, and has these keys in common. Its faults are \
                  named `//AGENT/FILE/NAME`, FILE being its file's name without `.toml`.";
    section(&mut out, "## `[check.NAME]`", checks, CHECK_KEYS);
    for kind in kinds.checks {
        kind_section(&mut out, kind, &format!("### Checks with `{}`", kind.key));
        if kind.key == QUERY {
            section(&mut out, "#### `expect`", EXPECT, EXPECT_KEYS);
        }
    }
    section(&mut out, "## `[source.NAME]`", SOURCE, SOURCE_KEYS);
    let notifiers = "Every notifier says its `kind`, and has these keys in common.";
    section(&mut out, "## `[notify.NAME]`", notifiers, NOTIFIER_KEYS);
    for kind in kinds.notifiers {
        kind_section(&mut out, kind, &format!("### Notifiers of kind `{}`", kind.key));
    }
    let later = words(LATER_TABLES.iter().copied());
    let text = format!("The tables {later} are read past, with one warning each.");
    section(&mut out, "## Later", &text, &[]);
    out
}

const HEAD: &str = "\
<!-- Generated from the key lists in the source: edit those, then run `UPDATE_EXPECTED=1 make test`. -->

# Config reference

All files in the config folder whose names end in `.toml` are read, at any depth; `watchbell.toml` in the folder itself
speaks for the agent.

| value | written as |
|---|---|
| duration | `\"90s\"`, `\"5m\"`, `\"1h30m\"`, `\"2d\"`, `\"250ms\"`; a bare number is seconds |
| texts | one text, or a list of texts |
| secret | `{ env = \"NAME\" }` or `{ file = \"PATH\" }`; never the secret itself |
| text or secret | a text, or a reference as for a secret |
";

const EXPECT: &str = "\
A list of tables. At every minute that one of them names, the rows of its window are counted: those whose time lies within
`lookback` before that minute. The query itself runs each minute (`every`), whether or not a minute is to be judged: a row
counts only if a run has seen it. A run may take `50s` unless `timeout` says otherwise.";

const SOURCE: &str = "\
Where checks with `query` ask. Any file may define sources, and every file's checks may name them. Nothing is connected
before the first query; an address needs `url`, a program that prints rows `command`.

```toml
[source.warehouse]
url = \"postgres://reader@db.example.com/shop?sslmode=require\"
password = { env = \"WAREHOUSE_PASSWORD\" }
```";

fn words<'w>(words: impl Iterator<Item = &'w str>) -> String {
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn section(out: &mut String, title: &str, text: &str, keys: &[Key]) {
    // Writing to a string can't fail.
    let _ = write!(out, "\n{title}\n");
    if !text.is_empty() {
        let _ = write!(out, "\n{text}\n");
    }
    key_table(out, keys);
}

fn key_table(out: &mut String, keys: &[Key]) {
    if keys.is_empty() {
        return;
    }
    out.push_str("\n| key | value | meaning |\n|---|---|---|\n");
    for key in keys {
        let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
        let _ = writeln!(out, "| `{}` | {} | {} |", key.name, cell(&shape_words(key.shape)), cell(key.doc));
    }
}

fn kind_section<T>(out: &mut String, kind: &Kind<T>, title: &str) {
    section(out, title, kind.doc.trim(), &[]);
    if !kind.example.trim().is_empty() {
        let _ = write!(out, "\n```toml\n{}\n```\n", kind.example.trim());
    }
    key_table(out, kind.keys);
}

fn shape_words(shape: Shape) -> String {
    match shape {
        Shape::String => "text".to_owned(),
        Shape::Integer => "whole number".to_owned(),
        Shape::Number => "number".to_owned(),
        Shape::Boolean => "true or false".to_owned(),
        Shape::Duration => "duration".to_owned(),
        Shape::Strings => "texts".to_owned(),
        Shape::Secret => "secret".to_owned(),
        Shape::Text => "text or secret".to_owned(),
        Shape::Pattern => "regular expression".to_owned(),
        Shape::StringMap => "table of texts".to_owned(),
        Shape::Choice(words) => words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", "),
        Shape::Other => "see there".to_owned(),
    }
}

/// A JSON schema (draft 2020-12) of the TOML files, for editors.
pub fn json_schema<P, N>(kinds: Kinds<P, N>) -> Value {
    let all_but = |not: &[&str]| object(CHECK_KEYS.iter().filter(|key| !not.contains(&key.name)), &[]);
    let mut checks: Vec<Value> = kinds.checks.iter().map(check_schema).collect();
    if !kinds.checks.iter().any(|kind| kind.key == "passive") {
        checks.push(object(CHECK_KEYS.iter(), &["passive"]));
    }
    let notifiers: Vec<Value> = kinds.notifiers.iter().map(notifier_schema).collect();
    let mut properties = Map::new();
    properties.insert("agent".to_owned(), agent_schema());
    properties.insert("defaults".to_owned(), all_but(NOT_DEFAULTS));
    properties.insert("flakes".to_owned(), all_but(NOT_FLAKES));
    properties.insert("check".to_owned(), json!({"type": "object", "additionalProperties": {"anyOf": checks}}));
    properties.insert("notify".to_owned(), json!({"type": "object", "additionalProperties": {"anyOf": notifiers}}));
    let source = object(SOURCE_KEYS.iter(), &[]);
    properties.insert("source".to_owned(), json!({"type": "object", "additionalProperties": source}));
    for table in LATER_TABLES {
        properties.insert((*table).to_owned(), json!({"description": "comes with a later version"}));
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Watchbell config file",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "$defs": {
            "secret": {
                "type": "object",
                "properties": {"env": {"type": "string"}, "file": {"type": "string"}},
                "minProperties": 1, "maxProperties": 1, "additionalProperties": false,
            },
        },
    })
}

fn agent_schema() -> Value {
    let mut agent = object(AGENT_KEYS.iter(), &[]);
    agent["properties"]["tokens"]["type"] = json!("array");
    agent["properties"]["tokens"]["items"] = object(TOKEN_KEYS.iter(), &["name", "sha256"]);
    agent
}

fn check_schema<T>(kind: &Kind<T>) -> Value {
    let mut schema = object(CHECK_KEYS.iter().chain(kind.keys), &[kind.key]);
    if kind.key == QUERY {
        schema["properties"]["expect"]["type"] = json!("array");
        schema["properties"]["expect"]["items"] = object(EXPECT_KEYS.iter(), &["lookback"]);
        schema["required"] = json!([QUERY, "source"]);
        schema["anyOf"] = json!([{ "required": ["expect"] }, { "required": ["value"] }]);
    }
    schema
}

fn notifier_schema<T>(kind: &Kind<T>) -> Value {
    let mut schema = object(NOTIFIER_KEYS.iter().chain(kind.keys), &["kind"]);
    schema["properties"]["kind"] = json!({"const": kind.key});
    schema["description"] = json!(kind.doc.trim());
    schema
}

/// An object of these keys; of two with one name the first counts, as the common keys of a table do.
fn object<'k>(keys: impl Iterator<Item = &'k Key>, required: &[&str]) -> Value {
    let mut properties = Map::new();
    for key in keys {
        properties.entry(key.name).or_insert_with(|| {
            let mut schema = shape_schema(key.shape);
            schema["description"] = json!(key.doc);
            schema
        });
    }
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn shape_schema(shape: Shape) -> Value {
    match shape {
        Shape::String => json!({"type": "string"}),
        Shape::Integer => json!({"type": "integer"}),
        Shape::Number => json!({"type": "number"}),
        Shape::Boolean => json!({"type": "boolean"}),
        Shape::Duration => json!({"type": ["string", "number"]}),
        Shape::Strings => json!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
        Shape::Secret => json!({"$ref": "#/$defs/secret"}),
        Shape::Text => json!({"anyOf": [{"type": "string"}, {"$ref": "#/$defs/secret"}]}),
        Shape::Pattern => json!({"type": "string", "format": "regex"}),
        Shape::StringMap => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        Shape::Choice(words) => json!({"enum": words}),
        Shape::Other => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Capabilities, keys::QUERY_KEYS};

    const NONE: Capabilities = Capabilities { edits: false, digests: false, acknowledges: false, gap_ms: 0 };
    const KINDS: Kinds<(), ()> = Kinds {
        checks: &[
            Kind {
                key: "ping",
                doc: "Pings.",
                example: "[check.x]\nping = \"a\"",
                keys: &[
                    Key { name: "ping", shape: Shape::String, doc: "The host | address." },
                    Key { name: "how", shape: Shape::Choice(&["icmp", "udp"]), doc: "How." },
                ],
                capabilities: NONE,
                read: |_| Some(()),
            },
            Kind { key: QUERY, doc: "", example: "", keys: QUERY_KEYS, capabilities: NONE, read: |_| Some(()) },
        ],
        notifiers: &[Kind { key: "log", doc: "", example: "", keys: &[], capabilities: NONE, read: |_| Some(()) }],
    };

    #[test]
    fn the_reference_names_every_key() {
        let text = reference_markdown(KINDS);
        let lookbacks = QUERY_KEYS.iter().chain(EXPECT_KEYS).chain(SOURCE_KEYS);
        for key in AGENT_KEYS.iter().chain(CHECK_KEYS).chain(NOTIFIER_KEYS).chain(TOKEN_KEYS).chain(lookbacks) {
            assert!(text.contains(&format!("| `{}` | ", key.name)), "{}", key.name);
        }
        assert!(text.contains("### Checks with `ping`\n\nPings.\n\n```toml\n[check.x]\nping = \"a\"\n```\n"));
        assert!(text.contains("| `ping` | text | The host \\| address. |\n| `how` | `\"icmp\"`, `\"udp\"` | How. |\n"));
    }

    #[test]
    fn the_schema_has_every_kind() {
        let schema = json_schema(KINDS);
        let checks = &schema["properties"]["check"]["additionalProperties"]["anyOf"];
        assert_eq!(checks[0]["required"], json!(["ping"]));
        assert_eq!(checks[0]["properties"]["how"]["enum"], json!(["icmp", "udp"]));
        assert_eq!(checks[0]["properties"]["retry"]["type"], "integer");
        assert_eq!(checks[1]["required"], json!(["query", "source"]));
        assert_eq!(checks[1]["anyOf"], json!([{ "required": ["expect"] }, { "required": ["value"] }]));
        assert_eq!(checks[1]["properties"]["expect"]["items"]["properties"]["min"]["type"], "integer");
        assert_eq!(checks[2]["required"], json!(["passive"]));
        let source = &schema["properties"]["source"]["additionalProperties"]["properties"];
        assert_eq!(source["method"]["enum"], json!(["GET", "POST"]));
        let notifier = &schema["properties"]["notify"]["additionalProperties"]["anyOf"][0];
        assert_eq!(notifier["properties"]["kind"]["const"], "log");
        assert_eq!(
            schema["properties"]["agent"]["properties"]["tokens"]["items"]["required"],
            json!(["name", "sha256"])
        );
    }
}
