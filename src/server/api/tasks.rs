//! Tasks: agents open them and get passes; operators look on.

use std::{sync::Arc, time::Duration};

use axum::extract::State;

use crate::{
    api::{
        Page,
        tasks::{AgainRequest, Credentials, DelegationRequest, Issued, OpenRequest, Opened},
    },
    server::{
        App,
        api::{
            auth::{Agent, Reader, needs::TasksRead},
            openapi::{Paging, Problems},
            subject::SubjectToken,
        },
        edge::{
            answer::Answer,
            extract::{Input, Named, NoInput, Params},
            idempotency::Once,
            problem::Problem,
        },
        oauth::grammar::metadata::TOKEN,
    },
};
use hallpass_broker::{DelegationReport, DelegationView, IssueAgain, OpenTask, TaskItem, TaskView};
use hallpass_core::{
    base::{
        digest::Digest,
        ids::{AgentId, TaskId},
    },
    token::Holding,
};

/// The question in `request`, and its subject token, which is still to be verified.
pub(crate) fn split(mut request: OpenRequest) -> Result<(OpenTask, Option<SubjectToken>), Problem> {
    let subject = request
        .subject_token
        .take()
        .map(|token| SubjectToken::read(token.expose()))
        .transpose()?;
    let holder = match (request.holder_key, request.max_delegation_depth) {
        (Some(key), depth) => Some(Holding {
            key,
            max_delegations: depth.unwrap_or(0),
        }),
        (None, None) => None,
        (None, Some(_)) => {
            let detail = "needs `holder_key`: depth cannot be enforced on bearer passes";
            return Err(Problem::invalid("max_delegation_depth", detail));
        }
    };
    let question = OpenTask {
        purpose: request.purpose,
        ttl: Duration::from_secs(request.ttl_seconds),
        details: request.authorization_details,
        fixed_rights: false,
        allow_partial: request.allow_partial,
        steward: request.steward,
        verified: None,
        context: request.context,
        holder,
    };
    Ok((question, subject))
}

/// Opens a task and mints its first pass, or makes credentials by which an OAuth client gets its passes.
#[utoipa::path(post, path = "/v1/tasks", operation_id = "tasks_open",
    tag = "tasks", security(("agent" = [])), request_body = OpenRequest,
    responses((status = 201, description = "The pass, or the credentials", body = Opened), Problems))]
pub(crate) async fn open(
    State(app): State<Arc<App>>,
    agent: Agent,
    once: Once,
    input: Input<OpenRequest>,
) -> Result<Answer, Problem> {
    app.charge(&agent.agent, &input.value.authorization_details)?;
    let credentials = input.value.credentials;
    let ((mut request, subject), body) = (split(input.value)?, input.digest);
    let work = async |caller| {
        if let Some(subject) = subject {
            match app.steward_of(&subject).await? {
                Ok(verified) => request.verified = Some(verified),
                Err(error) => {
                    let refused = (request, error);
                    let issuance = &app.broker.issuance;
                    return Err(issuance
                        .refuse_task(&caller, &agent.agent, refused)
                        .await
                        .into());
                }
            }
        }
        if credentials == Some(Credentials::ClientSecret) {
            let opened = app
                .broker
                .issuance
                .open_task_for_client(&caller, &agent.agent, request)
                .await?;
            let issuer = app.broker.issuer();
            let endpoint = format!("{issuer}{TOKEN}");
            return Answer::created(&Opened::with_credentials(&opened, issuer, endpoint));
        }
        let issued = app
            .broker
            .issuance
            .open_task(&caller, &agent.agent, request)
            .await?;
        app.observer.minted();
        Answer::created(&Opened::from(Issued::from(&issued)))
    };
    once.run(&app, (agent.caller.clone(), body), work).await
}

/// Mints another pass in a task; the task's end stays.
#[utoipa::path(post, path = "/v1/tasks/{task_id}/tokens", operation_id = "tasks_issue_again",
    tag = "tasks", security(("agent" = [])), request_body = AgainRequest,
    params(("task_id" = String, Path)),
    responses((status = 201, description = "The pass", body = Issued), Problems))]
