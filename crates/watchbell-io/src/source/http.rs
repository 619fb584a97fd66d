//! `http = "URL"`: one request, its answer judged, each phase timed.
//!
//! The probe speaks to the server directly, without a proxy, over a new connection each time and HTTP/1.1, so
//! that a visitor's whole way is measured. Whatever is wrong with the answer is one finding about the check as
//! a whole, whose text says what came and what was expected, and never how long it took.
//!
//! Secrets in headers go to the first server only: a redirect to another origin leaves them out.

use super::{BoxFuture, Probe, Program, Run};
use crate::shared::{
    jq::Filter,
    net::{self, Address, Stage, Stream, Timeline},
    secret,
    tls::{self, TlsOptions},
};
pub(super) use answer::read_body;
use answer::{Answer, Status};
use base64::{Engine, prelude::BASE64_STANDARD};
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{self, HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use regex::Regex;
use std::{error::Error, sync::Arc};
use tokio::{task::JoinSet, time::timeout};
use url::{Host, Position, Url};
use watchbell_core::{
    config::{Capabilities, Key, Kind, Reader, Secret, Shape, tree::Value},
    model::{Finding, Outcome},
};

mod answer;

/// How much of a body is read unless `max_body` says otherwise.
pub const BODY_BYTES_DEFAULT: usize = 1024 * 1024;

/// The most that `max_body` can be.
pub const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How many redirects are followed unless `redirects` says otherwise.
pub const REDIRECTS_DEFAULT: i64 = 5;

/// The most that `redirects` can be.
pub const REDIRECTS_MAX: i64 = 20;

/// How many headers an answer may have.
pub const HEADERS_MAX: usize = 200;

/// How much memory the headers of an answer may take.
pub const HEADERS_BYTES_MAX: usize = 256 * 1024;

/// This kind.
pub const KIND: Kind<Program> = Kind {
    key: "http",
    doc: "Asks for a URL and judges the answer: its status, its text, its JSON. The metrics are `time_total` and the \
          phases `time_dns`, `time_connect`, `time_tls`, `time_first_byte` and `time_transfer` in seconds (summed up \
          over redirects), and `size`, the body's bytes. With `value` the check itself has a value.",
    example: r#"[check.site]
http = "https://example.com/health"
status = 200
contains = "ok"
json = '.checks | all(.healthy)'
value = '.queue.length'
headers = { X-Probe = "watchbell" }
bearer = { env = "HEALTH_TOKEN" }
every = "1m"
timeout = "10s"
thresholds = ["time_total warning > 1 error > 5"]
"#,
    keys: &[
        Key { name: "http", shape: Shape::String, doc: "the URL, `http://…` or `https://…`" },
        Key { name: "method", shape: Shape::String, doc: "the method (default `GET`, with a body `POST`)" },
        Key {
            name: "headers",
            shape: Shape::Other,
            doc: "headers to send: texts, or references as for secrets; one of these replaces our own of that name",
        },
        Key { name: "body", shape: Shape::Text, doc: "what to send: a text, or a reference as for a secret" },
        Key { name: "user", shape: Shape::Text, doc: "the user of basic authentication; needs `password`" },
        Key { name: "password", shape: Shape::Secret, doc: "the password of basic authentication" },
        Key { name: "bearer", shape: Shape::Secret, doc: "a token, sent as `Authorization: Bearer …`" },
        Key {
            name: "status",
            shape: Shape::Other,
            doc: "which status is right: `200`, `[200, 204]`, `\"200-299\"`, `\"200-299, 404\"` (default `\"200-299\"`)",
        },
        Key { name: "contains", shape: Shape::String, doc: "a text that the body must contain" },
        Key {
            name: "matches",
            shape: Shape::Pattern,
            doc: "a regular expression that must match somewhere in the body",
        },
        Key {
            name: "json",
            shape: Shape::String,
            doc: "a jq filter over the body; all it puts out must be `true`, and it must put out something",
        },
        Key {
            name: "value",
            shape: Shape::String,
            doc: "a jq filter over the body that puts out one number: the check's value, in `unit`",
        },
        Key {
            name: "redirects",
            shape: Shape::Integer,
            doc: "how many redirects to follow (default 5); with 0 a redirect is judged itself",
        },
        Key {
            name: "max_body",
            shape: Shape::Integer,
            doc: "how many bytes of the body to read (default 1048576, at most 67108864)",
        },
        tls::KEYS[0],
        tls::KEYS[1],
        tls::KEYS[2],
        tls::KEYS[3],
    ],
    capabilities: Capabilities { edits: false, digests: false, acknowledges: false, gap_ms: 0 },
    read,
};

/// One URL.
#[derive(Debug)]
struct Http {
    url: Url,
    method: Method,
    headers: Vec<(HeaderName, Secret)>,
    body: Option<Secret>,
    login: Login,
    wanted: Wanted,
    redirects: usize,
    body_bytes_max: usize,
    tls: TlsOptions,
}

/// How to say who asks.
#[derive(Debug)]
enum Login {
    None,
    Basic { user: Secret, password: Secret },
    Bearer(Secret),
}

/// What the answer must be like.
#[derive(Debug)]
struct Wanted {
    status: Status,
    contains: Option<String>,
    matches: Option<Regex>,
    json: Option<Filter>,
    value: Option<Filter>,
}

fn read(reader: &mut Reader<'_>) -> Option<Program> {
    let url = reader.require_string("http").and_then(|text| read_url(reader, &text));
    let headers = read_headers(reader);
    let body = reader.text("body");
    let usual = if body.is_some() { Method::POST } else { Method::GET };
    let method = match reader.string("method") {
        Some(word) => match Method::from_bytes(word.to_ascii_uppercase().as_bytes()) {
            Ok(method) if method != Method::CONNECT => method,
            _ => {
                reader
                    .error("method", format!("`{word}` is no method that can be used"))
                    .hint("it is `GET`, `HEAD`, `POST`…");
                usual
            }
        },
        None => usual,
    };
    let login = read_login(reader);
    let wanted = read_wanted(reader);
    let redirects = reader.integer("redirects", 0..=REDIRECTS_MAX).unwrap_or(REDIRECTS_DEFAULT);
    let largest = i64::try_from(BODY_BYTES_MAX).unwrap_or(i64::MAX);
    let body_bytes_max = reader.integer("max_body", 1..=largest).and_then(|n| usize::try_from(n).ok());
    let tls = TlsOptions::read(reader);
    Some(Arc::new(Http {
        url: url?,
        method,
        headers,
        body,
        login,
        wanted,
        redirects: usize::try_from(redirects).unwrap_or(0),
        body_bytes_max: body_bytes_max.unwrap_or(BODY_BYTES_DEFAULT),
        tls,
    }))
}

fn read_url(reader: &mut Reader<'_>, text: &str) -> Option<Url> {
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(why) => {
            reader.error("http", format!("`{text}` is no URL: {why}")).hint("write it as \"https://example.com/path\"");
            return None;
        }
    };
    if !matches!(url.scheme(), "http" | "https") {
        let message = format!("`{}` is no scheme that this kind speaks", url.scheme());
        reader.error("http", message).hint("write it as \"https://example.com/path\"");
        return None;
    }
    if !url.username().is_empty() || url.password().is_some() {
        reader
            .error("http", "a user and a password must not stand in the URL: it is shown to many")
            .hint("use `user = \"NAME\"` and `password = { env = \"NAME\" }`");
        return None;
    }
    Some(url)
}

