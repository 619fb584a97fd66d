//! Who may do what. A [`Permit`] is the proof: whoever reads or changes anything asks for one as an argument,
//! and only this file makes them.
//!
//! Whoever can open the unix socket may do everything: its mode says who that is. On TCP a token is needed. On loopback,
//! as long as nobody wrote `tokens`, everybody on this host may look and report, and nobody may operate: any user can
//! connect there. A web page must not use a browser on this host as its hands: where no token is needed the `Host` must
//! be one of ours (so that a name that was made to point here does not do), and a request that changes something must
//! not come from another origin (another port is one); its body must be JSON in any case (which a page of another
//! origin can't send unasked). Where a token is needed, no page has it.

use super::{
    call::Call,
    rates::{Caller, Rate},
    reply::ApiError,
};
use crate::api::path;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use sha2::{Digest, Sha256};
use std::{marker::PhantomData, net::IpAddr, time::Duration};
use watchbell_core::{
    config::{AgentSettings, Scope, Token},
    model::Name,
};

/// Tokens longer than this are not looked at.
const TOKEN_BYTES_MAX: usize = 512;

/// Where a connection came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Door {
    /// The unix socket.
    Socket,
    /// The TCP listener.
    Tcp {
        /// It is bound to a loopback address.
        loopback: bool,
    },
}

/// A scope as a type.
pub trait Grants {
    /// The scope.
    const SCOPE: Scope;
}

/// May see everything.
#[derive(Debug)]
pub struct Read;
/// May squelch, acknowledge, run, reload.
#[derive(Debug)]
pub struct Operate;
/// May send messages and reports.
#[derive(Debug)]
pub struct Ingest;

impl Grants for Read {
    const SCOPE: Scope = Scope::Read;
}
impl Grants for Operate {
    const SCOPE: Scope = Scope::Operate;
}
impl Grants for Ingest {
    const SCOPE: Scope = Scope::Ingest;
}

/// Proof that a request may do what the scope allows.
#[derive(Debug)]
pub struct Permit<S> {
    /// The name of the token, where one was shown.
    token: Option<String>,
    scope: PhantomData<S>,
}

impl<S: Grants> Permit<S> {
    /// Asks for it.
    ///
    /// # Errors
    /// 401 without a token that is known, 403 where it is not for this.
    pub fn of(call: &Call) -> Result<Permit<S>, ApiError> {
        let settings = call.shared.agent.settings();
        let token = authorise(call.door, &settings.settings, &call.headers, S::SCOPE)?;
        Ok(Permit { token, scope: PhantomData })
    }

    /// Who it is, for the record: what the request says, and whose token vouches for it.
    pub fn who(&self, by: Option<String>) -> String {
        match (by.filter(|by| !by.trim().is_empty()), &self.token) {
            (Some(by), Some(token)) if by != *token => format!("{by} (token {token})"),
            (Some(by), _) => by,
            (None, Some(token)) => token.clone(),
            (None, None) => "somebody on this host".into(),
        }
    }
}

impl Permit<Ingest> {
    /// Whoever knows the key of a check may report on it.
    pub fn of_ping_key(_: &Name) -> Permit<Ingest> {
        Permit { token: None, scope: PhantomData }
    }
}

/// Refuses what changes something although it only asks, where a page of somebody else may have made a browser ask, as an
/// image's address does. Browsers say so (Fetch Metadata).
///
/// # Errors
/// 403 and what to do.
pub fn keep_images_out(call: &Call) -> Result<(), ApiError> {
    match crossing(call) {
        None => Ok(()),
        Some(site) => {
            let hint = "ask without a browser, or by the check's `ping_key`";
            Err(ApiError::new(
                StatusCode::FORBIDDEN,
                format!("a page of another origin ({site}) may not do this"),
                hint,
            ))
        }
    }
}

/// What a browser says of the page that asks (Fetch Metadata), where that is not one of the agent's own.
fn crossing(call: &Call) -> Option<&str> {
    let mut said = call.headers.get_all("sec-fetch-site").iter().map(|site| site.to_str().unwrap_or_default());
    said.find(|site| !matches!(*site, "same-origin" | "none"))
}

