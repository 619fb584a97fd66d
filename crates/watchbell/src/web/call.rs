//! One request on its way: what it says, read within limits, and the ways to the engine and the journal, which
//! want a permit.

use super::{
    Limits,
    door::{Door, Grants, Permit, Read},
    places::Seat,
    rates::Rates,
    reply::ApiError,
};
use crate::{
    api::path,
    run::{Agent, handle::Answer},
};
use axum::{
    body::Bytes,
    extract::{FromRequest, Query, Request},
    http::{HeaderMap, Method, StatusCode, Uri, header},
};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use std::{
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;
use watchbell_core::{
    engine::{Input, World},
    model::{Name, Timestamp},
};
use watchbell_io::store::{Journal, StoreError};

/// A look at the world may wait this long for the engine.
const LOOK_WITHIN: Duration = Duration::from_secs(5);
/// Queries of the journal, and other long answers, that may be made at a time; more wait.
pub const JOURNAL_READERS_MAX: usize = 4;
/// A query of the journal, or another long answer, may wait and run this long.
const READ_WITHIN: Duration = Duration::from_secs(20);

/// What all requests share.
pub struct Shared {
    /// The running agent.
    pub agent: Agent,
    /// When it was started.
    pub started: Timestamp,
    /// What callers may ask of it.
    pub limits: Limits,
    /// Bounds how many read the journal.
    pub readers: Arc<Semaphore>,
    /// Answers by the first digit of their status.
    pub answers: [AtomicU64; 5],
    /// How much each caller asks.
    pub rates: Mutex<Rates>,
    /// When the doors were opened: where the time of the rates begins.
    pub opened: Instant,
}

/// One request.
pub struct Call {
    /// What all requests share.
    pub shared: Arc<Shared>,
    /// Where it came in.
    pub door: Door,
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub uri: Uri,
    /// Its headers.
    pub headers: HeaderMap,
    /// The connection that it came over.
    pub seat: Option<Arc<Seat>>,
    /// In a lock that is never held, so that a call can be shared between threads: a body alone can't.
    request: Mutex<Request>,
}

impl Call {
    /// Whether it asks how the agent is: that is answered from a reserve.
    pub fn is_about_health(&self) -> bool {
        matches!(self.uri.path(), path::HEALTHZ | path::READYZ)
    }

    /// Takes a request in.
    pub fn new(shared: Arc<Shared>, door: Door, request: Request) -> Call {
        Call {
            shared,
            door,
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
            seat: request.extensions().get().cloned(),
            request: Mutex::new(request),
        }
    }

    /// The query.
    ///
    /// # Errors
    /// 400: a parameter is missing, unknown or of the wrong type.
    pub fn query<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        Query::try_from_uri(&self.uri).map(|Query(query)| query).map_err(|error| {
            let text = error.body_text();
            let why = text.split_once(": ").map_or(text.as_str(), |(_, why)| why);
            let hint = "times are RFC 3339 (2026-03-04T10:00:00Z); `/api/v1/openapi.json` has all parameters";
            ApiError::bad(format!("the query can't be read: {why}"), hint)
        })
    }

    /// The body, as JSON of this type.
    ///
    /// # Errors
    /// 415 where it says that it is something else, 413 where it is too long, 408 where it does not arrive, 400 where
    /// it is no JSON or another type.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, ApiError> {
        if !is_json(&self.headers) {
            let hint = "send the header `Content-Type: application/json`";
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be JSON", hint));
        }
        let within = self.shared.limits.body_within;
        let request = self.request.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        let body = tokio::time::timeout(within, Bytes::from_request(request, &())).await.map_err(|_| {
            let error = format!("the body did not arrive within {within:?}");
            ApiError::new(StatusCode::REQUEST_TIMEOUT, error, "send it faster, or see what holds it up")
        })?;
        let body = body.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                let error = format!("the body is longer than {} bytes", self.shared.limits.body_bytes_max);
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, error, "send less, or cut its texts")
            }
            _ => ApiError::bad(format!("the body can't be read: {}", rejection.body_text()), "send it again"),
        })?;
        parse(&body)
    }

    /// The body as text, as much of it as came in time, up to so many bytes: it is no reason to refuse what it comes with.
    pub async fn text_up_to(self, bytes_max: usize) -> String {
        let within = self.shared.limits.body_within;
        let request = self.request.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (mut body, mut bytes) = (request.into_body(), Vec::new());
        let read = async {
            while let Some(Ok(frame)) = body.frame().await {
                let Some(data) = frame.data_ref() else { continue };
                bytes.extend_from_slice(&data[..data.len().min(bytes_max - bytes.len())]);
                if bytes.len() == bytes_max {
                    break;
                }
            }
        };
        // What came by then is what there is.
        let _ = tokio::time::timeout(within, read).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Looks at the world.
    ///
    /// # Errors
    /// 503: the engine does not answer.
    pub async fn look<T: Send + 'static>(
        &self,
        _: &Permit<Read>,
        look: impl FnOnce(&World) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        peek(&self.shared.agent, look).await
    }

    /// Goes through rows in slices: no look is long, so that no run starts late because somebody reads. `slice` is
    /// given where the last slice ended, and returns rows and where it ended itself, if there are more.
    ///
    /// # Errors
    /// 503: the engine does not answer.
    pub async fn slices<T: Send + 'static>(
        &self,
        permit: &Permit<Read>,
        slice: impl Fn(&World, Option<&Name>) -> (Vec<T>, Option<Name>) + Send + Sync + 'static,
    ) -> Result<Vec<T>, ApiError> {
        let slice = Arc::new(slice);
        let (mut all, mut from) = (Vec::new(), None::<Name>);
        loop {
            let slice = slice.clone();
            let (rows, end) = self.look(permit, move |world| slice(world, from.as_ref())).await?;
            all.extend(rows);
            match end {
                Some(_) => from = end,
                None => return Ok(all),
            }
        }
    }

    /// Does what may take long on a thread that may wait, and not at once with too much of its kind: the runtime's
    /// threads run checks and the engine.
    ///
    /// # Errors
    /// 503: it takes too long, or too many ask.
    pub async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let readers = self.shared.readers.clone();
        let work = async move {
            let place = readers.acquire_owned().await.map_err(|_| ApiError::unavailable("the agent is ending"))?;
            let task = tokio::task::spawn_blocking(move || {
                let _place = place;
                work()
            });
            task.await.unwrap_or_else(|_| Err(ApiError::unavailable("reading failed")))
        };
        tokio::time::timeout(READ_WITHIN, work).await.unwrap_or_else(|_| {
            let error = format!("the answer takes longer than {READ_WITHIN:?}");
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, error, "ask for less: a shorter time, a name"))
        })
    }

    /// Reads the journal, on a thread that may wait.
    ///
    /// # Errors
    /// 503: the store can't be read, or too many read it.
    pub async fn journal<T: Send + 'static>(
        &self,
        _: &Permit<Read>,
        read: impl FnOnce(&Journal) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let state = self.shared.agent.state.clone();
        let work = move || read(&Journal::open(&state)?);
        self.apart(move || {
            work().map_err(|error: StoreError| {
                let said = format!("the journal can't be read: {error}");
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, said, error.hint())
            })
        })
        .await
    }
}

