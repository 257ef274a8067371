//! Signed documents: from the broker to verifiers.
//!
//! Keys and revocations share one sequence, that of the journal, within an epoch, which identifies
//! the journal. Every document is a compact JWS (EdDSA); each kind has its own `typ`.
//!
//! SECURITY: a verifier of an earlier build ignores a member that is added here. A member that revokes
//! or restricts anything must be named in `crit` where it is written: `docs/wire.md`.

use serde::{Deserialize, Serialize, Serializer};

use crate::{
    base::{
        digest::SubjectDigest,
        format::Format,
        holder::HolderKey,
        ids::{AgentId, IssuerUri, KeyId, RevocationId, ServerUri, StewardId, TaskId},
        jws::{self, JwsError},
        key::{PrivateKey, PublicKey},
        time::Timestamp,
    },
    token::manifest::Manifest,
    wire::read::{self, Document, DocumentError, SignedError},
};

/// A feed frame: a snapshot, a delta or a heartbeat for one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::exhaustive_structs,
    reason = "callers must set and read every field"
)]
pub struct Frame {
    /// The format.
    pub v: Format,
    /// The broker.
    pub iss: IssuerUri,
    /// The server that the frame is for.
    pub aud: ServerUri,
    /// The journal that the sequence belongs to; a later journal has a greater epoch.
    pub epoch: i64,
    /// The sequence that the receiver must have; `None` for a snapshot, which replaces everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// The receiver's sequence after this frame.
    pub sequence: u64,
    /// When the broker signed it.
    pub at: Timestamp,
    /// The root keys, when they changed or in a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Vec<RootKeyEntry>>,
    /// The feed keys to trust from now on, when they changed or in a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feed_keys: Option<Vec<PublicKey>>,
    /// The server's manifest, when it changed or in a snapshot.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "with_format"
    )]
    pub manifest: Option<Manifest>,
    /// The revoked subjects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revocations: Vec<RevocationEntry>,
    /// The keys of every agent that is revoked and not reinstated, when they changed or in a
    /// snapshot. No pass can be handed to such an agent, whenever it was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended_holders: Option<Vec<SubjectDigest>>,
}

impl Frame {
    /// The JWS `typ` of a frame.
    pub const TYP: &'static str = "hallpass-feed+jwt";

    /// Signs the frame with the feed key.
    ///
    /// # Errors
    ///
    /// Only when it cannot be written as JSON.
    pub fn sign(&self, key: &PrivateKey) -> Result<String, JwsError> {
        jws::sign(key, Self::TYP, Some(&key.public().thumbprint()), self)
    }

    /// The frame in `text`, when `key` signed it.
    ///
    /// # Errors
    ///
    /// When it did not, or this build cannot read the frame.
    pub fn read(key: &PublicKey, text: &str) -> Result<Self, SignedError> {
        read::verify(key, Self::TYP, text)
    }
}

impl Document for Frame {}

/// A manifest carries its format number only inside a document.
fn with_format<S: Serializer>(
    manifest: &Option<Manifest>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Versioned<'m> {
        v: Format,
        #[serde(flatten)]
        manifest: &'m Manifest,
    }
    let versioned = manifest.as_ref().map(|manifest| Versioned {
        v: manifest.v,
        manifest,
    });
    versioned.serialize(serializer)
}

/// A root key that passes may be signed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::exhaustive_structs,
    reason = "callers must set and read every field"
)]
pub struct RootKeyEntry {
    /// The key's number.
    pub id: KeyId,
    /// The public half.
    pub key: PublicKey,
}

/// One revoked subject, in compact form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::exhaustive_structs,
    reason = "callers must set and read every field"
)]
pub struct RevocationEntry {
    /// The digest of kind and name.
    pub subject: SubjectDigest,
    /// Passes issued up to this time are revoked; `None`: all passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_off: Option<Timestamp>,
    /// The time until which it must be stored.
    pub expires_at: Timestamp,
}

