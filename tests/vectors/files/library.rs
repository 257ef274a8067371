//! Biscuit's own authorizer, with the profile off and nothing of hallpass deciding.

use biscuit_auth::{
    AuthorizerBuilder, AuthorizerLimits,
    builder::{Term, date, fact, int, string},
};
use hallpass_core::{
    base::key::PublicKey,
    token::{
        PassToken,
        path::{path_segments, resource_segments, url_host},
        rights::Kind,
    },
};
use serde_json::Value;

use super::{Decision, Request};
use support::raw;

pub(super) fn decide(token: &PassToken, root: &PublicKey, request: &Request) -> Decision {
    let strings = |texts: &[String]| texts.iter().map(|text| string(text)).collect::<Vec<Term>>();
    let (server, tool) = (string(request.server.as_str()), request.tool.as_ref());
    let reads = request.kind != Kind::Tool || tool.is_some_and(|tool| tool.read_only);
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(request.time.unix_seconds());
    let mut facts = vec![
        fact("time", &[date(&at)]),
        fact("me", std::slice::from_ref(&server)),
        fact(
            "call",
            &[server, string(request.kind.as_str()), string(&request.name)],
        ),
        fact("read_only", &[Term::Bool(reads)]),
        fact("call_proven", &[Term::Bool(false)]),
        fact("depth", &[int(0)]),
        fact("args_digest", &[string(DIGEST)]),
    ];
    if let Some(segments) =
        resource_segments(&request.name).filter(|_| request.kind == Kind::Resource)
    {
        facts.push(fact("call_path", &[Term::Array(strings(&segments))]));
    }
    let mut names = Vec::new();
    // The calls of these vectors have plain arguments at the top only.
    for (name, value) in request
        .arguments
        .iter()
        .flat_map(|all| all.as_object().unwrap())
    {
        let pointer = format!("/{name}");
        let declares = |list: &std::collections::BTreeSet<hallpass_core::token::path::Pointer>| {
            list.iter().any(|declared| declared.as_str() == pointer)
        };
        match value {
            Value::String(text) => {
                facts.push(fact("arg", &[string(&pointer), string(text)]));
                if tool.is_some_and(|tool| declares(&tool.path_arguments))
                    && let Some(segments) = path_segments(text)
                {
                    let segments = [vec!["file".to_owned(), String::new()], segments].concat();
                    facts.push(fact(
                        "arg_path",
                        &[string(&pointer), Term::Array(strings(&segments))],
                    ));
                }
                if tool.is_some_and(|tool| declares(&tool.url_arguments))
                    && let Some(host) = url_host(text)
                {
                    facts.push(fact("arg_host", &[string(&pointer), string(host)]));
                }
            }
            Value::Number(number) => facts.push(fact(
                "arg",
                &[string(&pointer), int(number.as_i64().unwrap())],
            )),
            other => panic!("{other}"),
        }
        names.push(pointer);
    }
    facts.push(fact(
        "arg_names",
        &[Term::Set(strings(&names).into_iter().collect())],
    ));
    let limits = AuthorizerLimits {
        max_time: std::time::Duration::from_secs(10),
        ..AuthorizerLimits::default()
    };
    let verifier = AuthorizerBuilder::new()
        .set_limits(limits)
        .code(raw::VERIFIER)
        .unwrap();
    let verifier = facts
        .into_iter()
        .fold(verifier, |verifier, fact| verifier.fact(fact).unwrap());
    let answer = verifier
        .build(&raw::biscuit(token, root))
        .unwrap()
        .authorize();
    if answer.is_ok() {
        Decision::Allow
    } else {
        Decision::Refuse
    }
}

/// What a verifier that knew `args_digest` would tell of the calls in these vectors.
pub(super) const DIGEST: &str = "d1d1d1d1";
