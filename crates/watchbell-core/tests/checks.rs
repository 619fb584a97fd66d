//! What runs bring, where it takes more than a scenario can say: what a plugin printed, how long somebody else's run took.

use std::{sync::Arc, time::Duration};
use watchbell_core::{
    config::{CheckPolicy, Passive, Policy, Retry, Style},
    engine::{Effects, Input, State, World, step},
    model::{Exit, Fault, Name, Outcome, Raw, Timestamp},
    schedule::Schedule,
    wire::nagios::{self, NagiosOptions},
};

const CHECK: &str = "//web-1/old/disk";
const START: Timestamp = Timestamp::from_secs(1_767_600_000); // 2026-01-05T08:00:00Z
const MINUTE: Duration = Duration::from_secs(60);

/// An agent with one check, and a clock.
struct Play {
    policy: Arc<Policy>,
    world: World,
    now: Timestamp,
}

impl Play {
    fn new(check: CheckPolicy) -> Play {
        let mut policy = Policy::default();
        policy.agent.name = Name::new("web-1");
        policy.checks = [(check.name.clone(), Arc::new(check))].into();
        let policy = Arc::new(policy);
        let world = World::new(policy.clone(), State::default());
        let mut play = Play { policy, world, now: START };
        play.input(Input::Start { agent_id: "a".into() });
        play
    }

    fn input(&mut self, input: Input) -> Effects {
        step(&mut self.world, self.now, input)
    }

    fn restart(&mut self) {
        self.world = World::new(self.policy.clone(), self.world.state.clone());
        self.input(Input::Start { agent_id: "a".into() });
    }

    /// The next time at which something is due.
    fn wake(&mut self) -> Effects {
        self.now = self.world.next_wake().expect("something is due").max(self.now);
        self.input(Input::Wake)
    }

    /// The check's next run brings this.
    fn run(&mut self, outcome: &Outcome) {
        let order = loop {
            if let Some(order) = self.wake().runs.pop() {
                break order;
            }
        };
        let outcome = Box::new(outcome.clone());
        self.input(Input::Result { check: order.check, run: order.run, started: self.now, outcome });
    }

    fn fault(&self, part: &str) -> Option<&Fault> {
        self.world.state.faults.get(&Name::new(format!("{CHECK}{part}")))
    }
}

/// What a plugin under a CIMAA file that prints this and ends well comes to.
fn prints(text: &str) -> Outcome {
    let raw = Raw { exit: Some(Exit::Code(0)), stdout: text.into(), ..Raw::default() };
    nagios::judge(&raw, &NagiosOptions { accept_json: true, ..NagiosOptions::default() })
}

/// S3.5, S3.6: bad JSON is an error as others are: the fourth in a row is critical, and so is an error that stands in
/// the same document.
#[test]
fn bad_json_under_cimaa_becomes_critical() {
    let lost = r#"{"faults": [{"message": "91%", "severity": "error"}, 5]}"#;
    for (text, other) in [("{", None), (lost, Some(""))] {
        let mut check = CheckPolicy::bare(Name::new(CHECK), Vec::new());
        check.schedule = Some(Schedule::Ticks { base: MINUTE, interval: 1, offset: Duration::ZERO });
        (check.retry, check.retry_interval, check.style) = (3, Retry::Ticks(1), Style::Cimaa);
        let mut play = Play::new(check);
        for expect in ["error 1", "error 2", "error 3", "critical 4", "critical 4"] {
            play.run(&prints(text));
            for part in ["#json-error"].into_iter().chain(other) {
                let found = play.fault(part).map(|f| format!("{} {}", f.severity, f.attempt));
                assert_eq!(found.as_deref(), Some(expect), "{text} {part:?}");
            }
        }
        // Cut off: that says nothing.
        play.run(&Outcome { inconclusive: true, exit: Some(Exit::TimedOut), ..Outcome::default() });
        assert!(play.fault("#json-error").is_some());
        play.run(&prints(r#"{"faults": []}"#));
        assert!(play.fault("#json-error").is_none());
    }
}

/// S3.4, S3.5: under a CIMAA file a message of JSON is told whole; what a plugin printed as text is cut at 200.
#[test]
fn json_messages_are_whole_and_text_is_cut_under_cimaa() {
    let long = "x".repeat(300);
    let json =
        |message: &str| prints(&format!(r#"{{"faults": [{{"message": "{message}", "severity": "critical"}}]}}"#));
    let text = |printed: &str| {
        let raw = Raw { exit: Some(Exit::Code(2)), stdout: printed.as_bytes().into(), ..Raw::default() };
        nagios::judge(&raw, &NagiosOptions { accept_json: true, ..NagiosOptions::default() })
    };
    for (outcome, style, expect) in [
        (json(&long), Style::Cimaa, long.clone()),
        (json(&format!("{long}\\nand more")), Style::Cimaa, format!("{long}\nand more")),
        (text(&long), Style::Cimaa, format!("{} ...", "x".repeat(200))),
        (text("short\nand more"), Style::Cimaa, "short\nand more".to_owned()),
        (text(&long), Style::Native, long.clone()),
    ] {
        let mut check = CheckPolicy::bare(Name::new(CHECK), Vec::new());
        check.schedule = Some(Schedule::Ticks { base: MINUTE, interval: 1, offset: Duration::ZERO });
        check.style = style;
        let mut play = Play::new(check);
        play.run(&outcome);
        assert_eq!(play.fault("").map(|f| f.message.as_str()), Some(expect.as_str()), "{style:?}");
    }
}

/// A passive check's time counts from the report, not from when the reported run began; also after a restart.
#[test]
fn a_report_of_a_long_run_counts_from_its_end() {
    let hours = |n: u64| 60 * n as u32 * MINUTE;
    let mut check = CheckPolicy::bare(Name::new(CHECK), Vec::new());
    check.passive = Some(Passive { within: hours(25), slots: None, ends_within: None });
    let mut play = Play::new(check);
    let outcome = Box::new(Outcome { took: hours(2), ..Outcome::default() });
    play.input(Input::Report { check: Name::new(CHECK), at: None, outcome });
    play.now = START + hours(10);
    play.restart();
    play.wake();
    assert_eq!((play.now, play.fault("#overdue").is_some()), (START + hours(25), true));
    let fault = play.fault("#overdue").expect("just seen");
    assert!(fault.message.ends_with(&format!("the last was at {START}")), "{}", fault.message);
}
