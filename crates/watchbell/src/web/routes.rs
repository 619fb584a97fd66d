//! Every route, once: method, path, what it takes and answers, the permit it wants, and who handles it. The
//! router and the OpenAPI document both follow from this table.

use super::{
    call::{Call, Shared},
    door::{self, Door, Ingest, Operate, Permit, Read},
    operate, ping, read,
    reply::{ApiError, json},
};
use crate::api::{
    self, Accepted, AckRequest, CheckView, ChecksQuery, EventsQuery, FaultView, FaultsQuery, MessageRequest, NameQuery,
    NotifierView, PreviewQuery, ProblemView, ReloadView, ReportRequest, RunRequest, SlowQuery, SlowView,
    SquelchPreview, SquelchRequest, SquelchView, StatusView, UnackQuery, UnsquelchQuery, WhyQuery, WhyView, path,
    schema::{Schema, Schemas},
};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use watchbell_core::model::Event;

type Work = Pin<Box<dyn Future<Output = Result<Response, ApiError>> + Send>>;
type SchemaOf = fn(&mut Schemas) -> Value;

/// The methods that routes have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verb {
    /// Look; HEAD too.
    Get,
    /// Do.
    Post,
    /// Undo.
    Delete,
}

/// Who handles a route, by the permit it wants.
pub enum Handler {
    /// Anybody may.
    Open(fn(Call) -> Work),
    /// Who may see everything.
    Read(fn(Call, Permit<Read>) -> Work),
    /// Who may squelch, acknowledge, run and reload.
    Operate(fn(Call, Permit<Operate>) -> Work),
    /// Who may send messages and reports.
    Ingest(fn(Call, Permit<Ingest>) -> Work),
}