/// Looks at the world, within a time.
///
/// # Errors
/// 503: the engine does not answer.
pub async fn peek<T: Send + 'static>(
    agent: &Agent,
    look: impl FnOnce(&World) -> T + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::time::timeout(LOOK_WITHIN, agent.handle.look(look)).await {
        Ok(seen) => Ok(seen?),
        Err(_) => Err(ApiError::unavailable(match agent.health.store_failure() {
            Some(reason) => format!("nothing is taken in now: {reason}"),
            None => format!("the engine did not answer within {LOOK_WITHIN:?}"),
        })),
    }
}

/// Hands an input in for somebody who may, and waits until it is on disk.
///
/// # Errors
/// 422 where the engine says no, 503 where it can't be stored now.
pub async fn submit<S: Grants>(agent: &Agent, _: &Permit<S>, input: Input) -> Result<Answer, ApiError> {
    let answer = agent.handle.submit(input).await?;
    match &answer.refused {
        Some(text) => Err(ApiError::refused(text)),
        None => Ok(answer),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let why = error.inner().to_string();
        // Many of serde's texts name the field themselves.
        let place = format!("`{path}`");
        let place = if path == "." || why.contains(&place) { String::new() } else { format!("{place}: ") };
        ApiError::bad(format!("the body can't be read: {place}{why}"), "`/api/v1/openapi.json` has all fields")
    })?;
    deserializer.end().map_err(|error| ApiError::bad(format!("the body can't be read: {error}"), "send one value"))?;
    Ok(value)
}