fn authorise(
    door: Door,
    settings: &AgentSettings,
    headers: &HeaderMap,
    scope: Scope,
) -> Result<Option<String>, ApiError> {
    match (door, scope) {
        (Door::Socket, _) => return Ok(None),
        (Door::Tcp { loopback: true }, Scope::Read | Scope::Ingest) if !settings.token_wanted => return Ok(None),
        (Door::Tcp { loopback: true }, Scope::Operate) if !settings.token_wanted => {
            let hint = "use the agent's socket, as the commands do (`watchbell squelch`, `ack`, `run`), or give the agent \
                        `tokens`: `watchbell token new` makes one";
            return Err(ApiError::new(StatusCode::UNAUTHORIZED, "over TCP this needs a token", hint));
        }
        (Door::Tcp { .. }, _) => {}
    }
    let tokens = &settings.tokens;
    if tokens.is_empty() {
        let hint = "`watchbell validate` says what is wrong with `tokens`; the agent's socket answers meanwhile";
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "a token is needed, and the config has none", hint));
    }
    let hint = "send it as `Authorization: Bearer TOKEN`; `watchbell token new` makes one";
    let Some(shown) = bearer(headers) else {
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "a token is needed", hint));
    };
    let Some(token) = known(tokens, shown) else {
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "this token is not known", hint));
    };
    // Who may change what stands there may see it.
    let implied = scope == Scope::Read && token.scopes.contains(&Scope::Operate);
    if implied || token.scopes.contains(&scope) {
        return Ok(Some(token.name.clone()));
    }
    let word = word(scope);
    let hint = format!("add \"{word}\" to its `scopes` in the config, or use another token");
    Err(ApiError::new(StatusCode::FORBIDDEN, format!("the token `{}` may not {word}", token.name), hint))
}

/// The token that is shown, if there is one like it.
fn known<'t>(tokens: &'t [Token], shown: &[u8]) -> Option<&'t Token> {
    let hash: [u8; 32] = Sha256::digest(shown).into();
    // All are compared, each in full: how long it takes says nothing of how near a guess was.
    tokens.iter().fold(None, |found, token| if same(&token.sha256, &hash) { Some(token) } else { found })
}

/// Holds callers over TCP to the rates. The socket is this host's own.
///
/// # Errors
/// How long to wait.
pub fn slow_down(call: &Call) -> Result<(), Duration> {
    let settings = call.shared.agent.settings();
    let token = bearer(&call.headers).and_then(|shown| known(&settings.settings.tokens, shown));
    let caller = match (call.door, token, call.seat.as_ref().and_then(|seat| seat.peer)) {
        (Door::Socket, ..) => return Ok(()),
        (_, Some(token), _) => Caller::Token(token.name.clone()),
        (_, None, Some(peer)) => Caller::Peer(peer),
        (_, None, None) => Caller::Others,
    };
    let limits = &call.shared.limits;
    let all = Rate { burst: limits.requests_burst, per_second: limits.requests_per_second };
    let writes = Rate { burst: limits.writes_burst, per_second: limits.writes_per_second };
    let changes = !matches!(call.method, Method::GET | Method::HEAD) || call.uri.path().starts_with(path::PING_PREFIX);
    let now = call.shared.opened.elapsed();
    let mut rates = call.shared.rates.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // Whoever asked for too much still sees whether the agent lives.
    let health = call.is_about_health();
    rates.take(caller, [(!health).then_some(all), changes.then_some(writes), health.then_some(all)], now)
}

/// The scope's word in the config.
pub fn word(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "read",
        Scope::Operate => "operate",
        Scope::Ingest => "ingest",
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty() && token.len() <= TOKEN_BYTES_MAX).then_some(token)
}

/// Whether two hashes are the same, in a time that does not depend on where they differ.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let differ = a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b));
    std::hint::black_box(differ) == 0
}

/// Refuses what a web page of somebody else may have made a browser send.
///
/// # Errors
/// 403 and what to do.
pub fn keep_pages_out(call: &Call) -> Result<(), ApiError> {
    let settings = call.shared.agent.settings();
    if call.door != (Door::Tcp { loopback: true }) || settings.settings.token_wanted {
        return Ok(());
    }
    let asked = host_of(&call.uri, &call.headers)?;
    let host = bare(&asked);
    if !is_ours(host, &settings.name) {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            format!("`{host}` is not a name of this host"),
            "use `127.0.0.1` or `localhost`; behind a proxy give the agent `tokens`",
        ));
    }
    if matches!(call.method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    // Absent where no browser asks; `null` where it does not want to say. Another port is another origin.
    let mut said = call.headers.get_all(header::ORIGIN).iter().map(|origin| origin.to_str().unwrap_or_default());
    let foreign = said.find(|origin| !origin.eq_ignore_ascii_case(&format!("http://{asked}")));
    let Some(origin) = foreign.or_else(|| crossing(call)) else { return Ok(()) };
    let error = format!("a page of `{origin}` may not do this");
    Err(ApiError::new(StatusCode::FORBIDDEN, error, "ask from the agent's own pages, or without a browser"))
}

/// The host that the request is for, with its port.
fn host_of(uri: &Uri, headers: &HeaderMap) -> Result<String, ApiError> {
    if let Some(authority) = uri.authority() {
        return Ok(authority.as_str().to_ascii_lowercase());
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next().map(|h| h.to_str()), hosts.next()) {
        (Some(Ok(host)), None) => Ok(host.to_ascii_lowercase()),
        _ => Err(ApiError::bad("the request has no one `Host` header", "send one, with the agent's address")),
    }
}

/// A host without its port, and an address without its brackets.
fn bare(host: &str) -> &str {
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    if let Some(inside) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return inside.0;
    }
    host.rsplit_once(':').map_or(host, |(host, _)| host)
}

