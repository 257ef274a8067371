//! Cases as real tokens, real proofs and a real verifier, side by side with the evaluator.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use hallpass_core::{
    base::{holder::HolderKey, key::PrivateKey, time::Timestamp},
    possession::{Presented, ProofContent, call_digest, sign_proof},
    token::{
        AttenuateError, Attenuated, Call, DelegateError, Delegation, GrantedDetail, Holding,
        Narrowing, PassError, PassToken, UnverifiedPass, attenuate, delegate, mint,
    },
    wire::document::{RevocationEntry, Subjects},
};
use hallpass_verify::{Denial, Pass, Verifier};
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};

use super::model::{
    self, Case, Chain, Detail, Flaw, Hop, Kind, Made, Moment, Plain, Reasons, Rule, Subject, Who,
};
use support::{Issuer, SERVER, es256, raw};

/// What was asked and how it was answered, over all cases.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) chains: usize,
    pub(super) asked: usize,
    pub(super) allowed: usize,
    pub(super) allowed_below: usize,
    pub(super) reasons: BTreeMap<&'static str, usize>,
    pub(super) made: BTreeMap<String, usize>,
}

impl Tally {
    fn count(&mut self, reasons: &Reasons) {
        self.asked += 1;
        for reason in reasons {
            *self.reasons.entry(reason).or_default() += 1;
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.chains += other.chains;
        self.asked += other.asked;
        self.allowed += other.allowed;
        self.allowed_below += other.allowed_below;
        other
            .reasons
            .into_iter()
            .for_each(|(name, count)| *self.reasons.entry(name).or_default() += count);
        other
            .made
            .into_iter()
            .for_each(|(name, count)| *self.made.entry(name).or_default() += count);
    }
}

/// A pass that was taken, with the call that its proof is for.
type Taken = Option<(Pass, Option<usize>)>;

/// One case's token with its model, and the verifier that is asked.
pub(super) struct World<'c> {
    case: &'c Case,
    issuer: Issuer,
    start: Timestamp,
    verifier: Verifier,
    token: PassToken,
    chain: Chain,
    tally: &'c RefCell<Tally>,
}

type Agreement = Result<(), TestCaseError>;

fn agree<T: PartialEq + std::fmt::Debug>(
    verifier: &T,
    evaluator: &T,
    about: impl FnOnce() -> String,
) -> Agreement {
    if verifier == evaluator {
        return Ok(());
    }
    let about = about();
    Err(TestCaseError::fail(format!(
        "verifier: {verifier:?}, evaluator: {evaluator:?}, {about}"
    )))
}

/// Builds the case and asks everything of it. Whatever does not fit into a pass is left out.
pub(super) fn compare(case: &Case, tally: &RefCell<Tally>) -> Agreement {
    let issuer = Issuer::new();
    let start = issuer.now();
    let mut content = issuer.content(case.granted.iter().map(granted).collect());
    content.issued_at = start.plus(seconds(case.issued));
    content.expires_at = content.issued_at.plus(seconds(case.life));
    content.holder = case.bound.map(|(who, max_delegations)| Holding {
        key: key_of(who),
        max_delegations,
    });
    let Ok(draft) = mint(&issuer.root, &content) else {
        return Ok(());
    };
    let (token, verifier) = (draft.token, issuer.verifier());
    let chain = Chain::start(case.bound);
    let mut world = World {
        case,
        issuer,
        start,
        verifier,
        token,
        chain,
        tally,
    };
    for hop in &case.hops {
        world.lengthen(hop)?;
    }
    tally.borrow_mut().chains += 1;
    let mut before = None;
    for moment in &case.moments {
        world.live(moment, &mut before)?;
    }
    Ok(())
}

