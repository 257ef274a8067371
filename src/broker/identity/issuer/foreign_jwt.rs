//! JWTs of trusted issuers: read, then verified; their claims are believed afterwards only.
//!
//! [`ForeignJwt`] is what was sent, not verified; [`GenuineJwt`] was signed by an issuer that is trusted for this kind.

use std::fmt;

use serde_json::{Map, Value};

use crate::identity::{
    issuer::{KeySet, TrustedIssuer, TrustedKind},
    jwk::KeyAlgorithm,
    jwt::{Header, MAX_JTI_CHARS, Times, Untimely},
};
use hallpass_core::base::{
    digest::Digest,
    json,
    jws::{self, CompactError},
    time::Timestamp,
};

/// A compact JWT, taken apart; nothing that it says is believed yet.
pub struct ForeignJwt<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    algorithm: KeyAlgorithm,
    kid: Option<String>,
    typ: Option<String>,
    issuer: String,
    claims: Map<String, Value>,
}

impl<'a> ForeignJwt<'a> {
    /// Takes `text` apart.
    ///
    /// # Errors
    ///
    /// Refuses more than [`MAX_JWT_BYTES`], anything but three parts of unpadded base64url, JSON that is not
    /// strict, header members that name keys or extensions, every algorithm that is not asymmetric, and
    /// claims without an `iss`.
    pub fn read(text: &'a str) -> Result<Self, JwtReason> {
        let jws = jws::split(text, MAX_JWT_BYTES)?;
        let (header, payload, signature) = (jws.header()?, jws.payload()?, jws.signature()?);
        let header: Header =
            json::parse_as(&header, MAX_JWT_BYTES).map_err(|_| JwtReason::Header)?;
        let algorithm = KeyAlgorithm::from_alg(&header.alg).ok_or(JwtReason::Algorithm)?;
        let Ok(Value::Object(claims)) = json::parse(&payload, MAX_JWT_BYTES) else {
            return Err(JwtReason::Payload);
        };
        let issuer = claims
            .get("iss")
            .and_then(Value::as_str)
            .ok_or(JwtReason::Claim("iss"))?
            .to_owned();
        Ok(Self {
            signed: jws.signed(),
            signature,
            algorithm,
            kid: header.kid,
            typ: header.typ,
            issuer,
            claims,
        })
    }

    /// Whose it says that it is.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The key that it says made its signature.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Verifies that `trusted` made it with one of its `keys`, and made it to be of this kind.
    ///
    /// # Errors
    ///
    /// Refuses another issuer, a kind that the issuer is not trusted for, the `typ` of another kind, an
    /// algorithm that the settings or the key do not have, a signature that no key made, and a token that is
    /// bound to a key, of which no proof is checked here.
    pub fn verify<'t>(
        self,
        (trusted, kind): (&'t TrustedIssuer, TrustedKind),
        keys: &KeySet,
    ) -> Result<GenuineJwt<'t>, JwtReason> {
        if self.issuer != trusted.issuer() || !trusted.is_for(kind) {
            return Err(JwtReason::Issuer);
        }
        if !self.is_typed(kind) {
            return Err(JwtReason::Type);
        }
        if !trusted.algorithms.contains(&self.algorithm) {
            return Err(JwtReason::Algorithm);
        }
        if !keys.verifies(
            (self.algorithm, self.kid()),
            (self.signed.as_bytes(), &self.signature),
        ) {
            return Err(JwtReason::Signature);
        }
        Ok(GenuineJwt {
            claims: self.claims,
            trusted,
            kind,
        })
    }

    /// SECURITY: explicit types keep one kind from passing for another (RFC 8725 section 3.11).
    fn is_typed(&self, kind: TrustedKind) -> bool {
        match kind {
            TrustedKind::IdJag => self.typ.as_deref() == Some(ID_JAG_TYPE),
            TrustedKind::IdToken | TrustedKind::SignIn => self
                .typ
                .as_deref()
                .is_none_or(|typ| typ.eq_ignore_ascii_case("JWT")),
            // SPIFFE says JOSE or JWT.
            TrustedKind::Workload => {
                let is_plain =
                    |typ: &str| typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("JOSE");
                self.typ.as_deref().is_none_or(is_plain)
            }
        }
    }
}

impl fmt::Debug for ForeignJwt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForeignJwt(…)")
    }
}

/// A JWT that a trusted issuer made to be of this kind. Whom it is for and when it holds is still to be asked.
#[derive(Debug)]
pub struct GenuineJwt<'t> {
    claims: Map<String, Value>,
    pub(super) trusted: &'t TrustedIssuer,
    kind: TrustedKind,
}

