//! What can be seen: every route that changes nothing.

use super::{
    call::{Call, peek},
    door::{Permit, Read},
    metrics, openapi,
    reply::{ApiError, json, respond, text},
};
use crate::api::{
    ChecksQuery, EventsQuery, FaultView, FaultsQuery, NameQuery, PreviewQuery, SlowQuery, WhyQuery,
    view::{self, FaultFilter, Live, Squelched},
};
use axum::{
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};
use regex::Regex;
use std::{ops::Bound, sync::Arc};
use watchbell_core::{
    engine::World,
    model::{Event, Name},
};

type Answer = Result<Response, ApiError>;

/// Rows that one look at the world goes over: well below a millisecond of the engine's time.
const SLICE_ROWS: usize = 200;
/// Slow checks in an answer, unless the query says otherwise.
const SLOW_DEFAULT: usize = 20;

fn ok<T: serde::Serialize>(value: &T) -> Answer {
    Ok(json(StatusCode::OK, value))
}

fn pattern(text: Option<&str>) -> Result<Option<Regex>, ApiError> {
    let compiled = text.map(view::regex).transpose();
    compiled.map_err(|error| ApiError::bad(error, "the syntax is that of the Rust crate `regex`"))
}

/// Where the next slice begins.
fn after(from: Option<&Name>) -> (Bound<&Name>, Bound<&Name>) {
    (from.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}

/// Whether the engine answers.
pub async fn healthz(call: Call) -> Answer {
    peek(&call.shared.agent, |_| ()).await?;
    Ok(text(StatusCode::OK, "ok\n"))
}

/// Whether the agent takes work.
pub async fn readyz(call: Call) -> Answer {
    match call.shared.agent.health.unready() {
        None => Ok(text(StatusCode::OK, "ready\n")),
        Some(reason) => Err(ApiError::unavailable(reason)),
    }
}

/// Own figures.
pub async fn figures(call: Call, permit: Permit<Read>) -> Answer {
    let body = metrics::text(&call, &permit).await;
    Ok(respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body.into_bytes()))
}

/// A page that says what this is.
pub async fn page(_: Call) -> Answer {
    let mut response = respond(StatusCode::OK, "text/html; charset=utf-8", Vec::new());
    *response.body_mut() = Html(include_str!("page.html")).into_response().into_body();
    Ok(response)
}

/// The OpenAPI document.
pub async fn document(_: Call) -> Answer {
    ok(&openapi::document())
}

/// How the agent is doing.
pub async fn status(call: Call, permit: Permit<Read>) -> Answer {
    let config = call.shared.agent.settings();
    let now = crate::run::clock::now();
    let seen = move |world: &World| {
        let mut view = view::status(&world.policy, &world.state, &config.problems, now);
        (view.running, view.waiting) = (world.running(), world.waiting());
        view
    };
    let mut view = call.look(&permit, seen).await?;
    view.started = Some(call.shared.started);
    view.unready = call.shared.agent.health.unready();
    view.ready = view.unready.is_none();
    view.store_failure = call.shared.agent.health.store_failure();
    ok(&view)
}

/// What is wrong now.
pub async fn faults(call: Call, permit: Permit<Read>) -> Answer {
    let query: FaultsQuery = call.query()?;
    let mut views = standing(&call, &permit, &query).await?;
    call.apart(move || {
        view::worst_first(&mut views);
        ok(&views)
    })
    .await
}

