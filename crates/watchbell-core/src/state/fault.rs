//! The fault machine: what one finding makes of one fault.
//!
//! ```text
//!            error, attempts left        error, last attempt / critical
//!   (none) ───────────────────▶ soft n of m ───────────────────▶ hard critical
//!      ▲                            │                               │
//!      └──────── not found ─────────┴───────── not found ───────────┘
//! ```
//! A warning (below the severity that counts) is a fault that never hardens by counting and starts the
//! count again. What does not escalate stays what it is. Once critical, later errors stay critical until
//! the fault is gone. Whether anybody is told is decided elsewhere (`engine::tell`).

use super::digits::same_but_digits;
use crate::model::{Fault, Finding, Hardness, Name, Severity, Timestamp, Trouble};

/// What the policy says that matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// How many times in a row make it certain: `retry + 1`.
    pub attempts: u32,
    /// Faults this bad are told once they are certain.
    pub alert_from: Severity,
}

/// Facts that come with a finding.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// The fault's full name.
    pub name: &'a Name,
    /// The check.
    pub check: &'a Name,
    /// When it was found.
    pub now: Timestamp,
    /// The number of the episode that begins if the fault is new.
    pub next_episode: u64,
    /// Counted attempts before this one: by this fault, or by the whole check (CIMAA).
    pub counted: u32,
}

/// What a finding changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Nothing but the time it was last seen, the count, and numbers in its text.
    Same,
    /// It is new.
    Opened,
    /// It is certain now, or became critical.
    Hardened,
    /// It is not certain any more, or not as bad: below what is told.
    Softened,
    /// It says something else than other numbers, or is differently bad.
    Changed,
}

impl Rules {
    /// Whether findings this bad count towards being certain.
    pub fn counts(self, severity: Severity, escalates: bool) -> bool {
        escalates && severity >= self.alert_from.min(Severity::Error)
    }

    /// Whether people should be told of this fault, squelches and hours aside. What does not escalate is never told by
    /// itself, unless it is critical.
    pub fn tells(self, fault: &Fault) -> bool {
        let is_news = fault.escalates || fault.severity == Severity::Critical;
        is_news && fault.state == Hardness::Hard && fault.severity >= self.alert_from
    }
}

/// Whether people would read something new.
fn says_something_else(old: &Fault, new: &Fault) -> bool {
    let as_bad = old.severity == new.severity && old.unknown == new.unknown;
    !as_bad || !same_but_digits(&old.message, &new.message)
}

