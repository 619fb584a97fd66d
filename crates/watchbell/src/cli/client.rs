//! Speaking with an agent: over the socket in its state folder, or over HTTP with a token. Where no agent runs,
//! [`Reach::Down`] says so and gives what its database knows.

use super::{
    down::Down,
    place::Place,
    ui::{self, Done, Trouble},
};
use crate::{
    api::{self, Accepted, ErrorView, path},
    run::queue::{self, Waiting},
    web,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    io::ErrorKind,
    os::unix::{fs::MetadataExt, net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};
use watchbell_io::{shared::Shared, store};

/// An answer is waited for this long.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// An answer may have this many bytes.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// What stands for `--url`.
const URL_VARIABLE: &str = "WATCHBELL_URL";
/// What holds the token for `--url`.
const TOKEN_VARIABLE: &str = "WATCHBELL_TOKEN";

/// Which agent is meant.
#[derive(clap::Args, Clone, Debug)]
pub struct Target {
    /// Another agent's address, such as `https://web-1.example.com:7878` [default: WATCHBELL_URL, else the agent of
    /// the config]; its token is taken from WATCHBELL_TOKEN
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
}

/// The agent, or what it left.
pub enum Reach {
    /// It runs.
    Up(Box<Client>),
    /// It does not.
    Down(Box<Down>),
}

impl Target {
    /// Finds the agent.
    ///
    /// # Errors
    /// There is no config, or the agent's socket can't be used by this user.
    pub fn reach(&self, place: &Place) -> Done<Reach> {
        let variable = || std::env::var(URL_VARIABLE).ok().filter(|v| !v.is_empty());
        if let Some(url) = self.url.clone().or_else(variable) {
            return Ok(Reach::Up(Box::new(Client::remote(&url)?)));
        }
        let setup = place.load(None)?;
        let state = setup.state()?;
        match Client::local(&state)? {
            Some(client) => Ok(Reach::Up(Box::new(client))),
            None => Ok(Reach::Down(Box::new(Down { setup, state }))),
        }
    }
}

/// What became of what must not be lost.
pub enum Handed {
    /// The agent has it on disk.
    Taken(Accepted),
    /// It waits in the agent's queue.
    Left(PathBuf),
}

impl Reach {
    /// Hands in what must not be lost: to the agent, or where an agent of this host does not take it, into its queue.
    ///
    /// # Errors
    /// The agent says no, one elsewhere is away, or the queue can't be written.
    pub fn hand_in(self, mut waiting: Waiting) -> Done<Handed> {
        if let Waiting::Message(message) = &mut waiting {
            // The agent may have taken it although it did not say so: then the other is the same message.
            message.id.get_or_insert_with(queue::stem);
        }
        let (state, why) = match self {
            Reach::Down(down) => (down.state, "no agent runs".to_owned()),
            Reach::Up(client) => match (client.hand_in(&waiting), client.state) {
                (Err(Trouble::Away(why)), Some(state)) => {
                    ui::warn(&why);
                    (state, "the agent did not take it".to_owned())
                }
                (taken, _) => return taken.map(Handed::Taken),
            },
        };
        web::input_of(waiting.clone(), None).map_err(|no| Trouble::Wrong(no.to_string()))?;
        queue::put(&state, waiting).map(Handed::Left).map_err(|error| Trouble::Failed(format!("{why}, and {error}")))
    }
}

/// A running agent.
pub struct Client {
    http: reqwest::Client,
    base: url::Url,
    token: Option<String>,
    runtime: tokio::runtime::Runtime,
    /// How people would call it.
    shown: String,
    /// Its state folder, where that is on this host.
    state: Option<PathBuf>,
}

enum Method {
    Get,
    Delete,
    Post(Vec<u8>),
}

impl Client {
    /// The agent of a state folder; `None` when none runs there.
    pub fn local(state: &Path) -> Done<Option<Client>> {
        let socket = state.join(api::SOCKET);
        match UnixStream::connect(&socket) {
            Ok(_) => {}
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::NotADirectory
                ) =>
            {
                if let Some(holder) = store::holder(state) {
                    let who = holder.pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
                    ui::warn(&format!("an agent{who} holds `{}`, but does not answer on its socket", state.display()));
                }
                return Ok(None);
            }
            Err(error) => {
                let hint = who_may(&socket);
                return Err(Trouble::Failed(format!("can't use `{}`: {error}\nhint: {hint}", socket.display())));
            }
        }
        let http = builder()?.unix_socket(socket.clone()).build().map_err(|e| Trouble::Failed(whole(&e)))?;
        let client = Client::new(http, "http://localhost", None, format!("the agent at `{}`", socket.display()))?;
        Ok(Some(Client { state: Some(state.to_owned()), ..client }))
    }

    /// An agent somewhere else.
    fn remote(url: &str) -> Done<Client> {
        let http = builder()?.build().map_err(|e| Trouble::Failed(whole(&e)))?;
        let token = std::env::var(TOKEN_VARIABLE).ok().filter(|t| !t.is_empty());
        Client::new(http, url, token, format!("the agent at `{url}`"))
    }

    fn new(http: reqwest::Client, base: &str, token: Option<String>, shown: String) -> Done<Client> {
        let base = url::Url::parse(base)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                let hint = "write it as `http://127.0.0.1:7878` or `https://HOST:PORT`";
                Trouble::Wrong(format!("`{base}` is not the address of an agent\nhint: {hint}"))
            })?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Trouble::Failed(format!("can't prepare to ask the agent: {error}")))?;
        Ok(Client { http, base, token, runtime, shown, state: None })
    }

    /// Asks for something.
    ///
    /// # Errors
    /// The agent's own words, or that it does not answer.
    pub fn get<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Done<T> {
        self.call(Method::Get, path, query)
    }

    /// Has something done.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Done<T> {
        let body = serde_json::to_vec(body).map_err(|e| Trouble::Failed(format!("no JSON form: {e}")))?;
        self.call(Method::Post(body), path, &())
    }

    fn hand_in(&self, waiting: &Waiting) -> Done<Accepted> {
        match waiting {
            Waiting::Message(message) => self.post(path::MESSAGES, message),
            Waiting::Report(report) => self.post(path::REPORT, report),
        }
    }

    /// Has something taken away.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn delete<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Done<T> {
        self.call(Method::Delete, path, query)
    }

    fn call<T: DeserializeOwned>(&self, method: Method, path: &str, query: &impl Serialize) -> Done<T> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        add_query(&mut url, query)?;
        let mut request = match method {
            Method::Get => self.http.get(url),
            Method::Delete => self.http.delete(url),
            Method::Post(body) => self.http.post(url).header("content-type", "application/json").body(body),
        };
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let (status, body) = self.runtime.block_on(exchange(request)).map_err(|why| {
            Trouble::Away(format!("{} does not answer: {why}\nhint: see that it runs and can be reached", self.shown))
        })?;
        if !(200..300).contains(&status) {
            return Err(self.refusal(status, &body));
        }
        serde_json::from_slice(&body).map_err(|error| {
            let hint = "is it another version, or no Watchbell at all?";
            Trouble::Failed(format!("{} answers what is not understood: {error}\nhint: {hint}", self.shown))
        })
    }

    /// What an answer other than 2xx means.
    fn refusal(&self, status: u16, body: &[u8]) -> Trouble {
        let said = serde_json::from_slice::<ErrorView>(body);
        let text = match said {
            Ok(ErrorView { error, hint: Some(hint) }) => format!("{error}\nhint: {hint}"),
            Ok(ErrorView { error, hint: None }) => error,
            Err(_) => format!("{} answers {status}", self.shown),
        };
        match status {
            401 | 403 if self.token.is_none() => {
                Trouble::Failed(format!("{text}\nhint: set {TOKEN_VARIABLE}; `watchbell token new` makes a token"))
            }
            400 | 404 | 409 | 422 => Trouble::Wrong(text),
            429 | 500.. => Trouble::Away(text),
            _ => Trouble::Failed(text),
        }
    }
}