fn read_headers(reader: &mut Reader<'_>) -> Vec<(HeaderName, Secret)> {
    let mut headers = Vec::new();
    for (name, value) in reader.secret_map("headers").unwrap_or_default() {
        let plain_is_bad = matches!(&value, Secret::Value(text) if HeaderValue::from_str(text).is_err());
        match HeaderName::from_bytes(name.as_bytes()) {
            Ok(_) if plain_is_bad => {
                reader.error("headers", format!("the value of the header `{name}` has characters that can't be sent"));
            }
            Ok(name) => headers.push((name, value)),
            Err(_) => {
                reader.error("headers", format!("`{name}` is no name of a header"));
            }
        }
    }
    headers
}

fn read_login(reader: &mut Reader<'_>) -> Login {
    let (user, password, bearer) = (reader.text("user"), reader.secret("password"), reader.secret("bearer"));
    if reader.has("bearer") && (reader.has("user") || reader.has("password")) {
        reader.error("bearer", "`bearer` and `user` can't both be sent: each is the header `Authorization`");
    }
    match (user, password, bearer) {
        (Some(user), Some(password), None) => Login::Basic { user, password },
        (None, None, Some(token)) => Login::Bearer(token),
        (Some(_), None, None) if !reader.has("password") => {
            reader.error("user", "`user` needs `password`").hint("add `password = { env = \"NAME\" }`");
            Login::None
        }
        (None, Some(_), None) if !reader.has("user") => {
            reader.error("password", "`password` needs `user`").hint("add `user = \"NAME\"`");
            Login::None
        }
        _ => Login::None,
    }
}