fn is_ours(host: &str, agent: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.eq_ignore_ascii_case(agent)
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn token(name: &str, text: &str, scopes: &[Scope]) -> Token {
        let scopes: BTreeSet<Scope> = scopes.iter().copied().collect();
        Token { name: name.into(), scopes, sha256: Sha256::digest(text).into() }
    }

    #[test]
    fn tokens_and_doors() {
        let tokens = [
            token("grafana", "r", &[Scope::Read]),
            token("ops", "o", &[Scope::Read, Scope::Operate]),
            token("chat", "w", &[Scope::Operate]),
        ];
        let (inside, outside) = (Door::Tcp { loopback: true }, Door::Tcp { loopback: false });
        let long = format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX + 1));
        for (door, tokens, shown, scope, expect) in [
            (Door::Socket, &tokens[..], "", Scope::Operate, "somebody"),
            (inside, &[], "", Scope::Operate, "401"),
            (inside, &[], "Bearer o", Scope::Operate, "401"),
            (inside, &[], "", Scope::Read, "somebody"),
            (inside, &[], "", Scope::Ingest, "somebody"),
            (outside, &[], "", Scope::Read, "401"),
            (outside, &[], "Bearer r", Scope::Read, "401"),
            (inside, &tokens, "", Scope::Read, "401"),
            (inside, &tokens, "Bearer r", Scope::Read, "grafana"),
            (inside, &tokens, "bearer  r ", Scope::Read, "grafana"),
            (inside, &tokens, "Bearer r", Scope::Operate, "403"),
            (inside, &tokens, "Bearer r", Scope::Ingest, "403"),
            (outside, &tokens, "Bearer o", Scope::Operate, "ops"),
            (outside, &tokens, "Bearer w", Scope::Operate, "chat"),
            (outside, &tokens, "Bearer w", Scope::Read, "chat"),
            (outside, &tokens, "Bearer w", Scope::Ingest, "403"),
            (outside, &tokens, "Bearer oo", Scope::Read, "401"),
            (outside, &tokens, "Bearer ", Scope::Read, "401"),
            (outside, &tokens, "Bear", Scope::Read, "401"),
            (outside, &tokens, "Basic r", Scope::Read, "401"),
            (outside, &tokens, &long, Scope::Read, "401"),
        ] {
            let mut headers = HeaderMap::new();
            if !shown.is_empty() {
                headers.insert(header::AUTHORIZATION, shown.parse().unwrap());
            }
            let got = match authorise(door, &settings(tokens, !tokens.is_empty()), &headers, scope) {
                Ok(name) => name.unwrap_or_else(|| "somebody".into()),
                Err(error) => error.status.as_u16().to_string(),
            };
            assert_eq!(got, expect, "{door:?} {shown:?} {scope:?}");
        }
    }

    fn settings(tokens: &[Token], token_wanted: bool) -> AgentSettings {
        AgentSettings { tokens: tokens.to_vec(), token_wanted, ..AgentSettings::new(jiff::tz::TimeZone::UTC) }
    }

    /// Tokens that were written and can't be read let nobody in but at the socket.
    #[test]
    fn tokens_that_can_not_be_read() {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, "Bearer r".parse().unwrap());
        let settings = settings(&[], true);
        for scope in [Scope::Read, Scope::Operate, Scope::Ingest] {
            for loopback in [true, false] {
                let error = authorise(Door::Tcp { loopback }, &settings, &headers, scope).unwrap_err();
                assert_eq!(error.status, StatusCode::UNAUTHORIZED, "{scope:?} {loopback}");
            }
            assert!(authorise(Door::Socket, &settings, &headers, scope).is_ok());
        }
    }

    #[test]
    fn hosts_of_ours() {
        for (host, expect) in [
            ("localhost:7878", true),
            ("LOCALHOST", true),
            ("127.0.0.1:7878", true),
            ("127.8.8.8", true),
            ("[::1]:7878", true),
            ("web-1.example.com:7878", true),
            ("evil.example.com:7878", false),
            ("localhost.evil.example.com", false),
            ("127.0.0.1.evil.example.com", false),
            ("192.0.2.1:7878", false),
            ("localhost@evil.example.com", false),
            ("", false),
        ] {
            assert_eq!(is_ours(bare(host), "web-1.example.com"), expect, "{host}");
        }
    }

    #[test]
    fn who_did_it() {
        let permit = |token: Option<&str>| Permit::<Operate> { token: token.map(str::to_owned), scope: PhantomData };
        assert_eq!(permit(None).who(Some("ann".into())), "ann");
        assert_eq!(permit(None).who(Some(" ".into())), "somebody on this host");
        assert_eq!(permit(Some("ops")).who(None), "ops");
        assert_eq!(permit(Some("ops")).who(Some("ann".into())), "ann (token ops)");
        assert_eq!(permit(Some("ops")).who(Some("ops".into())), "ops");
    }
}
