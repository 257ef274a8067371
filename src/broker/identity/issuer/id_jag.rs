//! ID-JAG: an identity provider says that a client may act for a person at a server.

use crate::identity::issuer::{GenuineJwt, JwtReason, Person};
use hallpass_core::base::{digest::Digest, ids::IssuerUri, time::Timestamp};

/// An identity assertion authorization grant that holds now. The caller makes sure that the client which
/// presents it is [`Self::client_id`], and that it is used once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdJag {
    /// On whose behalf.
    pub person: Person,
    /// The client that may use it.
    pub client_id: String,
    /// The servers that it is for; never empty.
    pub resources: Vec<String>,
    /// The scope that it is limited to.
    pub scope: Option<String>,
    /// The thumbprint of the key that its user must prove.
    pub holder: Option<String>,
    /// Digest over the issuer and its `jti`: to be accepted once.
    pub jti: Digest,
    /// Until when the `jti` must be remembered.
    pub expires_at: Timestamp,
}

impl IdJag {
    /// Reads the claims, for the broker `own` at `now`.
    ///
    /// # Errors
    ///
    /// Refuses another audience than `own`, one that does not hold now, claims that are absent or of the wrong
    /// type, and `authorization_details`, which would be lost.
    pub fn read(jwt: &GenuineJwt<'_>, own: &IssuerUri, now: Timestamp) -> Result<Self, JwtReason> {
        if !own.is_spelled(jwt.only_audience()?) {
            return Err(JwtReason::Audience);
        }
        let expires_at = jwt.end(now)?;
        if jwt.claim("authorization_details").is_some() {
            return Err(JwtReason::Narrowed("authorization_details"));
        }
        let holder = match jwt.claim("cnf") {
            None => None,
            Some(cnf) => {
                let only = cnf.as_object().filter(|members| members.len() == 1);
                let thumbprint = only.and_then(|members| members.get("jkt")?.as_str());
                Some(thumbprint.ok_or(JwtReason::Narrowed("cnf"))?.to_owned())
            }
        };
        let resources = jwt.texts("resource")?;
        if resources.is_empty() || resources.len() > MAX_RESOURCES {
            return Err(JwtReason::Claim("resource"));
        }
        Ok(Self {
            person: Person::named_by(jwt)?,
            client_id: jwt.text("client_id")?.to_owned(),
            resources: resources.into_iter().map(str::to_owned).collect(),
            scope: jwt.optional_text("scope")?.map(str::to_owned),
            holder,
            jti: jwt.jti()?,
            expires_at,
        })
    }
}

const MAX_RESOURCES: usize = 16;
