//! An HTTP/1.1 server on loopback that keeps what it gets and answers as it is told.

use std::sync::{Arc, Mutex};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What the recorder does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Answers.
    Answer { status: u16, headers: Vec<(String, String)>, body: String },
    /// Answers with all that it got.
    Echo(u16),
    /// The beginning of a body, after which nothing more comes; `hang`: nor an end.
    Torn {
        /// The status.
        status: u16,
        /// What comes of the body.
        body: &'static [u8],
        /// Whether the connection stays open.
        hang: bool,
    },
    /// Never answers.
    Hang,
    /// Breaks the connection.
    Reset,
    /// Answers something that is not HTTP.
    Garbage,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Reply {
        Reply::Answer { status, headers: Vec::new(), body: String::new() }
    }

    pub(crate) fn json(status: u16, body: &str) -> Reply {
        Reply::Answer { status, headers: Vec::new(), body: body.to_owned() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Reply {
        if let Reply::Answer { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// The server; it ends when it is dropped.
pub(crate) struct Recorder {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Recorder {
    /// Gives these replies, one for each request, and then `after` for ever.
    pub(crate) async fn start(replies: &[Reply], after: Reply) -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (replies, seen) = (replies.to_vec(), requests.clone());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            let mut replies = replies.into_iter();
            while let Ok((stream, _)) = listener.accept().await {
                let reply = replies.next().unwrap_or_else(|| after.clone());
                connections.spawn(serve(stream, reply, seen.clone()));
            }
        });
        Recorder { url, requests, task }
    }

    /// What came in so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Stops listening.
    pub(crate) async fn stop(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, reply: Reply, seen: Arc<Mutex<Vec<Request>>>) {
    if matches!(reply, Reply::Reset) {
        // Closing with unread bytes makes the kernel send a reset.
        let mut byte = [0];
        let _ = stream.read_exact(&mut byte).await;
        return;
    }
    let Some(request) = read(&mut stream).await else { return };
    seen.lock().unwrap().push(request.clone());
    if let Reply::Torn { status, body, hang } = reply {
        let head = format!("HTTP/1.1 {status} Because\r\nContent-Length: 100000\r\n\r\n");
        let _ = stream.write_all(&[head.as_bytes(), body].concat()).await;
        if hang {
            std::future::pending::<()>().await;
        }
        return;
    }
    let (status, headers, body) = match reply {
        Reply::Answer { status, headers, body } => (status, headers, body),
        Reply::Echo(status) => (status, Vec::new(), format!("{request:?}")),
        Reply::Garbage => {
            let _ = stream.write_all(b"not HTTP at all\r\n\r\n").await;
            return;
        }
        Reply::Hang | Reply::Reset | Reply::Torn { .. } => std::future::pending().await,
    };
    let mut head = format!("HTTP/1.1 {status} Because\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let _ = stream.write_all(format!("{head}\r\n{body}").as_bytes()).await;
    let _ = stream.shutdown().await;
    // Whatever is left is read, so that closing does not reset.
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        let mut buffer = [0; 16 * 1024];
        let n = stream.read(&mut buffer).await.ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&buffer[..n]);
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, v)| v.parse().ok());
    let mut body = bytes.split_off(head_end + 4);
    while body.len() < length.unwrap_or(0) {
        let mut buffer = [0; 16 * 1024];
        let n = stream.read(&mut buffer).await.ok().filter(|n| *n > 0)?;
        body.extend_from_slice(&buffer[..n]);
    }
    Some(Request { method, path, headers, body: String::from_utf8_lossy(&body).into_owned() })
}