impl World<'_> {
    fn lengthen(&mut self, hop: &Hop) -> Agreement {
        let (answer, token) = match hop {
            Hop::Narrow(narrowing) => {
                told(attenuate(&self.token, &self.narrowing(narrowing)).map_err(Into::into))
            }
            Hop::Delegate {
                by,
                to,
                narrowing,
                further,
                seals,
            } => {
                let (by, narrowing) = (self.signer(*by), self.narrowing(narrowing));
                let (agent, key) = (format!("agent-{}", to.0).parse().unwrap(), key_of(*to));
                let onward = Delegation {
                    agent,
                    key,
                    narrowing,
                    may_delegate: *further,
                    use_only: *seals,
                };
                match UnverifiedPass::parse(self.token.expose())
                    .unwrap()
                    .verify(&self.issuer.root.public())
                {
                    Ok(pass) => told(delegate(&pass, &ed25519(by), &onward)),
                    // A delegation in a pass that is bound to nobody breaks the chain too.
                    Err(PassError::Chain(_)) => (Some(Made::BrokenChain), None),
                    Err(other) => panic!("{other}"),
                }
            }
        };
        // Longer than the profile allows is no question of rights.
        let Some(answer) = answer else { return Ok(()) };
        let mut tally = self.tally.borrow_mut();
        *tally.made.entry(format!("{answer:?}")).or_default() += 1;
        agree(&answer, &self.chain.lengthen(hop), || format!("{hop:?}"))?;
        if let Some(token) = token {
            self.token = token;
        } else if let Hop::Delegate { by, to, .. } = hop
            && self.chain.has_room()
            && answer != Made::CannotDelegate
        {
            // Nobody is kept from writing the block by hand.
            let by = self.signer(*by);
            let code = format!("delegate(\"agent-{}\", \"{}\");", to.0, key_of(*to));
            let signer = raw::key_pair(seed(by));
            self.token =
                raw::append_third_party(&self.token, &self.issuer.root.public(), &signer, &code);
            self.chain.force(by, *to);
        }
        Ok(())
    }

    /// Whoever is rightful, when nobody is named; the first, when the rightful one cannot sign.
    fn signer(&self, by: Option<Who>) -> Who {
        by.or_else(|| self.chain.leaf())
            .filter(|who| !who.is_p256())
            .unwrap_or(Who(0))
    }

    fn live(&self, moment: &Moment, before: &mut Taken) -> Agreement {
        self.issuer.clock.advance(millis(moment.after));
        let mut frame = self.issuer.frame();
        if !moment.publishes_root {
            frame.keys = Some(Vec::new());
        }
        frame.revocations = moment
            .revoked
            .iter()
            .map(|revoked| self.revocation(*revoked))
            .collect();
        self.issuer.tell(&self.verifier, frame);
        self.issuer.clock.advance(millis(moment.silence));
        for presented in &moment.presented {
            let taken = match presented {
                model::Presented::Before => before.clone(),
                _ => self.present(moment, *presented)?,
            };
            if let Some((pass, proven)) = &taken {
                self.call(moment, pass, *proven)?;
            }
            *before = taken.or_else(|| before.take());
        }
        Ok(())
    }

    fn present(
        &self,
        moment: &Moment,
        presented: model::Presented,
    ) -> Result<Taken, TestCaseError> {
        let (answer, proven) = match presented {
            model::Presented::Proof { by, flaw, call } => {
                let call = call.map(|index| index % self.case.calls.len());
                let proof = self.proof(by.or(self.chain.leaf()).unwrap_or(Who(0)), flaw, call);
                let presented = Presented::new(&proof, "POST");
                if flaw == Flaw::Twice {
                    let _ = self
                        .verifier
                        .verify_with_proof(self.token.expose(), &presented);
                }
                (
                    self.verifier
                        .verify_with_proof(self.token.expose(), &presented),
                    call,
                )
            }
            _ => (self.verifier.verify(self.token.expose()), None),
        };
        let expected = model::present(self.case, &self.chain, moment, presented);
        agree(&reasons(&answer), &expected, || {
            format!("{presented:?} at {moment:?}")
        })?;
        if !expected.is_empty() {
            self.tally.borrow_mut().count(&expected);
        }
        Ok(answer.ok().map(|pass| (pass, proven)))
    }

    fn call(&self, moment: &Moment, pass: &Pass, proven: Option<usize>) -> Agreement {
        let now = self.issuer.now().unix_millis() - self.start.unix_millis();
        // A proof of one call is held against that one and a few others, which it is not for.
        let (from, to) = proven.map_or((0, usize::MAX), |index| {
            (index.saturating_sub(1), index + 2)
        });
        let proven = proven.map(|index| &self.case.calls[index]);
        for call in self.case.calls.iter().take(to).skip(from) {
            let answer = self.verifier.clear(pass, &of_model(call));
            let expected = model::clear(self.case, &self.chain, moment, now, proven, call);
            agree(&reasons(&answer), &expected, || {
                format!("{call:?} at {moment:?}")
            })?;
            let mut tally = self.tally.borrow_mut();
            tally.count(&expected);
            if let Ok(permit) = answer {
                tally.allowed += 1;
                tally.allowed_below += usize::from(!permit.delegates().is_empty());
            }
        }
        Ok(())
    }

    fn revocation(&self, revoked: model::Revoked) -> RevocationEntry {
        let content = self.issuer.content(Vec::new());
        let subject = match revoked.subject {
            Subject::Block(block) => {
                let blocks = UnverifiedPass::parse(self.token.expose())
                    .unwrap()
                    .dangerous_unverified_summary()
                    .blocks;
                let none = || hallpass_core::base::ids::RevocationId::from_bytes([7; 64]);
                Subjects::token(
                    &blocks
                        .get(block)
                        .map_or_else(none, |block| block.revocation_id),
                )
            }
            Subject::Task => Subjects::task(&content.task),
            Subject::Agent => Subjects::agent(&content.agent),
            Subject::Steward => Subjects::steward(&content.steward),
            Subject::Server => Subjects::server(&SERVER.parse().unwrap()),
            Subject::Root => Subjects::key(self.issuer.root.id()),
            Subject::Key(who) => Subjects::holder(&key_of(who)),
            Subject::Strangers => Subjects::agent(&"agent-1".parse().unwrap()),
        };
        let issued = self.start.plus(seconds(self.case.issued));
        let cut_off = revoked
            .cut_off
            .map(|after| Timestamp::from_unix_millis(issued.unix_millis() + after * 1000));
        RevocationEntry {
            subject,
            cut_off,
            expires_at: self.start.plus(Duration::from_secs(100_000)),
        }
    }

    fn proof(&self, by: Who, flaw: Flaw, call: Option<usize>) -> String {
        let now = self.issuer.now();
        let content = ProofContent {
            token: if flaw == Flaw::OtherToken {
                "another"
            } else {
                self.token.expose()
            },
            method: if flaw == Flaw::OtherMethod {
                "GET"
            } else {
                "POST"
            },
            url: if flaw == Flaw::OtherUrl {
                model::ELSEWHERE
            } else {
                SERVER
            },
            now: match flaw {
                Flaw::Old => now.minus(Duration::from_secs(61)),
                Flaw::Future => now.plus(Duration::from_secs(7)),
                _ => now,
            },
            nonce: None,
            call: call.and_then(|index| call_digest(&of_model(&self.case.calls[index]))),
        };
        if by.is_p256() {
            es256::sign_proof(&content)
        } else {
            sign_proof(&ed25519(by), &content).unwrap()
        }
    }

    fn narrowing(&self, narrowing: &model::Narrowing) -> Narrowing {
        let mut all = Narrowing::default();
        all.expires_at = narrowing.until.map(|until| self.start.plus(seconds(until)));
        all.rights = narrowing
            .rights
            .as_ref()
            .map(|rights| rights.iter().map(granted).collect());
        all.read_only = narrowing.read_only;
        all
    }
}

