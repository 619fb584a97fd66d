//! Workers: run checks and try deliveries as the engine orders, and bring back what came of it. A panic in
//! one is caught at its task and becomes a fault or a failed try.

use super::{checklog::CheckLogs, clock, engine::Out, handle::Handle, samples::SampleLog};
use std::{
    collections::{BTreeMap, HashMap},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    pin::{Pin, pin},
    sync::{Arc, RwLock, atomic::Ordering::Relaxed},
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::{OnceCell, RwLock as AsyncRwLock};
use watchbell_core::{
    engine::{Input, RunOrder, SendOrder},
    model::{Delivery, Failure, Finding, Name, Outcome, Receipt, Timestamp},
    state::lookback::Lookback,
};
use watchbell_io::{
    notify::{Attempt, Channel},
    query::Source,
    shared::{Shared, secret},
    source::{Look, Program, Run},
    store::{ROWS_FILE, seen::SeenRows},
};

/// A probe ends by its time limit on its own; one that does not is given up on after this much more.
const GRACE: Duration = Duration::from_secs(15);
/// What is told outside the store has nobody else to try it again: so often it is tried.
const DIRECT_TRIES_MAX: u32 = 5;
/// Between two of these tries.
const DIRECT_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// What the config says that workers need: swapped as a whole at a reload.
#[derive(Default)]
pub struct Kit {
    /// How long a delivery may take.
    pub deliver_timeout: Duration,
    /// What checks run.
    pub programs: HashMap<Name, Runnable>,
    /// Where look-backs ask.
    pub sources: BTreeMap<Name, Arc<Source>>,
    /// Ways to tell.
    pub notifiers: BTreeMap<Name, Channel>,
}

/// What a check runs.
pub struct Runnable {
    /// The program.
    pub program: Program,
    /// How long it may take.
    pub timeout: Duration,
    /// What it expects, where it is a look-back.
    pub lookback: Option<Arc<Lookback>>,
}

/// The kit in use.
pub type SharedKit = Arc<RwLock<Arc<Kit>>>;

/// Held for reading by every delivery under way: who gets it for writing knows that none is, and that none begins.
pub type Sending = Arc<AsyncRwLock<()>>;

/// Those who do what the engine orders.
pub struct Workers {
    /// The door to the engine.
    pub handle: Handle,
    /// What checks run and how people are told.
    pub kit: SharedKit,
    /// What probes and notifiers share.
    pub shared: Shared,
    /// Rows that look-backs have seen.
    pub seen: Arc<Rows>,
    /// Deliveries under way.
    pub sending: Sending,
    /// The checks' logs.
    pub logs: CheckLogs,
    /// Where numbers are logged.
    pub samples: SampleLog,
}

impl Workers {
    /// Takes an order: begins it on a task of its own, and does not wait. Tasks end with the runtime; what they
    /// run is killed then.
    pub fn take(&mut self, order: Out) {
        match order {
            Out::Run(order) => {
                let (handle, kit, shared) = (self.handle.clone(), current(&self.kit), self.shared.clone());
                let seen = self.seen.clone();
                tokio::spawn(async move { run(order, &handle, &kit, &shared, &seen).await });
            }
            Out::Send(order) => {
                // One that can't begin any more stays in the outbox.
                let Ok(under_way) = self.sending.clone().try_read_owned() else { return };
                let (handle, kit, shared) = (self.handle.clone(), current(&self.kit), self.shared.clone());
                tokio::spawn(async move {
                    send(order, &handle, &kit, &shared).await;
                    drop(under_way);
                });
            }
            Out::Direct(delivery) => {
                let under_way = self.sending.clone().try_read_owned();
                let (kit, shared) = (current(&self.kit), self.shared.clone());
                tokio::spawn(async move {
                    send_directly(&delivery, &kit, &shared).await;
                    drop(under_way);
                });
            }
            Out::Records(records) => {
                self.logs.write(&records.results);
                self.samples.write(&records.samples);
            }
        }
    }
}

/// The kit in use now.
pub fn current(kit: &SharedKit) -> Arc<Kit> {
    kit.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
}

/// The rows that look-backs have seen: a database that is opened by the first who needs it.
pub struct Rows {
    path: PathBuf,
    opened: OnceCell<Arc<SeenRows>>,
}

impl Rows {
    /// Rows in a state folder.
    pub fn new(state: &Path) -> Rows {
        Rows { path: state.join(ROWS_FILE), opened: OnceCell::new() }
    }

    /// Whether there are any.
    pub fn exist(&self) -> bool {
        self.path.exists()
    }

    /// Opens it; what fails is tried again by the next who asks.
    pub async fn open(&self) -> Result<&Arc<SeenRows>, String> {
        let path = self.path.clone();
        let open = || async move {
            let opened = tokio::task::spawn_blocking(move || SeenRows::open(&path)).await;
            opened.unwrap_or_else(|error| Err(error.to_string())).map(Arc::new)
        };
        self.opened.get_or_try_init(open).await
    }
}

/// Runs one check and brings its result back, whatever happens.
async fn run(order: RunOrder, handle: &Handle, kit: &Kit, shared: &Shared, seen: &Rows) {
    let started = clock::now();
    handle.health.lateness.observe(started.since(order.slot));
    let outcome = Guarded(pin!(run_program(&order, kit, shared, seen, started))).await;
    let outcome = Box::new(outcome.unwrap_or_else(|panic| broken("panic", panic)));
    handle.health.runs.fetch_add(1, Relaxed);
    handle.input(Input::Result { check: order.check, run: order.run, started, outcome }).await;
}

async fn run_program(order: &RunOrder, kit: &Kit, shared: &Shared, rows: &Rows, now: Timestamp) -> Outcome {
    let Some(Runnable { program, timeout, lookback }) = kit.programs.get(&order.check) else {
        return broken("start", "it was removed from the config before it could start".into());
    };
    let seen = match lookback {
        Some(lookback) if lookback.value.is_none() => match rows.open().await {
            Ok(seen) => Some(seen),
            Err(why) => return broken("store", why),
        },
        _ => None,
    };
    let lookback = lookback.as_deref().map(|policy| Look {
        policy,
        source: kit.sources.get(&policy.source).map(|source| &**source),
        windows: &order.windows,
        seen,
        now,
    });
    let run = Run { check: &order.check, timeout: *timeout, shared, lookback };
    match tokio::time::timeout(*timeout + GRACE, secret::masked(program.run(&run))).await {
        Ok(outcome) => outcome,
        Err(_) => broken("timeout", format!("it did not end within {:?} and was given up on", *timeout + GRACE)),
    }
}

/// An outcome that only says that the run can't be judged.
fn broken(what: &str, why: String) -> Outcome {
    let findings = vec![Finding::monitor(what, &why)];
    Outcome { findings, summary: why, inconclusive: true, ..Outcome::default() }
}

/// Tries one delivery and brings the answer back, whatever happens.
async fn send(order: SendOrder, handle: &Handle, kit: &Kit, shared: &Shared) {
    let result = deliver(&order.delivery, kit, shared).await;
    let health = &handle.health;
    let input = match result {
        Ok(receipt) => {
            health.deliveries.fetch_add(1, Relaxed);
            tracing::info!(key = order.delivery.key, attempt = order.attempt, "delivered");
            Input::Delivered { id: order.id, receipt }
        }
        Err(failure) => {
            health.delivery_failures.fetch_add(1, Relaxed);
            let key = &order.delivery.key;
            tracing::warn!(key, attempt = order.attempt, reason = failure.reason(), "a delivery failed");
            Input::DeliveryFailed { id: order.id, failure }
        }
    };
    handle.input(input).await;
}

/// Sends what the outbox knows nothing of, and tries again for a while.
async fn send_directly(delivery: &Delivery, kit: &Kit, shared: &Shared) {
    for attempt in 1..=DIRECT_TRIES_MAX {
        let key = &delivery.key;
        match deliver(delivery, kit, shared).await {
            Ok(_) => return tracing::info!(key, attempt, "delivered outside the store"),
            Err(failure) => {
                tracing::warn!(key, attempt, reason = failure.reason(), "a delivery outside the store failed");
                if matches!(failure, Failure::Permanent { .. }) {
                    return;
                }
            }
        }
        tokio::time::sleep(DIRECT_AGAIN_AFTER).await;
    }
}

/// Tries one delivery; a panic is a failure.
async fn deliver(delivery: &Delivery, kit: &Kit, shared: &Shared) -> Result<Receipt, Failure> {
    Guarded(pin!(deliver_unguarded(delivery, kit, shared)))
        .await
        .unwrap_or_else(|panic| Err(Failure::retry(format!("the notifier panicked: {panic}"))))
}

async fn deliver_unguarded(delivery: &Delivery, kit: &Kit, shared: &Shared) -> Result<Receipt, Failure> {
    let Some(notifier) = kit.notifiers.get(&delivery.notifier) else {
        return Err(Failure::permanent("its notifier was removed from the config"));
    };
    let timeout = kit.deliver_timeout;
    let attempt = Attempt { timeout, shared };
    match tokio::time::timeout(timeout + GRACE, notifier.deliver(delivery, &attempt)).await {
        Ok(result) => result,
        Err(_) => Err(Failure::retry(format!("no answer within {:?}", timeout + GRACE))),
    }
}

/// A future in which a panic stays: it ends with the panic's text.
struct Guarded<F>(F);

impl<F: Future + Unpin> Future for Guarded<F> {
    type Output = Result<F::Output, String>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // After a panic the future is not polled again, so nobody sees what it left half done.
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.0).poll(context)));
        match polled {
            Ok(poll) => poll.map(Ok),
            Err(payload) => Poll::Ready(Err(panic_text(payload.as_ref()))),
        }
    }
}

/// What a panic said.
pub fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A probe or notifier that panics ends with a text, and the agent goes on.
    #[tokio::test]
    async fn a_panic_stays_where_it_is() {
        let well = Guarded(pin!(async { 5 })).await;
        assert_eq!(well, Ok(5));
        let broken = Guarded(pin!(async {
            tokio::task::yield_now().await;
            if well.is_ok() {
                panic!("index {} is not there", 7);
            }
        }));
        assert_eq!(broken.await, Err("index 7 is not there".to_owned()));
    }
}
