//! Chains of holders, and revocation along them.

use hallpass_core::{
    base::key::PrivateKey,
    token::{Attenuated, PassToken, attenuate},
};
use serde_json::json;

use super::book::{Book, block_id, key_text, narrowing, read, tool};
use support::{
    es256,
    holders::{hand, holder, to, tools},
    raw, rights,
};

pub(super) fn write(book: &mut Book) {
    chains(book);
    thieves(book);
    depths(book);
    revoked(book);
    malformed(book);
}

fn onward(
    token: &PassToken,
    by: &PrivateKey,
    name: &str,
    key: &PrivateKey,
    further: u8,
) -> Attenuated {
    hand(token, by, &to(name, holder(key), further))
}

fn chains(book: &mut Book) {
    let (planner, researcher, helper) = keys();
    let pass = book.setup.pass();
    book.allow(
        "D00 the first holder",
        "nobody was given it yet",
        &pass,
        read().by(&planner, &pass),
    );
    let mut first = to("researcher", holder(&researcher), 1);
    first.narrowing = tools(&["read_ledger", "search_ledger"]);
    let one = hand(&pass, &planner, &first).token;
    book.allow(
        "D01 a delegate within what it was given",
        "",
        &one,
        read().by(&researcher, &one),
    );
    let transfer =
        |key: &PrivateKey, token: &PassToken| tool("transfer", json!({"amount": 1})).by(key, token);
    let outside = transfer(&researcher, &one);
    book.refuse_in(
        ("D02 a delegate outside of it", ""),
        &one,
        outside,
        1,
        &["not_granted"],
    );
    book.allow(
        "D02a which the one before still has",
        "",
        &pass,
        transfer(&planner, &pass),
    );
    let mut second = to("helper", holder(&helper), 0);
    second.narrowing = tools(&["search_ledger", "transfer"]);
    let two = hand(&one, &researcher, &second).token;
    let search = tool("search_ledger", json!({})).by(&helper, &two);
    book.allow("D08 two hops, and what both leave", "", &two, search);
    book.refuse_in(
        ("D08a what only the first leaves", ""),
        &two,
        read().by(&helper, &two),
        2,
        &["not_granted"],
    );
    book.refuse_in(
        ("D08b what only the second leaves", ""),
        &two,
        transfer(&helper, &two),
        1,
        &["not_granted"],
    );
    let between = attenuate(&one, &tools(&["read_ledger"])).unwrap().token;
    let after = onward(&between, &researcher, "helper", &helper, 0).token;
    book.allow(
        "D11 a narrowing between two hops",
        "",
        &after,
        read().by(&helper, &after),
    );
    let search = tool("search_ledger", json!({})).by(&helper, &after);
    book.refuse_in(
        ("D11a binds those after it", ""),
        &after,
        search,
        2,
        &["not_granted"],
    );
    let late = narrowing(json!({"expires_at": "2026-11-22T10:01:00Z"}));
    let short = hand(
        &pass,
        &planner,
        &hallpass_core::token::Delegation {
            narrowing: late,
            ..to("r", holder(&researcher), 0)
        },
    );
    let asked = read().at("10:01:00").by(&researcher, &short.token);
    book.refuse_in(
        ("D12 a hop that ended", ""),
        &short.token,
        asked,
        1,
        &["expired"],
    );
    let sealed = hallpass_core::token::Delegation {
        use_only: true,
        ..to("r", holder(&researcher), 0)
    };
    let sealed = hand(&pass, &planner, &sealed).token;
    book.allow(
        "D13 a sealed delegation",
        "is used and not handed on",
        &sealed,
        read().by(&researcher, &sealed),
    );
    let browser = hand(&pass, &planner, &to("browser", es256::holder(), 0)).token;
    let proof = es256::sign_proof(&read().content(&browser));
    book.allow(
        "D14 a delegate with a P-256 key",
        "",
        &browser,
        read().proof(proof),
    );
}

fn keys() -> (PrivateKey, PrivateKey, PrivateKey) {
    let key = |seed| PrivateKey::from_seed(&[seed; 32]);
    (key(11), key(12), key(13))
}

