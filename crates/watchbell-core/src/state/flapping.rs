//! Flapping: a check that changes state too often. Icinga 2's published algorithm, so that its users' thresholds mean
//! the same here (its manual, "Check Flapping", and `lib/icinga/checkable-flapping.cpp`).
//!
//! Of the last 20 runs each that changed the state counts, the newest 1.18, the oldest 0.80, in even steps of 0.02
//! (the manual rounds this to "1.2 to 0.8"); their sum over 20 is the percentage. It starts above the high
//! threshold and lasts until the value is not above the low one. What a change of state is, is the engine's matter;
//! what flapping holds back, too.

use serde::{Deserialize, Serialize};

/// How many runs are looked at.
pub const SLOTS: u32 = 20;
/// Icinga's default for the start, in percent.
pub const HIGH_PERCENT: f64 = 30.0;
/// Icinga's default for the end, in percent.
pub const LOW_PERCENT: f64 = 25.0;

/// What is remembered of a check's changes.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Flapping {
    /// The last [`SLOTS`] runs, the newest in the lowest bit; 1 is a run that changed the state.
    pub buffer: u32,
    /// Whether it flaps now.
    pub flapping: bool,
    /// How much it changes, in percent: 0 to 99.
    pub current: f64,
}

/// What a run changed about the flapping itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlapChange {
    /// It flaps from now on.
    Started,
    /// It is steady again.
    Stopped,
}

impl Flapping {
    /// Takes one run in. `high` and `low` are in percent.
    pub fn update(&mut self, changed: bool, high: f64, low: f64) -> Option<FlapChange> {
        self.buffer = (self.buffer << 1 | u32::from(changed)) & ((1 << SLOTS) - 1);
        // In hundredths, so that the sum is exact: equal histories give equal values.
        let hundredths: u32 = (0..SLOTS).filter(|age| self.buffer >> age & 1 == 1).map(|age| 118 - 2 * age).sum();
        self.current = f64::from(hundredths) / f64::from(SLOTS);
        let flaps = self.current > if self.flapping { low } else { high };
        let change = match (self.flapping, flaps) {
            (false, true) => Some(FlapChange::Started),
            (true, false) => Some(FlapChange::Stopped),
            _ => None,
        };
        self.flapping = flaps;
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(flapping: &mut Flapping, changes: &str) -> Vec<(usize, FlapChange)> {
        let bits = changes.bytes().map(|b| b == b'x');
        let updates = bits.enumerate().map(|(i, changed)| (i, flapping.update(changed, HIGH_PERCENT, LOW_PERCENT)));
        updates.filter_map(|(i, change)| change.map(|change| (i, change))).collect()
    }

    /// Weights as Icinga's: percent of one change at each age, of all, of every other.
    #[test]
    fn percentages() {
        let cases = [
            ("", 0.0),
            ("x", 5.9),
            ("x-", 5.8),
            ("x-------------------", 4.0),
            ("x--------------------", 0.0),
            ("xxxxxxxxxxxxxxxxxxxx", 99.0),
            ("xxxxxxxxxxxxxxxxxxxxxxxxx", 99.0),
            ("-x-x-x-x-x-x-x-x-x-x", 50.0),
            ("x-x-x-x-x-x-x-x-x-x-", 49.0),
        ];
        for (changes, percent) in cases {
            let mut flapping = Flapping::default();
            run(&mut flapping, changes);
            assert!((flapping.current - percent).abs() < 1e-9, "{changes}: {}", flapping.current);
        }
    }

    #[test]
    fn starts_above_high_and_stops_at_low() {
        let mut flapping = Flapping::default();
        // 5.9, 11.7, 17.4, 23.0, 28.5, 33.9
        assert_eq!(run(&mut flapping, "xxxxxx"), [(5, FlapChange::Started)]);
        // Six changes weigh 33.9 now, 0.6 less each run; at 25.0 or below it ends, 15 runs later (24.9, then one
        // after the other falls out of the slots).
        assert_eq!(run(&mut flapping, &"-".repeat(30)), [(14, FlapChange::Stopped)]);
        assert_eq!((flapping.buffer, flapping.current), (0, 0.0));
        // Between low and high it stays as it is.
        let mut steady = Flapping { flapping: false, ..Flapping::default() };
        assert_eq!(run(&mut steady, "xxxxx"), []);
        assert!(steady.current > LOW_PERCENT && steady.current < HIGH_PERCENT);
    }

    #[test]
    fn survives_a_restart() {
        let mut flapping = Flapping::default();
        run(&mut flapping, "xx-xx-xx");
        let stored = serde_json::to_string(&flapping).unwrap();
        assert_eq!(serde_json::from_str::<Flapping>(&stored).unwrap(), flapping);
    }

    proptest! {
        #[test]
        fn changes_alternate_and_values_are_bounded(changes: Vec<bool>, buffer: u32, high in 0.0..100.0_f64, low in 0.0..100.0_f64) {
            let mut flapping = Flapping { buffer, ..Flapping::default() };
            let mut was = false;
            for changed in changes {
                let change = flapping.update(changed, high, low);
                prop_assert!((0.0..=99.0).contains(&flapping.current));
                prop_assert_eq!(change.is_some(), was != flapping.flapping);
                was = flapping.flapping;
            }
        }
    }
}
