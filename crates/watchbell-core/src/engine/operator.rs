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
use regex::{Regex, RegexBuilder};

/// So many squelches are kept.
const SQUELCHES_MAX: usize = 1000;
/// A squelch's compiled regular expression may take this many bytes.
const SQUELCH_SIZE_MAX: usize = 1 << 20;
/// Those of all squelches together may take this many.
const SQUELCHES_SIZE_MAX: usize = 8 << 20;
/// The least that one counts for.
const SQUELCH_SIZE_MIN: usize = 4 << 10;
/// What matching a squelch remembers may take this many bytes.
const SQUELCH_CACHE_MAX: usize = 64 << 10;

/// A squelch's regular expression, compiled.
pub(super) fn compiled(regex: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(regex).size_limit(SQUELCH_SIZE_MAX).dfa_size_limit(SQUELCH_CACHE_MAX).build()
}

/// How many bytes a regular expression that can be compiled takes: the next power of two.
pub(super) fn size(regex: &str) -> usize {
    let mut size = SQUELCH_SIZE_MIN;
    while size < SQUELCH_SIZE_MAX && RegexBuilder::new(regex).size_limit(size).build().is_err() {
        size *= 2;
    }
    size
}

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
        let regex = compiled(&squelch.regex).map_err(|error| {
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
        let size = self.room_for(&squelch.regex)?;
        let Some(text) = &squelch.every else { return Ok(Silence { regex, size, every: None }) };
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
            Some(_) => Ok(Silence { regex, size, every: Some(hours) }),
        }
    }

    /// Whether one more squelch is kept, and what it takes: every fault is compared with each of them.
    fn room_for(&self, regex: &str) -> Result<usize, String> {
        let others = || self.world.state.squelches.keys().filter(|other| *other != regex);
        let hint = "`watchbell squelches` lists them, `watchbell unsquelch` lifts one that is needed no more";
        if others().count() >= SQUELCHES_MAX {
            return Err(format!("there are {SQUELCHES_MAX} squelches, and no more are kept; {hint}"));
        }
        let own = size(regex);
        let taken = self.world.derived.squelches.iter().filter(|(other, _)| *other != regex);
        let all = own + taken.map(|(_, silence)| silence.size).sum::<usize>();
        if all > SQUELCHES_SIZE_MAX {
            return Err(format!(
                "`{regex}` takes {} KiB compiled, and with it all squelches take more than {} MiB; write it without \
                 `\\w` and numbers of repetitions, or lift others",
                own >> 10,
                SQUELCHES_SIZE_MAX >> 20
            ));
        }
        Ok(own)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Input, State, World, step};

    fn set(world: &mut World, regex: String) -> Option<String> {
        let (reason, by) = ("r".to_owned(), "ann".to_owned());
        let squelch = Input::Squelch { regex, reason, by, until: None, permanent: false, every: None };
        step(world, Timestamp::from_secs(1_800_000_000), squelch).refused
    }

    /// Every fault is compared with every squelch: there are not too many of them.
    #[test]
    fn squelches_are_counted() {
        let mut world = World::new(Default::default(), State::default());
        for n in 0..SQUELCHES_MAX {
            assert_eq!(set(&mut world, format!("shop-{n}/")), None);
        }
        let refused = set(&mut world, "one more".into()).unwrap();
        assert!(refused.contains("there are 1000 squelches") && refused.contains("unsquelch"), "{refused}");
        assert_eq!(set(&mut world, "shop-7/".into()), None, "in the place of the one there was");
        let lift = Input::Unsquelch { regex: "shop-7/".into(), by: "ann".into() };
        step(&mut world, Timestamp::from_secs(1_800_000_001), lift);
        assert_eq!(set(&mut world, "one more".into()), None);
    }

    /// They are not too large either, each and together; after a restart the same holds.
    #[test]
    fn squelches_are_measured() {
        for (regex, expect) in [("shop/", 4 << 10), (r"^//web-\d+/shop/", 8 << 10), (r"\w{20}", 1 << 20)] {
            assert_eq!(size(regex), expect, "{regex}");
        }
        let mut world = World::new(Default::default(), State::default());
        let refused = set(&mut world, r"\w{1000}".into()).unwrap();
        assert!(refused.contains("is not a regular expression"), "{refused}");
        for n in 0..7 {
            assert_eq!(set(&mut world, format!(r"{n}\w{{20}}")), None);
        }
        let mut world = World::new(world.policy.clone(), world.state.clone());
        assert_eq!(set(&mut world, r"3\w{20}".into()), None, "in its own place");
        assert_eq!(set(&mut world, r"7\w{20}".into()), None);
        let refused = set(&mut world, r"8\w{20}".into()).unwrap();
        assert!(refused.contains("takes 1024 KiB compiled"), "{refused}");
    }
}
