//! Looks through the databases of the state folder, behind the start and then once a day: damage that nobody has run into
//! yet is told while a good backup is still at hand.

use super::Agent;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::oneshot;
use watchbell_core::{
    engine::Input,
    model::{Finding, Severity},
};
use watchbell_io::store::{CheckReport, ROWS_FILE, StoreError, check_until, database};

/// The state's databases are looked through this often.
const LOOKED_THROUGH_EVERY: Duration = Duration::from_secs(86_400);
/// What could not be looked through is tried again after this long.
const AGAIN_AFTER: Duration = Duration::from_secs(3600);
/// No more of what is wrong is told.
const LINES_MAX: usize = 10;
/// The fault is `AGENT#damage`. It ends once nothing is found.
const PART: &str = "damage";
/// `AGENT#damage-unknown`: the last look did not come to an end. What an earlier one found stands beside it.
const UNKNOWN: &str = "damage-unknown";

/// Looks now and every day. Does not end by itself; dropped, it ends a look under way.
pub async fn keep_looking(agent: Agent) {
    loop {
        let (parts, again) = match look(agent.state.clone()).await {
            Ok(wrong) => (vec![(PART, wrong), (UNKNOWN, None)], LOOKED_THROUGH_EVERY),
            Err(why) => (vec![(UNKNOWN, Some(Finding::new(Severity::Error, why)))], AGAIN_AFTER),
        };
        for (part, finding) in parts {
            if let Some(finding) = &finding {
                tracing::error!(detail = finding.detail, "{}", finding.message);
            }
            agent.handle.input(Input::Own { part: part.into(), finding }).await;
        }
        tokio::time::sleep(again).await;
    }
}

/// Looks, on a thread of its own that gives way to others; dropped, it has the thread end.
async fn look(state: PathBuf) -> Result<Option<Finding>, String> {
    struct StopOnDrop(Arc<AtomicBool>);
    impl Drop for StopOnDrop {
        fn drop(&mut self) {
            self.0.store(true, Relaxed);
        }
    }
    let guard = StopOnDrop(Arc::default());
    let stop = guard.0.clone();
    let (answer, answered) = oneshot::channel();
    let thread = move || {
        // On Linux a thread's own. If it can't be had, the look takes its turn like the others.
        let _ = rustix::process::setpriority_process(None, 19);
        // Nobody waits any more: the agent ends.
        let _ = answer.send(look_through(&state, &stop));
    };
    let spawned = std::thread::Builder::new().name("look".into()).spawn(thread);
    spawned.map_err(|e| format!("the store was not looked through: no thread for it can be started: {e}"))?;
    answered.await.unwrap_or_else(|_| Err("the store was not looked through: whoever looked broke".into()))
}

/// What is wrong with the databases in this folder.
///
/// # Errors
/// One could not be looked through: why, and what to do.
fn look_through(state: &Path, stop: &Arc<AtomicBool>) -> Result<Option<Finding>, String> {
    let (mut wrong, mut unread) = (Vec::new(), None);
    for path in [database(state), state.join(ROWS_FILE)] {
        match check_until(&path, stop) {
            Ok(report) => wrong.extend(damage(&report)),
            // One that was removed is told of by who writes it.
            Err(StoreError::NotThere { .. }) => {}
            Err(error @ StoreError::Corrupt { .. }) => wrong.push((error.to_string(), vec![error.hint()])),
            Err(error) => {
                unread = Some(format!("`{}` was not looked through: {error}; {}", path.display(), error.hint()));
            }
        }
    }
    match unread {
        // Damage in the one counts, whatever is with the other.
        Some(why) if wrong.is_empty() => return Err(why),
        None if wrong.is_empty() => return Ok(None),
        _ => {}
    }
    let message = wrong.iter().map(|(line, _)| line.as_str()).collect::<Vec<_>>().join("; ");
    let detail = wrong.iter().flat_map(|(_, more)| more).map(String::as_str).collect::<Vec<_>>().join("\n");
    Ok(Some(Finding::new(Severity::Critical, message).with_detail(detail)))
}

/// One line of what is wrong with a database, and more lines: what else, and what to do.
fn damage(report: &CheckReport) -> Option<(String, Vec<String>)> {
    let all: Vec<&String> = report.integrity.iter().chain(&report.damaged).collect();
    let first = all.first()?.lines().next().unwrap_or_default();
    let path = report.path.display();
    let more = if all.len() > 1 { format!(" (and {} more)", all.len() - 1) } else { String::new() };
    let mut lines: Vec<String> = all.iter().take(LINES_MAX).map(|line| (*line).clone()).collect();
    let hint = StoreError::Corrupt { path: report.path.clone(), why: String::new() }.hint();
    lines.push(format!("the disk or the memory of this host may be failing (`dmesg`); {hint}"));
    Some((format!("`{path}` is damaged: {first}{more}"), lines))
}

#[cfg(test)]
mod tests {
    use super::*;
    use watchbell_io::store::{Store, StoreOptions};

    /// What is made unreadable, what the folder is then said to have wrong, as far as that is certain.
    #[test]
    fn damage_is_found() {
        let page = |bytes: &mut Vec<u8>| bytes[4096..4160].fill(0x5a);
        let head = |bytes: &mut Vec<u8>| bytes[..100].fill(b'x');
        let cut = |bytes: &mut Vec<u8>| bytes.truncate(4096 * 3);
        let nothing = |_: &mut Vec<u8>| {};
        type Damage<'a> = (&'a str, &'a dyn Fn(&mut Vec<u8>), Option<&'a str>);
        let table: [Damage<'_>; 6] = [
            ("state.db", &nothing, None),
            ("state.db", &page, Some("is damaged")),
            ("state.db", &head, Some("file is not a database")),
            ("state.db", &cut, Some("is damaged")),
            ("rows.db", &page, Some("rows.db` is damaged")),
            ("rows.db", &head, Some("file is not a database")),
        ];
        for (n, (file, harm, want)) in table.into_iter().enumerate() {
            let dir = std::env::temp_dir().join(format!("watchbell-integrity-{}-{n}", std::process::id()));
            let now = super::super::clock::now();
            drop(Store::open(&dir, &StoreOptions { ballast_bytes: 4096, ..StoreOptions::at(now) }).unwrap());
            drop(watchbell_io::store::seen::SeenRows::open(&dir.join(ROWS_FILE)).unwrap());
            let mut bytes = std::fs::read(dir.join(file)).unwrap();
            harm(&mut bytes);
            std::fs::write(dir.join(file), bytes).unwrap();
            let found = look_through(&dir, &Arc::default()).unwrap();
            assert_eq!(found.is_some(), want.is_some(), "{n} {found:?}");
            if let (Some(found), Some(want)) = (found, want) {
                assert!(found.message.contains(want) && found.severity == Severity::Critical, "{n} {found:?}");
                assert!(found.detail.contains("store check"), "{n} {found:?}");
            }
            std::fs::remove_dir_all(&dir).unwrap();
        }
    }
}
