//! Operators' tokens: Biscuits under another root key. They are never accepted as passes, nor passes as operators' tokens.

use std::{collections::BTreeSet, fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use biscuit_auth::{AuthorizerBuilder, AuthorizerLimits, Biscuit, BiscuitBuilder, builder::Term};

use crate::{
    base::{
        ReasonCode,
        ids::{KeyId, OperatorId, RevocationId, ServerUri},
        key::PublicKey,
        time::Timestamp,
    },
    token::{
        CLOCK_SKEW_SECONDS, ClaimsError, MintError, Minted, RootKey,
        claims::Facts,
        datalog::{self, FORMAT, fact, text},
        keys,
        mint::finish,
        profile,
    },
};

/// The content of an operator's token.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers must set every field")]
pub struct OperatorContent {
    /// The operator.
    pub operator: OperatorId,
    /// The roles' names.
    pub roles: BTreeSet<String>,
    /// For a verifier: the servers whose feed it may follow.
    pub servers: BTreeSet<ServerUri>,
    /// When it is issued.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Mints an operator's token under the operator root key.
///
/// # Errors
///
/// When it would end before it begins, or the engine refuses.
pub fn mint_operator(root: &RootKey, content: &OperatorContent) -> Result<Minted, MintError> {
    if content.expires_at <= content.issued_at {
        return Err(MintError::EndsBeforeItBegins(content.expires_at));
    }
    let mut facts = vec![
        fact("operator", vec![Term::Integer(FORMAT)]),
        fact("id", vec![text(content.operator.as_str())]),
        fact("iat", vec![datalog::date(content.issued_at)]),
        fact("exp", vec![datalog::date(content.expires_at)]),
    ];
    facts.extend(
        content
            .roles
            .iter()
            .map(|role| fact("role", vec![text(role)])),
    );
    facts.extend(
        content
            .servers
            .iter()
            .map(|server| fact("follows", vec![text(server.as_str())])),
    );
    let skew = Duration::from_secs(CLOCK_SKEW_SECONDS);
    let window = datalog::time_window(content.issued_at.minus(skew), content.expires_at);
    let builder = BiscuitBuilder::new().root_key_id(root.id().0);
    let builder = facts
        .into_iter()
        .try_fold(builder, BiscuitBuilder::fact)
        .and_then(|builder| builder.check(window));
    let biscuit = builder
        .and_then(|builder| builder.build(root.pair()))
        .map_err(|_| MintError::Engine)?;
    let (token, revocation_id) = finish(&biscuit)?;
    Ok(Minted {
        token,
        revocation_id,
    })
}

/// An operator's token whose signatures are genuine.
pub struct VerifiedOperator {
    biscuit: Biscuit,
    operator: OperatorId,
    servers: BTreeSet<ServerUri>,
    issued_at: Timestamp,
    key: KeyId,
    blocks: Vec<RevocationId>,
}

impl VerifiedOperator {
    /// Checks the profile and every signature of `token`; `key` finds the operator root key for the hint.
    ///
    /// # Errors
    ///
    /// The reason code of the first failed check.
    pub fn verify(
        token: &str,
        key: impl Fn(KeyId) -> Option<PublicKey>,
    ) -> Result<Self, ReasonCode> {
        let bytes = URL_SAFE_NO_PAD
            .decode(token)
            .map_err(|_| ReasonCode::TokenMalformed)?;
        let wire = profile::admit(&bytes).map_err(|error| error.code())?;
        let hint = wire.key_hint().ok_or(ReasonCode::TokenKeyUnknown)?;
        let key = key(hint)
            .as_ref()
            .and_then(keys::to_biscuit)
            .ok_or(ReasonCode::TokenKeyUnknown)?;
        let biscuit = Biscuit::from(&bytes, key).map_err(|_| ReasonCode::TokenSignature)?;
        let facts = Facts { wire: &wire };
        let read = || -> Result<Self, ClaimsError> {
            facts.refuse_unknown(&KNOWN)?;
            if facts.one("operator", |terms| terms.integer(0))? != FORMAT {
                return Err(ClaimsError::Fact("operator"));
            }
            Ok(Self {
                operator: facts.one("id", |terms| terms.text(0)?.parse().ok())?,
                servers: facts
                    .each("follows", |terms| terms.text(0)?.parse().ok())?
                    .into_iter()
                    .collect(),
                issued_at: facts.one("iat", |terms| {
                    terms.date(0).map(Timestamp::from_unix_seconds)
                })?,
                key: hint,
                blocks: wire.revocation_ids(),
                biscuit: biscuit.clone(),
            })
        };
        read().map_err(|_| ReasonCode::TokenFormat)
    }

    /// The operator that it names.
    #[must_use]
    pub const fn operator(&self) -> &OperatorId {
        &self.operator
    }

    /// For a verifier: the servers whose feed it may follow.
    #[must_use]
    pub const fn servers(&self) -> &BTreeSet<ServerUri> {
        &self.servers
    }

    /// When it was issued.
    #[must_use]
    pub const fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// The operator key that signed it.
    #[must_use]
    pub const fn key(&self) -> KeyId {
        self.key
    }

    /// Every block's id, block 0 first.
    #[must_use]
    pub fn blocks(&self) -> &[RevocationId] {
        &self.blocks
    }

    /// Whether it allows `operation` at `now`, if the operation is permitted to `roles`.
    #[must_use]
    pub fn permits(&self, operation: &str, roles: &[&str], now: Timestamp) -> bool {
        let run = || {
            let mut facts = vec![
                fact("time", vec![datalog::date(now)]),
                fact("operation", vec![text(operation)]),
            ];
            facts.extend(roles.iter().map(|role| fact("permits", vec![text(role)])));
            let builder = facts.into_iter().try_fold(
                AuthorizerBuilder::new().set_limits(LIMITS),
                AuthorizerBuilder::fact,
            )?;
            let builder = datalog::operator_policies()
                .into_iter()
                .try_fold(builder, AuthorizerBuilder::policy)?;
            builder.build(&self.biscuit)?.authorize()
        };
        run().is_ok()
    }
}

/// Never the token: the library's own `Debug` prints it whole, including the secret of its last block.
impl fmt::Debug for VerifiedOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedOperator")
            .field("operator", &self.operator)
            .field("servers", &self.servers)
            .field("blocks", &self.blocks.len())
            .finish_non_exhaustive()
    }
}

/// Explicit: the engine's default of one millisecond refuses correct tokens on a busy machine.
const LIMITS: AuthorizerLimits = AuthorizerLimits {
    max_facts: 2_000,
    max_iterations: 10,
    max_time: Duration::from_millis(250),
};

const KNOWN: [&str; 6] = ["operator", "id", "role", "follows", "iat", "exp"];
