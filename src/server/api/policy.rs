//! Policy: reading, checking, explaining and changing what decides.

use std::{sync::Arc, time::Duration};

use axum::extract::State;

use crate::{
    api::{
        policy::{ExplainRequest, Explanation, GrantRequest, PolicyCheck},
        tasks::OpenRequest,
    },
    server::{
        App,
        api::{
            auth::{
                Operator,
                needs::{PolicyExplain, PolicyRead, PolicyReload, PolicyWrite},
            },
            openapi::Problems,
            tasks,
        },
        edge::{
            answer::Answer,
            extract::{Input, NoInput, Params},
            idempotency::Once,
            problem::Problem,
        },
    },
};
use hallpass_broker::{
    Broker, BrokerError, GrantWritten, PolicyView, SupposedSteward,
    policy::{Decision, Grant},
};
use hallpass_core::base::ids::AgentId;

fn grant_of(request: GrantRequest) -> Result<Grant, Problem> {
    let ttl = humantime::parse_duration(&request.max_ttl).ok();
    let ttl = ttl.filter(|ttl| ttl.subsec_nanos() == 0 && *ttl > Duration::ZERO);
    let ttl = ttl.ok_or_else(|| {
        Problem::invalid(
            "max_ttl",
            "expected whole seconds, such as `10m` or `1h 30m`",
        )
    })?;
    let mut grant = Grant::new(request.id, request.server, ttl);
    grant.agents = request.agents;
    grant.tools = request.tools;
    grant.prompts = request.prompts;
    grant.resources = request.resources;
    grant.closed_arguments = request.closed_arguments;
    grant.read_only = request.read_only;
    grant.require_proof = request.require_proof;
    grant.require_call_proof = request.require_call_proof;
    grant.pin = request.pin;
    grant.constraints = request.constraints;
    Ok(grant)
}

fn split(request: ExplainRequest) -> (AgentId, OpenRequest) {
    let open = OpenRequest {
        purpose: request.purpose,
        ttl_seconds: request.ttl_seconds,
        authorization_details: request.authorization_details,
        allow_partial: request.allow_partial,
        steward: request.steward,
        context: request.context,
        subject_token: request.subject_token,
        holder_key: request.holder_key,
        max_delegation_depth: request.max_delegation_depth,
        credentials: None,
    };
    (request.agent, open)
}

/// The steward who is supposed to have proved who they are.
fn supposed(request: &ExplainRequest, broker: &Broker) -> Result<Option<SupposedSteward>, Problem> {
    if !request.steward_verified {
        return if request.steward_groups.is_empty() {
            Ok(None)
        } else {
            Err(Problem::invalid(
                "steward_groups",
                "goes with `steward_verified`",
            ))
        };
    }
    let Some(steward) = &request.steward else {
        return Err(Problem::invalid("steward_verified", "goes with `steward`"));
    };
    if request.subject_token.is_some() {
        let detail = "not with `subject_token`, which says itself who it is";
        return Err(Problem::invalid("steward_verified", detail));
    }
    Ok(Some(SupposedSteward {
        steward: broker.registry.find_steward(steward)?,
        groups: request.steward_groups.clone(),
    }))
}

/// The policy that is in force.
#[utoipa::path(get, path = "/v1/policy", operation_id = "policy_show", tag = "policy", security(("operator" = [])),
    responses((status = 200, description = "The policy", body = PolicyView), Problems))]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    _: Operator<PolicyRead>,
    params: Params,
) -> Result<Answer, Problem> {
    params.only(&[])?;
    Answer::ok(
        &app.blocking(|broker: &Broker| broker.policy.policy())
            .await?,
    )
}

/// Checks the policy's files without putting them into force.
#[utoipa::path(post, path = "/v1/policy/check", operation_id = "policy_check",
    tag = "policy", security(("operator" = [])),
    responses((status = 200, description = "What was found", body = PolicyCheck), Problems))]
pub(crate) async fn check(
    State(app): State<Arc<App>>,
    _: Operator<PolicyExplain>,
    _: NoInput,
) -> Result<Answer, Problem> {
    let words = |findings: &[_]| findings.iter().map(ToString::to_string).collect::<Vec<_>>();
    Answer::ok(&match app
        .blocking(|broker: &Broker| broker.policy.check_policy())
        .await?
    {
        Ok(warnings) => PolicyCheck {
            ok: true,
            errors: Vec::new(),
            warnings: words(&warnings),
        },
        Err(errors) => PolicyCheck {
            ok: false,
            errors: words(errors.findings()),
            warnings: words(errors.warnings()),
        },
    })
}

/// Puts the policy's files into force; when anything is wrong in any of them, the old policy stays.
#[utoipa::path(post, path = "/v1/policy/reload", operation_id = "policy_reload",
    tag = "policy", security(("operator" = [])),
    responses((status = 200, description = "The policy", body = PolicyView), Problems))]
pub(crate) async fn reload(
    State(app): State<Arc<App>>,
    operator: Operator<PolicyReload>,
    _: NoInput,
) -> Result<Answer, Problem> {
    let loaded = app.broker.policy.reload_policy(&operator.caller).await?;
    app.observer.policy_loaded(loaded.is_ok());
    Answer::ok(&loaded.map_err(|errors| Problem::policy(&errors))?)
}

/// Writes a grant into a file of its own and puts it into force.
#[utoipa::path(post, path = "/v1/policy/grants", operation_id = "policy_write_grant",
    tag = "policy", security(("operator" = [])), request_body = GrantRequest,
    responses((status = 201, description = "In force", body = GrantWritten), Problems))]
pub(crate) async fn write_grant(
    State(app): State<Arc<App>>,
    operator: Operator<PolicyWrite>,
    once: Once,
    input: Input<GrantRequest>,
) -> Result<Answer, Problem> {
    let grant = grant_of(input.value)?;
    let work = async |caller| {
        let written = app.broker.policy.write_grant(&caller, &grant).await?;
        app.observer.policy_loaded(written.is_ok());
        Answer::created(&written.map_err(|errors| Problem::policy(&errors))?)
    };
    once.run(&app, (operator.caller, input.digest), work).await
}

/// What the policy would answer, without minting or recording anything.
#[utoipa::path(post, path = "/v1/policy/explain", operation_id = "policy_explain",
    tag = "policy", security(("operator" = [])),
    request_body = ExplainRequest,
    responses((status = 200, description = "The answer", body = Explanation), Problems))]
pub(crate) async fn explain(
    State(app): State<Arc<App>>,
    _: Operator<PolicyExplain>,
    input: Input<ExplainRequest>,
) -> Result<Answer, Problem> {
    let supposed = supposed(&input.value, &app.broker)?;
    let (agent, request) = split(input.value);
    let (mut question, subject) = tasks::split(request)?;
    if let Some(subject) = subject {
        match app.steward_of(&subject).await? {
            Ok(verified) => question.verified = Some(verified),
            Err(BrokerError::Refused(reasons)) => {
                return Answer::ok(&Explanation::from(Decision::Refused(reasons)));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let explained = app
        .blocking(move |broker| broker.issuance.explain(&agent, question, supposed))
        .await??;
    Answer::ok(&Explanation {
        granted_if_bound: explained.granted_if_bound,
        ..Explanation::from(explained.decision)
    })
}