fn thieves(book: &mut Book) {
    let (planner, researcher, _) = keys();
    let thief = PrivateKey::from_seed(&[66; 32]);
    let pass = book.setup.pass();
    let one = onward(&pass, &planner, "researcher", &researcher, 1).token;
    let name = "D03 the one before presents the delegate's token";
    book.refuse(
        name,
        "only the leaf's proof counts",
        &one,
        read().by(&planner, &one),
        "proof_key",
    );
    book.refuse(
        "D03a the delegate presents the one before's",
        "",
        &pass,
        read().by(&researcher, &pass),
        "proof_key",
    );
    book.refuse(
        "D04 a thief presents it",
        "with a proof by its own key",
        &one,
        read().by(&thief, &one),
        "proof_key",
    );
    book.refuse(
        "D04a a thief presents it without a proof",
        "",
        &one,
        read(),
        "proof_required",
    );
    book.refuse(
        "D04b the first holder's pass without a proof",
        "",
        &pass,
        read(),
        "proof_required",
    );
    let block = format!("delegate(\"thief\", \"{}\");", key_text(&thief));
    for (name, token, seed) in [
        ("D05 a thief hands the pass on to itself", &pass, 66),
        ("D05a a thief hands the delegate's on to itself", &one, 66),
        ("D05b one who held it before hands it on", &one, 11),
        ("D05c one who will hold it hands it on", &pass, 12),
    ] {
        let stolen = book.signed(token, seed, &block);
        book.refuse(
            name,
            "not signed by the holder before",
            &stolen,
            read().by(&thief, &stolen),
            "holder_chain",
        );
    }
    let own = book.appended(&pass, &block);
    book.refuse(
        "D06 a delegation that nobody signed",
        "",
        &own,
        read().by(&thief, &own),
        "token_profile",
    );
    let mut moved = raw::wire(&book.setup.pass());
    let from = raw::wire(&one);
    (moved.blocks, moved.proof) = (from.blocks, from.proof);
    let moved = raw::from_wire(&moved);
    let name = "D15 a delegation moved to another pass";
    book.refuse(
        name,
        "",
        &moved,
        read().by(&researcher, &moved),
        "token_signature",
    );
    let plain = book.plain();
    let forged = book.signed(&plain, 11, &block);
    book.refuse(
        "D16 a delegation of a pass bound to nobody",
        "",
        &forged,
        read(),
        "holder_chain",
    );
    book.refuse(
        "D17 a proof with a pass bound to nobody",
        "",
        &plain,
        read().by(&planner, &plain),
        "proof_invalid",
    );
    let browser = hand(&pass, &planner, &to("browser", es256::holder(), 0)).token;
    let after = book.signed(&browser, 11, &block);
    book.refuse(
        "D18 a hop after a P-256 key",
        "it can sign no block",
        &after,
        read().by(&thief, &after),
        "holder_chain",
    );
}

fn depths(book: &mut Book) {
    let (planner, researcher, helper) = keys();
    let thief = PrivateKey::from_seed(&[66; 32]);
    let too_deep = &["delegation_depth"][..];
    // The pass may be handed on twice.
    let one = onward(&book.setup.pass(), &planner, "researcher", &researcher, 1).token;
    let two = onward(&one, &researcher, "helper", &helper, 0).token;
    book.allow("D08c two of two", "", &two, read().by(&helper, &two));
    let block = format!("delegate(\"third\", \"{}\");", key_text(&thief));
    let three = book.signed(&two, 13, &block);
    book.refuse_in(
        ("D09 three of two", ""),
        &three,
        read().by(&thief, &three),
        0,
        too_deep,
    );
    let last = onward(&book.setup.pass(), &planner, "researcher", &researcher, 0).token;
    let again = book.signed(&last, 12, &block);
    let about = "the broker would have allowed it";
    book.refuse_in(
        ("D07 handed on by one who may not", about),
        &again,
        read().by(&thief, &again),
        1,
        too_deep,
    );
    let none = book.setup.bound_to(
        holder(&planner),
        0,
        vec![rights(json!({"tools": ["read_ledger"]}))],
    );
    book.allow(
        "D19 one that may not be handed on",
        "",
        &none,
        read().by(&planner, &none),
    );
    let handed = book.signed(&none, 11, &block);
    book.refuse_in(
        ("D19a handed on", ""),
        &handed,
        read().by(&thief, &handed),
        0,
        too_deep,
    );
}