/// The faults that are asked for, in slices.
async fn standing(call: &Call, permit: &Permit<Read>, query: &FaultsQuery) -> Result<Vec<FaultView>, ApiError> {
    let filter = FaultFilter::new(&call.shared.agent.settings().name, query);
    let filter = filter.map_err(|error| ApiError::bad(error, "mend the regular expression"))?;
    let squelched = squelched(call, permit).await?;
    let rows = move |world: &World, from: Option<&Name>| {
        let slice: Vec<_> = world.state.faults.range::<Name, _>(after(from)).take(SLICE_ROWS).collect();
        let end = slice.last().filter(|_| slice.len() == SLICE_ROWS).map(|(name, _)| (*name).clone());
        let wanted = slice.into_iter().map(|(_, fault)| fault).filter(|f| filter.takes(f));
        (wanted.map(|f| view::fault(&world.policy, &world.state, &squelched, f)).collect(), end)
    };
    call.slices(permit, rows).await
}

/// Squelches, as the engine has them compiled.
async fn squelched(call: &Call, permit: &Permit<Read>) -> Result<Arc<Squelched>, ApiError> {
    let compiled = |world: &World| world.squelches().map(|(text, regex)| (text.to_owned(), regex.clone())).collect();
    Ok(Arc::new(Squelched::from_compiled(call.look(permit, compiled).await?)))
}

/// One fault.
pub async fn fault(call: Call, permit: Permit<Read>) -> Answer {
    let NameQuery { name } = call.query()?;
    let squelched = squelched(&call, &permit).await?;
    let seen = move |world: &World| {
        let full = view::full_name(&world.policy.agent.name, &name);
        match world.state.faults.get(&full) {
            Some(fault) => Ok(view::fault(&world.policy, &world.state, &squelched, fault)),
            None => Err(missing("fault", &full, world.state.faults.keys())),
        }
    };
    ok(&call.look(&permit, seen).await??)
}

/// 404, and what may have been meant.
pub fn missing<'n>(what: &str, name: &Name, all: impl Iterator<Item = &'n Name>) -> ApiError {
    let near = view::similar(name, all);
    let near: Vec<String> = near.iter().map(|name| format!("`{name}`")).collect();
    let hint = if near.is_empty() {
        format!("`watchbell {what}s` lists those there are")
    } else {
        format!("did you mean {}?", near.join(" or "))
    };
    ApiError::not_found(format!("there is no {what} `{name}`"), hint)
}

fn live(world: &World, name: &Name) -> Live {
    Live { next_due: world.next_due(name), running: world.is_running(name) }
}

/// The checks.
pub async fn checks(call: Call, permit: Permit<Read>) -> Answer {
    let query: ChecksQuery = call.query()?;
    let matching = pattern(query.regex.as_deref())?;
    let rows = move |world: &World, from: Option<&Name>| {
        let slice: Vec<_> = world.policy.checks.range::<Name, _>(after(from)).take(SLICE_ROWS).collect();
        let end = slice.last().filter(|_| slice.len() == SLICE_ROWS).map(|(name, _)| (*name).clone());
        let wanted = slice.into_iter().filter(|(name, _)| matching.as_ref().is_none_or(|m| m.is_match(name)));
        let views = wanted.map(|(name, policy)| {
            view::check(policy, world.state.checks.get(name), world.faults_of(name), live(world, name))
        });
        (views.filter(|v| query.state.is_none_or(|state| v.state == state)).collect(), end)
    };
    let views = call.slices(&permit, rows).await?;
    call.apart(move || ok(&views)).await
}

/// One check.
pub async fn check(call: Call, permit: Permit<Read>) -> Answer {
    let NameQuery { name } = call.query()?;
    let seen = move |world: &World| {
        let full = view::full_name(&world.policy.agent.name, &name);
        match world.policy.checks.get(&full) {
            Some(policy) => {
                let state = world.state.checks.get(&full);
                Ok(view::check(policy, state, world.faults_of(&full), live(world, &full)))
            }
            None => Err(missing("check", &full, world.policy.checks.keys())),
        }
    };
    ok(&call.look(&permit, seen).await??)
}

