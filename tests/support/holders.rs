//! Passes that are bound to keys: an issuer, a verifier, and the holders with their keys.

use std::time::Duration;

use hallpass_core::{
    base::{
        ReasonCode,
        digest::SubjectDigest,
        holder::HolderKey,
        key::{PrivateKey, PublicKey},
    },
    possession::{Presented, ProofContent, call_digest, sign_proof},
    token::{
        Attenuated, Call, Delegation, GrantedDetail, Holding, Narrowing, PassToken, Summary,
        UnverifiedPass, VerifiedPass, delegate,
    },
    wire::document::RevocationEntry,
};
use hallpass_verify::{Denial, Permit, Verifier};
use serde_json::{Value, json};

use crate::{Issuer, SERVER, rights};

/// A broker, one verifier, and the keys of those who hold passes.
pub struct Holders {
    pub issuer: Issuer,
    pub verifier: Verifier,
    pub planner: PrivateKey,
    pub researcher: PrivateKey,
    pub helper: PrivateKey,
    pub thief: PrivateKey,
}

impl Holders {
    pub fn new() -> Self {
        let issuer = Issuer::new();
        let verifier = issuer.verifier();
        let key = |seed| PrivateKey::from_seed(&[seed; 32]);
        Self {
            issuer,
            verifier,
            planner: key(11),
            researcher: key(12),
            helper: key(13),
            thief: key(66),
        }
    }

    pub fn root(&self) -> PublicKey {
        self.issuer.root.public()
    }

    pub fn after(&self, seconds: u64) {
        self.issuer.clock.advance(Duration::from_secs(seconds));
        self.issuer.tell(&self.verifier, self.issuer.frame());
    }

    pub fn revoke(&self, subject: SubjectDigest, cut_off: bool) {
        let expires_at = self.issuer.now().plus(Duration::from_secs(600));
        let cut_off = cut_off.then(|| self.issuer.now());
        self.issuer.revoke(
            &self.verifier,
            RevocationEntry {
                subject,
                cut_off,
                expires_at,
            },
        );
    }

    pub fn bound_to(
        &self,
        key: HolderKey,
        max_delegations: u8,
        details: Vec<GrantedDetail>,
    ) -> PassToken {
        let mut content = self.issuer.content(details);
        content.holder = Some(Holding {
            key,
            max_delegations,
        });
        self.issuer.mint_content(&content)
    }

    /// A pass of the planner's that may be handed on twice.
    pub fn pass(&self) -> PassToken {
        let details = vec![rights(
            json!({"tools": ["read_ledger", "search_ledger", "transfer"],
            "constraints": {"transfer": {"/amount": {"max": 100}}}}),
        )];
        self.bound_to(holder(&self.planner), 2, details)
    }

    pub fn proof(&self, key: &PrivateKey, token: &PassToken) -> String {
        sign_proof(key, &self.content(token)).unwrap()
    }

    pub fn content<'t>(&self, token: &'t PassToken) -> ProofContent<'t> {
        let now = self.issuer.now();
        ProofContent {
            token: token.expose(),
            method: "POST",
            url: SERVER,
            now,
            nonce: None,
            call: None,
        }
    }

    pub fn present(
        &self,
        token: &PassToken,
        proof: &str,
        call: &Call<'_>,
    ) -> Result<Permit, Denial> {
        let presented = Presented::new(proof, "POST");
        let pass = self
            .verifier
            .verify_with_proof(token.expose(), &presented)?;
        self.verifier.clear(&pass, call)
    }

    /// Uses `token` as its rightful holder would.
    pub fn call_as(
        &self,
        key: &PrivateKey,
        token: &PassToken,
        tool: &str,
        arguments: Value,
    ) -> Result<Permit, Denial> {
        let call = Call::tool(tool, Some(&arguments));
        let content = ProofContent {
            call: call_digest(&call),
            ..self.content(token)
        };
        self.present(token, &sign_proof(key, &content).unwrap(), &call)
    }

    pub fn read_as(&self, key: &PrivateKey, token: &PassToken) -> Result<Permit, Denial> {
        self.call_as(key, token, "read_ledger", json!({}))
    }
}

pub fn holder(key: &PrivateKey) -> HolderKey {
    HolderKey::Ed25519(key.public())
}

/// A delegation of everything to `to`, which may hand it on `may_delegate` times.
pub fn to(agent: &str, key: HolderKey, may_delegate: u8) -> Delegation {
    Delegation {
        agent: agent.parse().unwrap(),
        key,
        narrowing: Narrowing::default(),
        may_delegate,
        use_only: false,
    }
}

pub fn tools(names: &[&str]) -> Narrowing {
    let mut narrowing = Narrowing::default();
    narrowing.rights = Some(vec![rights(json!({"tools": names}))]);
    narrowing
}

pub fn hand(token: &PassToken, by: &PrivateKey, delegation: &Delegation) -> Attenuated {
    delegate(&verified(token), by, delegation).unwrap()
}

/// The pass, its signatures checked against the one root key of these tests.
pub fn verified(token: &PassToken) -> VerifiedPass {
    UnverifiedPass::parse(token.expose())
        .unwrap()
        .verify(&Issuer::new().root.public())
        .unwrap()
}

pub fn code<T: std::fmt::Debug>(answer: Result<T, Denial>) -> ReasonCode {
    answer.unwrap_err().code()
}

/// What the holder of a token can read off it.
pub fn summary(token: &PassToken) -> Summary {
    UnverifiedPass::parse(token.expose())
        .unwrap()
        .dangerous_unverified_summary()
}
