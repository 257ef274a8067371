//! Tokens: any bytes, real ones with changed bytes, and changed blocks signed anew.

use biscuit_auth::format::schema;
use hallpass_core::{
    base::{holder::HolderKey, key::PublicKey, time::Timestamp},
    token::{
        Delegation, Evaluation, Holding, MAX_APPENDED_BLOCKS, MAX_TOKEN_BYTES, NamedRight,
        Narrowing, PassToken, UnverifiedPass, VerifiedPass, attenuate, delegate, rights::Kind,
    },
};
use serde_json::json;

use crate::fuzz::{
    blocks, corpus,
    forge::{self, DELEGATE, HOLDER, Part, Question, STRANGER, key},
    fuzz,
    input::Input,
};
use support::{Issuer, raw, rights};

/// What a token's appended blocks may cost at most, as `VerifiedPass::cost` counts.
pub(crate) const MAX_COST: usize = 100_000;

struct TokenTarget {
    seeds: Vec<Vec<u8>>,
    tokens: Vec<PassToken>,
    root: PublicKey,
    foreign: PublicKey,
    issued: Timestamp,
    questions: Vec<Question>,
}

impl TokenTarget {
    fn new() -> Self {
        let issuer = Issuer::new();
        let seeds = corpus::contents("tokens");
        let text = |seed: &Vec<u8>| PassToken::from_text(String::from_utf8(seed.clone()).unwrap());
        Self {
            tokens: seeds.iter().map(text).collect(),
            seeds,
            root: issuer.root.public(),
            foreign: key(STRANGER).public(),
            issued: issuer.now(),
            questions: forge::questions(),
        }
    }

    fn verified(&self, token: &PassToken) -> Option<VerifiedPass> {
        UnverifiedPass::parse(token.expose())
            .ok()?
            .verify(&self.root)
            .ok()
    }

    /// Whether each question is answered with yes.
    fn answers(&self, pass: &VerifiedPass) -> Vec<bool> {
        self.questions
            .iter()
            .map(|question| question.ask(pass, self.issued) == Evaluation::Allowed)
            .collect()
    }

    /// What holds of whatever a stranger hands in: nothing but the seeds themselves is believed.
    fn is_a_seed_or_refused(&self, text: &str) {
        let Ok(parsed) = UnverifiedPass::parse(text) else {
            return;
        };
        std::hint::black_box(parsed.dangerous_unverified_summary());
        assert!(text.len() <= MAX_TOKEN_BYTES.div_ceil(3) * 4);
        if let Ok(pass) = parsed.verify(&self.root) {
            let blocks = pass.blocks();
            let is_of = |seed: &PassToken| {
                self.verified(seed)
                    .is_some_and(|seed| seed.blocks() == blocks)
            };
            assert!(self.tokens.iter().any(is_of), "nobody signed {text}");
        }
    }

    /// What holds of a token whose every signature is right.
    fn is_bounded(&self, token: &PassToken) -> Option<VerifiedPass> {
        let parsed = UnverifiedPass::parse(token.expose()).ok()?;
        std::hint::black_box(parsed.dangerous_unverified_summary());
        let foreign = UnverifiedPass::parse(token.expose())
            .ok()?
            .verify(&self.foreign);
        assert!(foreign.is_err(), "another broker's token was believed");
        let pass = parsed.verify(&self.root).ok()?;
        assert!(pass.cost() <= MAX_COST && pass.blocks().len() <= MAX_APPENDED_BLOCKS + 1);
        assert!(pass.valid_until() <= pass.claims().expires_at);
        Some(pass)
    }
}

fn names(pass: &VerifiedPass, question: &Question) -> bool {
    pass.claims().rights.iter().any(|right| match right {
        NamedRight::Names {
            server,
            kind,
            names,
        } => *server == question.server && *kind == question.kind && names.contains(question.name),
        NamedRight::Subtree { server, .. } => {
            *server == question.server && question.kind == Kind::Resource
        }
        _ => false,
    })
}

