//! Token requests: any form and any header. What is read asks for nothing that was not sent, and a scope
//! beside details only takes away.

use std::{collections::BTreeSet, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hallpass::{
    oauth::{Asked, Form, OAuthError, Presented, TokenRequest},
    policy::Catalogue,
    token::{rights::RequestedDetail, scope::Scope},
};

use crate::{corpus, fuzz, input::Input, support::manifest};

struct Scene {
    seeds: Vec<Vec<u8>>,
    catalogue: Catalogue,
}

impl Scene {
    fn new() -> Self {
        Self { seeds: corpus::contents("oauth"), catalogue: Catalogue::new([Arc::new(manifest())]).unwrap() }
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
    fuzz!("oauth", seeds, Scene::new(), |scene: &mut Scene, input: &mut Input<'_>| {
        let body = input.seed(&scene.seeds);
        let header = format!("Basic {}", STANDARD.encode(input.rest()));
        let Ok(form) = Form::parse(&body) else { return };
        let plain: Vec<_> =
            names(&body).into_iter().filter(|name| name != b"resource" && name != b"audience").collect();
        assert_eq!(plain.iter().collect::<BTreeSet<_>>().len(), plain.len(), "a parameter was read twice");
        for authorization in [&[][..], &[&*header], &[&*header, &*header]] {
            let presented = Presented::read(authorization, &form);
            if authorization.len() == 2 || (authorization.len() == 1 && form.text("client_secret").is_some()) {
                assert!(matches!(presented, Err(OAuthError::InvalidRequest)), "two ways at once");
            }
            if let Ok(Presented::Secret { readings }) = presented {
                assert!((1..=2).contains(&readings.len()));
            }
        }
        let Ok(request) = TokenRequest::read(&form) else { return };
        let Ok(details) = request.asked.resolve(&scene.catalogue, &[]) else { return };
        assert!(!details.is_empty());
        let sent = request.asked.details.clone().unwrap_or_default();
        let Some(scope) = &request.asked.scope else {
            assert_eq!(details, sent, "without a scope the details stand as they are");
            return;
        };
        for detail in &details {
            assert!(within_scope(detail, scope), "{detail:?} is more than {scope:?}");
            let covers = |of: &&RequestedDetail| of.server == detail.server && tools_within(detail, of);
            assert!(request.asked.details.is_none() || sent.iter().any(|of| covers(&of)), "{detail:?} of {sent:?}");
        }
        let alone = Asked { details: None, ..request.asked.clone() };
        if request.asked.resources.is_empty() {
            assert_eq!(alone.resolve(&scene.catalogue, &[]), Err(OAuthError::InvalidTarget));
        }
    });
}

/// Whether every tool that `detail` names is one that `scope` asks for.
fn within_scope(detail: &RequestedDetail, scope: &Scope) -> bool {
    tools_within(detail, &scope.at(&detail.server))
}

/// Whether every name of a tool in `inner` is one of `outer`, or matches a pattern there.
fn tools_within(inner: &RequestedDetail, outer: &RequestedDetail) -> bool {
    inner.tools.iter().all(|tool| {
        outer.tools.contains(tool) || tool.exact().is_some_and(|name| outer.tools.iter().any(|of| of.matches(&name)))
    })
}
