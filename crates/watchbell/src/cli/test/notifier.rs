//! `watchbell test --notifier`: one message, marked as a test, to each target of a notifier.

use super::{
    super::{
        client,
        place::Setup,
        ui::{self, Done, Paint, Trouble},
    },
    Args, ToldTest, as_test, indented,
};
use std::sync::Arc;
use watchbell_core::{
    config::{NotifierPolicy, Policy},
    engine::{Input, Message, State, World, step},
    model::{Delivery, EventState, Name, Severity, Timestamp},
};
use watchbell_io::shared::Shared;

impl Args {
    /// Sends it, and shows what its receivers answer.
    pub(super) fn notifier(&self, setup: &Setup, name: &str) -> Done {
        let Some(policy) = setup.loaded.policy.notifiers.get(name) else {
            let names: Vec<String> = setup.loaded.policy.notifiers.keys().map(|n| format!("`{n}`")).collect();
            let hint = match names.as_slice() {
                [] => "the config has none; `watchbell validate` says if one is left out".to_owned(),
                names => format!("the config has {}; `watchbell validate` says if one is left out", names.join(", ")),
            };
            return Err(Trouble::Wrong(format!("there is no notifier `{name}`\nhint: {hint}")));
        };
        let at = self.at.as_ref().map(|typed| typed.in_zone(&setup.loaded.agent.zone)).unwrap_or(setup.now);
        let (runtime, shared) = (super::runtime()?, Shared::new()?);
        let told: Vec<ToldTest> = deliveries(setup, policy, at)
            .into_iter()
            .map(|d| if self.dry_run { as_test(d) } else { d })
            .map(|d| runtime.block_on(self.tell(setup, d, &shared)))
            .collect();
        runtime.shutdown_background();
        if self.json {
            let told: Vec<_> = told.iter().map(ToldTest::json).collect();
            ui::print_json(&serde_json::json!({ "notifier": policy.name, "kind": policy.kind, "told": told }))?;
        } else {
            let paint = Paint::stdout();
            let mut out = format!("{}\n", paint.head(&ui::clean(&policy.name)));
            let mut line = |word: &str, text: &str| out.push_str(&format!("  {word:<10} {}\n", indented(text)));
            line("kind", policy.kind);
            told.iter().for_each(|told| told.show(&mut line, paint, self.dry_run));
            ui::print(&out)?;
        }
        if told.is_empty() || told.iter().any(ToldTest::failed) { Err(Trouble::Found) } else { Ok(()) }
    }
}

/// What the agent would send for a message to this notifier, one for each of its targets.
fn deliveries(setup: &Setup, notifier: &Arc<NotifierPolicy>, at: Timestamp) -> Vec<Delivery> {
    let whole = &setup.loaded.policy;
    let notifiers = [(notifier.name.clone(), notifier.clone())].into();
    let policy = Policy { agent: whole.agent.clone(), notifiers, ..Policy::default() };
    let mut world = World::new(Arc::new(policy), State::default());
    // The id makes the message's key: each test is one of its own.
    let agent_id = format!("{}", at.as_micros());
    step(&mut world, at, Input::Start { agent_id });
    // Where each message opens an incident, one is opened, and closed at once.
    let opens = opens_incidents(notifier);
    let message = Message {
        at: None,
        source: "test".into(),
        name: notifier.name.to_string(),
        severity: Severity::Info,
        state: if opens { EventState::Problem } else { EventState::Info },
        topic: None,
        text: format!(
            "{} tries the notifier `{}` of `{}`; nothing is wrong",
            client::who(),
            notifier.name,
            whole.agent.name
        ),
        link: None,
        labels: Default::default(),
        notify: vec![Name::new(&notifier.name)],
        id: Some(format!("test-{}", at.as_micros())),
    };
    step(&mut world, at, Input::Message(Box::new(message)));
    world.deliveries().filter(|delivery| delivery.notifier == notifier.name).cloned().collect()
}

/// It keeps each matter as one of its own that stays open until it is closed: it can't say many at once.
fn opens_incidents(notifier: &NotifierPolicy) -> bool {
    notifier.capabilities.acknowledges && !notifier.capabilities.digests
}
