//! Random bytes from the operating system: the only source of randomness.

use rand::RngCore as _;
use zeroize::Zeroizing;

/// `N` random bytes, wiped when dropped.
#[must_use]
pub fn bytes<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    rand::rngs::OsRng.fill_bytes(bytes.as_mut());
    bytes
}