/// The digest of each kind of subject, the same at the broker and at every verifier.
#[derive(Debug, Clone, Copy)]
pub struct Subjects;

impl Subjects {
    /// A block of a token.
    #[must_use]
    pub fn token(id: &RevocationId) -> SubjectDigest {
        SubjectDigest::new("token", &id.to_string())
    }

    /// A task.
    #[must_use]
    pub fn task(task: &TaskId) -> SubjectDigest {
        SubjectDigest::new("task", task.as_str())
    }

    /// An agent.
    #[must_use]
    pub fn agent(agent: &AgentId) -> SubjectDigest {
        SubjectDigest::new("agent", agent.as_str())
    }

    /// A registered agent's key, anywhere in a chain of delegations.
    #[must_use]
    pub fn holder(key: &HolderKey) -> SubjectDigest {
        SubjectDigest::new("holder", &key.thumbprint())
    }

    /// A steward.
    #[must_use]
    pub fn steward(steward: &StewardId) -> SubjectDigest {
        SubjectDigest::new("steward", steward.as_str())
    }

    /// A server.
    #[must_use]
    pub fn server(server: &ServerUri) -> SubjectDigest {
        SubjectDigest::new("server", server.as_str())
    }

    /// A root key.
    #[must_use]
    pub fn key(key: KeyId) -> SubjectDigest {
        SubjectDigest::new("key", &key.to_string())
    }
}

/// The key document at `/v1/keys.json`: public, and the starting point of a new verifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::exhaustive_structs,
    reason = "callers must set and read every field"
)]
pub struct KeyDocument {
    /// The format.
    #[cfg_attr(feature = "schema", schema(value_type = u64))]
    pub v: Format,
    /// The broker.
    pub iss: IssuerUri,
    /// When it was written.
    pub at: Timestamp,
    /// The root keys that passes may be signed with.
    pub keys: Vec<RootKeyEntry>,
    /// The feed key that signs now.
    pub feed_key: PublicKey,
    /// Every change of the feed key, oldest first, each signed by the key before: from a pinned key to the current one.
    pub feed_key_chain: Vec<String>,
    /// The key that signs heads and exports of the audit trail now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_key: Option<PublicKey>,
    /// Every change of the checkpoint key, oldest first, each signed by the key before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checkpoint_key_chain: Vec<String>,
}

/// One link of a chain of keys: the old key vouches for the new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::exhaustive_structs,
    reason = "callers must set and read every field"
)]
pub struct KeyLink {
    /// The format.
    pub v: Format,
    /// The broker.
    pub iss: IssuerUri,
    /// The key that signs this link.
    pub old: PublicKey,
    /// The key that it vouches for.
    pub new: PublicKey,
}

impl KeyLink {
    /// The JWS `typ` of a link from one feed key to the next.
    pub const FEED_TYP: &'static str = "hallpass-feed-key+jwt";

    /// The JWS `typ` of a link from one checkpoint key to the next.
    pub const CHECKPOINT_TYP: &'static str = "hallpass-checkpoint-key+jwt";

    /// Signs the link, of the type `typ`, with the old key.
    ///
    /// # Errors
    ///
    /// Only when it cannot be written as JSON.
    pub fn sign(&self, typ: &str, old: &PrivateKey) -> Result<String, JwsError> {
        jws::sign(old, typ, None, self)
    }

    /// The link in `text`, when the old key that it names signed it as one of the type `typ`.
    ///
    /// # Errors
    ///
    /// When that key did not, or this build cannot read the link.
    pub fn read(typ: &str, text: &str) -> Result<Self, SignedError> {
        // Read before the signature is checked, to find the key to check it with.
        let claimed: Self = peek(text)?;
        jws::verify(&claimed.old, typ, text)?;
        Ok(claimed)
    }
}

impl Document for KeyLink {}

impl Document for KeyDocument {}

impl KeyDocument {
    /// A key document is at most this long, in bytes: a thousand keys.
    pub const MAX_BYTES: usize = 1024 * 1024;