fn read_wanted(reader: &mut Reader<'_>) -> Wanted {
    let status = match reader.entry("status").map(|e| &e.value.value) {
        None => Ok(Status::default()),
        Some(value) => Status::read(value),
    };
    let status = status.unwrap_or_else(|problem| {
        reader.error("status", problem).hint("write `200`, `[200, 204]` or `\"200-299, 404\"`");
        Status::default()
    });
    let contains = reader.string("contains");
    let matches = reader.pattern("matches");
    let (json, value) = (read_filter(reader, "json"), read_filter(reader, "value"));
    Wanted { status, contains, matches, json, value }
}

fn read_filter(reader: &mut Reader<'_>, key: &str) -> Option<Filter> {
    let text = reader.string(key)?;
    match Filter::compile(&text) {
        Ok(filter) => Some(filter),
        Err(why) => {
            reader.error(key, format!("`{key}` is no jq filter: {why}"));
            None
        }
    }
}

impl Status {
    /// Reads a number, a text of ranges, or a list of both.
    fn read(value: &Value) -> Result<Status, String> {
        match value {
            Value::Integer(n) => Status::parse(&n.to_string()),
            Value::String(text) => Status::parse(text),
            Value::Array(nodes) if !nodes.is_empty() => {
                let parts = nodes.iter().map(|node| Status::read(&node.value)).collect::<Result<Vec<_>, _>>()?;
                Ok(Status::join(parts))
            }
            other => Err(format!("`status` can't be {}", other.type_name())),
        }
    }
}

/// A request with its secrets read.
struct Prepared {
    method: Method,
    /// For every server.
    headers: HeaderMap,
    /// For the origin that the config names.
    private: HeaderMap,
    body: Bytes,
}