/// What one finding makes of a fault.
pub fn seen(old: Option<&Fault>, finding: &Finding, rules: Rules, at: &Context<'_>) -> (Fault, Change) {
    let was_critical = old.is_some_and(|f| f.severity == Severity::Critical);
    let counts = rules.counts(finding.severity, finding.escalates);
    let critical = finding.severity == Severity::Critical;
    let attempt = match (critical, counts) {
        (true, _) => rules.attempts,
        (false, true) => (at.counted + 1).min(rules.attempts),
        (false, false) => 1,
    };
    let sticks = was_critical && counts && finding.severity >= Severity::Error;
    // What was told stays certain when a config counts it that did not, or asks for more attempts.
    let stands = counts && old.is_some_and(|f| rules.tells(f));
    let certain = critical || sticks || stands || (counts && attempt >= rules.attempts);
    // An error that used up its attempts is critical; a warning that is told is still a warning.
    let severity = match finding.severity {
        Severity::Error if certain => Severity::Critical,
        other => other,
    };
    let mut fault = Fault {
        name: at.name.clone(),
        check: at.check.clone(),
        severity,
        reported: finding.severity,
        state: if certain || !counts { Hardness::Hard } else { Hardness::Soft },
        attempt,
        attempts: rules.attempts,
        escalates: finding.escalates,
        unknown: finding.unknown,
        unjudged: finding.trouble == Some(Trouble::Unjudged),
        message: finding.message.clone(),
        detail: finding.detail.clone(),
        since: at.now,
        updated: at.now,
        episode: at.next_episode,
        change: 1,
        stale: false,
        held: None,
        held_for: Default::default(),
        acknowledged: None,
    };
    let Some(old) = old else { return (fault, Change::Opened) };
    fault.since = old.since;
    fault.episode = old.episode;
    fault.change = old.change;
    fault.held.clone_from(&old.held);
    fault.held_for.clone_from(&old.held_for);
    fault.acknowledged.clone_from(&old.acknowledged);
    let change = match (rules.tells(old), rules.tells(&fault)) {
        (false, true) => Change::Hardened,
        (true, false) => Change::Softened,
        _ if says_something_else(old, &fault) => Change::Changed,
        _ => Change::Same,
    };
    if matches!(change, Change::Hardened | Change::Softened) || (change == Change::Changed && rules.tells(&fault)) {
        fault.change = old.change.saturating_add(1);
    }
    (fault, change)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { attempts: 4, alert_from: Severity::Critical };

    /// Runs findings (None: not found) through one fault with retry 3 and prints what it is after each.
    fn walk(rules: Rules, findings: &[Option<Finding>]) -> String {
        let name = Name::new("//h/f/c");
        let (mut fault, mut episode) = (None::<Fault>, 0);
        let mut out = Vec::new();
        for (i, finding) in findings.iter().enumerate() {
            let counted = fault.as_ref().filter(|f| f.reported >= Severity::Error).map_or(0, |f| f.attempt);
            let context = Context {
                name: &name,
                check: &name,
                now: Timestamp::from_secs(i as i64 * 60),
                next_episode: episode + 1,
                counted,
            };
            fault = finding.as_ref().map(|finding| {
                let (new, change) = seen(fault.as_ref(), finding, rules, &context);
                episode = new.episode;
                let told = if rules.tells(&new) { "told" } else { "quiet" };
                out.push(format!("{} {}/{} {told} {change:?}", new.severity, new.attempt, new.attempts));
                new
            });
            if fault.is_none() {
                out.push("gone".into());
            }
        }
        out.join("; ")
    }

    fn of(severity: Severity) -> Option<Finding> {
        Some(Finding::new(severity, "bad"))
    }

    /// S3.6: an error counts and becomes critical on the fourth in a row; no error starts over.
    #[test]
    fn errors_count_to_critical() {
        use Severity::{Critical, Error, Warning};
        let e = || of(Error);
        assert_eq!(
            walk(RULES, &[e(), e(), e(), e(), e(), None, e()]),
            "error 1/4 quiet Opened; error 2/4 quiet Same; error 3/4 quiet Same; critical 4/4 told Hardened; \
             critical 4/4 told Same; gone; error 1/4 quiet Opened"
        );
        // A critical one needs no retry, and later errors stay critical until clear.
        assert_eq!(
            walk(RULES, &[of(Critical), e(), None, e()]),
            "critical 4/4 told Opened; critical 4/4 told Same; gone; error 1/4 quiet Opened"
        );
        // A warning resets the count, also after critical.
        assert_eq!(
            walk(RULES, &[e(), of(Warning), e(), e()]),
            "error 1/4 quiet Opened; warning 1/4 quiet Changed; error 1/4 quiet Changed; error 2/4 quiet Same"
        );
        assert_eq!(walk(RULES, &[of(Critical), of(Warning)]), "critical 4/4 told Opened; warning 1/4 quiet Softened");
        // Retry 0 triggers at once.
        assert_eq!(walk(Rules { attempts: 1, ..RULES }, &[e()]), "critical 1/1 told Opened");
    }

    /// S3.6: what does not escalate never becomes critical.
    #[test]
    fn what_does_not_escalate_stays() {
        let quiet = || Some(Finding { escalates: false, ..Finding::new(Severity::Error, "oops") });
        let expect = "error 1/4 quiet Opened; error 1/4 quiet Same; error 1/4 quiet Same; error 1/4 quiet Same; \
                      error 1/4 quiet Same";
        assert_eq!(walk(RULES, &[quiet(), quiet(), quiet(), quiet(), quiet()]), expect);
    }

    /// A check that tells warnings counts them, and they stay warnings.
    #[test]
    fn warnings_can_be_told() {
        let rules = Rules { attempts: 2, alert_from: Severity::Warning };
        let w = || of(Severity::Warning);
        let context_counts = walk(rules, &[of(Severity::Error), of(Severity::Error)]);
        assert_eq!(context_counts, "error 1/2 quiet Opened; critical 2/2 told Hardened");
        assert!(walk(rules, &[w()]).starts_with("warning 1/2 quiet"));
    }

    /// S3.6: over every sequence of six findings out of four kinds, a fault is told only after its attempts
    /// or a critical finding, and stays told while errors last.
    #[test]
    fn every_short_sequence_keeps_the_rules() {
        let kinds = [None, of(Severity::Warning), of(Severity::Error), of(Severity::Critical)];
        let name = Name::new("//h/f/c");
        for code in 0..4_usize.pow(6) {
            let (mut fault, mut streak, mut sure) = (None::<Fault>, 0_u32, false);
            for step in 0..6 {
                let finding = &kinds[code / 4_usize.pow(step) % 4];
                let counted = fault.as_ref().filter(|f| f.reported >= Severity::Error).map_or(0, |f| f.attempt);
                let now = Timestamp::from_secs(i64::from(step));
                let context = Context { name: &name, check: &name, now, next_episode: 1, counted };
                fault = finding.as_ref().map(|f| seen(fault.as_ref(), f, RULES, &context).0);
                match finding.as_ref().map(|f| f.severity) {
                    Some(Severity::Error) => streak += 1,
                    Some(Severity::Critical) => (streak, sure) = (streak + 1, true),
                    _ => (streak, sure) = (0, false),
                }
                let told = fault.as_ref().is_some_and(|f| RULES.tells(f));
                assert_eq!(told, sure || streak >= 4, "sequence {code} step {step}");
            }
        }
    }
}