pub(crate) async fn issue_again(
    State(app): State<Arc<App>>,
    agent: Agent,
    Named(task): Named<TaskId>,
    once: Once,
    input: Input<AgainRequest>,
) -> Result<Answer, Problem> {
    let request = IssueAgain {
        details: input.value.authorization_details,
    };
    match &request.details {
        Some(details) => app.charge(&agent.agent, details)?,
        None => {
            let asked = app.broker.state().asked_by(&agent.agent, &task);
            app.charge(&agent.agent, &asked)?;
        }
    }
    let work = async |caller| {
        let issued = app
            .broker
            .issuance
            .issue_again(&caller, &agent.agent, (&task, request))
            .await?;
        app.observer.minted();
        Answer::created(&Issued::from(&issued))
    };
    once.run(&app, (agent.caller.clone(), input.digest), work)
        .await
}

/// Ends a task: its passes die everywhere.
#[utoipa::path(post, path = "/v1/tasks/{task_id}/complete", operation_id = "tasks_complete",
    tag = "tasks", security(("agent" = [])), params(("task_id" = String, Path)),
    responses((status = 200, description = "The task", body = TaskView), Problems))]
pub(crate) async fn complete(
    State(app): State<Arc<App>>,
    agent: Agent,
    Named(task): Named<TaskId>,
    once: Once,
    _: NoInput,
) -> Result<Answer, Problem> {
    let work = async |caller| {
        let view = app
            .broker
            .tasks
            .complete_task(&caller, &agent.agent, &task)
            .await?;
        Answer::ok(&view)
    };
    once.run(&app, (agent.caller.clone(), Digest::ZERO), work)
        .await
}

/// Reports blocks that the agent appended, so that they can be revoked before first use.
#[utoipa::path(post, path = "/v1/tasks/{task_id}/delegations", operation_id = "tasks_report_delegation",
    tag = "tasks", security(("agent" = [])), request_body = DelegationRequest,
    params(("task_id" = String, Path)),
    responses((status = 201, description = "The delegation", body = DelegationView), Problems))]
pub(crate) async fn report_delegation(
    State(app): State<Arc<App>>,
    agent: Agent,
    Named(task): Named<TaskId>,
    once: Once,
    input: Input<DelegationRequest>,
) -> Result<Answer, Problem> {
    let DelegationRequest {
        blocks,
        delegate,
        delegate_key,
    } = input.value;
    let report = DelegationReport {
        blocks,
        delegate,
        delegate_key,
    };
    let work = async |caller| {
        let view = app
            .broker
            .tasks
            .report_delegation(&caller, &agent.agent, (&task, report))
            .await?;
        Answer::created(&view)
    };
    once.run(&app, (agent.caller.clone(), input.digest), work)
        .await
}

/// One task; an agent sees its own.
#[utoipa::path(get, path = "/v1/tasks/{task_id}", operation_id = "tasks_show",
    tag = "tasks", params(("task_id" = String, Path)),
    responses((status = 200, description = "The task", body = TaskView), Problems))]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    reader: Reader<TasksRead>,
    Named(task): Named<TaskId>,
    params: Params,
) -> Result<Answer, Problem> {
    params.only(&[])?;
    let agent = reader.confined_to().cloned();
    // A task that memory has forgotten is read from the disk.
    Answer::ok(
        &app.blocking(move |broker| broker.tasks.task(&task, agent.as_ref()))
            .await??,
    )
}

/// Tasks that are open or ended lately, newest first; an agent sees its own.
#[utoipa::path(get, path = "/v1/tasks", operation_id = "tasks_list", tag = "tasks",
    params(("agent" = Option<String>, Query), Paging),
    responses((status = 200, description = "A page", body = Page<TaskItem>), Problems))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    reader: Reader<TasksRead>,
    params: Params,
) -> Result<Answer, Problem> {
    let params = params.only(&["agent", "limit", "cursor"])?;
    let asked = params.parsed::<AgentId>("agent")?;
    let agent = match (reader.confined_to(), asked) {
        (Some(own), Some(other)) if *own != other => {
            return Err(Problem::forbidden("an agent sees its own tasks").field("agent"));
        }
        (Some(own), _) => Some(own.clone()),
        (None, asked) => asked,
    };
    let (list, limit) = (params.list("tasks"), params.limit()?);
    let after = params.after::<TaskId>(&list)?;
    let items = app
        .broker
        .tasks
        .tasks(agent.as_ref(), after.as_ref(), limit.saturating_add(1));
    Page::answer(&list, items, limit, |task| task.task_id.clone())
}
