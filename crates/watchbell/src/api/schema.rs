//! JSON schemas of what the API speaks of, for the OpenAPI document: written where the types are, so that a
//! field, its doc and its schema are one text. No derive macro of a library: this is thirty lines and costs
//! nothing to build.

use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use watchbell_core::model::{
    Action, Decision, Event, EventKind, EventState, Exit, Hardness, Metric, Name, Severity, Timestamp, Verdict,
};

/// Named schemas, as they are collected for `components/schemas`.
pub type Schemas = BTreeMap<String, Value>;

/// What has a JSON schema.
pub trait Schema {
    /// Whether it may be left out where it is a field.
    const OPTIONAL: bool = false;
    /// The schema; those it refers to by name are added to `all`.
    fn schema(all: &mut Schemas) -> Value;
}

/// One field of an object, as `object!` sees it.
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its doc comment, line by line.
    pub doc: &'static [&'static str],
    /// What serde is told of it, as text.
    pub serde: &'static str,
    /// Whether its type may be left out.
    pub optional: bool,
    /// The schema of its type.
    pub schema: fn(&mut Schemas) -> Value,
}

/// Adds an object's schema under its name, and returns a reference to it.
pub fn add_object(all: &mut Schemas, name: &str, doc: &[&str], fields: &[Field]) -> Value {
    if !all.contains_key(name) {
        // Held open first, so that a type that holds itself comes to an end.
        all.insert(name.to_owned(), Value::Null);
        let mut properties = Map::new();
        for field in fields {
            let mut schema = (field.schema)(all);
            schema["description"] = text(field.doc).into();
            properties.insert(field.name.to_owned(), schema);
        }
        let required: Vec<&str> =
            fields.iter().filter(|f| !f.optional && !f.serde.contains("default")).map(|f| f.name).collect();
        let schema = json!({
            "type": "object", "description": text(doc), "properties": properties, "required": required,
        });
        all.insert(name.to_owned(), schema);
    }
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn text(doc: &[&str]) -> String {
    doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// Defines a struct that is JSON both ways, and its schema. Every field has a doc comment, which is the
/// description in the OpenAPI document; `#[serde(default)]` makes it one that may be left out.
macro_rules! object {
    ($(
        $(#[doc = $doc:literal])+
        $(#[serde($($outer:tt)*)])?
        pub struct $name:ident {
            $( $(#[doc = $field_doc:literal])+ $(#[serde($($inner:tt)*)])? pub $field:ident: $type:ty, )*
        }
    )+) => { $(
        $(#[doc = $doc])+
        #[derive(Clone, PartialEq, Debug, ::serde::Serialize, ::serde::Deserialize)]
        $(#[serde($($outer)*)])?
        pub struct $name {
            $( $(#[doc = $field_doc])+ $(#[serde($($inner)*)])? pub $field: $type, )*
        }

        impl $crate::api::schema::Schema for $name {
            fn schema(all: &mut $crate::api::schema::Schemas) -> ::serde_json::Value {
                use $crate::api::schema::{Field, Schema, add_object};
                add_object(all, stringify!($name), &[$($doc),+], &[$(Field {
                    name: stringify!($field),
                    doc: &[$($field_doc),+],
                    serde: concat!("", $(stringify!($($inner)*))?),
                    optional: <$type as Schema>::OPTIONAL,
                    schema: <$type as Schema>::schema,
                }),*])
            }
        }
    )+ };
}
pub(crate) use object;

/// Defines an enum of words that is JSON both ways, and its schema.
macro_rules! words {
    ($(#[doc = $doc:literal])+ pub enum $name:ident { $( $(#[doc = $word_doc:literal])+ $word:ident, )+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $( $(#[doc = $word_doc])+ $word, )+ }

        impl $crate::api::schema::Schema for $name {
            fn schema(_: &mut $crate::api::schema::Schemas) -> ::serde_json::Value {
                $crate::api::schema::words_schema(&[$($name::$word),+])
            }
        }
    };
}
pub(crate) use words;

/// The schema of a type with a few values, each of them text.
pub fn words_schema<T: serde::Serialize>(values: &[T]) -> Value {
    json!({ "type": "string", "enum": values })
}

macro_rules! simple {
    ($($type:ty => $schema:tt,)+) => { $(impl Schema for $type {
        fn schema(_: &mut Schemas) -> Value {
            json!($schema)
        }
    })+ };
}
simple! {
    bool => {"type": "boolean"},
    String => {"type": "string"},
    Name => {"type": "string"},
    Timestamp => {"type": "string", "format": "date-time"},
    u32 => {"type": "integer", "minimum": 0},
    u64 => {"type": "integer", "minimum": 0},
    usize => {"type": "integer", "minimum": 0},
    i32 => {"type": "integer"},
    f64 => {"type": "number"},
    Exit => {"oneOf": [
        {"type": "object", "properties": {"code": {"type": "integer"}}, "required": ["code"]},
        {"type": "object", "properties": {"signal": {"type": "integer"}}, "required": ["signal"]},
        {"type": "string", "enum": ["timedout"]},
    ]},
    Duration => {"type": "object", "properties": {
        "secs": {"type": "integer", "minimum": 0}, "nanos": {"type": "integer", "minimum": 0},
    }, "required": ["secs", "nanos"]},
    Value => {},
}

impl<T: Schema> Schema for Option<T> {
    const OPTIONAL: bool = true;
    fn schema(all: &mut Schemas) -> Value {
        let inner = T::schema(all);
        match inner.get("type").cloned() {
            // A null beside words would have to be one of the words.
            Some(Value::String(word)) if inner.get("enum").is_none() => {
                let mut schema = inner;
                schema["type"] = json!([word, "null"]);
                schema
            }
            _ => json!({ "anyOf": [inner, {"type": "null"}] }),
        }
    }
}

impl<T: Schema> Schema for Vec<T> {
    fn schema(all: &mut Schemas) -> Value {
        json!({ "type": "array", "items": T::schema(all) })
    }
}

impl<T: Schema> Schema for BTreeSet<T> {
    fn schema(all: &mut Schemas) -> Value {
        json!({ "type": "array", "items": T::schema(all) })
    }
}

impl<T: Schema> Schema for BTreeMap<String, T> {
    fn schema(all: &mut Schemas) -> Value {
        json!({ "type": "object", "additionalProperties": T::schema(all) })
    }
}

impl<T: Schema> Schema for Box<T> {
    fn schema(all: &mut Schemas) -> Value {
        T::schema(all)
    }
}

impl Schema for Severity {
    fn schema(_: &mut Schemas) -> Value {
        words_schema(&Severity::ALL)
    }
}

impl Schema for Hardness {
    fn schema(_: &mut Schemas) -> Value {
        words_schema(&[Hardness::Soft, Hardness::Hard])
    }
}

impl Schema for EventKind {
    fn schema(_: &mut Schemas) -> Value {
        use EventKind::{Agent, Alarm, Fault, Job, Message, Operator, Result};
        words_schema(&[Fault, Alarm, Job, Message, Operator, Agent, Result])
    }
}

impl Schema for EventState {
    fn schema(_: &mut Schemas) -> Value {
        words_schema(&[EventState::Problem, EventState::Update, EventState::Recovery, EventState::Info])
    }
}

impl Schema for Verdict {
    fn schema(_: &mut Schemas) -> Value {
        words_schema(&[Verdict::Tell, Verdict::Hold, Verdict::Drop])
    }
}

impl Schema for Action {
    fn schema(_: &mut Schemas) -> Value {
        use Action::{Acknowledge, Digest, Message, Resolve, Trigger, Update};
        words_schema(&[Trigger, Update, Acknowledge, Resolve, Message, Digest])
    }
}

/// The core's types know nothing of schemas: their fields are named here, and a test holds them against what
/// the types become as JSON.
macro_rules! foreign {
    ($type:ty, $name:literal, $doc:literal, { $($field:ident: $field_type:ty, $serde:literal, $field_doc:literal;)+ }) => {
        impl Schema for $type {
            fn schema(all: &mut Schemas) -> Value {
                add_object(all, $name, &[$doc], &[$(Field {
                    name: stringify!($field), doc: &[$field_doc], serde: $serde,
                    optional: <$field_type as Schema>::OPTIONAL, schema: <$field_type as Schema>::schema,
                }),+])
            }
        }
    };
}

foreign!(Metric, "Metric", "One number that a run measured.", {
    name: String, "", "Its name within the check; empty for the check's one value.";
    value: f64, "", "The value.";
    unit: Option<String>, "", "The unit as the source gave it.";
    at: Option<Timestamp>, "", "When it was measured, where the source says so.";
});

foreign!(Decision, "Decision", "What a rule said, in the trail of why.", {
    at: Timestamp, "", "When it was decided.";
    name: Name, "", "The fault, check or message it is about.";
    episode: u64, "", "The fault's episode; 0 where there is none.";
    notifier: Option<Name>, "", "The notifier it concerns, where it concerns one.";
    rule: String, "", "The rule that decided.";
    verdict: Verdict, "", "What it said.";
    text: String, "", "Why, for people.";
    delivery: Option<String>, "", "The key of the delivery that came of it.";
    event: Option<u64>, "", "The event that led to it.";
});

foreign!(Event, "Event", "Something that happened.", {
    seq: u64, "", "Its place in the stream, from 1, in order of commit.";
    at: Timestamp, "", "When it happened.";
    received_at: Timestamp, "", "When the agent learned of it.";
    kind: EventKind, "", "What sort of thing.";
    state: EventState, "", "What it means.";
    severity: Severity, "", "How bad.";
    unknown: bool, "default", "Its source says that it does not know (a plugin's exit code 3).";
    source: String, "", "Where it came from.";
    name: Name, "", "The fault's, check's or job's name.";
    key: String, "", "What ties the events of one matter together.";
    host: String, "", "The host it concerns.";
    service: String, "", "The service or check, in short.";
    topic: Option<String>, "", "A topic, where the source has such.";
    text: String, "", "One line for people.";
    detail: String, "default", "More lines, where the source had them.";
    now: Option<String>, "", "Of a recovery: what is so now, in one line, where that is known.";
    description: Option<String>, "", "What the check is, for people.";
    link: Option<String>, "", "Where to look.";
    runbook: Option<String>, "", "What to do about it.";
    labels: BTreeMap<String, String>, "default", "Labels of the check or message.";
    since: Option<Timestamp>, "", "Since when it has been wrong, for events about faults; of a recovery: since when it was.";
    attempt: Option<Vec<u32>>, "", "Which attempt of how many, for events about faults.";
    caused_by: Option<u64>, "", "The event that led to this one.";
    original: Option<Value>, "", "What came in, as it came in.";
});
