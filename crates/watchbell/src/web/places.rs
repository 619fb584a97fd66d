//! Places for connections over one listener, so that idle strangers starve nobody.
//!
//! A connection waits until a request's head is there; then the request is under way until it is answered. Who waits holds a
//! place only as long as nobody else needs it: when all are taken, whoever comes gets the place of the one that waited
//! longest, of the address that holds most. Requests under way keep theirs, but an address has a share of them, and all
//! together leave a reserve, so that there is always a place to take. Health is answered from that reserve.

use super::{Limits, reply::ApiError};
use axum::http::StatusCode;
use std::{
    cmp::Reverse,
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};
use tokio::sync::{Notify, oneshot};

/// Nobody loses its place sooner than this: time enough for a head that is under way.
const UNDISTURBED: Duration = Duration::from_millis(250);

/// The places of one listener.
pub struct Places {
    limits: Limits,
    /// Anybody may connect. Elsewhere those who come wait until a place is free.
    strangers: bool,
    table: Mutex<Table>,
    freed: Notify,
}

#[derive(Default)]
struct Table {
    /// The last number given.
    last: u64,
    taken: BTreeMap<u64, Place>,
}

struct Place {
    address: Option<IpAddr>,
    /// Since when it waits for a request.
    since: Instant,
    /// A request of it is under way.
    asks: bool,
    /// Dropped when somebody else gets the place.
    _held: oneshot::Sender<()>,
}

/// A connection's place, given back when this is dropped.
pub struct Seat {
    number: u64,
    /// Who it is, over TCP.
    pub peer: Option<IpAddr>,
    places: Arc<Places>,
}

/// A request that is under way.
pub struct UnderWay<'s>(&'s Seat);

impl Places {
    /// None is taken yet.
    pub fn new(limits: Limits, strangers: bool) -> Arc<Places> {
        Arc::new(Places { limits, strangers, table: Mutex::default(), freed: Notify::new() })
    }

    /// Waits until there is a place for one more.
    pub async fn room(&self) {
        while let Some(wait) = self.make_room(Instant::now()) {
            let _ = tokio::time::timeout(wait, self.freed.notified()).await;
        }
    }

    /// Takes a place; what it comes with ends when it is lost.
    pub fn enter(self: &Arc<Places>, peer: Option<IpAddr>) -> (Arc<Seat>, oneshot::Receiver<()>) {
        let (held, lost) = oneshot::channel();
        let mut table = self.table();
        table.last += 1;
        let number = table.last;
        let place = Place { address: peer.map(network), since: Instant::now(), asks: false, _held: held };
        table.taken.insert(number, place);
        drop(table);
        (Arc::new(Seat { number, peer, places: self.clone() }), lost)
    }

    /// Sees to it that a place is free; or says after how long it is worth another look.
    fn make_room(&self, now: Instant) -> Option<Duration> {
        let mut table = self.table();
        if table.taken.len() < self.limits.connections_max {
            return None;
        }
        if !self.strangers {
            return Some(self.limits.headers_within);
        }
        let mut of: BTreeMap<Option<IpAddr>, usize> = BTreeMap::new();
        for place in table.taken.values() {
            *of.entry(place.address).or_default() += 1;
        }
        let waiting = || table.taken.iter().filter(|(_, place)| !place.asks);
        let disturbed = waiting().filter(|(_, place)| now.duration_since(place.since) >= UNDISTURBED);
        let next = disturbed.max_by_key(|(_, place)| (of.get(&place.address), Reverse(place.since)));
        if let Some(number) = next.map(|(number, _)| *number) {
            table.taken.remove(&number);
            return None;
        }
        let oldest = waiting().map(|(_, place)| place.since).min();
        Some(oldest.map_or(UNDISTURBED, |since| (since + UNDISTURBED).saturating_duration_since(now)))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Seat {
    /// A request is under way from now on until what this returns is dropped.
    ///
    /// # Errors
    /// 429 where this address has its share, 503 where nobody gets more.
    pub fn ask(&self) -> Result<UnderWay<'_>, ApiError> {
        let mut table = self.places.table();
        let limits = &self.places.limits;
        let Some(address) = table.taken.get(&self.number).map(|place| place.address) else {
            return Err(ApiError::unavailable("the connection's place went to another"));
        };
        if self.places.strangers {
            let under_way = || table.taken.values().filter(|place| place.asks);
            if under_way().filter(|place| place.address == address).count() >= limits.requests_of_address_max {
                let error = "too many requests of this address are under way";
                let hint = "wait for their answers before you ask for more";
                return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, error, hint));
            }
            if under_way().count() >= limits.connections_max.saturating_sub(limits.connections_reserved).max(1) {
                return Err(ApiError::unavailable("too many requests are under way"));
            }
        }
        self.set(&mut table, true);
        Ok(UnderWay(self))
    }

    fn set(&self, table: &mut Table, asks: bool) {
        if let Some(place) = table.taken.get_mut(&self.number) {
            (place.asks, place.since) = (asks, Instant::now());
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.set(&mut self.0.places.table(), false);
        self.0.places.freed.notify_one();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.places.table().taken.remove(&self.number);
        self.places.freed.notify_one();
    }
}

