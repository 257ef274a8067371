//! Other spellings of a token, and tokens that are none.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE},
};
use biscuit_auth::format::schema;
use hallpass_core::token::PassToken;
use serde_json::json;

use super::book::{Book, read};
use support::raw;

pub(super) fn write(book: &mut Book) {
    // One whose text needs padding and holds both letters in which the alphabets differ.
    let spelled = |tool: &str| book.pass(json!({"tools": ["read_ledger", tool]}));
    let tells = |token: &PassToken| {
        let text = token.expose();
        !text.len().is_multiple_of(4) && text.contains('-') && text.contains('_')
    };
    let candidates = (0..64).flat_map(|_| ["a", "ab", "abc"].map(spelled));
    let token = candidates
        .into_iter()
        .find(tells)
        .expect("one in three has a length that needs padding");
    book.allow(
        "B00 base64url without padding",
        "the one spelling",
        &token,
        read(),
    );
    spellings(book, &token);
    encodings(book, &token);
    nothing(book);
    large(book);
}

fn spellings(book: &mut Book, token: &PassToken) {
    let (text, bytes) = (token.expose(), raw::bytes(token));
    let mut odd = text.to_owned();
    let last = odd.pop().unwrap();
    odd.push(char::from_u32(u32::from(last) + 1).unwrap());
    for (name, spelling) in [
        ("B01 with padding", URL_SAFE.encode(&bytes)),
        ("B02 the standard alphabet", STANDARD_NO_PAD.encode(&bytes)),
        (
            "B03 the standard alphabet with padding",
            STANDARD.encode(&bytes),
        ),
        ("B04 a blank after it", format!("{text} ")),
        ("B05 a blank before it", format!(" {text}")),
        (
            "B06 a line feed within",
            format!("{}\n{}", &text[..40], &text[40..]),
        ),
        ("B07 a line feed after it", format!("{text}\n")),
        ("B08 a zero byte after it", format!("{text}\u{0}")),
        ("B09 unused bits that are not zero", odd),
        ("B10 a letter too few", text[..text.len() - 1].to_owned()),
        ("B11 the scheme before it", format!("Bearer {text}")),
        ("B12 Biscuit's prefix before it", format!("biscuit:{text}")),
        (
            "B13 in hexadecimal",
            bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        ),
        ("B14 a no-break space", format!("{text}\u{a0}")),
        ("B15 two tokens", format!("{text},{text}")),
        ("B16 percent-encoded", text.replace('-', "%2D")),
    ] {
        let spelled = PassToken::from_text(spelling);
        book.refuse(
            name,
            "one token, one text",
            &spelled,
            read(),
            "token_malformed",
        );
    }
}

fn encodings(book: &mut Book, token: &PassToken) {
    let bytes = raw::bytes(token);
    let (number, rest) = bytes.split_at(2);
    let wide_number = [&[0x08, 0x81, 0x00][..], rest].concat();
    for (name, other) in [
        (
            "B20 an unknown field",
            [bytes.as_slice(), &[0x7a, 0]].concat(),
        ),
        (
            "B21 an unknown field before",
            [&[0x7a, 0], bytes.as_slice()].concat(),
        ),
        ("B22 fields in another order", [rest, number].concat()),
        (
            "B23 the key's number twice",
            [number, bytes.as_slice()].concat(),
        ),
        ("B24 a number longer than it need be", wide_number),
    ] {
        let about = "what is not signed must not have two forms";
        book.refuse(name, about, &raw::token(other), read(), "token_malformed");
    }
    // Within a block everything is signed: this one by the holder itself.
    let block = raw::empty_block();
    let appended = raw::append_by_hand(token, &block);
    book.allow("B25 a block without anything", "", &appended, read());
}

fn nothing(book: &mut Book) {
    for (name, text) in [
        ("B30 no text", String::new()),
        ("B31 no token", "hello".to_owned()),
        (
            "B32 a JWT",
            "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.".to_owned(),
        ),
        ("B33 zeros", "A".repeat(400)),
        ("B34 not ASCII", "ä".repeat(40)),
        ("B35 a protobuf of nothing", "CgA".to_owned()),
    ] {
        book.refuse(
            name,
            "",
            &PassToken::from_text(text),
            read(),
            "token_malformed",
        );
    }
}

fn large(book: &mut Book) {
    let padded = |length: usize| {
        let block = |last: usize| {
            let mut symbols: Vec<String> =
                ["a", "b", "c"].map(|letter| letter.repeat(4_000)).to_vec();
            symbols.push("d".repeat(last));
            raw::append_by_hand(
                &book.plain(),
                &schema::Block {
                    symbols,
                    ..raw::empty_block()
                },
            )
        };
        block(2_000 + length - raw::bytes(&block(2_000)).len())
    };
    let (fits, large) = (padded(16 * 1024), padded(16 * 1024 + 1));
    book.allow("B40 16 KiB", "as large as a token may be", &fits, read());
    book.refuse(
        "B41 16 KiB and a byte",
        "",
        &large,
        read(),
        "token_too_large",
    );
    let huge = PassToken::from_text("A".repeat(30_000));
    book.refuse(
        "B42 30,000 letters",
        "the size is looked at first",
        &huge,
        read(),
        "token_too_large",
    );
}