impl GenuineJwt<'_> {
    /// When it must have been forgotten by everybody: past its `exp` and the clocks' difference.
    ///
    /// Refuses what has expired, is not valid yet, or lives for longer than the issuer's JWTs may, what is about
    /// people and does not say since when, and every time that is not a whole number of seconds.
    pub(super) fn end(&self, now: Timestamp) -> Result<Timestamp, JwtReason> {
        let times = Times::read(&self.claims).map_err(JwtReason::Claim)?;
        // Platforms may leave it out (JWT-SVID); nothing else says how long the others have lived.
        if times.issued_at.is_none() && self.kind != TrustedKind::Workload {
            return Err(JwtReason::Claim("iat"));
        }
        Ok(times.hold(self.trusted.max_lifetime(self.kind), now)?)
    }

    /// The person or workload that it is about.
    pub(super) fn subject(&self) -> Result<&str, JwtReason> {
        let subject = self.text("sub")?;
        let is_plain =
            subject.chars().count() <= MAX_SUBJECT_CHARS && !subject.chars().any(char::is_control);
        if is_plain {
            Ok(subject)
        } else {
            Err(JwtReason::Claim("sub"))
        }
    }

    /// The one audience, as a text or as a list of one.
    pub(super) fn only_audience(&self) -> Result<&str, JwtReason> {
        match self.texts("aud")?.as_slice() {
            [only] => Ok(only),
            _ => Err(JwtReason::Audience),
        }
    }

    /// Digest over the issuer and its `jti`.
    pub(super) fn jti(&self) -> Result<Digest, JwtReason> {
        let jti = self.text("jti")?;
        if jti.chars().count() > MAX_JTI_CHARS {
            return Err(JwtReason::Claim("jti"));
        }
        Ok(Digest::of_parts(&[
            self.trusted.issuer().as_bytes(),
            &[0],
            jti.as_bytes(),
        ]))
    }

    /// A claim that is a text and not empty.
    pub(super) fn text(&self, name: &'static str) -> Result<&str, JwtReason> {
        self.optional_text(name)?.ok_or(JwtReason::Claim(name))
    }

    pub(super) fn optional_text(&self, name: &'static str) -> Result<Option<&str>, JwtReason> {
        let Some(value) = self.claims.get(name) else {
            return Ok(None);
        };
        value
            .as_str()
            .filter(|text| !text.is_empty())
            .map(Some)
            .ok_or(JwtReason::Claim(name))
    }

    /// A claim that is a text or a list of texts, none of them empty.
    pub(super) fn texts(&self, name: &'static str) -> Result<Vec<&str>, JwtReason> {
        let value = self.claims.get(name).ok_or(JwtReason::Claim(name))?;
        let all = value
            .as_array()
            .map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
        let texts = all
            .iter()
            .map(|value| value.as_str().filter(|text| !text.is_empty()));
        texts.collect::<Option<_>>().ok_or(JwtReason::Claim(name))
    }

    pub(super) fn claim(&self, name: &str) -> Option<&Value> {
        self.claims.get(name)
    }
}

/// Why a JWT was refused: for the log; never holds anything of the JWT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum JwtReason {
    /// Too long.
    #[error("longer than {MAX_JWT_BYTES} bytes")]
    TooLong,
    /// Not a compact JWS.
    #[error("not three parts of unpadded base64url")]
    Malformed,
    /// The header is not strict JSON, or has members that are not believed.
    #[error("the header is not an object of `alg`, `typ`, `kid`, `x5t` and `x5t#S256`")]
    Header,
    /// An algorithm that is unknown, symmetric, none, or not one of this issuer.
    #[error("`alg` is none of the asymmetric algorithms that this issuer signs with")]
    Algorithm,
    /// Another kind of JWT.
    #[error("`typ` is that of another kind of token")]
    Type,
    /// The payload is not a strict JSON object.
    #[error("the payload is not a strict JSON object")]
    Payload,
    /// A claim is absent, empty or of the wrong type.
    #[error("the claim `{0}` is absent, empty or of the wrong type")]
    Claim(&'static str),
    /// An issuer that is not trusted for this.
    #[error("`iss` is not an issuer that is trusted for this kind of token")]
    Issuer,
    /// No key of the issuer made the signature.
    #[error("no key of the issuer made the signature")]
    Signature,
    /// Its audience is another party.
    #[error("`aud` is not the audience that is accepted")]
    Audience,
    /// Past its `exp`.
    #[error("expired")]
    Expired,
    /// Valid for longer than is accepted.
    #[error("valid for longer than this issuer's tokens may be")]
    TooLongLived,
    /// `nbf` or `iat` lie ahead.
    #[error("`nbf` or `iat` lie ahead")]
    NotYetValid,
    /// A narrowing that would be lost.
    #[error("the claim `{0}` narrows the token in a way that cannot be kept here")]
    Narrowed(&'static str),
    /// A workload that is no agent.
    #[error("`sub` fits no pattern of the issuer, or patterns of several agents")]
    Subject,
}

impl From<CompactError> for JwtReason {
    fn from(error: CompactError) -> Self {
        match error {
            CompactError::TooLong => Self::TooLong,
            _ => Self::Malformed,
        }
    }
}

impl From<Untimely> for JwtReason {
    fn from(reason: Untimely) -> Self {
        match reason {
            Untimely::Expired => Self::Expired,
            Untimely::TooLongLived => Self::TooLongLived,
            Untimely::NotYetValid => Self::NotYetValid,
        }
    }
}

/// A JWT of a trusted issuer is at most this long, in bytes.
pub const MAX_JWT_BYTES: usize = 16 * 1024;

/// The longest `sub`, in characters (OpenID Connect Core section 2).
const MAX_SUBJECT_CHARS: usize = 255;

/// The type of an identity assertion authorization grant.
const ID_JAG_TYPE: &str = "oauth-id-jag+jwt";
