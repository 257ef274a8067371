//! Addresses: which ones the broker may dial because of what a client sent.
//!
//! What is not plainly a public host is refused: the tables hold the ranges that IANA's registries do not call
//! globally reachable, relays, and the ways to write an IPv4 address inside an IPv6 one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The addresses that may be dialled: public ones, and networks that an operator added.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reach {
    networks: Vec<IpNet>,
}

impl Reach {
    /// Public addresses only.
    #[must_use]
    pub const fn public() -> Self {
        Self {
            networks: Vec::new(),
        }
    }

    /// Public addresses and this machine itself, which may then be asked over plain http too.
    #[must_use]
    pub fn with_loopback() -> Self {
        Self::public().and(LOOPBACK)
    }

    /// These and the addresses in `networks`.
    #[must_use]
    pub fn and(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        self.networks.extend(networks);
        self
    }

    /// Whether `address` may be dialled.
    ///
    /// An IPv4 address inside an IPv6 one is refused even when the IPv4 address itself could be dialled.
    #[must_use]
    pub fn admits(&self, address: IpAddr) -> bool {
        self.networks
            .iter()
            .any(|network| network.contains(&address))
            || is_public(address)
    }

    /// Whether plain http to `address` is accepted: to this machine only, and only when it may be dialled.
    #[must_use]
    pub fn admits_plain_http(&self, address: IpAddr) -> bool {
        address.is_loopback() && self.admits(address)
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|network| network.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_UNICAST.contains(&address)
                && !SPECIAL_V6.iter().any(|network| network.contains(&address))
                && !is_isatap(address)
        }
    }
}

/// RFC 5214: an interface identifier that ends in an IPv4 address, which a router would send to.
const fn is_isatap(address: Ipv6Addr) -> bool {
    let [_, _, _, _, high, low, _, _] = address.segments();
    low == 0x5efe && (high == 0 || high == 0x0200)
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(segments: [u16; 3], length: u8) -> Ipv6Net {
    let [a, b, c] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), length)
}

/// All IPv6 addresses that are handed out for hosts. Everything else is loopback, unspecified, unique local,
/// link-local, site-local, multicast, mapped (`::ffff:0:0/96`), compatible (`::/96`), translated
/// (`64:ff9b::/96`, `64:ff9b:1::/48`), discard-only, or not assigned yet.
const GLOBAL_UNICAST: Ipv6Net = v6([0x2000, 0, 0], 3);

/// Inside [`GLOBAL_UNICAST`], and no host all the same.
const SPECIAL_V6: [Ipv6Net; 4] = [
    // IETF protocol assignments: Teredo, benchmarking, ORCHID, port control, DNS-SD.
    v6([0x2001, 0, 0], 23),
    // Documentation.
    v6([0x2001, 0x0db8, 0], 32),
    v6([0x3fff, 0, 0], 20),
    // 6to4: an IPv4 address, of any kind, follows.
    v6([0x2002, 0, 0], 16),
];

const SPECIAL_V4: [Ipv4Net; 16] = [
    // "This network": 0.0.0.0 reaches the machine itself.
    v4(0, 0, 0, 0, 8),
    // Private, and shared with a carrier.
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(172, 16, 0, 0, 12),
    v4(192, 168, 0, 0, 16),
    // Loopback.
    v4(127, 0, 0, 0, 8),
    // Link-local: the clouds' metadata services.
    v4(169, 254, 0, 0, 16),
    // A cloud's host agent, on an address that looks public.
    v4(168, 63, 129, 16, 32),
    // Protocol assignments, and the relays of 6to4.
    v4(192, 0, 0, 0, 24),
    v4(192, 88, 99, 0, 24),
    // Documentation.
    v4(192, 0, 2, 0, 24),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    // Benchmarking.
    v4(198, 18, 0, 0, 15),
    // Multicast, reserved and broadcast.
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
];

const LOOPBACK: [IpNet; 2] = [
    IpNet::V4(v4(127, 0, 0, 0, 8)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
];
