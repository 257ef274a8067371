//! Token and authorization requests: any form and any header. What is read asks for nothing that was not sent, and a
//! scope beside details only takes away.

use std::{collections::BTreeSet, sync::Arc};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hallpass::server::oauth::grammar::{
    Asked, AuthorizationRequest, Form, OAuthError, Presented, TokenRequest,
};
use hallpass_broker::policy::Catalogue;
use hallpass_core::token::{RequestedDetail, path::ResourceTree, rights::NamePattern};

use crate::fuzz::{corpus, fuzz, input::Input};
use support::manifest;

struct OauthTarget {
    seeds: Vec<Vec<u8>>,
    catalogue: Catalogue,
}

impl OauthTarget {
    fn new() -> Self {
        Self {
            seeds: corpus::contents("oauth"),
            catalogue: Catalogue::new([Arc::new(manifest())]).unwrap(),
        }
    }
}

/// Parameters as another reader splits them.
fn names(body: &[u8]) -> Vec<Vec<u8>> {
    body.split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split(|byte| *byte == b'=').next().unwrap().to_vec())
        .collect()
}

#[test]
fn the_seeds_are_good() {
    for seed in corpus::contents("oauth") {
        TokenRequest::read(&Form::parse(&seed).unwrap()).unwrap();
    }
}

#[test]
fn what_is_read_asks_for_no_more_than_was_sent() {
    let seeds = corpus::files("oauth").len();
    fuzz!(
        "oauth",
        seeds,
        OauthTarget::new(),
        |setup: &mut OauthTarget, input: &mut Input<'_>| {
            let body = input.seed(&setup.seeds);
            let header = format!("Basic {}", STANDARD.encode(input.rest()));
            let Ok(form) = Form::parse(&body) else { return };
            let plain: Vec<_> = names(&body)
                .into_iter()
                .filter(|name| name != b"resource" && name != b"audience")
                .collect();
            assert_eq!(
                plain.iter().collect::<BTreeSet<_>>().len(),
                plain.len(),
                "a parameter was read twice"
            );
            for authorization in [&[][..], &[&*header], &[&*header, &*header]] {
                let presented = Presented::read(authorization, &form);
                if authorization.len() == 2
                    || (authorization.len() == 1 && form.text("client_secret").is_some())
                {
                    assert!(
                        matches!(presented, Err(OAuthError::InvalidRequest)),
                        "two ways at once"
                    );
                }
                if let Ok(Presented::Secret { readings }) = presented {
                    assert!((1..=2).contains(&readings.len()));
                }
            }
            let Ok(request) = TokenRequest::read(&form) else {
                return;
            };
            let Ok(details) = request.asked.resolve(&setup.catalogue, &[]) else {
                return;
            };
            assert!(!details.is_empty());
            let sent = request.asked.details.clone().unwrap_or_default();
            let Some(scope) = &request.asked.scope else {
                assert_eq!(
                    details, sent,
                    "without a scope the details stand as they are"
                );
                return;
            };
            for detail in &details {
                assert!(
                    names_within(detail, &scope.at(&detail.server)),
                    "{detail:?} is more than {scope:?}"
                );
                let is_of =
                    |of: &RequestedDetail| names_within(detail, of) && demands_kept(detail, of);
                assert!(
                    request.asked.details.is_none() || sent.iter().any(is_of),
                    "{detail:?} of {sent:?}"
                );
            }
            let alone = Asked {
                details: None,
                ..request.asked.clone()
            };
            if request.asked.resources.is_empty() {
                assert_eq!(
                    alone.resolve(&setup.catalogue, &[]),
                    Err(OAuthError::InvalidTarget)
                );
            }
        }
    );
}

/// Whether whatever `inner` names is at the server of `outer`, and named there or lies in what is.
fn names_within(inner: &RequestedDetail, outer: &RequestedDetail) -> bool {
    let named = |inner: &[NamePattern], outer: &[NamePattern]| {
        let is_meant = |name: &NamePattern| {
            name.exact()
                .is_some_and(|name| outer.iter().any(|of| of.matches(&name)))
        };
        inner
            .iter()
            .all(|name| outer.contains(name) || is_meant(name))
    };
    let lies = |tree: &ResourceTree| {
        let below = |of: &ResourceTree| {
            tree.as_str() == of.as_str() || tree.as_str().starts_with(&format!("{of}/"))
        };
        outer.resources.iter().any(below)
    };
    inner.server == outer.server
        && named(&inner.tools, &outer.tools)
        && named(&inner.prompts, &outer.prompts)
        && inner.resources.iter().all(lies)
}

/// Whether `inner` demands of each of its tools what `outer` does.
fn demands_kept(inner: &RequestedDetail, outer: &RequestedDetail) -> bool {
    let demands = |of: &RequestedDetail, tool: &str| {
        let of = serde_json::to_value(of).unwrap();
        let listed = ["closed_arguments", "call_proof"].map(|name| {
            of[name]
                .as_array()
                .is_some_and(|tools| tools.iter().any(|listed| listed == tool))
        });
        let given = ["constraints", "mask", "max_calls", "forbid_after"]
            .map(|name| of[name].get(tool).cloned());
        (listed, given, of["read_only"].clone())
    };
    inner
        .tools
        .iter()
        .all(|tool| demands(inner, tool.as_str()) == demands(outer, tool.as_str()))
}

#[test]
fn the_seeds_of_authorization_requests_are_good() {
    for seed in corpus::contents("authorization") {
        AuthorizationRequest::read(&Form::parse(&seed).unwrap()).unwrap();
    }
}

#[test]
fn no_authorization_request_asks_for_less_proof_than_it_shows() {
    let seeds = corpus::files("authorization").len();
    fuzz!(
        "authorization",
        seeds,
        corpus::contents("authorization"),
        |seeds: &mut Vec<Vec<u8>>, input: &mut Input<'_>| {
            let Ok(form) = Form::parse(&input.seed(seeds)) else {
                return;
            };
            let Ok(request) = AuthorizationRequest::read(&form) else {
                return;
            };
            let digest = |text: &str| {
                URL_SAFE_NO_PAD
                    .decode(text)
                    .ok()
                    .filter(|bytes| bytes.len() == 32)
            };
            assert_eq!(form.text("response_type"), Some("code"));
            assert_eq!(form.text("code_challenge_method"), Some("S256"));
            let challenge = form.text("code_challenge").and_then(digest).unwrap();
            assert_eq!(request.challenge.as_bytes().as_slice(), challenge);
            assert_eq!(request.holder.as_deref(), form.text("dpop_jkt"));
            assert!(
                request
                    .holder
                    .is_none_or(|thumbprint| digest(&thumbprint).is_some())
            );
            assert!(
                form.text("request").is_none() && form.text("request_uri").is_none(),
                "half of it was overlooked"
            );
            assert!(
                form.text("response_mode")
                    .is_none_or(|mode| mode == "query")
            );
        }
    );
}
