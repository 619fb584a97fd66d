//! Workers: run checks and try deliveries as the engine orders, and bring back what came of it. A panic in
//! one is caught at its task and becomes a fault or a failed try.

use super::{checklog::CheckLogs, clock, engine::Out, handle::Handle, samples::SampleLog};
use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinSet};
use watchbell_core::{
    config::Policy,
    engine::{Input, RunOrder, SendOrder},
    model::{Failure, Finding, Name, Outcome},
};
use watchbell_io::{
    notify::{Attempt, Channel},
    shared::Shared,
    source::{Program, Run},
};

/// A probe ends by its time limit on its own; one that does not is given up on after this much more.
const GRACE: Duration = Duration::from_secs(15);

/// What the config says that workers need: swapped as a whole at a reload.
#[derive(Default)]
pub struct Kit {
    /// Policies, for time limits.
    pub policy: Arc<Policy>,
    /// What checks run.
    pub programs: BTreeMap<Name, Program>,
    /// Ways to tell.
    pub notifiers: BTreeMap<Name, Channel>,
}

/// The kit in use.
pub type SharedKit = Arc<RwLock<Arc<Kit>>>;

/// Does what the engine orders until the engine is gone.
pub async fn work(
    mut orders: mpsc::UnboundedReceiver<Out>,
    handle: Handle,
    kit: SharedKit,
    shared: Shared,
    mut logs: CheckLogs,
    mut samples: SampleLog,
) {
    // Tasks are owned here, so that none outlives the workers: what is dropped is killed.
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                None => break,
                Some(Out::Run(order)) => {
                    let (handle, kit, shared) = (handle.clone(), current(&kit), shared.clone());
                    tasks.spawn(async move { run(order, &handle, &kit, shared).await });
                }
                Some(Out::Send(order)) => {
                    let (handle, kit, shared) = (handle.clone(), current(&kit), shared.clone());
                    tasks.spawn(async move { send(order, &handle, &kit, shared).await });
                }
                Some(Out::Records(records)) => {
                    logs.write(&records.results);
                    samples.write(&records.samples);
                }
            },
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
        }
    }
}

fn current(kit: &SharedKit) -> Arc<Kit> {
    kit.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
}

/// Runs one check and brings its result back, whatever happens.
async fn run(order: RunOrder, handle: &Handle, kit: &Arc<Kit>, shared: Shared) {
    let started = clock::now();
    handle.health.lateness.observe(started.since(order.slot));
    let (kit, name) = (kit.clone(), order.check.clone());
    let outcome = guarded(async move { run_program(&name, &kit, &shared).await }).await;
    let outcome = Box::new(outcome.unwrap_or_else(|panic| broken("panic", panic)));
    handle.health.runs.fetch_add(1, Relaxed);
    handle.input(Input::Result { check: order.check, run: order.run, started, outcome }).await;
}

async fn run_program(name: &Name, kit: &Kit, shared: &Shared) -> Outcome {
    let (Some(program), Some(policy)) = (kit.programs.get(name), kit.policy.checks.get(name)) else {
        return broken("start", "it was removed from the config before it could start".into());
    };
    let run = Run { check: name, timeout: policy.timeout, shared };
    match tokio::time::timeout(policy.timeout + GRACE, program.run(&run)).await {
        Ok(outcome) => outcome,
        Err(_) => broken("timeout", format!("it did not end within {:?} and was given up on", policy.timeout + GRACE)),
    }
}

/// An outcome that only says that the run can't be judged.
fn broken(what: &str, why: String) -> Outcome {
    let findings = vec![Finding::monitor(what, &why)];
    Outcome { findings, summary: why, inconclusive: true, ..Outcome::default() }
}

/// Tries one delivery and brings the answer back, whatever happens.
async fn send(order: SendOrder, handle: &Handle, kit: &Arc<Kit>, shared: Shared) {
    let (kit, delivery) = (kit.clone(), order.delivery.clone());
    let result = guarded(async move {
        let Some(notifier) = kit.notifiers.get(&delivery.notifier) else {
            return Err(Failure::permanent("its notifier was removed from the config"));
        };
        let timeout = kit.policy.agent.deliver_timeout;
        let attempt = Attempt { timeout, shared: &shared };
        match tokio::time::timeout(timeout + GRACE, notifier.deliver(&delivery, &attempt)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::retry(format!("no answer within {:?}", timeout + GRACE))),
        }
    })
    .await
    .unwrap_or_else(|panic| Err(Failure::retry(format!("the notifier panicked: {panic}"))));
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

/// Runs a future on a task of its own, so that a panic in it stays in it.
async fn guarded<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, String> {
    // The set kills the task when this future is dropped.
    let mut set = JoinSet::new();
    set.spawn(work);
    match set.join_next().await {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(match error.try_into_panic() {
            Ok(payload) => panic_text(payload.as_ref()),
            Err(_) => "its task was cancelled".into(),
        }),
        None => Err("its task is gone".into()),
    }
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".into())
}
