//! What remains of a pass, said again as rights, when its holder wrote checks that look like ours.

use hallpass_core::token::{GrantedDetail, PassToken, Remaining};
use serde_json::json;

use super::verified;
use support::{Issuer, SERVER, raw, rights};

fn pass(issuer: &Issuer) -> PassToken {
    issuer.mint(vec![rights(
        json!({"tools": ["transfer"], "resources": ["file:///srv"]}),
    )])
}

fn remaining(issuer: &Issuer, token: &PassToken) -> Remaining {
    verified(issuer, token).unwrap().remaining()
}

#[test]
fn a_subtree_that_is_named_again_and_again_remains_once() {
    let issuer = Issuer::new();
    let under = |path: &str| {
        format!(
            r#"call($s, $k, $n), call_path($seg), $s === "{SERVER}" && $k === "resource" && $seg.starts_with(["file", "", {path}])"#
        )
    };
    let thrice = format!("check if {};\n", vec![under(r#""srv""#); 3].join(" or "));
    let longer = |token: PassToken| raw::append(&token, &issuer.root.public(), &thrice.repeat(5));
    let token = longer(longer(pass(&issuer)));
    let left = remaining(&issuer, &token);
    assert_eq!(left.unsaid, 0);
    assert_eq!(left.rights, [rights(json!({"resources": ["file:///srv"]}))]);
    let told = hallpass_core::token::UnverifiedPass::parse(token.expose())
        .unwrap()
        .dangerous_unverified_summary();
    assert_eq!(
        told.left.unwrap().rights,
        [format!("resources under file:///srv on {SERVER}")]
    );

    // One within another remains beside it, and what is elsewhere does not.
    let some = format!(
        "check if {};",
        [
            r#""srv", "a""#,
            r#""srv", "a", "b""#,
            r#""etc""#,
            r#""srv", "a""#
        ]
        .map(under)
        .join(" or ")
    );
    let token = raw::append(&token, &issuer.root.public(), &some);
    let resources = json!({"resources": ["file:///srv/a", "file:///srv/a/b"]});
    assert_eq!(remaining(&issuer, &token).rights, [rights(resources)]);
}

#[test]
fn a_constraint_that_no_right_can_hold_is_counted_and_not_said() {
    let issuer = Issuer::new();
    let another =
        format!(r#"call($s, $k, $n), !($s === "{SERVER}" && $k === "tool" && $n === "transfer")"#);
    let constrained = |query: &str| {
        let token = raw::append(
            &pass(&issuer),
            &issuer.root.public(),
            &format!("check all {another} or {query};"),
        );
        remaining(&issuer, &token)
    };
    for sound in [
        r#"arg("/amount", $v), $v >= 1, $v <= 5"#,
        r#"arg("/amount", $v), $v <= 5"#,
        r#"arg("/amount", $v), {1, 2}.contains($v)"#,
        r#"arg("/owner", $v), $v.starts_with("Q")"#,
        r#"arg_host("/url", $h), {"api.example"}.contains($h)"#,
    ] {
        let left = constrained(sound);
        assert_eq!(
            (left.unsaid, left.rights[0].constraints.len()),
            (0, 1),
            "{sound}"
        );
    }
    for unsound in [
        r#"arg("/amount", $v)"#,
        r#"arg("/amount", $v), $v >= 5, $v <= 1"#,
        r#"arg("/amount", $v), {,}.contains($v)"#,
        r#"arg("/owner", $v), $v.starts_with("")"#,
        r#"arg_host("/url", $h), {,}.contains($h)"#,
        r#"arg_host("/url", $h), {"API.example"}.contains($h)"#,
    ] {
        let left = constrained(unsound);
        assert_eq!(
            (left.unsaid, left.rights[0].constraints.len()),
            (1, 0),
            "{unsound}"
        );
        // Whatever is said can be read again.
        let written = serde_json::to_value(&left.rights).unwrap();
        assert_eq!(
            serde_json::from_value::<Vec<GrantedDetail>>(written).unwrap(),
            left.rights,
            "{unsound}"
        );
    }
}

/// A list that allows an argument without a constraint, and one that allows an argument within another that it does
/// not allow: rights can say neither.
#[test]
fn a_closed_list_that_no_right_can_hold_is_counted() {
    let issuer = Issuer::new();
    let another =
        format!(r#"call($s, $k, $n), !($s === "{SERVER}" && $k === "tool" && $n === "transfer")"#);
    let closed = |allowed: &str, more: &str| {
        let check = format!("check if {another} or arg_names($a), {allowed}.contains($a);\n{more}");
        let token = raw::append(&pass(&issuer), &issuer.root.public(), &check);
        remaining(&issuer, &token).unsaid
    };
    let constrained =
        |pointer: &str| format!(r#"check all {another} or arg("{pointer}", $v), $v <= 5;"#);
    assert_eq!(closed(r#"{"/amount"}"#, &constrained("/amount")), 0);
    assert_eq!(closed(r#"{"/amount"}"#, ""), 1);
    assert_eq!(closed(r#"{"/a/b"}"#, &constrained("/a/b")), 1);
    assert_eq!(closed(r#"{"/a", "/a/b"}"#, &constrained("/a/b")), 0);
}
