//! What is told outside the store, because it is about the store: that it can't be written, and that it can again.
//! Nothing of it is kept: it is made of what is in memory and sent at once.

use std::{collections::BTreeMap, sync::Arc};
use watchbell_core::{
    engine::World,
    model::{Action, Delivery, Event, EventKind, EventState, Name, Severity, Timestamp},
};

/// What is said of the store.
pub struct News<'a> {
    /// Since when it can't be written: ties the two messages together.
    pub since: Timestamp,
    /// It can be written again.
    pub works: bool,
    /// One line.
    pub text: &'a str,
    /// What to do.
    pub detail: &'a str,
}

/// One message to each of those who hear of the agent's own faults.
pub fn deliveries(world: &World, now: Timestamp, news: &News<'_>) -> Vec<Arc<Delivery>> {
    let agent = &world.policy.agent.name;
    let key = format!("{}/store/{}", world.state.meta.agent_id, news.since);
    let event = Event {
        // It has no place in the stream.
        seq: 0,
        at: now,
        received_at: now,
        kind: EventKind::Agent,
        state: if news.works { EventState::Recovery } else { EventState::Problem },
        severity: if news.works { Severity::Info } else { Severity::Critical },
        unknown: false,
        source: "agent".into(),
        name: agent.part("store"),
        key: key.clone(),
        host: agent.to_string(),
        service: "store".into(),
        topic: None,
        text: news.text.into(),
        detail: news.detail.into(),
        now: None,
        taken: None,
        description: None,
        link: None,
        runbook: None,
        labels: BTreeMap::new(),
        since: Some(news.since),
        attempt: None,
        caused_by: None,
        original: None,
    };
    let suffix = if news.works { "/works" } else { "" };
    let to = |notifier: Name| {
        let targets = world.policy.notifiers.get(&notifier).map(|policy| policy.targets.clone()).unwrap_or_default();
        let targets = if targets.is_empty() { vec![String::new()] } else { targets };
        let (event, key) = (event.clone(), key.clone());
        targets.into_iter().map(move |target| {
            let slash = if target.is_empty() { "" } else { "/" };
            Arc::new(Delivery {
                key: format!("{key}/{notifier}{slash}{target}{suffix}"),
                action: Action::Message,
                notifier: notifier.clone(),
                event: event.clone(),
                target,
                trigger_receipt: None,
                digest: Vec::new(),
            })
        })
    };
    world.healthy_notifiers().into_iter().flat_map(to).collect()
}