/// The slowest checks.
pub async fn slow(call: Call, permit: Permit<Read>) -> Answer {
    let query: SlowQuery = call.query()?;
    let rows = |world: &World, from: Option<&Name>| {
        let slice: Vec<_> = world.state.checks.range::<Name, _>(after(from)).take(SLICE_ROWS).collect();
        let end = slice.last().filter(|_| slice.len() == SLICE_ROWS).map(|(name, _)| (*name).clone());
        let known = slice.into_iter().filter(|(name, _)| world.policy.checks.contains_key(*name));
        (known.filter_map(|(name, state)| view::slow(name, state)).collect(), end)
    };
    let all = call.slices(&permit, rows).await?;
    call.apart(move || ok(&view::slowest(all, query.limit.unwrap_or(SLOW_DEFAULT)))).await
}

/// The squelches.
pub async fn squelches(call: Call, permit: Permit<Read>) -> Answer {
    let seen = |world: &World| {
        let squelches: Vec<_> = world.state.squelches.values().cloned().collect();
        (squelches, world.state.faults.keys().cloned().collect::<Vec<_>>())
    };
    let (squelches, faults) = call.look(&permit, seen).await?;
    call.apart(move || ok(&squelches.iter().map(|s| view::squelch(s, faults.iter())).collect::<Vec<_>>())).await
}

/// What a squelch would hide.
pub async fn preview(call: Call, permit: Permit<Read>) -> Answer {
    let PreviewQuery { regex } = call.query()?;
    let matching = pattern(Some(&regex))?;
    let query = FaultsQuery { regex: Some(regex.clone()), check: None, severity: None, state: None };
    let faults = standing(&call, &permit, &query).await?;
    let names = move |world: &World, from: Option<&Name>| {
        let slice: Vec<&Name> =
            world.policy.checks.range::<Name, _>(after(from)).map(|(n, _)| n).take(SLICE_ROWS).collect();
        let end = slice.last().filter(|_| slice.len() == SLICE_ROWS).map(|name| (*name).clone());
        let wanted = slice.into_iter().filter(|name| matching.as_ref().is_some_and(|m| m.is_match(name)));
        (wanted.cloned().collect(), end)
    };
    let checks = call.slices(&permit, names).await?;
    call.apart(move || ok(&view::preview_of(&regex, faults, checks))).await
}

/// The notifiers.
pub async fn notifiers(call: Call, permit: Permit<Read>) -> Answer {
    ok(&call.look(&permit, |world: &World| view::notifiers(&world.policy, &world.state)).await?)
}

/// What is wrong with the config.
pub async fn problems(call: Call, _: Permit<Read>) -> Answer {
    let config = call.shared.agent.settings();
    call.apart(move || ok(&view::problems(&config.problems))).await
}

/// The stream.
pub async fn events(call: Call, permit: Permit<Read>) -> Answer {
    let query: EventsQuery = call.query()?;
    let agent = call.shared.agent.settings().name.clone();
    let wanted = view::event_query(&agent, query).map_err(|(error, hint)| ApiError::bad(error, hint))?;
    let events: Vec<Event> = call.journal(&permit, move |journal| journal.events(&wanted)).await?;
    call.apart(move || ok(&events)).await
}

/// How something came about.
pub async fn why(call: Call, permit: Permit<Read>) -> Answer {
    let WhyQuery { id } = call.query()?;
    let agent = call.shared.agent.settings().name.clone();
    let full = view::full_name(&agent, &id).to_string();
    let asked = id.clone();
    let found = call.journal(&permit, move |journal| match journal.why(&asked)? {
        // What was typed may be the short form of a name.
        None if full != asked => journal.why(&full),
        found => Ok(found),
    });
    let Some(why) = found.await? else {
        let hint = "give an event's number, a delivery's key, or a name as `watchbell faults` and `events` show them";
        return Err(ApiError::not_found(format!("nothing is known of `{id}`"), hint));
    };
    let squelched = squelched(&call, &permit).await?;
    ok(&call.look(&permit, move |world: &World| view::why(&world.policy, &world.state, &squelched, why)).await?)
}
