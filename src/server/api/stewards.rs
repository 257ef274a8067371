//! Stewards: the people who answer for agents, and the erasing of their names.

use std::sync::Arc;

use axum::extract::State;

use crate::{
    api::{
        Page,
        secret::Secret,
        stewards::{IdentityRequest, SignInCode, StewardRequest},
    },
    server::{
        App,
        api::{
            auth::{
                Operator,
                needs::{
                    RevocationsReinstate, StewardsDelete, StewardsRead, StewardsSignIn,
                    StewardsWrite,
                },
            },
            openapi::{Paging, Problems},
        },
        edge::{
            answer::Answer,
            extract::{Input, Named, NoInput, Params},
            idempotency::Once,
            problem::Problem,
        },
    },
};
use hallpass_broker::{
    BrokerError, Identity, StewardView, domain::event::Subject, identity::issuer::TrustedKind,
};
use hallpass_core::base::{digest::Digest, ids::StewardId};

/// Registers a steward, or finds the one who has the name, and links an identity to it.
#[utoipa::path(post, path = "/v1/stewards", operation_id = "stewards_create",
    tag = "registry", security(("operator" = [])), request_body = StewardRequest,
    responses((status = 201, description = "The steward", body = StewardView), Problems))]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    operator: Operator<StewardsWrite>,
    once: Once,
    input: Input<StewardRequest>,
) -> Result<Answer, Problem> {
    let StewardRequest { name, identity } = input.value;
    let identity = identity.map(|IdentityRequest { issuer, subject }| Identity { issuer, subject });
    let knows = |issuer: &str| {
        [
            TrustedKind::IdToken,
            TrustedKind::IdJag,
            TrustedKind::SignIn,
        ]
        .iter()
        .any(|kind| app.trust.is_trusted(issuer, *kind))
    };
    if identity
        .as_ref()
        .is_some_and(|identity| !knows(&identity.issuer))
    {
        let detail = "no issuer of this name is trusted for people (`id_token`, `sign_in`, `id_jag`): see `[[oauth.issuer]]` of the settings";
        return Err(Problem::invalid("identity.issuer", detail));
    }
    let work = async |caller| {
        Answer::created(
            &app.broker
                .registry
                .add_steward(&caller, (&name, identity))
                .await?,
        )
    };
    // The broker names the member as agents' registration does.
    once.run(&app, (operator.caller, input.digest), work)
        .await
        .map_err(|problem| problem.renamed("steward", "name"))
}

/// Stewards in the order of their ids.
#[utoipa::path(get, path = "/v1/stewards", operation_id = "stewards_list",
    tag = "registry", security(("operator" = [])), params(Paging),
    responses((status = 200, description = "A page", body = Page<StewardView>), Problems))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    _: Operator<StewardsRead>,
    params: Params,
) -> Result<Answer, Problem> {
    let params = params.only(&["limit", "cursor"])?;
    let (list, limit) = (params.list("stewards"), params.limit()?);
    let items = app
        .broker
        .registry
        .stewards(params.after(&list)?.as_ref(), limit.saturating_add(1));
    Page::answer(&list, items, limit, |steward| steward.steward.clone())
}

/// Erases a steward's name. The opaque id stays, and every proof valid.
#[utoipa::path(delete, path = "/v1/stewards/{steward}/name", operation_id = "stewards_erase",
    tag = "registry", security(("operator" = [])),
    params(("steward" = String, Path)), responses((status = 204, description = "Done"), Problems))]
pub(crate) async fn erase(
    State(app): State<Arc<App>>,
    operator: Operator<StewardsDelete>,
    Named(steward): Named<StewardId>,
    _: NoInput,
) -> Result<Answer, Problem> {
    app.broker
        .registry
        .erase_steward(&operator.caller, &steward)
        .await?;
    Ok(Answer::done())
}

/// Unlinks a steward from every identity: no token proves to be that person any more. Tasks that were opened
/// stay; revoke the steward to end them.
#[utoipa::path(delete, path = "/v1/stewards/{steward}/identities", operation_id = "stewards_unidentify",
    tag = "registry", security(("operator" = [])),
    params(("steward" = String, Path)), responses((status = 204, description = "Done"), Problems))]
pub(crate) async fn unidentify(
    State(app): State<Arc<App>>,
    operator: Operator<StewardsWrite>,
    Named(steward): Named<StewardId>,
    _: NoInput,
) -> Result<Answer, Problem> {
    app.broker
        .registry
        .unidentify_steward(&operator.caller, &steward)
        .await?;
    Ok(Answer::done())
}

/// Lets a revoked steward's agents be minted for again.
#[utoipa::path(post, path = "/v1/stewards/{steward}/reinstate", operation_id = "stewards_reinstate",
    tag = "registry", security(("operator" = [])),
    params(("steward" = String, Path)),
    responses((status = 204, description = "Done"), Problems))]
pub(crate) async fn reinstate(
    State(app): State<Arc<App>>,
    operator: Operator<RevocationsReinstate>,
    Named(steward): Named<StewardId>,
    once: Once,
    _: NoInput,
) -> Result<Answer, Problem> {
    let work = async |caller| {
        let steward = app.broker.registry.find_steward(steward.as_str())?;
        app.broker
            .revocations
            .reinstate(&caller, Subject::Steward(steward))
            .await?;
        Ok(Answer::done())
    };
    once.run(&app, (operator.caller, Digest::ZERO), work).await
}

/// Makes a code with which the steward signs in once, on the page where clients ask for consent.
#[utoipa::path(post, path = "/v1/stewards/{steward}/code", operation_id = "stewards_code",
    tag = "registry", security(("operator" = [])),
    params(("steward" = String, Path)),
    responses((status = 201, description = "The code", body = SignInCode), Problems))]
pub(crate) async fn code(
    State(app): State<Arc<App>>,
    operator: Operator<StewardsSignIn>,
    Named(steward): Named<StewardId>,
    once: Once,
    _: NoInput,
) -> Result<Answer, Problem> {
    if let [provider, ..] = app.trust.sign_ins() {
        let detail = format!(
            "people sign in with `{}` here, and not with a code",
            provider.issuer()
        );
        return Err(BrokerError::Conflict(detail).into());
    }
    let work = async |caller| {
        let (code, expires_at) = app
            .broker
            .registry
            .make_sign_in_code(&caller, &steward)
            .await?;
        Answer::created(&SignInCode {
            steward,
            code: Secret::new(code.expose()),
            expires_at,
        })
    };
    once.run(&app, (operator.caller, Digest::ZERO), work).await
}
