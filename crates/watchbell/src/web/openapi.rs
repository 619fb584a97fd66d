//! The OpenAPI 3.1 document, built from the table of routes and the types' own schemas: it can't speak of a route
//! that is not there, nor of a scope that is not asked for.

use super::routes::{Body, Handler, ROUTES, Route, Verb};
use crate::api::{
    ErrorView,
    schema::{Schema, Schemas},
};
use serde_json::{Map, Value, json};

/// The document.
pub fn document() -> Value {
    let mut schemas = Schemas::new();
    let error = ErrorView::schema(&mut schemas);
    let mut paths = Map::new();
    for route in ROUTES {
        let item = paths.entry(route.path.replace("{*", "{")).or_insert_with(|| json!({}));
        item[verb(route.verb)] = operation(route, &error, &mut schemas);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Watchbell",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT", "identifier": "MIT" },
            "description": DESCRIPTION,
        },
        "servers": [{ "url": "http://127.0.0.1:7878", "description": "an agent on this host" }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": {
                "type": "http", "scheme": "bearer",
                "description": "What `watchbell token new` printed. Its hash and scopes stand in the config.",
            } },
        },
    })
}

const DESCRIPTION: &str = "What the agent knows, and what can be done with it. On the unix socket (`agent.sock` in the \
    state folder) whoever may open it may do everything; on TCP a token is needed, except on loopback while the config \
    has none. Times are RFC 3339 in UTC. Names hold slashes, so they are asked for by `?name=`; a name that does not \
    start with `//` is taken below `//AGENT/`. Errors are `{\"error\", \"hint\"}`; 429 and 503 come with `Retry-After`. Readers \
    must ignore fields that they do not know.";

const PATH: &str = "A check's name or its `ping_key`, and behind it what happened. Names may hold slashes.";

fn verb(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "get",
        Verb::Post => "post",
        Verb::Delete => "delete",
    }
}

fn operation(route: &Route, error: &Value, schemas: &mut Schemas) -> Value {
    let content = match route.answer {
        Body::Json(schema) => json!({ "application/json": { "schema": schema(schemas) } }),
        Body::Text(kind) => json!({ kind: { "schema": { "type": "string" } } }),
    };
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.doc,
        "responses": {
            "200": { "description": "done", "content": content },
            "default": { "description": "not done", "content": { "application/json": { "schema": error } } },
        },
    });
    if let Some(scope) = scope(&route.handler) {
        operation["security"] = json!([{ "token": [] }, {}]);
        let or = if scope == "read" { " (or `operate`)" } else { "" };
        operation["description"] = json!(format!("Needs a token with the scope `{scope}`{or}, where one is needed."));
    }
    if let Some(query) = route.query {
        operation["parameters"] = parameters(query, schemas);
    }
    if let Some((_, name)) = route.path.split_once("{*") {
        let name = name.trim_end_matches('}');
        operation["parameters"] = json!([{ "name": name, "in": "path", "required": true, "schema": { "type": "string" }, "description": PATH }]);
    }
    if let Some(body) = route.body {
        let content = json!({ "application/json": { "schema": body(schemas) } });
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

/// The scope that a handler asks for.
pub fn scope(handler: &Handler) -> Option<&'static str> {
    match handler {
        Handler::Open(_) => None,
        Handler::Read(_) => Some("read"),
        Handler::Operate(_) => Some("operate"),
        Handler::Ingest(_) => Some("ingest"),
    }
}

/// The fields of a query's type, each a parameter. The type itself is no schema of the document.
fn parameters(query: fn(&mut Schemas) -> Value, schemas: &mut Schemas) -> Value {
    let mut own = Schemas::new();
    let reference = query(&mut own);
    let name = reference["$ref"].as_str().and_then(|r| r.rsplit('/').next()).unwrap_or_default();
    let Some(object) = own.remove(name) else { return json!([]) };
    schemas.extend(own);
    let required: Vec<&Value> = object["required"].as_array().into_iter().flatten().collect();
    let properties = object["properties"].as_object().into_iter().flatten();
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = schema.clone();
        let description = schema.as_object_mut().and_then(|s| s.remove("description"));
        json!({
            "name": name, "in": "query", "required": required.iter().any(|r| *r == name),
            "description": description, "schema": present(schema),
        })
    };
    properties.map(parameter).collect()
}

/// A parameter is left out where it is not wanted; there is no null in a query.
fn present(schema: Value) -> Value {
    if let Some(first) = schema["anyOf"].get(0) {
        return first.clone();
    }
    let mut schema = schema;
    if let Some(word) = schema["type"].get(0).cloned() {
        schema["type"] = word;
    }
    schema
}
