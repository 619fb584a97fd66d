//! What operators and scripts do: squelch, acknowledge, send a message.

use super::{
    Message, Step,
    derived::{Silence, Timer},
    world::RowKey,
};
use crate::{
    model::{Acknowledgement, EventKind, EventState, Name, Severity, Timestamp},
    route::hours::Hours,
    state::squelch::Squelch,
};
use regex::RegexBuilder;

/// A squelch's compiled regular expression may take this many bytes.
pub(super) const SQUELCH_SIZE_MAX: usize = 1 << 20;

/// When a squelch ends, or its hours begin or end.
pub(super) fn squelch_wakes(squelch: &Squelch, silence: Option<&Silence>, now: Timestamp) -> Option<Timestamp> {
    let turns = silence.and_then(|s| s.every.as_ref()).and_then(|hours| hours.next_change(now));
    squelch.until.into_iter().chain(turns).min()
}

impl Step<'_> {
    /// Keeps alerts quiet for the faults whose name matches.
    pub(super) fn squelch(&mut self, mut squelch: Squelch) {
        let silence = match self.silence(&squelch) {
            Ok(silence) => silence,
            Err(why) => return self.refuse(why),
        };
        squelch.every = silence.every.is_some().then(|| squelch.every.unwrap_or_default().trim().to_owned());
        if silence.every.is_none() {
            // One that comes again ends by itself each time.
            let longest = self.world.policy.agent.squelch_max.filter(|_| !squelch.permanent);
            squelch.until = squelch.until.or_else(|| longest.map(|longest| self.now + longest));
        }
        let regex = squelch.regex.clone();
        let shortens = self.world.state.squelches.get(&regex).and_then(|old| squelch.shortens(old));
        let end = squelch.until.map_or_else(String::new, |at| format!(", until {at}"));
        let every = squelch.every.as_ref().map_or_else(String::new, |every| format!(", on {every}"));
        let less = shortens.as_ref().map_or_else(String::new, |less| format!("; {less}"));
        let text = format!("squelched by {} because {}{every}{end}{less}", squelch.by, squelch.reason);
        self.fx.warned = shortens;
        self.world.derived.timers.set(Timer::Squelch(regex.clone()), squelch_wakes(&squelch, Some(&silence), self.now));
        self.world.derived.squelches.insert(regex.clone(), silence);
        self.world.state.squelches.insert(regex.clone(), squelch);
        let name = Name::new(&regex);
        self.touch(RowKey::Squelch(regex));
        self.squelches_changed(&name, text);
    }

    /// A squelch, compiled; or why it can't be set.
    fn silence(&self, squelch: &Squelch) -> Result<Silence, String> {
        let compiled = RegexBuilder::new(&squelch.regex).size_limit(SQUELCH_SIZE_MAX).build();
        let regex = compiled.map_err(|error| {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            format!("`{}` is not a regular expression: {why}", squelch.regex)
        })?;
        if squelch.regex.is_empty() {
            let why = "an empty regular expression would squelch everything; write `.` if you mean that";
            return Err(why.to_owned());
        }
        if squelch.until.is_some_and(|until| until <= self.now) {
            return Err("the squelch would end before it begins; give an end that is still to come".to_owned());
        }
        if squelch.reason.trim().is_empty() {
            return Err("a squelch needs a reason: who finds it next week must know why it is there".to_owned());
        }
        let Some(text) = &squelch.every else { return Ok(Silence { regex, every: None }) };
        let hours = Hours::parse(text, &self.world.policy.agent.zone).map_err(|error| {
            let hint = error.hint.map_or_else(String::new, |hint| format!("; {hint}"));
            format!("the hours `{text}` can't be read: {}{hint}", error.message)
        })?;
        let opens = hours.next_open(self.now);
        match opens {
            Some(_) if hours.next_change(self.now).is_none() => {
                Err(format!("the hours `{text}` never end: leave them out for a squelch that holds all the time"))
            }
            None => Err(format!("the hours `{text}` never begin; give a time of day that there is")),
            Some(opens) if squelch.until.is_some_and(|until| until <= opens) => {
                Err(format!("the squelch would end before its hours begin, at {opens}; let it last longer"))
            }
            Some(_) => Ok(Silence { regex, every: Some(hours) }),
        }
    }

    /// Lifts a squelch: what is still critical and was not told is told now.
    pub(super) fn unsquelch(&mut self, regex: &str, by: &str) {
        if !self.world.state.squelches.contains_key(regex) {
            return self.refuse(format!("there is no squelch `{regex}`; `watchbell squelches` lists those there are"));
        }
        self.lift(regex, format!("lifted by {by}"));
    }

    /// A squelch ends by itself, or the hours begin or end in which it holds.
    pub(super) fn squelch_turns(&mut self, regex: &str) {
        let Some(squelch) = self.world.state.squelches.get(regex) else { return };
        if squelch.until.is_some_and(|until| until <= self.now) {
            return self.lift(regex, "ended as planned".to_owned());
        }
        let silence = self.world.derived.squelches.get(regex);
        let holds = silence.and_then(|s| s.every.as_ref()).is_some_and(|hours| hours.open_at(self.now));
        let wakes = squelch_wakes(squelch, silence, self.now);
        let until = wakes.map_or_else(String::new, |at| format!(" until {at}"));
        let text = if holds { format!("holds again{until}") } else { format!("pauses{until}") };
        self.world.derived.timers.set(Timer::Squelch(regex.to_owned()), wakes);
        self.squelches_changed(&Name::new(regex), text);
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