#[test]
fn unsigned_bytes_are_never_accepted() {
    let seeds = corpus::contents("tokens").len();
    fuzz!(
        "token_bytes",
        seeds,
        TokenTarget::new(),
        |setup: &mut TokenTarget, input: &mut Input<'_>| {
            let text = input.seed(&setup.seeds);
            setup.is_a_seed_or_refused(&String::from_utf8_lossy(&text));
            // The same below the base64, and bytes out of nowhere.
            let token = setup.tokens[input.below(setup.tokens.len())].clone();
            let changed = input.seed(&[raw::bytes(&token)]);
            setup.is_a_seed_or_refused(raw::token(changed).expose());
            setup.is_a_seed_or_refused(raw::token(input.rest()).expose());
        }
    );
}

#[test]
fn a_token_of_any_content_allows_what_its_block_0_names_and_nothing_else() {
    let seeds = corpus::contents("tokens").len();
    fuzz!(
        "token_content",
        seeds,
        TokenTarget::new(),
        |setup: &mut TokenTarget, input: &mut Input<'_>| {
            let token = setup.tokens[input.below(setup.tokens.len())].clone();
            let mut parts = forge::parts(&token);
            let at = input.below(parts.len());
            parts[at].data = input.seed(&[parts[at].data.clone()]);
            let Some(pass) = setup.is_bounded(&forge::token(&parts)) else {
                return;
            };
            for question in &setup.questions {
                let answer = question.ask(&pass, setup.issued);
                assert_eq!(
                    answer,
                    question.ask(&pass, setup.issued),
                    "the same question, another answer"
                );
                if answer == Evaluation::Allowed {
                    assert!(
                        pass.claims().audience.contains(&question.server) && names(&pass, question)
                    );
                    let time = setup
                        .issued
                        .plus(std::time::Duration::from_secs(question.after));
                    assert!(time < pass.claims().expires_at);
                }
            }
        }
    );
}

#[test]
fn no_block_that_a_holder_appends_allows_anything() {
    let seeds = corpus::contents("tokens").len();
    fuzz!(
        "appended_blocks",
        seeds,
        TokenTarget::new(),
        |setup: &mut TokenTarget, input: &mut Input<'_>| {
            let mut parts = forge::parts(&setup.tokens[input.below(setup.tokens.len())]);
            let Some(shorter) = setup.is_bounded(&forge::token(&parts)) else {
                return;
            };
            let others: Vec<Vec<u8>> = setup
                .tokens
                .iter()
                .flat_map(|token| forge::parts(token).into_iter().skip(1))
                .map(|part| part.data)
                .collect();
            for _ in 0..=input.below(3) {
                let signer =
                    [None, None, Some(HOLDER), Some(DELEGATE), Some(STRANGER)][input.below(5)];
                let data = match input.below(3) {
                    0 => input.seed(&others),
                    1 => forge::encoded(&blocks::any(input, &forge::known_to(&parts, signer))),
                    _ => input.seed(&[forge::encoded(&schema::Block {
                        version: Some(6),
                        ..schema::Block::default()
                    })]),
                };
                parts.push(Part { data, signer });
            }
            let Some(longer) = setup.is_bounded(&forge::token(&parts)) else {
                return;
            };
            assert_eq!(longer.claims(), shorter.claims());
            assert!(longer.valid_until() <= shorter.valid_until());
            assert!(longer.cost() >= shorter.cost());
            let leaf = |pass: &VerifiedPass| pass.holder().map(|chain| chain.leaf().clone());
            if leaf(&longer) != leaf(&shorter) {
                let before = leaf(&shorter).and_then(|leaf| leaf.ed25519().copied());
                let first = parts
                    .iter()
                    .skip(shorter.blocks().len())
                    .filter_map(|part| part.signer);
                let is_by_holder = |by: u8| Some(key(by).public()) == before;
                assert!(
                    first.into_iter().any(is_by_holder),
                    "somebody else than its holder handed the pass on"
                );
            }
            for ((now, before), question) in setup
                .answers(&longer)
                .into_iter()
                .zip(setup.answers(&shorter))
                .zip(&setup.questions)
            {
                assert!(
                    before || !now,
                    "{} is allowed by an appended block",
                    question.name
                );
            }
        }
    );
}

