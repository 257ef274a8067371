//! Fast signing with Ed25519, for minting many passes.
//!
//! A broker has aws-lc for TLS, which signs in half the time of `ed25519-dalek`. Builds without the
//! broker use the latter, which verification needs anyway. Ed25519 is deterministic (RFC 8032
//! section 5.1.6), so both make the same signature; a test compares them.

use zeroize::Zeroizing;

use crate::base::random;

/// A key pair that signs.
pub(super) struct Signer(implementation::Pair);

impl Signer {
    /// `None` when the library refuses the seed, which does not happen.
    pub(super) fn from_seed(seed: &[u8; 32]) -> Option<Self> {
        implementation::from_seed(seed).map(Self)
    }

    /// A new pair and its seed, from the operating system's randomness.
    pub(super) fn generate() -> Option<(Self, Zeroizing<[u8; 32]>)> {
        let seed = random::bytes();
        Some((Self::from_seed(&seed)?, seed))
    }

    pub(super) fn public(&self) -> Option<[u8; 32]> {
        implementation::public(&self.0)
    }

    pub(super) fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        implementation::sign(&self.0, message)
    }
}

#[cfg(feature = "issuer")]
mod implementation {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

    pub(super) type Pair = Ed25519KeyPair;

    pub(super) fn from_seed(seed: &[u8; 32]) -> Option<Pair> {
        Ed25519KeyPair::from_seed_unchecked(seed).ok()
    }

    pub(super) fn public(pair: &Pair) -> Option<[u8; 32]> {
        pair.public_key().as_ref().try_into().ok()
    }

    pub(super) fn sign(pair: &Pair, message: &[u8]) -> Option<[u8; 64]> {
        pair.sign(message).as_ref().try_into().ok()
    }
}

#[cfg(not(feature = "issuer"))]
mod implementation {
    use crate::base::key::PrivateKey;

    pub(super) type Pair = PrivateKey;

    #[expect(
        clippy::unnecessary_wraps,
        reason = "the other implementation can refuse"
    )]
    pub(super) fn from_seed(seed: &[u8; 32]) -> Option<Pair> {
        Some(PrivateKey::from_seed(seed))
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "the other implementation can refuse"
    )]
    pub(super) fn public(pair: &Pair) -> Option<[u8; 32]> {
        Some(*pair.public().as_bytes())
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "the other implementation can refuse"
    )]
    pub(super) fn sign(pair: &Pair, message: &[u8]) -> Option<[u8; 64]> {
        Some(pair.sign(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::key::PrivateKey;

    #[test]
    fn signs_and_derives_as_the_verifying_library_does() {
        for seed in [[0; 32], [7; 32], [255; 32]] {
            let (ours, theirs) = (
                Signer::from_seed(&seed).unwrap(),
                PrivateKey::from_seed(&seed),
            );
            assert_eq!(ours.public().unwrap(), *theirs.public().as_bytes());
            for message in [&b""[..], b"a", &[9; 4000]] {
                assert_eq!(ours.sign(message).unwrap(), theirs.sign(message));
            }
        }
    }

    #[test]
    fn every_generated_pair_is_another_and_belongs_to_its_seed() {
        let ((one, seed), (two, _)) = (Signer::generate().unwrap(), Signer::generate().unwrap());
        assert_ne!(one.public(), two.public());
        assert_eq!(
            one.public().unwrap(),
            *PrivateKey::from_seed(&seed).public().as_bytes()
        );
    }
}
