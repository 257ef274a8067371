//! Proofs of possession (RFC 9449): the good ones, and every way in which one is not.

use hallpass_core::{
    base::key::PrivateKey,
    possession::{ProofContent, call_digest, sign_proof},
    token::Call,
};
use serde_json::json;

use super::book::{Book, ELSEWHERE, read, time, tool};
use support::{
    SERVER, es256,
    holders::holder,
    raw_proof::{RawProof, SPOILED},
    rights,
};

pub(super) fn write(book: &mut Book) {
    let planner = PrivateKey::from_seed(&[11; 32]);
    let pass = book.setup.pass();
    let proven = read().by(&planner, &pass);
    book.allow("Q01 a proof by the holder", "", &pass, proven.clone());
    book.refuse(
        "Q02 the same proof again",
        "",
        &pass,
        proven.clone().used_before(),
        "proof_replayed",
    );
    let other = book.setup.pass();
    book.refuse(
        "Q03 the proof of another token",
        "",
        &other,
        read().with_proof_of(&proven),
        "proof_token",
    );
    let later = read().at("10:01:01").with_proof_of(&proven);
    book.refuse(
        "Q04 a proof of a minute and more ago",
        "",
        &pass,
        later,
        "proof_time",
    );
    let content = |url| ProofContent {
        url,
        ..read().content(&pass)
    };
    let elsewhere = sign_proof(&planner, &content(ELSEWHERE)).unwrap();
    book.refuse(
        "Q05 a proof for another server",
        "",
        &pass,
        read().proof(elsewhere),
        "proof_target",
    );
    for (index, url) in [
        "https://ledger.example/mcp?x=1#y",
        "HTTPS://Ledger.Example:443/mcp",
    ]
    .into_iter()
    .enumerate()
    {
        let same = sign_proof(&planner, &content(url)).unwrap();
        book.allow(
            &format!("Q06 the same URL, spelled otherwise ({index})"),
            url,
            &pass,
            read().proof(same),
        );
    }
    let early = ProofContent {
        now: time("10:00:05"),
        ..content(SERVER)
    };
    let early = sign_proof(&planner, &early).unwrap();
    book.allow(
        "Q07 a proof of five seconds hence",
        "clocks differ",
        &pass,
        read().proof(early),
    );
    calls(book);
    spoiled(book);
    let pass = book.setup.bound_to(
        es256::holder(),
        0,
        vec![rights(json!({"tools": ["read_ledger"]}))],
    );
    let proof = es256::sign_proof(&read().content(&pass));
    book.allow(
        "Q30 a P-256 holder",
        "a stock DPoP client",
        &pass,
        read().proof(proof),
    );
    let wrong = sign_proof(&planner, &read().content(&pass)).unwrap();
    book.refuse(
        "Q31 an Ed25519 proof for a P-256 holder",
        "",
        &pass,
        read().proof(wrong),
        "proof_key",
    );
}

fn calls(book: &mut Book) {
    let planner = PrivateKey::from_seed(&[11; 32]);
    let members = json!({"tools": ["transfer", "read_ledger"], "call_proof": ["transfer"]});
    let pass = book
        .setup
        .bound_to(holder(&planner), 1, vec![rights(members)]);
    let pay = || tool("transfer", json!({"amount": 1, "to": "acme"}));
    let proven = pay().for_this_call(&planner, &pass);
    book.allow(
        "Q10 a proof of this very call",
        "where the pass asks for one",
        &pass,
        proven.clone(),
    );
    let order = tool("transfer", json!({"to": "acme", "amount": 1})).with_proof_of(&proven);
    book.allow(
        "Q11 the same arguments in another order",
        "the digest is of canonical JSON",
        &pass,
        order,
    );
    let number = tool("transfer", json!({"amount": 1.0, "to": "acme"})).with_proof_of(&proven);
    book.allow(
        "Q12 the same number, spelled otherwise",
        "RFC 8785 writes both alike",
        &pass,
        number,
    );
    let none = pay().by(&planner, &pass);
    let about = "it was stolen before the call was known";
    book.refuse_in(
        ("Q13 a proof of no call", about),
        &pass,
        none,
        0,
        &["call_proof_required"],
    );
    book.allow(
        "Q14 a proof of no call, where none is asked for",
        "",
        &pass,
        read().by(&planner, &pass),
    );
    for (name, ask) in [
        (
            "Q15 a proof of call A used with call B",
            tool("transfer", json!({"amount": 2, "to": "acme"})),
        ),
        (
            "Q16 a proof of another tool's call",
            tool("read_ledger", json!({"amount": 1, "to": "acme"})),
        ),
        (
            "Q17 a proof of a call with fewer arguments",
            tool("transfer", json!({"amount": 1, "to": "acme", "x": null})),
        ),
        (
            "Q18 a proof of a call with text for a number",
            tool("transfer", json!({"amount": "1", "to": "acme"})),
        ),
    ] {
        book.refuse(name, "", &pass, ask.with_proof_of(&proven), "proof_call");
    }
    let bare = Call::tool("transfer", None);
    let content = ProofContent {
        call: call_digest(&bare),
        ..pay().content(&pass)
    };
    let bare = sign_proof(&planner, &content).unwrap();
    let empty = tool("transfer", json!({})).proof(bare);
    book.refuse(
        "Q19 a proof of a call without arguments for one with {}",
        "",
        &pass,
        empty,
        "proof_call",
    );
}

fn spoiled(book: &mut Book) {
    let planner = PrivateKey::from_seed(&[11; 32]);
    let pass = book.setup.pass();
    for (what, code, spoil) in SPOILED {
        let mut raw = RawProof::good(&book.setup, &pass);
        spoil(&mut raw);
        let ask = read().proof(raw.signed(&planner));
        book.refuse(
            &format!("Q20 {what}"),
            "signed by the holder all the same",
            &pass,
            ask,
            code.as_str(),
        );
    }
    let thief = PrivateKey::from_seed(&[66; 32]);
    let forged = read().proof(RawProof::good(&book.setup, &pass).signed(&thief));
    book.refuse(
        "Q21 the holder's key and a thief's signature",
        "",
        &pass,
        forged,
        "proof_invalid",
    );
    let good = RawProof::good(&book.setup, &pass).signed(&planner);
    let [header, claims, signature] =
        <[&str; 3]>::try_from(good.split('.').collect::<Vec<_>>()).unwrap();
    for (index, text) in [
        String::new(),
        "..".to_owned(),
        format!("{header}.{claims}"),
        format!("{header}.{claims}."),
        format!("{header}.{claims}.{signature}="),
        format!("{header}.{claims}.{signature}.{signature}"),
        "x".repeat(5_000),
    ]
    .into_iter()
    .enumerate()
    {
        book.refuse(
            &format!("Q22 no JWS ({index})"),
            "",
            &pass,
            read().proof(text),
            "proof_invalid",
        );
    }
    let mut unknown = RawProof::good(&book.setup, &pass);
    unknown.header["kid"] = json!("other");
    unknown.header["jku"] = json!("https://evil.example/jwks");
    unknown.claims["nonce"] = json!("nobody asked");
    let ask = read().proof(unknown.signed(&planner));
    book.allow(
        "Q23 headers and claims that say nothing to us",
        "neither help nor harm",
        &pass,
        ask,
    );
}