impl Http {
    /// Reads the secrets.
    fn prepare(&self) -> Result<Prepared, String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("watchbell/", env!("CARGO_PKG_VERSION"))));
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        // What is compared and measured is what was sent.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        let mut private = HeaderMap::new();
        let login = match &self.login {
            Login::None => None,
            Login::Bearer(token) => Some(format!("Bearer {}", secret::read(token)?)),
            Login::Basic { user, password } => {
                let pair = format!("{}:{}", secret::read(user)?, secret::read(password)?);
                Some(format!("Basic {}", BASE64_STANDARD.encode(pair)))
            }
        };
        if let Some(text) = login {
            private.insert(header::AUTHORIZATION, sensitive(&header::AUTHORIZATION, &text)?);
        }
        // What is shown of the address is shown without what it holds of secrets.
        secret::hide_with(|mask| mask.add_login(&self.url));
        for (name, value) in &self.headers {
            let plain = secret::read(value)?;
            if *name == header::AUTHORIZATION || *name == header::COOKIE {
                secret::hide(&plain);
            }
            let text = sensitive(name, &plain)?;
            let guarded = !matches!(value, Secret::Value(_))
                || [header::AUTHORIZATION, header::COOKIE, header::HOST].contains(name);
            if guarded {
                private.insert(name, text)
            } else {
                headers.insert(name, text)
            };
        }
        let body = self.body.as_ref().map(secret::read).transpose()?.unwrap_or_default();
        Ok(Prepared { method: self.method.clone(), headers, private, body: Bytes::from(body) })
    }

    async fn probe(&self, run: &Run<'_>, timeline: &mut Timeline) -> Result<Outcome, Finding> {
        let mut request = self.prepare().map_err(net::not_ready)?;
        let mut url = self.url.clone();
        let mut hops = 0;
        let answer = loop {
            let head = self.exchange(run, &url, &request, timeline).await?;
            match redirect(&url, &head.response).map_err(net::fault)? {
                Some(next) if hops < self.redirects => {
                    follow(&mut request, head.response.status());
                    self.may_send_body(&request, &next).map_err(|e| self.fault(&e))?;
                    url = next;
                    hops += 1;
                }
                Some(next) if self.redirects > 0 => {
                    return Err(net::fault(format!(
                        "more than {hops} redirects, the last to {next} — {}",
                        self.request_line()
                    )));
                }
                _ => break self.read_body(head, timeline).await?,
            }
        };
        let method = if request.method == self.method { String::new() } else { format!("{} ", request.method) };
        let whence = match hops {
            0 => self.request_line(),
            _ => format!("{}, redirected to {method}{url}", self.request_line()),
        };
        timeline.end();
        Ok(self.wanted.judge(answer, &whence, timeline, run.timeout).await)
    }

    /// A body that is a secret goes to the origin that the config names, as secrets in headers do.
    fn may_send_body(&self, request: &Prepared, next: &Url) -> Result<(), String> {
        let is_secret = matches!(&self.body, Some(secret) if !matches!(secret, Secret::Value(_)));
        if !is_secret || request.body.is_empty() || same_origin(next, &self.url) {
            return Ok(());
        }
        Err(format!("redirected to {next}, another origin, which must not get the body, a secret; ask there"))
    }

    fn request_line(&self) -> String {
        format!("{} {}", self.method, self.url)
    }

    /// Connects and asks, up to the head of the answer.
    async fn exchange(
        &self,
        run: &Run<'_>,
        url: &Url,
        prepared: &Prepared,
        timeline: &mut Timeline,
    ) -> Result<Head, Finding> {
        let address = address(url).map_err(net::fault)?;
        let mut stream = net::connect(&address, timeline).await.map_err(|e| self.fault(&e))?;
        if url.scheme() == "https" {
            let config = self.tls.client_config(&run.shared.http).map_err(net::not_ready)?;
            let name = tls::server_name(address.host()).map_err(|e| self.fault(&e))?;
            let secured = tls::handshake(stream, config, name, &address, timeline).await;
            stream = Box::new(secured.map_err(|e| self.fault(&e))?);
        }
        timeline.begin(Stage::FirstByte);
        let request = build(url, prepared, same_origin(url, &self.url)).map_err(|e| self.fault(&e))?;
        talk(stream, request).await.map_err(|e| self.fault(&format!("`{address}` {}", describe(&e))))
    }

    fn fault(&self, message: &str) -> Finding {
        net::fault(format!("{message} — {}", self.request_line()))
    }

    async fn read_body(&self, mut head: Head, timeline: &mut Timeline) -> Result<Answer, Finding> {
        timeline.begin(Stage::Transfer);
        let status = head.response.status();
        let encoding = head.response.headers().get(header::CONTENT_ENCODING).and_then(|v| v.to_str().ok());
        let encoding = encoding.filter(|e| !e.eq_ignore_ascii_case("identity")).map(str::to_owned);
        let media_type = head.response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let charset = media_type.and_then(answer::charset);
        let mut body = Vec::new();
        let mut cut = false;
        while let Some(frame) = head.response.frame().await {
            let frame = frame.map_err(|e| {
                let status = status.as_u16();
                self.fault(&format!("the body of the answer (status {status}) broke off: {}", describe(&e)))
            })?;
            let Ok(data) = frame.into_data() else { continue };
            timeline.received += data.len();
            let room = self.body_bytes_max - body.len();
            body.extend_from_slice(&data[..data.len().min(room)]);
            timeline.heard = net::excerpt(&body[..body.len().min(4 * net::EXCERPT_CHARS_MAX)]);
            if data.len() > room {
                cut = true;
                break;
            }
        }
        Ok(Answer { status, body, cut, encoding, charset })
    }
}

impl Probe for Http {
    fn run<'a>(&'a self, run: &'a Run<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let mut timeline = Timeline::default();
            let result = timeout(run.timeout, self.probe(run, &mut timeline)).await;
            timeline.finish(result, &self.url, run.timeout)
        })
    }

    fn preflight(&self) -> Vec<String> {
        let mut secrets: Vec<&Secret> = self.headers.iter().map(|(_, value)| value).chain(&self.body).collect();
        match &self.login {
            Login::None => {}
            Login::Bearer(token) => secrets.push(token),
            Login::Basic { user, password } => secrets.extend([user, password]),
        }
        let mut list: Vec<String> = secrets.into_iter().filter_map(|s| secret::read(s).err()).collect();
        list.extend(self.tls.preflight());
        list
    }
}

fn sensitive(name: &HeaderName, text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        format!("the value of the header `{name}` has characters that can't be sent, such as a line end")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn same_origin(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin()
}

fn address(url: &Url) -> Result<Address, String> {
    let host = match url.host() {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(ip)) => ip.to_string(),
        Some(Host::Ipv6(ip)) => ip.to_string(),
        None => return Err(format!("`{url}` has no host")),
    };
    let port = url.port_or_known_default().ok_or_else(|| format!("`{url}` has no port"))?;
    Ok(Address::Tcp { host, port })
}