    /// Reads a broker's response at `/v1/keys.json`.
    ///
    /// # Errors
    ///
    /// When it is longer than [`Self::MAX_BYTES`], or this build cannot read it.
    pub fn from_json(bytes: &[u8]) -> Result<Self, DocumentError> {
        read::parse(bytes, Self::MAX_BYTES)
    }

    /// The error of the first link of the feed key chain that only a later build can read.
    #[must_use]
    pub fn newer_link(&self) -> Option<DocumentError> {
        let links = self.feed_key_chain.iter();
        links
            .filter_map(|text| KeyLink::read(KeyLink::FEED_TYP, text).err())
            .find_map(|error| match error {
                SignedError::Document(error) if error.is_newer() => Some(error),
                _ => None,
            })
    }

    /// The feed keys that this document proves to a caller that trusts the keys with these
    /// `thumbprints`, oldest first.
    ///
    /// The document itself is unsigned: only links that a trusted key, or a key vouched for by one,
    /// signed are accepted. Empty when the chain has no trusted key.
    #[must_use]
    pub fn feed_keys_from(&self, issuer: &IssuerUri, thumbprints: &[String]) -> Vec<PublicKey> {
        let is_root = |key: &PublicKey| thumbprints.contains(&key.thumbprint());
        let links = self.feed_key_chain.iter().filter_map(|text| {
            KeyLink::read(KeyLink::FEED_TYP, text)
                .ok()
                .filter(|link| link.iss == *issuer)
        });
        let mut trusted: Vec<PublicKey> = Vec::new();
        for link in links {
            if is_root(&link.old) && !trusted.contains(&link.old) {
                trusted.push(link.old);
            }
            if trusted.contains(&link.old) && !trusted.contains(&link.new) {
                trusted.push(link.new);
            }
        }
        if is_root(&self.feed_key) && !trusted.contains(&self.feed_key) {
            trusted.push(self.feed_key);
        }
        trusted
    }
}

/// The payload of a JWS, without a check of its signature.
fn peek<T: Document>(text: &str) -> Result<T, SignedError> {
    let payload = jws::split(text, jws::MAX_JWS_BYTES).and_then(|jws| jws.payload());
    Ok(read::parse(
        &payload.map_err(JwsError::from)?,
        jws::MAX_JWS_BYTES,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_leads_to_later_feed_keys_and_to_no_foreign_one() {
        let issuer: IssuerUri = "https://broker.example".parse().unwrap();
        let [first, second, third, foreign] =
            [1, 2, 3, 9].map(|seed| PrivateKey::from_seed(&[seed; 32]));
        let link = |old: &PrivateKey, new: &PrivateKey, signer: &PrivateKey| {
            let link = KeyLink {
                v: Format::One,
                iss: issuer.clone(),
                old: old.public(),
                new: new.public(),
            };
            link.sign(KeyLink::FEED_TYP, signer).unwrap()
        };
        let mut document = KeyDocument {
            v: Format::One,
            iss: issuer.clone(),
            at: Timestamp::EPOCH,
            keys: Vec::new(),
            feed_key: third.public(),
            feed_key_chain: vec![
                link(&first, &second, &first),
                link(&second, &third, &second),
            ],
            checkpoint_key: None,
            checkpoint_key_chain: Vec::new(),
        };
        let keys = |document: &KeyDocument, pin: &PrivateKey| {
            document.feed_keys_from(&issuer, &[pin.public().thumbprint()])
        };
        assert_eq!(
            keys(&document, &first),
            [first.public(), second.public(), third.public()]
        );
        assert_eq!(keys(&document, &second), [second.public(), third.public()]);
        assert_eq!(keys(&document, &third), [third.public()]);
        assert_eq!(keys(&document, &foreign), []);
        document
            .feed_key_chain
            .push(link(&third, &foreign, &foreign));
        assert!(!keys(&document, &first).contains(&foreign.public()));
    }
}
