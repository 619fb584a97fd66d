//! Answers: JSON, text, and errors that say what happened and what to do.

use crate::{api::ErrorView, run::handle::Busy};
use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use std::fmt;

/// Seconds after which a caller who was told that the agent is busy may ask again.
pub const RETRY_AFTER_SECONDS: u16 = 5;

/// Why a request was not done.
#[derive(Debug)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// What happened.
    pub error: String,
    /// What to do.
    pub hint: Option<String>,
}

impl ApiError {
    /// With a hint.
    pub fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> ApiError {
        ApiError { status, error: error.into(), hint: Some(hint.into()) }
    }

    /// The request itself is wrong.
    pub fn bad(error: impl Into<String>, hint: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, error, hint)
    }

    /// There is no such thing.
    pub fn not_found(error: impl Into<String>, hint: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, error, hint)
    }

    /// The agent can't do it now.
    pub fn unavailable(error: impl Into<String>) -> ApiError {
        ApiError { status: StatusCode::SERVICE_UNAVAILABLE, error: error.into(), hint: None }
    }

    /// The engine understood it and said no. Its texts say what happened, then what to do.
    pub fn refused(text: &str) -> ApiError {
        let (error, hint) = text.split_once("; ").map_or((text, None), |(error, hint)| (error, Some(hint.to_owned())));
        ApiError { status: StatusCode::UNPROCESSABLE_ENTITY, error: error.into(), hint }
    }
}

/// As commands say it.
impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\nhint: {hint}"))
    }
}

impl From<Busy> for ApiError {
    fn from(busy: Busy) -> ApiError {
        ApiError::unavailable(busy.reason)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json(self.status, &ErrorView { error: self.error, hint: self.hint });
        let headers = response.headers_mut();
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"watchbell\""));
            }
            _ => {}
        }
        response
    }
}

/// A value as JSON.
pub fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(mut body) => {
            body.push(b'\n');
            respond(status, "application/json", body)
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("the answer has no JSON form: {error}\n")),
    }
}

/// Plain text.
pub fn text(status: StatusCode, text: &str) -> Response {
    respond(status, "text/plain; charset=utf-8", text.to_owned().into_bytes())
}

/// Any body. Answers are of the moment, and nobody is to guess what they are or show them in a frame.
pub fn respond(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
