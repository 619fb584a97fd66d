//! How fast requests may come: a bucket for a caller's requests, one for those that change something, and one for those
//! that ask how the agent is. A caller is a token, or the address of whoever shows none.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

/// So many callers are counted each by itself; those beyond share one count.
const CALLERS_MAX: usize = 1024;

/// The buckets of a caller.
const RATES: usize = 3;

/// So many at once, then so many a second.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// At once, after a time of rest.
    pub burst: u32,
    /// From then on.
    pub per_second: u32,
}

/// Whose requests are counted together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Caller {
    /// A token that is known, by its name.
    Token(String),
    /// Who shows none.
    Peer(IpAddr),
    /// All for whom there is no place.
    Others,
}

/// The buckets of all callers.
#[derive(Debug, Default)]
pub struct Rates {
    callers: BTreeMap<Caller, [Bucket; RATES]>,
}

impl Rates {
    /// Takes a request from the bucket of each rate that it counts for; `now` is on a clock that only goes forward.
    ///
    /// # Errors
    /// It comes too soon: how long to wait.
    pub fn take(&mut self, caller: Caller, rates: [Option<Rate>; RATES], now: Duration) -> Result<(), Duration> {
        if self.callers.len() >= CALLERS_MAX && !self.callers.contains_key(&caller) {
            // Who has been quiet for long enough is as good as new.
            self.callers.retain(|_, buckets| buckets.iter().any(|bucket| bucket.full_at > now));
        }
        let known = self.callers.len() < CALLERS_MAX || self.callers.contains_key(&caller);
        let buckets = self.callers.entry(if known { caller } else { Caller::Others }).or_default();
        for (bucket, rate) in buckets.iter_mut().zip(rates) {
            rate.map_or(Ok(()), |rate| bucket.take(rate, now))?;
        }
        Ok(())
    }
}

/// What is left of a rate's burst, told by when it will be whole again.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    full_at: Duration,
}

impl Bucket {
    fn take(&mut self, rate: Rate, now: Duration) -> Result<(), Duration> {
        let each = Duration::from_secs(1) / rate.per_second.max(1);
        let full_at = self.full_at.max(now) + each;
        let soon = full_at.saturating_sub(now + each * rate.burst);
        if !soon.is_zero() {
            return Err(soon);
        }
        self.full_at = full_at;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SLOW: Rate = Rate { burst: 3, per_second: 10 };

    /// A burst, then one each time the rate allows it; rest fills the bucket, never beyond the burst.
    #[test]
    fn a_bucket_empties_and_fills() {
        let mut bucket = Bucket::default();
        for (at, expect) in [
            (0, Ok(())),
            (0, Ok(())),
            (0, Ok(())),
            (0, Err(100)),
            (60, Err(40)),
            (99, Err(1)),
            (100, Ok(())),
            (100, Err(100)),
            (320, Ok(())),
            (320, Ok(())),
            (320, Err(80)),
            (9000, Ok(())),
            (9000, Ok(())),
            (9000, Ok(())),
            (9000, Err(100)),
        ] {
            assert_eq!(bucket.take(SLOW, MS * at), expect.map_err(|ms: u32| MS * ms), "at {at} ms");
        }
    }

    #[test]
    fn callers_and_rates_are_counted_apart() {
        let mut rates = Rates::default();
        let (ann, ben) = (Caller::Token("ann".into()), Caller::Peer([127, 0, 0, 1].into()));
        let generous = Rate { burst: 5, per_second: 1 };
        for _ in 0..3 {
            assert_eq!(rates.take(ann.clone(), [Some(generous), Some(SLOW), None], MS), Ok(()));
        }
        assert!(rates.take(ann.clone(), [Some(generous), Some(SLOW), None], MS).is_err(), "what changes something");
        assert_eq!(rates.take(ann.clone(), [Some(generous), None, None], MS), Ok(()), "a look");
        assert!(rates.take(ann, [Some(generous), None, None], MS).is_err(), "all are counted");
        assert_eq!(rates.take(ben, [Some(generous), Some(SLOW), None], MS), Ok(()));
    }

    /// Memory is bounded: the quiet make room, and where none is those who come later share one bucket.
    #[test]
    fn many_callers() {
        let mut rates = Rates::default();
        let caller = |n: usize| Caller::Token(n.to_string());
        let rate = [Some(Rate { burst: 1, per_second: 1 }), None, None];
        for n in 0..CALLERS_MAX {
            assert_eq!(rates.take(caller(n), rate, MS), Ok(()));
        }
        assert_eq!(rates.take(caller(CALLERS_MAX), rate, MS), Ok(()));
        assert!(rates.take(caller(CALLERS_MAX + 1), rate, MS).is_err());
        assert!(rates.callers.len() <= CALLERS_MAX + 1);
        assert_eq!(rates.take(caller(CALLERS_MAX + 2), rate, Duration::from_secs(2)), Ok(()));
        assert_eq!(rates.callers.len(), 1);
    }
}
