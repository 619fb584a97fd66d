//! The one place that reads clocks. The wall clock says what time it is; the monotonic clock says how much
//! time passed, and by it a wall clock that was set is noticed.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use watchbell_core::model::Timestamp;

/// The wall clock may differ from the monotonic one by this much before it counts as set.
const DRIFT_MAX_US: i64 = 2_000_000;

/// What time it is now.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Notices a wall clock that was set.
#[derive(Debug)]
pub struct Watch {
    wall: Timestamp,
    mono: Instant,
}

impl Watch {
    /// Begins to watch.
    pub fn new() -> Watch {
        Watch { wall: now(), mono: Instant::now() }
    }

    /// One that looked last when the wall clock showed this, a moment ago.
    #[cfg(test)]
    pub fn since(wall: Timestamp) -> Watch {
        Watch { wall, mono: Instant::now() }
    }

    /// The time, and by how many microseconds the clock was set since the last call, if it was.
    pub fn read(&mut self) -> (Timestamp, Option<i64>) {
        let (wall, mono) = (now(), Instant::now());
        let expected = self.wall + mono.duration_since(self.mono);
        (self.wall, self.mono) = (wall, mono);
        let off = wall.as_micros() - expected.as_micros();
        (wall, (off.abs() > DRIFT_MAX_US).then_some(off))
    }
}