fn builder() -> Done<reqwest::ClientBuilder> {
    let shared = Shared::new()?;
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured((*shared.http.tls).clone())
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(ANSWER_WITHIN)
        .user_agent(concat!("watchbell/", env!("CARGO_PKG_VERSION"))))
}

/// Adds the fields of a plain struct as a query.
fn add_query(url: &mut url::Url, query: &impl Serialize) -> Done {
    let value = serde_json::to_value(query).map_err(|e| Trouble::Failed(format!("no query form: {e}")))?;
    let serde_json::Value::Object(fields) = value else { return Ok(()) };
    if !fields.is_empty() {
        let mut pairs = url.query_pairs_mut();
        for (name, value) in fields {
            match value {
                serde_json::Value::String(text) => pairs.append_pair(&name, &text),
                other => pairs.append_pair(&name, &other.to_string()),
            };
        }
    }
    Ok(())
}

async fn exchange(request: reqwest::RequestBuilder) -> Result<(u16, Vec<u8>), String> {
    let mut response = request.send().await.map_err(|e| whole(&e))?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| whole(&e))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(format!("its answer is longer than {} MiB", ANSWER_BYTES_MAX >> 20));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((status, body))
}

/// An error with what caused it: the outermost says only that a request failed.
fn whole(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// Who may use an agent's socket: whoever owns its folder, and the folder's group where that is let in. Where the folder
/// can't be seen either, the one that hides it says it.
fn who_may(socket: &Path) -> String {
    let seen = socket.ancestors().skip(1).find_map(|path| std::fs::metadata(path).ok());
    let Some(seen) = seen else { return "call it as the agent's user, a member of its group, or root".to_owned() };
    let named = |file: &str, id: u32| name_in(file, &id.to_string());
    let user = named("/etc/passwd", seen.uid()).unwrap_or_else(|| seen.uid().to_string());
    if seen.gid() == 0 || seen.mode() & 0o010 == 0 {
        return format!("call it as root or as `{user}`");
    }
    let group = named("/etc/group", seen.gid()).unwrap_or_else(|| seen.gid().to_string());
    format!(
        "call it as root, as `{user}`, or as a member of the group `{group}` (root adds one by `usermod -aG {group} NAME`; \
         it counts from the next login on)"
    )
}

/// The name of an id in a file like `/etc/passwd`.
fn name_in(file: &str, id: &str) -> Option<String> {
    let lines = std::fs::read_to_string(file).unwrap_or_default();
    lines.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_owned())
    })
}

/// Who calls, for squelches and acknowledgements: the user, and where that is root the one who became root.
pub fn who() -> String {
    let uid = rustix::process::getuid();
    let variable = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    if uid.is_root()
        && let Some(user) = variable("SUDO_USER")
    {
        return user;
    }
    let id = uid.as_raw().to_string();
    name_in("/etc/passwd", &id).or_else(|| variable("USER")).unwrap_or_else(|| format!("user {id}"))
}