fn revoked(book: &mut Book) {
    let (planner, researcher, helper) = keys();
    let pass = book.setup.pass();
    let one = onward(&pass, &planner, "researcher", &researcher, 1).token;
    let below = onward(&one, &researcher, "helper", &helper, 0).token;
    let sibling = onward(&pass, &planner, "sibling", &helper, 0).token;
    let again = onward(&one, &researcher, "again", &helper, 0).token;
    let code = &["revoked_token"][..];
    let ids = [block_id(&pass, 0), block_id(&one, 1), block_id(&below, 2)];
    let ask = |key: &PrivateKey, token: &PassToken, block: usize| {
        read().by(key, token).revoked("token", &ids[block])
    };
    book.refuse_in(
        ("R01 block 0 revoked: the last hop", ""),
        &below,
        ask(&helper, &below, 0),
        0,
        code,
    );
    book.refuse_in(
        ("R01s block 0 revoked: a sibling", ""),
        &sibling,
        ask(&helper, &sibling, 0),
        0,
        code,
    );
    book.refuse_in(
        ("R01f block 0 revoked: the first holder", ""),
        &pass,
        ask(&planner, &pass, 0),
        0,
        code,
    );
    book.refuse_in(
        ("R02 block 1 revoked: the hop below", ""),
        &below,
        ask(&helper, &below, 1),
        1,
        code,
    );
    book.refuse_in(
        ("R02h block 1 revoked: the hop itself", ""),
        &one,
        ask(&researcher, &one, 1),
        1,
        code,
    );
    book.refuse_in(
        ("R02a block 1 revoked: what it makes anew", ""),
        &again,
        ask(&helper, &again, 1),
        1,
        code,
    );
    book.allow(
        "R02s block 1 revoked: a sibling",
        "",
        &sibling,
        ask(&helper, &sibling, 1),
    );
    book.allow(
        "R02f block 1 revoked: the first holder",
        "",
        &pass,
        ask(&planner, &pass, 1),
    );
    book.refuse_in(
        ("R03 block 2 revoked: the last hop", ""),
        &below,
        ask(&helper, &below, 2),
        2,
        code,
    );
    book.allow(
        "R03s block 2 revoked: a sibling",
        "",
        &sibling,
        ask(&helper, &sibling, 2),
    );
    book.allow(
        "R03h block 2 revoked: the hop before",
        "",
        &one,
        ask(&researcher, &one, 2),
    );
    let key = holder(&researcher).thumbprint();
    let by_key = |ask: super::book::Ask| ask.revoked("holder", &key);
    let code = &["revoked_agent"][..];
    let first = by_key(read().by(&researcher, &one));
    book.refuse_in(
        ("R04 a delegate's key revoked", "whatever it is called"),
        &one,
        first,
        1,
        code,
    );
    let after = by_key(read().by(&helper, &below));
    book.refuse_in(("R04a and those below it", ""), &below, after, 1, code);
    book.allow(
        "R04s and no sibling",
        "",
        &sibling,
        by_key(read().by(&helper, &sibling)),
    );
    let cnf = read()
        .by(&helper, &below)
        .revoked("holder", &holder(&planner).thumbprint());
    book.refuse_in(
        ("R05 the first holder's key revoked", ""),
        &below,
        cnf,
        None,
        code,
    );
    let until = read()
        .by(&researcher, &one)
        .revoked_until("holder", &key, "09:59:59");
    book.allow(
        "R06 a key revoked before the pass was issued",
        "it was reinstated since",
        &one,
        until,
    );
    let name = read().by(&researcher, &one).revoked("agent", "researcher");
    book.allow(
        "R07 an agent of the delegate's asserted name",
        "names of delegates are assertions",
        &one,
        name,
    );
}

fn malformed(book: &mut Book) {
    let thief = PrivateKey::from_seed(&[66; 32]);
    let (pass, key) = (book.setup.pass(), key_text(&thief));
    for (index, block) in [
        format!("delegate(\"not an id\", \"{key}\");"),
        format!("delegate(\"\", \"{key}\");"),
        "delegate(\"x\", \"ed25519/00\");".to_owned(),
        format!("delegate(\"x\", \"{}\");", key.to_uppercase()),
        format!("delegate(1, \"{key}\");"),
        format!("delegate(\"x\", hex:{});", &key["ed25519/".len()..]),
    ]
    .into_iter()
    .enumerate()
    {
        let token = book.signed(&pass, 11, &block);
        let name = format!("D20 a delegation to nobody ({index})");
        book.refuse(
            &name,
            &block,
            &token,
            read().by(&thief, &token),
            "holder_chain",
        );
    }
    let second = book.signed(
        &pass,
        11,
        &format!("delegate(\"x\", \"{key}\"); delegate(\"y\", \"{key}\");"),
    );
    book.refuse(
        "D21 two delegations in one block",
        "",
        &second,
        read().by(&thief, &second),
        "token_profile",
    );
}
