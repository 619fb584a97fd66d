//! The agent's HTTP face: the API and own figures, on a unix socket in the state folder and on TCP.
//!
//! ```text
//! mod.rs      listeners, connections and their limits
//! routes.rs   every route, once; router                  openapi.rs  the document, from the same table
//! door.rs     who may do what: permits                    call.rs     one request; ways to engine and journal
//! read.rs     what can be seen                            operate.rs  what can be done
//! metrics.rs  own figures                                 reply.rs    answers and errors
//! rates.rs    how fast requests may come              places.rs   who gets a connection
//! ```
//! Nothing here decides anything about checks or faults: what is asked for is an input of the engine, and is
//! answered once it is on disk. No connection, header, body or wait is without a limit.

mod call;
mod door;
mod metrics;
mod openapi;
mod operate;
mod ping;
mod places;
mod rates;
mod read;
mod reply;
mod routes;
#[cfg(test)]
mod tests;

pub use operate::{input_of, take_queued};

use crate::{
    api::SOCKET,
    run::{Agent, clock},
};
use axum::Router;
use call::{JOURNAL_READERS_MAX, Shared};
use door::Door;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use places::{Places, Seat};
use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
};

/// What callers may ask of the agent.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time, on each listener. Over TCP who comes then gets the place of the one that waits longest; at
    /// the socket it waits.
    pub connections_max: usize,
    /// Of these, places over TCP that no request under way takes: what is left for those who come, and for health.
    pub connections_reserved: usize,
    /// Requests of one address that may be under way at a time.
    pub requests_of_address_max: usize,
    /// Request line and headers together may be this long.
    pub header_bytes_max: usize,
    /// So many headers are taken.
    pub headers_max: usize,
    /// A body may be this long.
    pub body_bytes_max: usize,
    /// Headers must arrive within this long of the connection's opening, or of the last answer.
    pub headers_within: Duration,
    /// A body must arrive within this long.
    pub body_within: Duration,
    /// A connection is closed, between two requests, when it is this old.
    pub connection_age_max: Duration,
    /// When it is to be closed, what is under way gets this long.
    pub finish_within: Duration,
    /// Over TCP each caller may ask so often at once.
    pub requests_burst: u32,
    /// From then on so often a second.
    pub requests_per_second: u32,
    /// The same, of requests that change something.
    pub writes_burst: u32,
    /// The same.
    pub writes_per_second: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 256,
            connections_reserved: 32,
            requests_of_address_max: 128,
            header_bytes_max: 16 << 10,
            headers_max: 64,
            body_bytes_max: 1 << 20,
            headers_within: Duration::from_secs(15),
            body_within: Duration::from_secs(15),
            connection_age_max: Duration::from_secs(600),
            finish_within: Duration::from_secs(3),
            requests_burst: 2000,
            requests_per_second: 500,
            writes_burst: 1000,
            writes_per_second: 100,
        }
    }
}

/// Mode of the unix socket: who owns the state folder, and its group.
const SOCKET_MODE: u32 = 0o660;
/// Longest path of a unix socket (`sun_path`, without the byte that ends it).
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// When a connection can't be accepted (no file descriptor left), the next try is after this long.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// The open doors. [`Web::stop`] closes them.
pub struct Web {
    stop: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
    socket: PathBuf,
    limits: Limits,
    /// The address of the TCP listener, if there is one.
    address: Option<SocketAddr>,
}

/// Opens the doors of an agent.
///
/// # Errors
/// Which one could not be opened, and what to do.
pub async fn start(agent: &Agent) -> Result<Web, String> {
    start_within(agent, Limits::default()).await
}

async fn start_within(agent: &Agent, limits: Limits) -> Result<Web, String> {
    let shared = Arc::new(Shared {
        agent: agent.clone(),
        started: clock::now(),
        limits,
        readers: Arc::new(Semaphore::new(JOURNAL_READERS_MAX)),
        answers: Default::default(),
        rates: Default::default(),
        opened: Instant::now(),
    });
    // TCP first: where it fails nothing is left behind.
    let tcp = listen_tcp(agent).await?;
    let socket = agent.state.join(SOCKET);
    let unix = listen_unix(&socket)?;
    let (stop, stopped) = watch::channel(false);
    let mut web = Web { stop, listeners: Vec::new(), socket, limits, address: None };
    let router = routes::router(&shared, Door::Socket);
    web.listeners.push(tokio::spawn(accept_unix(
        unix,
        Server::new(router, limits, stopped.clone(), Places::new(limits, false)),
    )));
    if let Some((tcp, address)) = tcp {
        web.address = Some(address);
        let router = routes::router(&shared, Door::Tcp { loopback: address.ip().is_loopback() });
        web.listeners
            .push(tokio::spawn(accept_tcp(tcp, Server::new(router, limits, stopped, Places::new(limits, true)))));
        tracing::info!(%address, "listening");
    }
    Ok(web)
}

impl Web {
    /// Takes nothing more in, and lets what is under way end, for a bounded time.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        // A listener bounds its connections itself; twice that is the bound on the listener.
        let within = self.limits.finish_within * 2;
        for listener in self.listeners {
            let abort = listener.abort_handle();
            if tokio::time::timeout(within, listener).await.is_err() {
                abort.abort();
            }
        }
        let _ = fs::remove_file(&self.socket);
    }
}

