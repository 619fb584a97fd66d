//! The door to the engine: how workers, the web and signals hand inputs in and look at the world.

use super::{health::Health, work::panic_text};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};
use watchbell_core::engine::{Input, World};

/// Inputs that wait to be stepped, at most. Whoever waits for an answer is told to come back when it is full;
/// workers wait.
pub const INTAKE_MAX: usize = 4096;

/// Looks at the world that wait, at most; more wait outside.
const LOOKS_MAX: usize = 64;

/// How long a caller waits for the commit of its input before it is told that the agent is busy.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What the engine's thread is asked to do.
pub enum Request {
    /// Step this; nobody waits for it.
    Input(Input),
    /// Step this, and answer once it is committed.
    Submit(Input, oneshot::Sender<Answer>),
    /// Begin nothing new; answers of what is under way are still taken.
    Stop,
    /// End: commit what there is and close the store.
    Close(oneshot::Sender<()>),
}

/// Somebody's look at the world, between steps.
pub type Look = Box<dyn FnOnce(&World) + Send>;

/// What comes in through the door. Looks have a way of their own: while the store fails nothing is taken in, and
/// just then people want to see what there is.
pub struct Requests {
    /// What changes the world, in order.
    pub inputs: mpsc::Receiver<Request>,
    /// What does not.
    pub looks: mpsc::Receiver<Look>,
}

/// What came of an input, once it is on disk.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Why it was not taken; the text says what to do.
    pub refused: Option<String>,
    /// What whoever asked should know.
    pub warned: Option<String>,
    /// The events it led to, by their place in the stream.
    pub events: Vec<u64>,
}

/// The agent can't take inputs now.
#[derive(Clone, Debug)]
pub struct Busy {
    /// Why, and what to do.
    pub reason: String,
}

/// The door. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    looks: mpsc::Sender<Look>,
    /// How the agent itself is doing.
    pub health: Arc<Health>,
}

impl Handle {
    /// A door and its other end.
    pub fn new(health: Arc<Health>) -> (Handle, Requests) {
        let (requests, inputs) = mpsc::channel(INTAKE_MAX);
        let (looks_tx, looks) = mpsc::channel(LOOKS_MAX);
        (Handle { requests, looks: looks_tx, health }, Requests { inputs, looks })
    }

    /// Hands in an input of a worker. Waits for room: what was run or sent is never lost for want of it.
    pub async fn input(&self, input: Input) {
        // The engine is gone only when the agent is ending; then nobody needs the result.
        let _ = self.requests.send(Request::Input(input)).await;
    }

    /// Hands in an input and waits until it is on disk.
    ///
    /// # Errors
    /// The store can't be written, or too much waits: come back later.
    pub async fn submit(&self, input: Input) -> Result<Answer, Busy> {
        if let Some(reason) = self.health.store_failure() {
            return Err(Busy { reason: format!("nothing can be stored now: {reason}") });
        }
        let (tx, rx) = oneshot::channel();
        self.requests
            .try_send(Request::Submit(input, tx))
            .map_err(|_| Busy { reason: format!("{INTAKE_MAX} inputs wait already; try again in a moment") })?;
        match tokio::time::timeout(ANSWER_WITHIN, rx).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Busy { reason: "the agent is ending".into() }),
            Err(_) => Err(Busy { reason: "it was taken, but is not on disk yet; look before you repeat it".into() }),
        }
    }

    /// Looks at the world, between two steps.
    ///
    /// # Errors
    /// The agent is ending, or the look panicked.
    pub async fn look<T: Send + 'static>(&self, look: impl FnOnce(&World) -> T + Send + 'static) -> Result<T, Busy> {
        let (tx, rx) = oneshot::channel();
        // It only looks: if it panics, the world is as it was, and the engine must not go down with it.
        let look: Look = Box::new(move |world: &World| drop(tx.send(catch_unwind(AssertUnwindSafe(|| look(world))))));
        let ending = || Busy { reason: "the agent is ending".into() };
        self.looks.send(look).await.map_err(|_| ending())?;
        rx.await.map_err(|_| ending())?.map_err(|panic| {
            let reason = panic_text(panic.as_ref());
            tracing::error!(reason, "a look at the engine panicked");
            Busy { reason: format!("it can't be shown: {reason}") }
        })
    }

    /// Has nothing new begun: no run, no delivery.
    pub async fn stop(&self) {
        let _ = self.requests.send(Request::Stop).await;
    }

    /// Has everything committed and the store closed.
    pub async fn close(&self) {
        let (tx, rx) = oneshot::channel();
        if self.requests.send(Request::Close(tx)).await.is_ok() {
            let _ = rx.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use watchbell_core::engine::State;

    /// A look that panics is that caller's affair alone.
    #[tokio::test]
    async fn a_look_that_panics() {
        let (handle, mut requests) = Handle::new(Arc::default());
        tokio::spawn(async move {
            let world = World::new(Arc::default(), State::default());
            while let Some(look) = requests.looks.recv().await {
                look(&world);
            }
        });
        let panicked = handle.look(|world| assert!(world.running() > 0, "nothing runs")).await;
        assert_eq!(panicked.map_err(|busy| busy.reason), Err("it can't be shown: nothing runs".to_owned()));
        assert_eq!(handle.look(World::running).await.ok(), Some(0));
    }
}
