//! ID tokens: an identity provider says who a person is.

use std::collections::BTreeSet;

use serde_json::Value;
use subtle::ConstantTimeEq as _;

use crate::identity::issuer::{GenuineJwt, JwtReason};
use hallpass_core::base::time::Timestamp;

/// A person, as a trusted issuer knows them. Nothing here is the person's name.
#[derive(Clone, PartialEq, Eq)]
pub struct Person {
    /// Who says so.
    pub issuer: Box<str>,
    /// The issuer's id of the person.
    pub subject: String,
    /// The groups that the issuer has the person in.
    pub groups: BTreeSet<String>,
}

/// The subject names a person in no log.
impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Person(of {})", self.issuer)
    }
}

impl Person {
    /// Reads an ID token at `now`.
    ///
    /// # Errors
    ///
    /// Refuses an `aud` or `azp` that is not among the clients of the settings, one that does not hold now, one
    /// that is bound to a key, claims of the wrong type, and more than [`MAX_GROUPS`] groups.
    pub fn of_id_token(jwt: &GenuineJwt<'_>, now: Timestamp) -> Result<Self, JwtReason> {
        let is_known = |client: &&str| jwt.trusted.client_ids.contains(*client);
        let audiences = jwt.texts("aud")?;
        if audiences.is_empty() || !audiences.iter().all(is_known) {
            return Err(JwtReason::Audience);
        }
        if !jwt.optional_text("azp")?.iter().all(is_known) {
            return Err(JwtReason::Audience);
        }
        if jwt.claim("cnf").is_some() {
            return Err(JwtReason::Narrowed("cnf"));
        }
        jwt.end(now)?;
        Self::named_by(jwt)
    }

    /// Reads at `now` the ID token that the broker itself asked for, as the client of the settings, with this `nonce`
    /// (OpenID Connect Core section 3.1.3.7).
    ///
    /// # Errors
    ///
    /// Refuses one for another client, or for others too, with another `nonce` or none, and as
    /// [`of_id_token`](Self::of_id_token).
    pub fn of_sign_in(
        jwt: &GenuineJwt<'_>,
        nonce: &str,
        now: Timestamp,
    ) -> Result<Self, JwtReason> {
        let own = jwt.trusted.sign_in().ok_or(JwtReason::Audience)?;
        let is_own = |client: &&str| **client == *own.client_id;
        let audiences = jwt.texts("aud")?;
        if audiences.is_empty() || !audiences.iter().all(is_own) {
            return Err(JwtReason::Audience);
        }
        if !jwt.optional_text("azp")?.iter().all(is_own) {
            return Err(JwtReason::Audience);
        }
        // SECURITY: an ID token of another sign-in, that another person began, must not be taken for this one's.
        let given = jwt.optional_text("nonce")?.unwrap_or_default();
        if !bool::from(given.as_bytes().ct_eq(nonce.as_bytes())) {
            return Err(JwtReason::Claim("nonce"));
        }
        if jwt.claim("cnf").is_some() {
            return Err(JwtReason::Narrowed("cnf"));
        }
        jwt.end(now)?;
        Self::named_by(jwt)
    }

    pub(super) fn named_by(jwt: &GenuineJwt<'_>) -> Result<Self, JwtReason> {
        let (issuer, subject) = (jwt.trusted.issuer().into(), jwt.subject()?.to_owned());
        // SECURITY: some issuers leave the groups out when there are too many, and say so with these.
        let elsewhere = jwt
            .claim("_claim_names")
            .is_some_and(|names| names.get("groups").is_some());
        if elsewhere || jwt.claim("hasgroups").is_some() {
            return Err(JwtReason::Claim("groups"));
        }
        Ok(Self {
            issuer,
            subject,
            groups: groups(jwt.claim("groups"))?,
        })
    }
}

/// SECURITY: a list that is too long is refused, not cut: a guardrail may forbid what members of the group
/// that was cut off ask for.
fn groups(claim: Option<&Value>) -> Result<BTreeSet<String>, JwtReason> {
    let wrong = JwtReason::Claim("groups");
    let Some(claim) = claim else {
        return Ok(BTreeSet::new());
    };
    if claim.is_null() {
        return Ok(BTreeSet::new());
    }
    // Some issuers write the only group as a text.
    let listed = match claim {
        Value::String(_) => std::slice::from_ref(claim),
        Value::Array(groups) if groups.len() <= MAX_GROUPS => groups,
        _ => return Err(wrong),
    };
    let group = |value: &Value| {
        let is_plain = |name: &&str| {
            (1..=MAX_GROUP_BYTES).contains(&name.len()) && !name.chars().any(char::is_control)
        };
        value
            .as_str()
            .filter(is_plain)
            .map(str::to_owned)
            .ok_or(wrong)
    };
    listed.iter().map(group).collect()
}

/// A person is in at most so many groups.
///
/// Microsoft Entra ID puts at most 200 into a token.
pub const MAX_GROUPS: usize = 200;

/// The longest name of a group, in bytes.
const MAX_GROUP_BYTES: usize = 128;
