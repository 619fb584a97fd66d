//! `https://…` and `http://…`: a web server that answers rows as JSON or CSV (S2.4).
//!
//! # Where a question goes
//! - **GET** (the default): the query is a path, parameters, or both, and is joined to the source's address. What comes
//!   before the first `?` is put behind the address' path with one `/` between; what comes after it behind the address'
//!   parameters with `&` between. So `https://h/api/?tenant=7` and the query `orders?limit=10` is
//!   `https://h/api/orders?tenant=7&limit=10`; an empty query is the address itself. Lines of a query are put together
//!   without anything between, so that each parameter may have a line of its own; what an address can't hold is escaped.
//! - **POST** (`method = "POST"`): the query is the body, unchanged. Its `Content-Type` is what it looks like: JSON where it
//!   begins with `{` or `[`, XML with `<`, a form where it is `name=value` pairs without blanks, else plain text.
//!
//! # Who asks
//! `password` goes with the user that the address names as Basic authentication, and without a user as
//! `Authorization: Bearer`. Headers of the config replace what would be sent otherwise. Redirects are followed for GET and
//! to the same scheme, host and port only: the secrets are for nobody else.
//!
//! # What the answer means
//! 2xx is read; a connection that can't be made means that the source is away; 401, 403, 407, 408, 429, 5xx, redirects
//! elsewhere and a connection that breaks the same, unless other queries are answered: then it is this one's; every other
//! status, and rows that can't be read, that the query is wrong. No text holds a secret.

use super::{
    Ask, Place, Trouble,
    decode::{Decoder, Keep},
    sql::working_time,
};
use crate::shared::{
    BoxFuture,
    http::{Http as Clients, read_certificates},
    mask::{Mask, place, url_problem},
    secret,
};
use reqwest::{
    Client, Response,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT},
    redirect::Policy,
};
use std::{
    error::Error as _,
    sync::{Arc, Mutex, PoisonError},
};
use url::Url;
use watchbell_core::{
    config::{HttpSource, RowFormat, Secret, SourcePlace, SourcePolicy},
    model::Answer,
};

/// One paragraph for the reference.
pub const DOC: &str = "A web server that answers rows as JSON or CSV. With GET the query is a path, parameters, or both \
                       (`orders?limit=100`), and is joined to the address; with `method = \"POST\"` it is the body. `password` \
                       goes with the user in the address (Basic), or without one as a bearer token; `headers` may hold \
                       secrets too.";

/// At most so many bytes of an answer are read.
pub const BODY_BYTES_MAX: usize = 64 << 20;
/// So many redirects are followed.
pub const REDIRECTS_MAX: usize = 5;
/// At most so many bytes are read of an answer that says what is wrong.
pub const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// Values of these headers are no secrets.
const PLAIN_HEADERS: [HeaderName; 3] = [ACCEPT, CONTENT_TYPE, USER_AGENT];

/// A server.
#[derive(Debug)]
struct Server {
    policy: Arc<SourcePolicy>,
    decoder: Decoder,
    /// Made for the first question, and again after a connection failed: certificates are renewed while we run.
    client: Mutex<Option<Client>>,
}

/// Reads the address and the filter.
///
/// # Errors
/// What is wrong with them.
pub fn open(policy: &Arc<SourcePolicy>) -> Result<Box<dyn Place>, String> {
    let SourcePlace::Url { url, http, .. } = &policy.place else { return Err("`url` is missing".to_owned()) };
    if let Some(why) = url_problem(&secret::read(url)?) {
        return Err(format!("`url` is no address: {why}"));
    }
    for name in http.headers.keys() {
        let _: HeaderName = name.parse().map_err(|_| format!("`{}` is no name of a header", name.escape_debug()))?;
    }
    let decoder = Decoder::new(&http.format)?;
    Ok(Box::new(Server { policy: policy.clone(), decoder, client: Mutex::default() }))
}