#[test]
fn the_seeds_are_good() {
    if corpus::is_to_be_written() {
        write_seeds();
    }
    let setup = TokenTarget::new();
    for token in &setup.tokens {
        let pass = setup.is_bounded(token).unwrap();
        assert!(
            setup.answers(&pass).contains(&true),
            "{:?}",
            setup.answers(&pass)
        );
        // Signing their blocks anew changes nothing but the signatures.
        let forged = setup
            .is_bounded(&forge::token(&forge::parts(token)))
            .unwrap();
        assert_eq!(
            (pass.claims(), setup.answers(&pass)),
            (forged.claims(), setup.answers(&forged))
        );
    }
}

/// Writes the seeds of the token targets anew. Their signatures differ each time.
fn write_seeds() {
    let issuer = Issuer::new();
    let details = || {
        vec![rights(json!({
            "tools": ["read_ledger", "search_ledger", "transfer"],
            "resources": ["file:///srv/data"],
            "constraints": {"transfer": {
                "/amount": {"min": 0, "max": 100}, "/path": {"under": "/srv/data"},
                "/url": {"host": ["api.example.com"]},
            }},
        }))]
    };
    let plain = issuer.mint(details());
    let mut narrowing = Narrowing::default();
    narrowing.read_only = true;
    narrowing.expires_at = Some(issuer.now().plus(std::time::Duration::from_secs(60)));
    narrowing.rights = Some(vec![rights(json!({"tools": ["read_ledger"]}))]);
    let holder = |seed: u8| HolderKey::Ed25519(key(seed).public());
    let mut content = issuer.content(details());
    content.holder = Some(Holding {
        key: holder(HOLDER),
        max_delegations: 2,
    });
    let bound = issuer.mint_content(&content);
    let hand_on = |use_only: bool| Delegation {
        agent: "helper".parse().unwrap(),
        key: holder(DELEGATE),
        narrowing: narrowing.clone(),
        may_delegate: u8::from(!use_only),
        use_only,
    };
    let mut proven = issuer.content(vec![rights(
        json!({"tools": ["transfer"], "call_proof": ["transfer"]}),
    )]);
    proven.holder = Some(Holding {
        key: holder(HOLDER),
        max_delegations: 0,
    });
    let approved = r#"approved("i","t","s","tool","n","d",2026-11-22T10:00:00Z,"w"); check if read_only(true);"#;
    let root = issuer.root.public();
    let verified = UnverifiedPass::parse(bound.expose())
        .unwrap()
        .verify(&root)
        .unwrap();
    let foreign = r#"check if time($t), $t < 2026-11-22T10:01:00Z; check if arg($p, $v), $p.starts_with("/") or read_only(true);
        check if arg_names($a), $a.all($n -> $n.length() < 20);"#;
    let tokens = [
        ("plain", plain.clone()),
        ("narrowed", attenuate(&plain, &narrowing).unwrap().token),
        ("foreign_checks", raw::append(&plain, &root, foreign)),
        (
            "approved",
            raw::append_third_party(&plain, &root, &raw::key_pair(STRANGER), approved),
        ),
        ("sealed", raw::seal(&plain, &root)),
        ("bound", bound.clone()),
        (
            "delegated",
            delegate(&verified, &key(HOLDER), &hand_on(false))
                .unwrap()
                .token,
        ),
        (
            "use_only",
            delegate(&verified, &key(HOLDER), &hand_on(true))
                .unwrap()
                .token,
        ),
        ("call_proof", issuer.mint_content(&proven)),
    ];
    let directory = corpus::directory("tokens");
    std::fs::create_dir_all(&directory).unwrap();
    for (name, token) in tokens {
        std::fs::write(directory.join(name), token.expose()).unwrap();
    }
}