fn build(url: &Url, prepared: &Prepared, with_private: bool) -> Result<Request<Full<Bytes>>, String> {
    let target = &url[Position::BeforePath..Position::AfterQuery];
    let mut request = Request::builder()
        .method(prepared.method.clone())
        .uri(target)
        .body(Full::new(prepared.body.clone()))
        .map_err(|e| format!("`{target}` can't be asked for: {e}"))?;
    let host = &url[Position::BeforeHost..Position::AfterPort];
    let host = HeaderValue::from_str(host).map_err(|_| format!("`{host}` can't be sent as a host name"))?;
    let headers = request.headers_mut();
    *headers = prepared.headers.clone();
    headers.insert(header::HOST, host);
    let has_content = [Method::POST, Method::PUT, Method::PATCH].contains(&prepared.method);
    if prepared.body.is_empty() && has_content {
        // RFC 9110, 8.6: servers wait for it, or answer 411. The library leaves it out.
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    if with_private {
        for (name, value) in &prepared.private {
            headers.insert(name, value.clone());
        }
    }
    Ok(request)
}

/// The head of an answer; its connection lives as long as this.
struct Head {
    response: hyper::Response<Incoming>,
    _connection: JoinSet<()>,
}

/// Sends a request over a new connection.
async fn talk(stream: Stream, request: Request<Full<Bytes>>) -> Result<Head, hyper::Error> {
    let mut builder = http1::Builder::new();
    builder.max_headers(HEADERS_MAX).max_header_size(HEADERS_BYTES_MAX).max_buf_size(HEADERS_BYTES_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let mut task = JoinSet::new();
    // Its error also comes out of the request or the body.
    task.spawn(async move {
        let _ = connection.await;
    });
    let response = sender.send_request(request).await?;
    Ok(Head { response, _connection: task })
}

/// Where an answer sends us, if it is a redirect (RFC 9110, 15.4) that says so.
fn redirect(url: &Url, response: &hyper::Response<Incoming>) -> Result<Option<Url>, String> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = response.headers().get(header::LOCATION) else { return Ok(None) };
    let text = String::from_utf8_lossy(location.as_bytes());
    let shown = net::excerpt(text.as_bytes());
    let next = url.join(&text).map_err(|e| format!("`{url}` redirects to `{shown}`, which is no URL: {e}"))?;
    if !matches!(next.scheme(), "http" | "https") {
        return Err(format!("`{url}` redirects to `{shown}`, which is not HTTP"));
    }
    Ok(Some(next))
}

/// What a redirect makes of the request (RFC 9110, 15.4; Fetch, 4.4): 303 turns all into `GET`, 301 and 302 only `POST`, as
/// browsers do; 307 and 308 keep it as it is.
fn follow(request: &mut Prepared, status: StatusCode) {
    let becomes_get = match status.as_u16() {
        301 | 302 => request.method == Method::POST,
        303 => request.method != Method::HEAD,
        _ => false,
    };
    if !becomes_get {
        return;
    }
    request.method = Method::GET;
    request.body = Bytes::new();
    for headers in [&mut request.headers, &mut request.private] {
        for about_the_body in
            [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE]
        {
            headers.remove(about_the_body);
        }
    }
}

/// What the HTTP library says, in words that people know.
fn describe(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        return "closed the connection before the answer was complete".to_owned();
    }
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            if io.kind() == std::io::ErrorKind::UnexpectedEof {
                return "closed the connection before the answer was complete".to_owned();
            }
            return format!("broke the connection: {}", tls::explain_io(io));
        }
        source = inner.source();
    }
    if error.is_canceled() {
        // The connection's task gave up before it took the request.
        return match error.source().map(ToString::to_string) {
            Some(why) if why.contains("unexpected message") => {
                "speaks before it is asked, so it is no HTTP; is this the right port?".to_owned()
            }
            Some(why) => format!("ended the connection before the request was sent: {why}"),
            None => "closed the connection before the answer was complete".to_owned(),
        };
    }
    if error.to_string().contains("too large") {
        return format!("sent headers of more than {HEADERS_MAX} lines or {HEADERS_BYTES_MAX} bytes");
    }
    if error.is_parse() {
        return format!("answers something that is no HTTP ({error}); is this the right port?");
    }
    match error.source() {
        Some(inner) => format!("failed: {error}: {inner}"),
        None => format!("failed: {error}"),
    }
}

#[cfg(test)]
mod tests;