impl Place for Server {
    fn ask<'a>(&'a self, ask: &'a Ask<'a>) -> BoxFuture<'a, Result<Answer, Trouble>> {
        Box::pin(async move {
            let mut mask = Mask::default();
            let request = self.request(ask, &mut mask)?;
            let at = place(request.url.as_str());
            let answered = tokio::time::timeout(working_time(ask.timeout), self.call(ask, request, &at)).await;
            let answer = answered.unwrap_or_else(|_| {
                Err(Trouble::Slow(format!(
                    "no complete answer from `{at}` within {:?}: ask for fewer rows, or raise the check's `timeout`",
                    ask.timeout
                )))
            });
            answer.map_err(|trouble| match trouble {
                Trouble::Away(text) => Trouble::Away(mask.clean(&text)),
                Trouble::Broken(text) => Trouble::Broken(mask.clean(&text)),
                Trouble::Wrong(text) => Trouble::Wrong(mask.clean(&text)),
                Trouble::Slow(text) => Trouble::Slow(mask.clean(&text)),
            })
        })
    }

    fn preflight(&self) -> Vec<String> {
        let SourcePlace::Url { password, ca, http, .. } = &self.policy.place else { return Vec::new() };
        let mut list: Vec<String> = ca.iter().filter_map(|path| read_certificates(path).err()).collect();
        list.extend(password.iter().filter_map(|s| secret::read(s).err()).map(|why| format!("`password`: {why}")));
        let headers = http.headers.iter().filter_map(|(name, s)| Some((name, secret::read(s).err()?)));
        list.extend(headers.map(|(name, why)| format!("the header `{name}`: {why}")));
        list
    }
}

/// What is sent.
struct Request {
    url: Url,
    headers: HeaderMap,
    body: Option<String>,
}

impl Server {
    fn request(&self, ask: &Ask<'_>, mask: &mut Mask) -> Result<Request, Trouble> {
        let SourcePlace::Url { url, password, http, .. } = &self.policy.place else {
            return Err(Trouble::Away("`url` is missing".to_owned()));
        };
        let text = secret::read(url).map_err(Trouble::Away)?;
        let mut base = Url::parse(&text).map_err(|e| Trouble::Away(format!("`url` is no address: {e}")))?;
        if !matches!(url, Secret::Value(_)) {
            mask.add_url(&text);
        }
        mask.add(base.password().unwrap_or_default());
        let mut headers = defaults(http, ask.query);
        if let Some(password) = password {
            let password = secret::read(password).map_err(|why| Trouble::Away(format!("`password`: {why}")))?;
            mask.add(&password);
            if base.username().is_empty() {
                headers.insert(AUTHORIZATION, value("password", &format!("Bearer {password}"))?);
            } else if base.set_password(Some(&password)).is_err() {
                return Err(Trouble::Away("`url` can't have a password".to_owned()));
            }
        }
        for (name, secret) in &http.headers {
            let text = secret::read(secret).map_err(|why| Trouble::Away(format!("the header `{name}`: {why}")))?;
            let header: HeaderName = name.parse().map_err(|_| Trouble::Away(format!("`{name}` is no header")))?;
            if !PLAIN_HEADERS.contains(&header) {
                mask.add(&text);
                mask.add(text.rsplit(' ').next().unwrap_or_default());
            }
            headers.insert(header, value(name, &text)?);
        }
        if http.post {
            return Ok(Request { url: base, headers, body: Some(ask.query.to_owned()) });
        }
        let url = joined(&base, ask.query).map_err(Trouble::Wrong)?;
        Ok(Request { url, headers, body: None })
    }

    async fn call(&self, ask: &Ask<'_>, request: Request, at: &str) -> Result<Answer, Trouble> {
        let client = self.client(&ask.shared.http).map_err(Trouble::Away)?;
        let call = match request.body {
            Some(body) => client.post(request.url).body(body),
            None => client.get(request.url),
        };
        let sent = call.headers(request.headers).send().await;
        let mut response = sent.map_err(|e| {
            *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
            unsent(e, at)
        })?;
        if !response.status().is_success() {
            return Err(refused(&mut response, at).await);
        }
        let body = body(&mut response, at).await?;
        let answer = self.decoder.decode(body, Keep::of(ask)).await;
        answer.map_err(|why| Trouble::Wrong(format!("can't read the rows that `{at}` answered: {why}")))
    }

    fn client(&self, clients: &Clients) -> Result<Client, String> {
        let mut kept = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*kept {
            return Ok(client.clone());
        }
        let client = make_client(&self.policy, clients)?;
        *kept = Some(client.clone());
        Ok(client)
    }
}