/// What an answer holds.
pub enum Body {
    /// JSON of this schema.
    Json(SchemaOf),
    /// Text of this content type.
    Text(&'static str),
}

/// One route.
pub struct Route {
    /// Its method.
    pub verb: Verb,
    /// Its path.
    pub path: &'static str,
    /// Its name in generated clients.
    pub id: &'static str,
    /// What it does, one line.
    pub doc: &'static str,
    /// The parameters it takes.
    pub query: Option<SchemaOf>,
    /// The body it takes.
    pub body: Option<SchemaOf>,
    /// What it answers.
    pub answer: Body,
    /// Who handles it.
    pub handler: Handler,
}

const fn get(path: &'static str, id: &'static str, doc: &'static str, answer: Body, handler: Handler) -> Route {
    Route { verb: Verb::Get, path, id, doc, query: None, body: None, answer, handler }
}

const fn post(path: &'static str, id: &'static str, doc: &'static str, body: SchemaOf, handler: Handler) -> Route {
    Route { verb: Verb::Post, path, id, doc, query: None, body: Some(body), answer: DONE, handler }
}

const fn delete(path: &'static str, id: &'static str, doc: &'static str, query: SchemaOf, handler: Handler) -> Route {
    Route { verb: Verb::Delete, path, id, doc, query: Some(query), body: None, answer: DONE, handler }
}

const DONE: Body = Body::Json(Accepted::schema);
const PLAIN: Body = Body::Text("text/plain");

impl Route {
    const fn by(self, query: SchemaOf) -> Route {
        Route { query: Some(query), ..self }
    }
}

macro_rules! handler {
    ($permit:ident, $function:path) => {
        Handler::$permit(|call, permit| Box::pin($function(call, permit)))
    };
    ($function:path) => {
        Handler::Open(|call| Box::pin($function(call)))
    };
}

fn anything(_: &mut Schemas) -> Value {
    serde_json::json!({ "type": "object" })
}

/// Every route.
#[rustfmt::skip]
pub static ROUTES: &[Route] = &[
    get("/", "page", "A page that says what this is.", Body::Text("text/html"), handler!(read::page)),
    get(path::HEALTHZ, "healthz", "Whether the engine answers.", PLAIN, handler!(read::healthz)),
    get(path::READYZ, "readyz", "Whether the agent takes work; 503 says why not.", PLAIN, handler!(read::readyz)),
    get(path::METRICS, "metrics", "Own figures in Prometheus' text format.", PLAIN, handler!(Read, read::figures)),
    get(path::OPENAPI, "openapi", "This document.", Body::Json(anything), handler!(read::document)),
    get(path::STATUS, "status", "How the agent is doing.", Body::Json(StatusView::schema), handler!(Read, read::status)),
    get(path::FAULTS, "faults", "What is wrong now: the worst first, of those the newest.",
        Body::Json(Vec::<FaultView>::schema), handler!(Read, read::faults)).by(FaultsQuery::schema),
    get(path::FAULT, "fault", "One fault.", Body::Json(FaultView::schema), handler!(Read, read::fault))
        .by(NameQuery::schema),
    get(path::CHECKS, "checks", "The checks, by name.",
        Body::Json(Vec::<CheckView>::schema), handler!(Read, read::checks)).by(ChecksQuery::schema),
    get(path::CHECK, "check", "One check.", Body::Json(CheckView::schema), handler!(Read, read::check))
        .by(NameQuery::schema),
    get(path::SLOW, "slow", "The checks that take longest.",
        Body::Json(Vec::<SlowView>::schema), handler!(Read, read::slow)).by(SlowQuery::schema),
    get(path::SQUELCHES, "squelches", "What is kept quiet, and why.",
        Body::Json(Vec::<SquelchView>::schema), handler!(Read, read::squelches)),
    post(path::SQUELCHES, "squelch", "Keep alerts quiet; the same regular expression replaces what it said before.",
        SquelchRequest::schema, handler!(Operate, operate::squelch)),
    delete(path::SQUELCHES, "unsquelch", "Lift a squelch: what is still critical and was not told is told now.",
        UnsquelchQuery::schema, handler!(Operate, operate::unsquelch)),
    get(path::SQUELCH_PREVIEW, "previewSquelch", "What a squelch would hide.",
        Body::Json(SquelchPreview::schema), handler!(Read, read::preview)).by(PreviewQuery::schema),
    post(path::ACKS, "acknowledge", "Take care of a fault.",
        AckRequest::schema, handler!(Operate, operate::acknowledge)),
    delete(path::ACKS, "unacknowledge", "Withdraw an acknowledgement.",
        UnackQuery::schema, handler!(Operate, operate::unacknowledge)),
    post(path::RUN, "run", "Run a check now, besides its schedule. Its result comes later.",
        RunRequest::schema, handler!(Operate, operate::run)),
    get(path::EVENTS, "events", "What happened, the oldest first.",
        Body::Json(Vec::<Event>::schema), handler!(Read, read::events)).by(EventsQuery::schema),
    get(path::WHY, "why", "How something was decided and delivered.",
        Body::Json(WhyView::schema), handler!(Read, read::why)).by(WhyQuery::schema),
    get(path::PROBLEMS, "problems", "What is wrong with the config.",
        Body::Json(Vec::<ProblemView>::schema), handler!(Read, read::problems)),
    Route { verb: Verb::Post, path: path::RELOAD, id: "reload", doc: "Read the config again. It takes no body.",
        query: None, body: None, answer: Body::Json(ReloadView::schema), handler: handler!(Operate, operate::reload) },
    post(path::REPORT, "report", "Report on a passive check, or on `exec/NAME`: a command that somebody else ran.",
        ReportRequest::schema, handler!(Ingest, operate::report)),
    get(path::PING, "ping", "Report on a passive check, by its name (scope `ingest`) or its `ping_key` (no token); behind it `/start`, `/fail` or an exit code.",
        PLAIN, handler!(ping::ping)),
    Route { verb: Verb::Post, path: path::PING, id: "pingWithLog", doc: "The same with a log as the body.",
        query: None, body: None, answer: PLAIN, handler: handler!(ping::ping) },
    post(path::MESSAGES, "message", "Send a message: it is kept as an event, and passed on to those it names.",
        MessageRequest::schema, handler!(Ingest, operate::message)),
    get(path::NOTIFIERS, "notifiers", "How notifiers are doing.",
        Body::Json(Vec::<NotifierView>::schema), handler!(Read, read::notifiers)),
];

/// The router for what comes in at a door.
pub fn router(shared: &Arc<Shared>, door: Door) -> Router {
    let mut by_path: BTreeMap<&'static str, Vec<&'static Route>> = BTreeMap::new();
    for route in ROUTES {
        by_path.entry(route.path).or_default().push(route);
    }
    let mut router = Router::new();
    for (path, routes) in by_path {
        let (shared, routes) = (shared.clone(), Arc::new(routes));
        let handler = move |request: Request| answer(shared.clone(), door, routes.clone(), request);
        router = router.route(path, any(handler));
    }
    let unknown = shared.clone();
    let handler = move |request: Request| answer(unknown.clone(), door, Arc::default(), request);
    router.fallback(handler).layer(DefaultBodyLimit::max(shared.limits.body_bytes_max))
}

/// Answers a request by the one of these routes that has its method.
async fn answer(shared: Arc<Shared>, door: Door, routes: Arc<Vec<&'static Route>>, request: Request) -> Response {
    let call = Call::new(shared.clone(), door, request);
    // What follows may be a key.
    let path = if call.uri.path().starts_with(path::PING_PREFIX) { path::PING } else { call.uri.path() }.to_owned();
    let seat = call.seat.clone();
    // Health is answered without.
    let under_way = seat.as_ref().filter(|_| !call.is_about_health()).map(|seat| seat.ask()).transpose();
    let answered = match (door::slow_down(&call), under_way) {
        (Err(wait), _) => Ok(too_many(wait)),
        (Ok(()), Err(error)) => Err(error),
        (Ok(()), Ok(_under_way)) => dispatch(call, &routes).await,
    };
    let response = answered.unwrap_or_else(|error| {
        if error.status.is_server_error() {
            tracing::warn!(
                path,
                status = error.status.as_u16(),
                error = error.error,
                "a request could not be answered"
            );
        }
        error.into_response()
    });
    let class = usize::from(response.status().as_u16() / 100);
    if let Some(count) = class.checked_sub(1).and_then(|i| shared.answers.get(i)) {
        count.fetch_add(1, Relaxed);
    }
    response
}

async fn dispatch(call: Call, routes: &[&'static Route]) -> Result<Response, ApiError> {
    door::keep_pages_out(&call)?;
    if routes.is_empty() {
        let hint = format!("`{}` lists the paths there are", path::OPENAPI);
        return Err(ApiError::not_found(format!("there is nothing at `{}`", call.uri.path()), hint));
    }
    let verb = match call.method {
        Method::GET | Method::HEAD => Some(Verb::Get),
        Method::POST => Some(Verb::Post),
        Method::DELETE => Some(Verb::Delete),
        _ => None,
    };
    let Some(route) = routes.iter().find(|route| Some(route.verb) == verb) else {
        return Ok(not_allowed(&call, routes));
    };
    match route.handler {
        Handler::Open(handle) => handle(call).await,
        Handler::Read(handle) => {
            let permit = Permit::of(&call)?;
            handle(call, permit).await
        }
        Handler::Operate(handle) => {
            let permit = Permit::of(&call)?;
            handle(call, permit).await
        }
        Handler::Ingest(handle) => {
            let permit = Permit::of(&call)?;
            handle(call, permit).await
        }
    }
}

fn too_many(wait: Duration) -> Response {
    let seconds = wait.as_secs() + 1;
    let hint = format!("ask again in {seconds} s, and less often");
    let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "requests come faster than they are taken", hint);
    let mut response = error.into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

fn not_allowed(call: &Call, routes: &[&'static Route]) -> Response {
    let words = |route: &&Route| match route.verb {
        Verb::Get => "GET, HEAD",
        Verb::Post => "POST",
        Verb::Delete => "DELETE",
    };
    let allowed = routes.iter().map(words).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ");
    let error = format!("`{}` is not a method of `{}`", call.method, call.uri.path());
    let view = api::ErrorView { error, hint: Some(format!("it takes {allowed}")) };
    let mut response = json(StatusCode::METHOD_NOT_ALLOWED, &view);
    if let Ok(value) = HeaderValue::from_str(&allowed) {
        response.headers_mut().insert(header::ALLOW, value);
    }
    response
}
