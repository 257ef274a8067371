//! Keys: the broker's own, their rotation, and the public key document.

use std::{str::FromStr, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};

use crate::{
    api::Page,
    server::{
        App,
        api::{
            auth::{
                Operator,
                needs::{KeysRead, KeysRotate},
            },
            openapi::Problems,
        },
        edge::{
            answer::Answer,
            cursor::ListId,
            extract::{Named, NoInput, Params},
            idempotency::Once,
            problem::Problem,
        },
    },
};
use hallpass_broker::{KeyView, domain::event::KeyPurpose};
use hallpass_core::{
    base::{
        digest::Digest,
        ids::{IdError, KeyId},
    },
    wire::document::KeyDocument,
};

/// What a key signs, as paths name it.
#[derive(Debug)]
pub(crate) struct PurposeText(KeyPurpose);

impl FromStr for PurposeText {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let purpose = KeyPurpose::ALL
            .into_iter()
            .find(|purpose| purpose.as_str() == text);
        purpose
            .map(Self)
            .ok_or_else(|| IdError::new("key purpose", text, "root, feed, operator or checkpoint"))
    }
}

/// Every key.
#[utoipa::path(get, path = "/v1/keys", operation_id = "keys_list", tag = "keys", security(("operator" = [])),
    responses((status = 200, description = "All of them, on one page", body = Page<KeyView>), Problems))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    _: Operator<KeysRead>,
    params: Params,
) -> Result<Answer, Problem> {
    params.only(&[])?;
    Page::answer(
        &ListId::new("keys", &[]),
        app.broker.keys.keys(),
        usize::MAX,
        |key| key.id,
    )
}

/// Begins a rotation: makes a new key and publishes it.
#[utoipa::path(post, path = "/v1/keys/{purpose}/rotate", operation_id = "keys_rotate",
    tag = "keys", security(("operator" = [])),
    params(("purpose" = String, Path, description = "`root`, `feed`, `operator` or `checkpoint`")),
    responses((status = 201, description = "The new key", body = KeyView), Problems))]
pub(crate) async fn rotate(
    State(app): State<Arc<App>>,
    operator: Operator<KeysRotate>,
    Named(PurposeText(purpose)): Named<PurposeText>,
    once: Once,
    _: NoInput,
) -> Result<Answer, Problem> {
    let work = async |caller| Answer::created(&app.broker.keys.rotate_key(&caller, purpose).await?);
    once.run(&app, (operator.caller, Digest::ZERO), work).await
}

/// Revokes an operator key that signs no more: every operator's token that it signed is refused from
/// now on.
#[utoipa::path(post, path = "/v1/keys/operator/{id}/revoke", operation_id = "keys_revoke_operator",
    tag = "keys", security(("operator" = [])),
    params(("id" = u32, Path, description = "Its number")),
    responses((status = 200, description = "The key", body = KeyView), Problems))]
pub(crate) async fn revoke_operator(
    State(app): State<Arc<App>>,
    operator: Operator<KeysRotate>,
    Named(id): Named<KeyId>,
    _: NoInput,
) -> Result<Answer, Problem> {
    let own = operator.session.token().key();
    Answer::ok(
        &app.broker
            .keys
            .revoke_operator_key(&operator.caller, (id, Some(own)))
            .await?,
    )
}

/// The public keys, without authentication: a new verifier starts from these.
#[utoipa::path(get, path = "/v1/keys.json", operation_id = "keys_document", tag = "keys", security(()),
    responses((status = 200, description = "The key document", body = KeyDocument), Problems))]
pub(crate) async fn document(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, Problem> {
    params.only(&[])?;
    let document = app.broker.feed.key_document()?;
    let mut response = Answer::ok(&document)?.into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}
