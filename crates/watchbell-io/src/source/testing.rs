//! What the tests of several kinds share: reading a kind's config, running it, and servers that misbehave.

use super::{Probe, Program, Run};
use crate::shared::Shared;
use std::{net::SocketAddr, path::PathBuf, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use watchbell_core::{
    config::{Key, Kind, Problems, Reader, Shape, render, toml, tree::Value},
    model::{Name, Outcome},
};

/// Keys that the loader reads and that examples use.
const COMMON: &[Key] = &[
    Key { name: "every", shape: Shape::Duration, doc: "" },
    Key { name: "timeout", shape: Shape::Duration, doc: "" },
    Key { name: "thresholds", shape: Shape::Strings, doc: "" },
    Key { name: "notify", shape: Shape::Strings, doc: "" },
];

/// Reads a check's own lines. The text of what is wrong, if anything is.
pub(crate) fn read(kind: &Kind<Program>, lines: &str) -> Result<Program, String> {
    let text = if lines.starts_with('[') { lines.to_owned() } else { format!("[check.x]\n{lines}\n") };
    let mut problems = Problems::default();
    let file = problems.add_file("test.toml", text.clone());
    let root = toml::parse(&text, file, &mut problems).ok_or_else(|| render(&problems, false))?;
    let Some(Value::Table(checks)) = root.get("check").map(|e| &e.value.value) else { panic!("no check in {text}") };
    let Value::Table(table) = &checks.entries[0].value.value else { panic!("no table in {text}") };
    let mut reader = Reader::new(table, &mut problems, "`[check.x]`", COMMON);
    reader.declare(kind.keys);
    let program = (kind.read)(&mut reader);
    reader.finish();
    match program {
        Some(program) if problems.list.is_empty() => Ok(program),
        _ => Err(render(&problems, false)),
    }
}

/// The kind's own example must be right.
pub(crate) fn example(kind: &Kind<Program>) {
    read(kind, kind.example).unwrap_or_else(|problems| panic!("{problems}"));
}

/// One mistake each, and a part of what is said about it.
pub(crate) fn problems(kind: &Kind<Program>, cases: &[(&str, &str)]) {
    for (lines, expect) in cases {
        match read(kind, lines) {
            Ok(program) => panic!("no problem was found in {lines}: {program:?}"),
            Err(text) => assert!(text.contains(expect), "{lines}: expected {expect}\n{text}"),
        }
    }
}

/// Runs a check of these lines once.
pub(crate) async fn run(kind: &Kind<Program>, lines: &str) -> Outcome {
    run_within(kind, lines, Duration::from_secs(20)).await
}

/// The same within a time limit. The outcome must have come by then, roughly.
pub(crate) async fn run_within(kind: &Kind<Program>, lines: &str, timeout: Duration) -> Outcome {
    let program = read(kind, lines).unwrap_or_else(|problems| panic!("{problems}"));
    run_program(&*program, timeout).await
}

/// Runs what was read.
pub(crate) async fn run_program(program: &dyn Probe, timeout: Duration) -> Outcome {
    let shared = Shared::new().unwrap();
    let check = Name::new("//test/x/x");
    let outcome = program.run(&Run { check: &check, timeout, shared: &shared, lookback: None }).await;
    assert!(outcome.took < timeout + Duration::from_secs(10), "{outcome:?}");
    for finding in &outcome.findings {
        assert!(!finding.message.is_empty() && !finding.message.contains('\n'), "{finding:?}");
    }
    assert!(outcome.metrics.iter().all(|m| m.value.is_finite()), "{outcome:?}");
    outcome
}

/// An address that refuses.
pub(crate) async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// A new empty folder; the test removes it.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("watchbell-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// What a server does with each connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Play {
    wait_for: String,
    say: String,
    slowly: bool,
    hang: bool,
    reset: bool,
    flood: usize,
}

impl Play {
    /// Says this and closes.
    pub(crate) fn say(text: &str) -> Play {
        Play { say: text.to_owned(), ..Play::default() }
    }

    /// Waits for a question, then answers and closes.
    pub(crate) fn answer(question: &str, text: &str) -> Play {
        Play { wait_for: question.to_owned(), ..Play::say(text) }
    }

    /// Says nothing and never closes.
    pub(crate) fn hang() -> Play {
        Play { hang: true, ..Play::default() }
    }

    /// Resets the connection.
    pub(crate) fn reset() -> Play {
        Play { reset: true, ..Play::default() }
    }

    /// Sends this many bytes.
    pub(crate) fn flood(bytes: usize) -> Play {
        Play { flood: bytes, ..Play::default() }
    }

    /// Never closes.
    pub(crate) fn then_hang(self) -> Play {
        Play { hang: true, ..self }
    }

    /// A few bytes at a time.
    pub(crate) fn slowly(self) -> Play {
        Play { slowly: true, ..self }
    }

    async fn perform(self, mut stream: TcpStream) -> std::io::Result<()> {
        if self.reset {
            // Closing without lingering resets.
            return stream.set_zero_linger();
        }
        let mut heard = vec![0; self.wait_for.len()];
        stream.read_exact(&mut heard).await?;
        assert_eq!(String::from_utf8_lossy(&heard), self.wait_for);
        let step = if self.slowly { 7 } else { usize::MAX };
        for part in self.say.as_bytes().chunks(step) {
            stream.write_all(part).await?;
            if self.slowly {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        let block = [b'x'; 64 * 1024];
        for _ in 0..self.flood / block.len() {
            stream.write_all(&block).await?;
        }
        if self.hang {
            std::future::pending::<()>().await;
        }
        stream.shutdown().await?;
        // A close with unread data would be a reset.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await?;
        Ok(())
    }
}

/// A server that ends with the test.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves every connection the same.
pub(crate) async fn serve(play: Play) -> Server {
    serve_with(move |stream| {
        let play = play.clone();
        async move {
            let _ = play.perform(stream).await;
        }
    })
    .await
}

/// Serves every connection by a function.
pub(crate) async fn serve_with<F, R>(each: F) -> Server
where
    F: Fn(TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(each(stream));
        }
    });
    Server { address, task }
}
