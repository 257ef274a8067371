//! Rate limits: how often a principal or a network may ask, decided before any expensive work.
//!
//! One quota for each address, which is half of the one for all, one for each principal that proved
//! itself, and one for failures to prove anything, by the peer's address; a peer that used that up is
//! refused before a signature is checked.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    time::Duration,
};

use governor::{
    DefaultDirectRateLimiter, DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use moka::sync::Cache;

use crate::server::edge::problem::Problem;
use hallpass_core::base::ids::OperatorId;

/// How many requests are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Requests a second of one agent or operator, and failures a second of one address to prove
    /// that it is either.
    pub per_second: NonZeroU32,
    /// How many of those may come at once.
    pub burst: NonZeroU32,
    /// Requests a second of all callers together, of which one address has half; twice as many may come
    /// at once.
    pub global: NonZeroU32,
}

impl Default for Rates {
    fn default() -> Self {
        let figure = |figure| NonZeroU32::new(figure).unwrap_or(NonZeroU32::MIN);
        Self {
            per_second: figure(100),
            burst: figure(200),
            global: figure(5_000),
        }
    }
}

/// The limiters of one server.
pub(crate) struct Limits {
    clock: DefaultClock,
    global: DefaultDirectRateLimiter,
    addresses: DefaultKeyedRateLimiter<IpAddr>,
    principals: DefaultKeyedRateLimiter<String>,
    /// How many requests of one principal may come at once.
    burst: NonZeroU32,
    /// By operator, and by the report.
    reports: DefaultKeyedRateLimiter<OperatorId>,
    failures: DefaultKeyedRateLimiter<IpAddr>,
    /// What strangers try by hand: to sign in, to register.
    tries: DefaultKeyedRateLimiter<IpAddr>,
    /// Addresses that used up their failures; each entry leaves by itself.
    blocked: Cache<IpAddr, ()>,
}

impl Limits {
    pub(crate) fn new(rates: Rates) -> Self {
        let each = Quota::per_second(rates.per_second).allow_burst(rates.burst);
        let all = Quota::per_second(rates.global)
            .allow_burst(rates.global.saturating_add(rates.global.get()));
        let half = NonZeroU32::new(rates.global.get() / 2).unwrap_or(NonZeroU32::MIN);
        Self {
            clock: DefaultClock::default(),
            global: RateLimiter::direct(all),
            addresses: RateLimiter::keyed(Quota::per_second(half).allow_burst(rates.global)),
            principals: RateLimiter::keyed(each),
            burst: rates.burst,
            reports: RateLimiter::keyed(
                Quota::per_second(REPORTS_PER_SECOND).allow_burst(REPORTS_AT_ONCE),
            ),
            failures: RateLimiter::keyed(each),
            tries: RateLimiter::keyed(
                Quota::per_second(TRIES_PER_SECOND).allow_burst(TRIES_AT_ONCE),
            ),
            blocked: Cache::builder()
                .max_capacity(MAX_ADDRESSES)
                .time_to_live(BLOCKED)
                .build(),
        }
    }

    /// Counts a request, before anything is known about who sends it.
    pub(crate) fn admit(&self, peer: IpAddr) -> Result<(), Problem> {
        let network = network(peer);
        if self.blocked.contains_key(&network) {
            return Err(Problem::rate_limited(BLOCKED));
        }
        let until = |until: NotUntil<<DefaultClock as Clock>::Instant>| {
            Problem::rate_limited(until.wait_time_from(self.clock.now()))
        };
        if self.addresses.len() < usize::try_from(MAX_ADDRESSES).unwrap_or(usize::MAX) {
            self.addresses.check_key(&network).map_err(until)?;
        }
        self.global.check().map_err(until)
    }

    /// Counts a request of the authenticated `principal`.
    pub(crate) fn admit_principal(&self, principal: &String) -> Result<(), Problem> {
        let answer = self.principals.check_key(principal);
        answer.map_err(|until| Problem::rate_limited(until.wait_time_from(self.clock.now())))
    }

