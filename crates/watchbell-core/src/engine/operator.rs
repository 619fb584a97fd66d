//! What operators and scripts do: squelch, acknowledge, send a message.

use super::{Message, Step, derived::Timer, world::RowKey};
use crate::{
    model::{Acknowledgement, EventKind, EventState, Name, Severity, Timestamp},
    state::squelch::Squelch,
};
use regex::RegexBuilder;

/// A squelch's compiled regular expression may take this many bytes.
const SQUELCH_SIZE_MAX: usize = 1 << 20;

impl Step<'_> {
    /// Keeps alerts quiet for the faults whose name matches.
    pub(super) fn squelch(
        &mut self,
        regex: String,
        reason: String,
        by: String,
        until: Option<Timestamp>,
        permanent: bool,
    ) {
        let compiled = match RegexBuilder::new(&regex).size_limit(SQUELCH_SIZE_MAX).build() {
            Ok(compiled) if !regex.is_empty() => compiled,
            Ok(_) => {
                return self.refuse("an empty regular expression would squelch everything; write `.` if you mean that");
            }
            Err(error) => {
                let why = error.to_string();
                let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                return self.refuse(format!("`{regex}` is not a regular expression: {why}"));
            }
        };
        if until.is_some_and(|until| until <= self.now) {
            return self.refuse("the squelch would end before it begins; give an end that is still to come");
        }
        if reason.trim().is_empty() {
            return self.refuse("a squelch needs a reason: who finds it next week must know why it is there");
        }
        let until = until.or_else(|| {
            let longest = self.world.policy.agent.squelch_max.filter(|_| !permanent)?;
            Some(self.now + longest)
        });
        let name = Name::new(&regex);
        let end = until.map_or_else(String::new, |at| format!(", until {at}"));
        let text = format!("squelched by {by} because {reason}{end}");
        self.world.derived.squelches.insert(regex.clone(), compiled);
        self.world.derived.timers.set(Timer::Squelch(regex.clone()), until);
        let squelch = Squelch { regex: regex.clone(), reason, by, at: self.now, until, permanent };
        self.world.state.squelches.insert(regex.clone(), squelch);
        self.touch(RowKey::Squelch(regex));
        self.squelches_changed(&name, text);
    }

    /// Lifts a squelch: what is still critical and was not told is told now.
    pub(super) fn unsquelch(&mut self, regex: &str, by: &str) {
        if !self.world.state.squelches.contains_key(regex) {
            return self.refuse(format!("there is no squelch `{regex}`; `watchbell squelches` lists those there are"));
        }
        self.lift(regex, format!("lifted by {by}"));
    }

    /// A squelch ends by itself.
    pub(super) fn squelch_ends(&mut self, regex: &str) {
        self.lift(regex, "ended as planned".to_owned());
    }

    fn lift(&mut self, regex: &str, text: String) {
        if self.world.state.squelches.remove(regex).is_none() {
            return;
        }
        self.world.derived.squelches.remove(regex);
        self.world.derived.timers.set(Timer::Squelch(regex.to_owned()), None);
        self.touch(RowKey::Squelch(regex.to_owned()));
        self.squelches_changed(&Name::new(regex), text);
    }

    /// A squelch came or went: everything that is wrong is looked at again.
    fn squelches_changed(&mut self, name: &Name, text: String) {
        let event = self.event(EventKind::Operator, EventState::Info, Severity::Info, name, |e| {
            e.source = "squelch".into();
            e.text = text;
        });
        // Whether a silent monitor is told of depends on squelches too.
        self.world.derived.timers.set_earlier(Timer::Monitors, self.now);
        let faults: Vec<Name> = self.world.state.faults.keys().cloned().collect();
        self.because_of(event.seq, |step| {
            for fault in faults {
                step.reconcile(&fault, None);
            }
        });
    }

    /// Somebody takes care of a fault.
    pub(super) fn acknowledge(&mut self, name: &Name, by: String, comment: String, until: Option<Timestamp>) {
        if until.is_some_and(|until| until <= self.now) {
            return self.refuse("the acknowledgement would end before it begins; give an end that is still to come");
        }
        let text = format!("acknowledged by {by}: {comment}");
        let ack = Acknowledgement { by, comment, at: self.now, until };
        if !self.set_acknowledged(name, Some(ack), text) {
            self.refuse(format!("there is no fault `{name}` now; `watchbell faults` lists those there are"));
        }
    }

    /// Nobody does any more.
    pub(super) fn unacknowledge(&mut self, name: &Name, by: &str) {
        if self.world.state.faults.get(name).is_none_or(|f| f.acknowledged.is_none()) {
            return self.refuse(format!("`{name}` is not acknowledged"));
        }
        self.set_acknowledged(name, None, format!("acknowledgement withdrawn by {by}"));
    }

    fn set_acknowledged(&mut self, name: &Name, ack: Option<Acknowledgement>, text: String) -> bool {
        let Some(fault) = self.world.state.faults.get_mut(name) else { return false };
        fault.acknowledged = ack;
        let severity = fault.severity;
        self.touch(RowKey::Fault(name.clone()));
        let event = self.event(EventKind::Operator, EventState::Update, severity, name, |e| {
            e.source = "ack".into();
            e.text = text;
        });
        self.because_of(event.seq, |step| step.reconcile(name, None));
        true
    }

    /// A message from a script: kept, and told to those it names.
    pub(super) fn message(&mut self, message: Message) {
        let agent = self.world.policy.agent.name.clone();
        let name = if message.name.starts_with("//") {
            Name::new(&message.name)
        } else {
            Name::new(format!("//{agent}/{}/{}", message.source, message.name))
        };
        if let Some(why) = self.name_is_taken(&name, message.state) {
            return self.refuse(why);
        }
        let key = message.id.clone();
        let notify = message.notify.clone();
        if let Some(unknown) = notify.iter().find(|n| !self.world.policy.notifiers.contains_key(*n)) {
            return self.refuse(format!("there is no notifier `{unknown}`; the config names those there are"));
        }
        let event = self.event(EventKind::Message, message.state, message.severity, &name, |e| {
            e.source = message.source;
            e.topic = message.topic;
            let (first, rest) = message.text.split_once('\n').unwrap_or((&message.text, ""));
            e.text = first.to_owned();
            e.detail = rest.to_owned();
            e.link = message.link;
            e.labels = message.labels;
        });
        let key = format!("message/{}", key.unwrap_or_else(|| event.seq.to_string()));
        for notifier in notify {
            self.send_message(&event, &notifier, &key, "it was sent to this notifier");
        }
    }

    fn refuse(&mut self, why: impl Into<String>) {
        self.fx.refused = Some(why.into());
    }
}