fn make_client(policy: &SourcePolicy, clients: &Clients) -> Result<Client, String> {
    let SourcePlace::Url { ca, http, .. } = &policy.place else { return Err("`url` is missing".to_owned()) };
    let mut roots = (*clients.roots).clone();
    if let Some(path) = ca {
        roots.add_parsable_certificates(read_certificates(path)?);
    }
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let same_place = Policy::custom(|attempt| {
        let from = attempt.previous().last().map(Url::origin);
        let here = from == Some(attempt.url().origin()) && attempt.previous().len() <= REDIRECTS_MAX;
        if here { attempt.follow() } else { attempt.stop() }
    });
    Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(if http.post { Policy::none() } else { same_place })
        .connect_timeout(policy.connect_timeout)
        .pool_max_idle_per_host(policy.connections_max)
        .user_agent(concat!("watchbell/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| format!("can't make an HTTP client: {e}"))
}

/// The address of a question, see the top of this file.
fn joined(base: &Url, query: &str) -> Result<Url, String> {
    let query: String = query.lines().map(str::trim).collect();
    let (path, parameters) = query.split_once('?').unwrap_or((&query, ""));
    if path.contains("://") {
        return Err("the query is joined to the source's address: write it without `https://` and the host, like \
                    `orders?limit=100`"
            .to_owned());
    }
    let mut url = base.clone();
    url.set_fragment(None);
    if !path.is_empty() {
        url.set_path(&format!("{}/{}", base.path().trim_end_matches('/'), path.trim_start_matches('/')));
    }
    let all: Vec<&str> = [base.query().unwrap_or_default(), parameters].into_iter().filter(|p| !p.is_empty()).collect();
    url.set_query(if all.is_empty() { None } else { Some(all.join("&")) }.as_deref());
    Ok(url)
}

/// Headers that the config may replace.
fn defaults(http: &HttpSource, query: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let accept = match http.format {
        RowFormat::Json { .. } => "application/json, application/x-ndjson, */*;q=0.1",
        RowFormat::Csv => "text/csv, */*;q=0.1",
        RowFormat::Guess => "application/json, application/x-ndjson, text/csv;q=0.9, */*;q=0.1",
    };
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    if http.post {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(query.trim())));
    }
    headers
}

fn content_type(body: &str) -> &'static str {
    let pair = |part: &str| part.split_once('=').is_some_and(|(name, _)| !name.is_empty());
    match body.bytes().next() {
        Some(b'{' | b'[') => "application/json",
        Some(b'<') => "application/xml",
        Some(_) if !body.contains(char::is_whitespace) && body.split('&').all(pair) => {
            "application/x-www-form-urlencoded"
        }
        _ => "text/plain; charset=utf-8",
    }
}

fn value(name: &str, text: &str) -> Result<HeaderValue, Trouble> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Trouble::Away(format!("the value of `{name}` has characters that can't be sent in a header")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The body of a good answer.
async fn body(response: &mut Response, at: &str) -> Result<Vec<u8>, Trouble> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > BODY_BYTES_MAX => {
                let most = BODY_BYTES_MAX >> 20;
                return Err(Trouble::Wrong(format!("`{at}` answered more than {most} MiB: ask for fewer rows")));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(e) => {
                let (n, why) = (body.len(), innermost(e));
                return Err(Trouble::Broken(format!("the answer of `{at}` broke off after {n} bytes: {why}")));
            }
        }
    }
}

/// What another status than 2xx means.
async fn refused(response: &mut Response, at: &str) -> Trouble {
    let status = response.status().as_u16();
    let mut said = Vec::new();
    // A body that breaks off does not change what the status said.
    while let Ok(Some(chunk)) = response.chunk().await {
        said.extend_from_slice(&chunk);
        if said.len() >= REFUSAL_BYTES_MAX {
            break;
        }
    }
    let said = match Mask::default().quote(&String::from_utf8_lossy(&said)) {
        said if said.is_empty() => said,
        said => format!(": {said}"),
    };
    let hint = match status {
        300..=399 => "; it leads elsewhere, where secrets are not sent: set the address it leads to",
        401 | 403 | 407 => "; check the password or token and what it may do",
        404 | 410 => "; check the address and the query's path",
        405 => "; should it be asked with `method = \"POST\"`, or without?",
        408 | 429 => "; it wants fewer questions",
        _ => "",
    };
    let text = format!("`{at}` answered {status}{said}{hint}");
    match status {
        300..=399 | 401 | 403 | 407 | 408 | 429 | 500.. => Trouble::Broken(text),
        _ => Trouble::Wrong(text),
    }
}

/// Why there is no answer.
fn unsent(error: reqwest::Error, at: &str) -> Trouble {
    let (builder, connect, timeout) = (error.is_builder(), error.is_connect(), error.is_timeout());
    let why = innermost(error);
    match (builder, connect, timeout) {
        (true, ..) => Trouble::Wrong(format!("can't make the request to `{at}`: {why}")),
        (_, true, true) => {
            Trouble::Away(format!("no connection to `{at}` in time; is the host up, or a firewall between?"))
        }
        (_, true, _) => Trouble::Away(format!("can't connect to `{at}`: {why}")),
        _ => Trouble::Broken(format!("no answer from `{at}`: {why}")),
    }
}

/// The innermost reason says most: "connection refused", "certificate has expired".
fn innermost(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut why = error.to_string();
    let mut next = error.source();
    while let Some(e) = next {
        why = e.to_string();
        next = e.source();
    }
    Mask::default().quote(&why)
}

#[cfg(test)]
mod tests;