/// Whose share an address counts for: of IPv6 a network is one customer's.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(strangers: bool) -> Arc<Places> {
        let limits =
            Limits { connections_max: 4, connections_reserved: 1, requests_of_address_max: 2, ..Limits::default() };
        Places::new(limits, strangers)
    }

    fn peer(n: u8) -> Option<IpAddr> {
        Some([10, 0, 0, n].into())
    }

    fn is_lost(lost: &mut oneshot::Receiver<()>) -> bool {
        matches!(lost.try_recv(), Err(oneshot::error::TryRecvError::Closed))
    }

    /// Who waits longest of the address that holds most makes room; who asks, and who has just come, does not.
    #[test]
    fn who_makes_room() {
        for (peers, asks, late, expect) in [
            ([1, 1, 1, 1], [false; 4], true, Some(0)),
            ([2, 1, 1, 1], [false; 4], true, Some(1)),
            ([2, 2, 1, 1], [false; 4], true, Some(0)),
            ([2, 1, 1, 3], [false, true, true, false], true, Some(0)),
            ([1, 1, 1, 1], [true, false, true, true], true, Some(1)),
            ([1, 1, 1, 1], [false; 4], false, None),
        ] {
            let places = places(true);
            assert_eq!(places.make_room(Instant::now()), None, "there is room");
            let mut seats: Vec<_> = peers.iter().map(|n| places.enter(peer(*n))).collect();
            for ((seat, _), asks) in seats.iter().zip(asks) {
                seat.set(&mut places.table(), asks);
            }
            let now = Instant::now() + if late { UNDISTURBED } else { Duration::ZERO };
            let wait = places.make_room(now);
            assert_eq!(wait.is_none(), expect.is_some(), "{peers:?} {asks:?}: {wait:?}");
            let lost = seats.iter_mut().position(|(_, lost)| is_lost(lost));
            assert_eq!(lost, expect, "{peers:?} {asks:?}");
            assert!(wait.is_none_or(|wait| wait <= UNDISTURBED), "{wait:?}");
        }
    }

    /// An address has a share of what is under way, all together leave a reserve, and what is answered counts no more.
    #[test]
    fn shares() {
        let places = places(true);
        let seats: Vec<_> = [1, 1, 1, 2].into_iter().map(|n| places.enter(peer(n)).0).collect();
        let refused = |n: usize| seats[n].ask().err().map(|error| error.status.as_u16());
        let (first, _second) = (seats[0].ask().unwrap(), seats[1].ask().unwrap());
        assert_eq!(refused(2), Some(429), "the third of an address");
        let other = seats[3].ask().unwrap();
        drop(first);
        let again = seats[2].ask().unwrap();
        assert_eq!(refused(0), Some(429));
        drop(again);
        drop(other);
        assert_eq!(refused(3), None);
    }

    /// All that may be under way is: the others are told so. At the socket nobody is.
    #[test]
    fn the_reserve() {
        for (strangers, expect) in [(true, Some(503)), (false, None)] {
            let places = places(strangers);
            let seats: Vec<_> = (0..4).map(|n| places.enter(peer(n)).0).collect();
            let asked: Vec<_> = seats[..3].iter().map(|seat| seat.ask().unwrap()).collect();
            assert_eq!(seats[3].ask().err().map(|error| error.status.as_u16()), expect);
            drop(asked);
        }
        let socket = places(false);
        let mut seats: Vec<_> = (0..4).map(|_| socket.enter(None)).collect();
        let later = Instant::now() + UNDISTURBED * 100;
        assert!(socket.make_room(later).is_some(), "who comes waits");
        assert!(!seats.iter_mut().any(|(_, lost)| is_lost(lost)));
        drop(seats.pop());
        assert_eq!(socket.make_room(later), None);
    }

    #[test]
    fn networks() {
        for (address, expect) in [
            ("10.0.0.1", "10.0.0.1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::1", "::"),
        ] {
            assert_eq!(network(address.parse().unwrap()), expect.parse::<IpAddr>().unwrap(), "{address}");
        }
    }
}
