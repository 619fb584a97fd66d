//! A small SMTP server on loopback: STARTTLS, implicit TLS, AUTH PLAIN and LOGIN, and replies as it is told.

use super::Scratch;
use base64::{Engine, prelude::BASE64_STANDARD};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// What the tests log in with; they read it from this variable, which cargo sets for every test.
pub(crate) const PASSWORD: &str = env!("CARGO_PKG_NAME");

/// What the server says where it does not simply agree.
#[derive(Clone, Copy)]
pub(crate) struct Script {
    /// Its first line; empty is none, ever.
    pub(crate) greeting: &'static str,
    /// The one way to log in that it offers.
    pub(crate) mechanism: &'static str,
    /// To a login.
    pub(crate) auth: &'static str,
    /// To a recipient.
    pub(crate) rcpt: &'static str,
    /// To the recipient `b@example.com`, in place of that.
    pub(crate) b: &'static str,
    /// To EHLO; empty is a yes.
    pub(crate) ehlo: &'static str,
    /// To the end of a mail.
    pub(crate) data: &'static str,
    /// What it does after that: `hang`, `reset`, or a line it says; empty goes on as usual.
    pub(crate) after: &'static str,
}

impl Default for Script {
    fn default() -> Script {
        Script {
            greeting: "220 test ESMTP",
            mechanism: "PLAIN",
            auth: "235 2.7.0 welcome",
            rcpt: "250 2.1.5 ok",
            b: "",
            ehlo: "",
            data: "250 2.0.0 queued as 1",
            after: "",
        }
    }
}

/// A mail that it took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mail {
    pub(crate) to: Vec<String>,
    pub(crate) data: String,
    pub(crate) login: Option<String>,
    /// How the client said hello.
    pub(crate) hello: String,
    pub(crate) encrypted: bool,
}

/// The server; it ends when it is dropped.
pub(crate) struct Server {
    pub(crate) host: &'static str,
    pub(crate) port: u16,
    pub(crate) ca: PathBuf,
    mails: Arc<Mutex<Vec<Mail>>>,
    task: JoinHandle<()>,
    _scratch: Scratch,
}

/// A port that nothing listens on.
pub(crate) fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    /// `tls` as in the config.
    pub(crate) async fn start(tls: &str, script: Script) -> Server {
        let scratch = Scratch::new("smtp");
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let ca = scratch.path().join("ca.pem");
        std::fs::write(&ca, made.cert.pem()).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mails = Arc::new(Mutex::new(Vec::new()));
        let (seen, tls) = (mails.clone(), tls.to_owned());
        let task = tokio::spawn(async move {
            let mut sessions = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                sessions.spawn(serve(stream, acceptor.clone(), tls.clone(), script, seen.clone()));
            }
        });
        // Certificates are for names.
        Server { host: "localhost", port, ca, mails, task, _scratch: scratch }
    }

    pub(crate) fn mails(&self) -> Vec<Mail> {
        self.mails.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, tls: String, script: Script, seen: Arc<Mutex<Vec<Mail>>>) {
    if script.greeting.is_empty() {
        let _open = stream;
        return std::future::pending().await;
    }
    if tls == "implicit" {
        let Ok(stream) = acceptor.accept(stream).await else { return };
        let _ = talk(&mut BufReader::new(stream), script, true, true, false, &seen).await;
        return;
    }
    let mut plain = BufReader::new(stream);
    if talk(&mut plain, script, false, true, tls == "starttls", &seen).await == Some(true) {
        let Ok(stream) = acceptor.accept(plain.into_inner()).await else { return };
        let _ = talk(&mut BufReader::new(stream), script, true, false, false, &seen).await;
    }
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut S, line: &str) -> Option<()> {
    stream.write_all(format!("{line}\r\n").as_bytes()).await.ok()
}

async fn hear<S: AsyncBufReadExt + Unpin>(stream: &mut S) -> Option<String> {
    let mut line = String::new();
    (stream.read_line(&mut line).await.ok()? > 0).then(|| line.trim_end().to_owned())
}

/// One session. `Some(true)`: the client wants TLS now.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    script: Script,
    encrypted: bool,
    greet: bool,
    offers_tls: bool,
    seen: &Mutex<Vec<Mail>>,
) -> Option<bool> {
    if greet {
        say(stream, script.greeting).await?;
    }
    let mut mail = Mail { encrypted, ..Mail::default() };
    loop {
        let line = hear(stream).await?;
        if line.starts_with("EHLO ") || line.starts_with("HELO ") {
            mail.hello.clone_from(&line);
        }
        match line.split([' ', ':']).next()?.to_ascii_uppercase().as_str() {
            "EHLO" if !script.ehlo.is_empty() => say(stream, script.ehlo).await?,
            "EHLO" if offers_tls => say(stream, "250-test\r\n250 STARTTLS").await?,
            "EHLO" if encrypted => say(stream, &format!("250-test\r\n250 AUTH {}", script.mechanism)).await?,
            "EHLO" => say(stream, "250 test").await?,
            "STARTTLS" => {
                say(stream, "220 go ahead").await?;
                return Some(true);
            }
            "AUTH" => {
                mail.login = Some(login(stream, &line).await?);
                say(stream, script.auth).await?;
            }
            "MAIL" => say(stream, "250 2.1.0 ok").await?,
            "RCPT" => {
                let address = line.split(['<', '>']).nth(1)?.to_owned();
                let is_b = address == "b@example.com" && !script.b.is_empty();
                let reply = if is_b { script.b } else { script.rcpt };
                if reply.starts_with('2') {
                    mail.to.push(address);
                }
                say(stream, reply).await?;
            }
            "DATA" => {
                say(stream, "354 go ahead").await?;
                loop {
                    match hear(stream).await?.as_str() {
                        "." => break,
                        text => mail.data.push_str(&format!("{text}\n")),
                    }
                }
                // Folded headers are one line again.
                mail.data = mail.data.replace("\n ", " ");
                if script.data.starts_with('2') {
                    seen.lock().unwrap().push(mail.clone());
                }
                say(stream, script.data).await?;
                match script.after {
                    "" => {}
                    "reset" => return None,
                    "hang" => std::future::pending().await,
                    line => say(stream, line).await?,
                }
                mail = Mail { encrypted, hello: mail.hello, ..Mail::default() };
            }
            "QUIT" => {
                say(stream, "221 bye").await?;
                return Some(false);
            }
            _ => say(stream, "250 ok").await?,
        }
    }
}

async fn login<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>, line: &str) -> Option<String> {
    let words: Vec<&str> = line.split(' ').collect();
    if words.get(1) == Some(&"PLAIN") {
        let text = decoded(words.get(2)?);
        let parts: Vec<&str> = text.split('\0').collect();
        return Some(format!("{}:{}", parts.get(1)?, parts.get(2)?));
    }
    say(stream, "334 VXNlcm5hbWU6").await?;
    let user = decoded(&hear(stream).await?);
    say(stream, "334 UGFzc3dvcmQ6").await?;
    Some(format!("{user}:{}", decoded(&hear(stream).await?)))
}

fn decoded(text: &str) -> String {
    String::from_utf8(BASE64_STANDARD.decode(text).unwrap()).unwrap()
}