/// Binds the unix socket. One that an agent left behind is replaced: the state folder's lock says that no other
/// agent runs on it.
fn listen_unix(path: &Path) -> Result<UnixListener, String> {
    let shown = path.display();
    let length = path.as_os_str().len();
    if length > SOCKET_PATH_BYTES_MAX {
        return Err(format!(
            "the path of the agent's socket is {length} bytes long, the system takes {SOCKET_PATH_BYTES_MAX}: `{shown}`\n\
             hint: choose a shorter `state` folder"
        ));
    }
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(format!("`{shown}` is in the way of the agent's socket\nhint: see what it is, and move it"));
        }
        Ok(_) => fs::remove_file(path).map_err(|e| format!("can't replace the socket `{shown}`: {e}"))?,
        Err(_) => {}
    }
    let hint = "hint: the agent's user must be able to write its `state` folder";
    let listener = UnixListener::bind(path).map_err(|e| format!("can't make the socket `{shown}`: {e}\n{hint}"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))
        .map_err(|e| format!("can't set the mode of the socket `{shown}`: {e}\n{hint}"))?;
    Ok(listener)
}

/// Binds the TCP listener, where the config wants one.
async fn listen_tcp(agent: &Agent) -> Result<Option<(TcpListener, SocketAddr)>, String> {
    let config = agent.settings();
    let Some(wanted) = &config.settings.listen else { return Ok(None) };
    let address: SocketAddr =
        wanted.parse().map_err(|_| format!("`listen` is not an address and a port: `{wanted}`"))?;
    if !address.ip().is_loopback() && !config.settings.token_wanted {
        return Err(format!(
            "`{wanted}` can be reached from outside, and there are no `tokens`\nhint: add what `watchbell token new` \
             prints, or listen on 127.0.0.1"
        ));
    }
    let can_not = |e: io::Error| {
        let hint = match e.kind() {
            io::ErrorKind::AddrInUse => "another program listens there; choose another `listen` in `[agent]`",
            io::ErrorKind::AddrNotAvailable => "this host does not have that address; mend `listen` in `[agent]`",
            io::ErrorKind::PermissionDenied => "ports below 1024 are for root; choose another `listen` in `[agent]`",
            _ => "choose another `listen` in `[agent]`, or `listen = \"off\"`",
        };
        format!("can't listen on `{wanted}`: {e}\nhint: {hint}")
    };
    let listener = TcpListener::bind(address).await.map_err(can_not)?;
    let address = listener.local_addr().map_err(can_not)?;
    Ok(Some((listener, address)))
}

/// What serves the connections of one listener.
struct Server {
    router: Router,
    limits: Limits,
    stopped: watch::Receiver<bool>,
    places: Arc<Places>,
    connections: JoinSet<()>,
}

async fn accept_tcp(listener: TcpListener, mut server: Server) {
    while server.wait_for_place().await {
        tokio::select! {
            accepted = listener.accept() => server.accepted(accepted.map(|(stream, peer)| (stream, Some(peer.ip())))).await,
            _ = server.stopped.changed() => break,
        }
    }
    drop(listener);
    server.finish().await;
}

async fn accept_unix(listener: UnixListener, mut server: Server) {
    while server.wait_for_place().await {
        tokio::select! {
            accepted = listener.accept() => server.accepted(accepted.map(|(stream, _)| (stream, None))).await,
            _ = server.stopped.changed() => break,
        }
    }
    drop(listener);
    server.finish().await;
}

impl Server {
    fn new(router: Router, limits: Limits, stopped: watch::Receiver<bool>, places: Arc<Places>) -> Server {
        Server { router, limits, stopped, places, connections: JoinSet::new() }
    }

    /// Waits until one more connection may be open. `false` when the listener is to end.
    async fn wait_for_place(&mut self) -> bool {
        while self.connections.try_join_next().is_some() {}
        tokio::select! {
            () = self.places.room() => true,
            _ = self.stopped.changed() => false,
        }
    }

    async fn accepted<S>(&mut self, accepted: io::Result<(S, Option<IpAddr>)>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        match accepted {
            Ok((stream, peer)) => {
                let (seat, lost) = self.places.enter(peer);
                let (router, limits, stopped) = (self.router.clone(), self.limits, self.stopped.clone());
                self.connections.spawn(async move {
                    tokio::select! {
                        () = serve(stream, seat, router, limits, stopped) => {}
                        _ = lost => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection can't be accepted");
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }

    /// Lets what is under way end. What does not is dropped with this.
    async fn finish(mut self) {
        let all = async { while self.connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(self.limits.finish_within, all).await;
    }
}

/// Serves one connection until it ends, is too old, or the agent ends.
async fn serve<S>(stream: S, seat: Arc<Seat>, router: Router, limits: Limits, mut stopped: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers_within)
        .max_header_size(limits.header_bytes_max)
        .max_headers(limits.headers_max)
        .max_buf_size(limits.header_bytes_max.max(8192));
    let router = TowerToHyperService::new(router);
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(seat.clone());
        router.call(request)
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // What a caller does wrong on the wire is between hyper and the caller.
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|stopped| *stopped) => {}
        () = tokio::time::sleep(limits.connection_age_max) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(limits.finish_within, connection).await;
}