/// What whoever asked for a block was told; `None` when the token would be too long.
fn told(answer: Result<Attenuated, DelegateError>) -> (Option<Made>, Option<PassToken>) {
    let made = match answer {
        Ok(made) => return (Some(Made::Yes), Some(made.token)),
        Err(DelegateError::Narrowing(AttenuateError::Profile(_))) => return (None, None),
        Err(DelegateError::Narrowing(AttenuateError::Sealed)) => Made::Sealed,
        Err(DelegateError::Narrowing(AttenuateError::Empty)) => Made::Empty,
        Err(DelegateError::Unbound) => Made::Unbound,
        Err(DelegateError::NotHolder) => Made::NotHolder,
        Err(DelegateError::TooDeep { .. }) => Made::TooDeep,
        Err(DelegateError::CannotDelegate(_)) => Made::CannotDelegate,
        Err(other) => panic!("{other}"),
    };
    (Some(made), None)
}

fn reasons<T>(answer: &Result<T, Denial>) -> Reasons {
    answer
        .as_ref()
        .err()
        .map(Denial::codes)
        .unwrap_or_default()
        .iter()
        .map(|code| code.as_str())
        .collect()
}

fn of_model(call: &model::Call) -> Call<'_> {
    let arguments = call.arguments.as_ref();
    match call.kind {
        Kind::Tool => Call::tool(call.name, arguments),
        Kind::Prompt => Call::prompt(call.name, arguments),
        Kind::Resource => Call::resource(call.name),
    }
}

fn granted(detail: &Detail) -> GrantedDetail {
    let mut members = json!({"type": "mcp", "server": detail.server, "tools": detail.tools, "prompts": detail.prompts,
        "resources": detail.trees, "read_only": detail.read_only, "constraints": {}});
    for ((tool, pointer), rule) in &detail.constraints {
        members["constraints"][tool][pointer] = json_of(rule);
    }
    members["closed_arguments"] = detail.closed.into_iter().collect();
    members["call_proof"] = detail.call_proof.into_iter().collect();
    serde_json::from_value(members).unwrap()
}

fn json_of(rule: &Rule) -> Value {
    let plain = |value: &Plain| match value {
        Plain::Bool(value) => json!(value),
        Plain::Int(value) => json!(value),
        Plain::Text(value) => json!(value),
    };
    match rule {
        Rule::Between(min, max) => {
            let bounds = [("min", min), ("max", max)];
            bounds
                .into_iter()
                .filter_map(|(name, bound)| Some((name.to_owned(), json!((*bound)?))))
                .collect()
        }
        Rule::OneOf(values) => json!({"in": values.iter().map(plain).collect::<Vec<_>>()}),
        Rule::Exactly(value) => json!({"equal": plain(value)}),
        Rule::Begins(with) => json!({"prefix": with}),
        Rule::Under(path) => json!({"under": path}),
        Rule::Host(hosts) => json!({"host": hosts}),
    }
}

fn seconds(count: i64) -> Duration {
    Duration::from_secs(count.try_into().unwrap())
}

fn millis(count: i64) -> Duration {
    Duration::from_millis(count.try_into().unwrap())
}

fn seed(who: Who) -> u8 {
    20 + u8::try_from(who.0).unwrap()
}

fn ed25519(who: Who) -> PrivateKey {
    assert!(!who.is_p256());
    PrivateKey::from_seed(&[seed(who); 32])
}

fn key_of(who: Who) -> HolderKey {
    if who.is_p256() {
        es256::holder()
    } else {
        HolderKey::Ed25519(ed25519(who).public())
    }
}