    /// Charges `principal` for a request that costs as much as `requests` others, which has been counted as one.
    pub(crate) fn charge(&self, principal: &String, requests: u32) -> Result<(), Problem> {
        // What costs more than may ever come at once is charged as much as that.
        let more = NonZeroU32::new(requests.saturating_sub(1).min(self.burst.get() - 1));
        let Some(more) = more else { return Ok(()) };
        match self.principals.check_key_n(principal, more) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(until)) => Err(Problem::rate_limited(
                until.wait_time_from(self.clock.now()),
            )),
            Err(_) => Err(Problem::rate_limited(Duration::from_secs(1))),
        }
    }

    /// Counts `count` reports of one verifier.
    pub(crate) fn admit_reports(&self, operator: &OperatorId, count: usize) -> Result<(), Problem> {
        let count = u32::try_from(count)
            .ok()
            .and_then(NonZeroU32::new)
            .unwrap_or(NonZeroU32::MIN);
        match self.reports.check_key_n(operator, count) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(until)) => Err(Problem::rate_limited(
                until.wait_time_from(self.clock.now()),
            )),
            // More than may ever come at once.
            Err(_) => Err(Problem::rate_limited(Duration::from_secs(1))),
        }
    }

    /// Counts what people do by hand and programs only to guess.
    pub(crate) fn admit_try(&self, peer: IpAddr) -> Result<(), Problem> {
        // A flood from more addresses than are remembered waits until it is over.
        if self.tries.len() >= usize::try_from(MAX_ADDRESSES).unwrap_or(usize::MAX) {
            return Err(Problem::rate_limited(BLOCKED));
        }
        let answer = self.tries.check_key(&network(peer));
        answer.map_err(|until| Problem::rate_limited(until.wait_time_from(self.clock.now())))
    }

    /// Counts a failure to prove anything.
    pub(crate) fn note_failure(&self, peer: IpAddr) {
        let network = network(peer);
        // A flood from more addresses than are remembered is what the global quota is for.
        let full = self.failures.len() >= usize::try_from(MAX_ADDRESSES).unwrap_or(usize::MAX);
        if full || self.failures.check_key(&network).is_err() {
            self.blocked.insert(network, ());
        }
    }

    /// Evicts principals and networks that were not seen lately.
    pub(crate) fn forget(&self) {
        self.principals.retain_recent();
        self.reports.retain_recent();
        self.failures.retain_recent();
        self.tries.retain_recent();
        self.addresses.retain_recent();
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Limits")
    }
}

/// What one customer has: an IPv4 address, or an IPv6 network of 64 bits.
pub(crate) fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// Faster than people type.
const TRIES_PER_SECOND: NonZeroU32 = NonZeroU32::new(1).unwrap();
const TRIES_AT_ONCE: NonZeroU32 = NonZeroU32::new(10).unwrap();

const BLOCKED: Duration = Duration::from_secs(1);
const MAX_ADDRESSES: u64 = 50_000;

/// More than one verifier decides in a second, for most of them.
const REPORTS_PER_SECOND: NonZeroU32 = NonZeroU32::new(1_000).unwrap();

/// What came together while the broker was away arrives sooner.
const REPORTS_AT_ONCE: NonZeroU32 = NonZeroU32::new(10_000).unwrap();

#[cfg(test)]
mod tests {
    use super::*;

    /// One request a second, four at once.
    fn slow() -> Rates {
        Rates {
            per_second: NonZeroU32::MIN,
            burst: 4.try_into().unwrap(),
            ..Rates::default()
        }
    }

    #[test]
    fn failures_block_a_network_and_no_other() {
        let limits = Limits::new(slow());
        let (one, same, other) = ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1");
        for _ in 0..5 {
            limits.note_failure(one.parse().unwrap());
        }
        assert!(limits.admit(same.parse().unwrap()).is_err());
        assert!(limits.admit(other.parse().unwrap()).is_ok());
        assert!(limits.admit("192.0.2.1".parse().unwrap()).is_ok());
        limits.note_failure("::ffff:192.0.2.1".parse().unwrap());
        assert!(limits.admit("192.0.2.1".parse().unwrap()).is_ok());
    }

    #[test]
    fn an_address_that_floods_leaves_room_for_others() {
        let limits = Limits::new(Rates {
            global: 8.try_into().unwrap(),
            ..slow()
        });
        let taken = (0..1000)
            .filter(|_| limits.admit("192.0.2.1".parse().unwrap()).is_ok())
            .count();
        assert!((8..=12).contains(&taken), "{taken}");
        assert!(limits.admit("192.0.2.2".parse().unwrap()).is_ok());
    }

    #[test]
    fn reports_are_counted_one_by_one_for_each_verifier() {
        let limits = Limits::new(slow());
        let (one, other) = (
            "ledger-verifier".parse().unwrap(),
            "payroll-verifier".parse().unwrap(),
        );
        let taken = (0..1000)
            .filter(|_| limits.admit_reports(&one, 500).is_ok())
            .count();
        assert!((20..30).contains(&taken), "{taken}");
        assert!(limits.admit_reports(&other, 500).is_ok());
    }

    #[test]
    fn what_costs_more_takes_more_of_the_quota() {
        let limits = Limits::new(slow());
        let agent = "agent a".to_owned();
        limits.admit_principal(&agent).unwrap();
        limits.charge(&agent, 1).unwrap();
        limits.charge(&agent, 3).unwrap();
        limits.admit_principal(&agent).unwrap();
        assert!(limits.admit_principal(&agent).is_err());
        // What could never be paid for is charged all that there is.
        let other = "agent b".to_owned();
        limits.admit_principal(&other).unwrap();
        limits.charge(&other, 1_000).unwrap();
        assert!(limits.admit_principal(&other).is_err());
    }

    #[test]
    fn a_principal_has_its_burst_and_no_more() {
        let limits = Limits::new(slow());
        let taken = (0..20)
            .filter(|_| limits.admit_principal(&"agent a".to_owned()).is_ok())
            .count();
        assert!((4..=5).contains(&taken), "{taken}");
        assert!(limits.admit_principal(&"agent b".to_owned()).is_ok());
    }
}
