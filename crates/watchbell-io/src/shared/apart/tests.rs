//! Children that do their work, die, hang and are cut off. The filters' and templates' own tests are beside them.

use super::*;
use std::{collections::BTreeSet, sync::atomic::AtomicUsize, sync::atomic::Ordering};

/// Set in the environment of a child of these tests.
pub(super) const CHILD: &str = "WATCHBELL_TEST_APART";

/// Not a test: what a child of these tests runs.
#[test]
fn child() {
    if std::env::var_os(CHILD).is_some() {
        serve(crate::JOBS_APART);
    }
}

/// Work that is told what to do by a word.
pub(crate) static PLAY: Job = Job::new(0, Duration::from_secs(20), |word| match word {
    b"panic" => panic!("as it was told"),
    b"environment" => {
        let names: BTreeSet<String> =
            std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
        names.into_iter().collect::<Vec<_>>().join(" ").into_bytes()
    }
    b"process" => std::process::id().to_string().into_bytes(),
    b"abort" => std::process::abort(),
    b"much" => vec![b'x'; ANSWER_BYTES_MAX + 1],
    b"grow" => {
        std::mem::forget(std::hint::black_box(vec![1_u8; MEMORY_MAX * 3 / 4]));
        std::process::id().to_string().into_bytes()
    }
    word => word.to_owned(),
});

async fn play(word: &str) -> Result<String, Failure> {
    ask(&PLAY, PLAY.within, &[word.as_bytes()]).await.map(|answer| String::from_utf8(answer).unwrap())
}

#[tokio::test]
async fn answers_and_ends() {
    assert_eq!(play("hello").await, Ok("hello".to_owned()));
    assert_eq!(play("").await, Ok(String::new()));
    assert_eq!(play("panic").await, Err(Failure::Gone("the interpreter panicked: as it was told".to_owned())));
    assert_eq!(play("much").await, Err(Failure::Memory(memory(4))), "the answer alone is more than it may take");
    let aborted = play("abort").await.unwrap_err().to_string();
    assert!(aborted.starts_with("could not run: its process ended (signal: 6"), "{aborted}");
    assert_eq!(play("again").await, Ok("again".to_owned()));
    let long = "ä".repeat(1 << 20);
    assert_eq!(play(&long).await, Ok(long));
}

/// No variable of ours, with whatever secret in it, is the child's.
#[tokio::test]
async fn the_environment_is_empty() {
    assert_eq!(play("environment").await, Ok(format!("MIMALLOC_ARENA_RESERVE {CHILD}")));
}

/// From every sort of thread there is.
#[test]
fn without_waiting_in_a_runtime() {
    let here = |word: &str| ask_here(&PLAY, &[word.as_bytes()]).unwrap();
    assert_eq!(here("none"), b"none");
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async { assert_eq!(here("one"), b"one") });
    let many = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    many.block_on(async { assert_eq!(here("many"), b"many") });
    many.block_on(async { tokio::spawn(async move { assert_eq!(here("task"), b"task") }).await.unwrap() });
    many.block_on(async { tokio::task::spawn_blocking(move || assert_eq!(here("b"), b"b")).await.unwrap() });
}

/// One that has grown is not asked again: the next one's limit would be short of what it holds.
#[tokio::test]
async fn one_that_has_grown_is_let_go() {
    let grown = play("grow").await.unwrap();
    assert_ne!(play("process").await.unwrap(), grown);
    assert!(!std::path::Path::new(&format!("/proc/{grown}")).exists(), "it still runs");
}

/// Much at once: so many run, the others wait their turn.
#[tokio::test]
async fn turns() {
    static DONE: AtomicUsize = AtomicUsize::new(0);
    let asks = (0..40).map(|n| {
        tokio::spawn(async move {
            assert_eq!(play(&n.to_string()).await, Ok(n.to_string()));
            DONE.fetch_add(1, Ordering::Relaxed);
        })
    });
    for ask in asks.collect::<Vec<_>>() {
        ask.await.unwrap();
    }
    assert_eq!(DONE.load(Ordering::Relaxed), 40);
    assert!(idle().workers.len() <= KEPT_MAX);
}

/// A child whose agent dies ends, whatever it is doing.
#[tokio::test]
async fn an_end_of_the_agent_is_seen_at_work() {
    let mut worker = Worker::start().unwrap();
    let mut ends = std::mem::replace(&mut worker.socket, UnixStream::pair().unwrap().0);
    ends.set_nonblocking(false).unwrap();
    use std::io::Write;
    let question = [&1_u64.to_le_bytes()[..], &11_u64.to_le_bytes(), b"\0def f: f; f0"].concat();
    ends.write_all(&[&[2][..], &(question.len() as u64).to_le_bytes(), &question].concat()).unwrap();
    drop(ends);
    let ended = tokio::task::spawn_blocking(move || worker.child.wait().unwrap()).await.unwrap();
    assert!(ended.success(), "{ended}");
}
