//! The whole report, for real, in a temporary directory: a broker, an MCP server and an MCP client
//! talk over sockets on loopback. Exits 0 only if every step had the expected outcome.
//!
//! ```sh
//! cargo run --example quickstart
//! ```

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "it is there to be read; an absent member of a JSON answer is null"
)]

#[path = "support/ledger.rs"]
mod ledger;
#[path = "support/report.rs"]
mod report;

use std::{error::Error, process::ExitCode};

use hallpass_broker::ledger::audit;
use hallpass_core::token::{
    Attenuated, GrantedDetail, Narrowing, PassToken, UnverifiedPass, attenuate,
};
use serde_json::json;

use report::{Demo, Outcome, Pass, Report};

#[tokio::main]
async fn main() -> ExitCode {
    let mut report = Report::new();
    match play(&mut report).await {
        Ok(()) => report.end(),
        Err(error) => {
            eprintln!("\nthe report broke off: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn play(report: &mut Report) -> Result<(), Box<dyn Error>> {
    let demo = set_up(report).await?;
    let pass = report
        .step("the agent asks for a pass for one task", demo.open_task())
        .await?;
    println!("     {} until {}", pass.task_id, pass.expires_at);
    for (right, grant) in &pass.decided_by {
        println!("     {right}: by grant `{grant}`");
    }
    use_it(report, &demo, &pass.token).await?;
    let narrowed = hand_it_on(report, &demo, &pass).await?;

    report
        .step(
            "the admin revokes the pass; the feed carries it to the server",
            demo.revoke(&pass.revocation_id),
        )
        .await?;
    let read = || json!({"year": 2026});
    let revoked = Outcome::Refused("revoked_token");
    report
        .expect(
            "the agent reads the ledger: refused",
            demo.call(&pass.token, "read_ledger", read()),
            revoked,
        )
        .await;
    report
        .expect(
            "the sub-agent reads the ledger: refused",
            demo.call(&narrowed, "read_ledger", read()),
            revoked,
        )
        .await;
    let ended = Outcome::Refused("task_ended");
    report
        .expect(
            "the agent asks for another pass in the task: refused",
            demo.renew(&pass.task_id),
            ended,
        )
        .await;

    look_back(report, &demo, &pass.task_id).await
}

async fn set_up(report: &mut Report) -> Result<Demo, Box<dyn Error>> {
    let demo = report
        .step(
            "start a broker; its first start makes keys and the admin's token",
            Demo::build(),
        )
        .await?;
    println!(
        "     broker {}, MCP server {}",
        demo.broker_url(),
        demo.server()
    );
    report
        .step(
            "the admin registers the MCP server, with a manifest of its tools",
            demo.register_server(),
        )
        .await?;
    report
        .step(
            "the admin registers the agent research-bot, for whom alice answers",
            demo.register_agent(),
        )
        .await?;
    report
        .step(
            "the admin writes a grant: research may read, search, transfer up to 100",
            demo.write_grant(),
        )
        .await?;
    report
        .step(
            "the MCP server starts and follows the broker's feed",
            demo.start_server(),
        )
        .await?;
    Ok(demo)
}

async fn use_it(report: &mut Report, demo: &Demo, pass: &PassToken) -> Result<(), Box<dyn Error>> {
    let tools = Outcome::Says("read_ledger, search_ledger, transfer");
    report
        .expect(
            "the agent lists the tools: only what its pass names",
            demo.list_tools(pass),
            tools,
        )
        .await;
    let reading = demo.call(pass, "read_ledger", json!({"year": 2026}));
    report
        .expect(
            "the agent reads the ledger of 2026",
            reading,
            Outcome::Says("rent"),
        )
        .await;
    let transfer = |amount| {
        demo.call(
            pass,
            "transfer",
            json!({"amount": amount, "account": "rent"}),
        )
    };
    report
        .expect(
            "the agent transfers 100",
            transfer(100),
            Outcome::Says("booked by research-bot"),
        )
        .await;
    report
        .expect(
            "the agent transfers 101: refused",
            transfer(101),
            Outcome::Refused("argument_constraint"),
        )
        .await;
    let deleting = demo.call(pass, "delete_ledger", json!({"year": 2026}));
    report
        .expect(
            "the agent deletes the ledger: refused",
            deleting,
            Outcome::Refused("not_granted"),
        )
        .await;
    Ok(())
}

async fn hand_it_on(
    report: &mut Report,
    demo: &Demo,
    pass: &Pass,
) -> Result<PassToken, Box<dyn Error>> {
    let narrowing = async { allow_only(demo, &pass.token, &["read_ledger"]) };
    let Attenuated {
        token: narrowed,
        blocks,
        ..
    } = report
        .step(
            "the agent narrows its pass for a sub-agent, offline: read_ledger only",
            narrowing,
        )
        .await?;
    let said = UnverifiedPass::parse(narrowed.expose())?
        .dangerous_unverified_summary()
        .blocks;
    let last = said.last().ok_or("the narrowed pass has no block")?;
    println!(
        "     block {}: {}",
        said.len() - 1,
        last.requires.join("; ")
    );
    let delegation = demo.report_delegation(&pass.task_id, &blocks, "summariser");
    report
        .step(
            "the agent tells the broker whom it handed the narrowed pass to",
            delegation,
        )
        .await?;
    let reading = demo.call(&narrowed, "read_ledger", json!({"year": 2026}));
    report
        .expect(
            "the sub-agent reads the ledger",
            reading,
            Outcome::Says("rent"),
        )
        .await;
    let transfer = |pass| demo.call(pass, "transfer", json!({"amount": 1, "account": "rent"}));
    let refused = Outcome::Refused("not_granted");
    report
        .expect(
            "the sub-agent transfers 1: refused",
            transfer(&narrowed),
            refused,
        )
        .await;

    // What a dishonest sub-agent might try: blocks can only add checks, so this changes nothing.
    let everything = ["read_ledger", "search_ledger", "transfer", "delete_ledger"];
    let widening = async { allow_only(demo, &narrowed, &everything) };
    let widened = report
        .step(
            "the sub-agent appends a block that names everything",
            widening,
        )
        .await?
        .token;
    report
        .expect(
            "the widened pass transfers 1: refused",
            transfer(&widened),
            refused,
        )
        .await;
    let deleting = demo.call(&widened, "delete_ledger", json!({"year": 2026}));
    report
        .expect(
            "the widened pass deletes the ledger: refused",
            deleting,
            refused,
        )
        .await;
    Ok(narrowed)
}

async fn look_back(report: &mut Report, demo: &Demo, task: &str) -> Result<(), Box<dyn Error>> {
    let trail = report
        .step(
            "the audit trail tells every step of the task",
            demo.audit(&format!("&task={task}")),
        )
        .await?;
    for (_, line) in &trail {
        println!("     {line}");
    }
    let found: Vec<_> = trail.iter().map(|(kind, _)| kind.as_str()).collect();
    if found != OF_THE_TASK {
        return Err(format!("the audit trail of the task says {found:?}").into());
    }
    let whole = report
        .step("and, beside it, the set-up", demo.audit(""))
        .await?;
    let mut found = whole.iter().map(|(kind, _)| kind);
    if let Some(missing) = ON_THE_STAGE
        .iter()
        .find(|wanted| !found.any(|kind| kind == *wanted))
    {
        return Err(format!("the audit trail has no `{missing}` in its place").into());
    }
    let calls = report
        .step(
            "every call that the server decided is traced to alice",
            demo.calls(task),
        )
        .await?;
    for (_, line) in &calls {
        println!("     {line}");
    }
    if calls.len() < CALLS || calls.iter().any(|(answers, _)| answers != "alice") {
        return Err(format!(
            "of at least {CALLS} calls {} are found, not all of them alice's",
            calls.len()
        )
        .into());
    }
    let journal = demo.journal();
    report
        .step(
            "the broker finishes what it is doing and stops",
            demo.stop(),
        )
        .await?;
    let checking = async { audit::verify_file(&journal, &audit::Claims::default()) };
    let summary = report
        .step("the journal verifies from its file alone", checking)
        .await?;
    println!("     {} records, head {}", summary.records, summary.head);
    Ok(())
}

/// A block that allows only `tools`. Needs no key and no network.
fn allow_only(demo: &Demo, pass: &PassToken, tools: &[&str]) -> Result<Attenuated, Box<dyn Error>> {
    let mut detail = GrantedDetail::new(demo.server().clone());
    detail.tools = tools
        .iter()
        .map(|tool| tool.parse())
        .collect::<Result<_, _>>()?;
    let mut narrowing = Narrowing::default();
    narrowing.rights = Some(vec![detail]);
    Ok(attenuate(pass, &narrowing)?)
}

/// What the trail says of the task: this, in this order, and nothing else.
const OF_THE_TASK: [&str; 5] = [
    "task_opened",
    "token_issued",
    "delegation_reported",
    "revoked",
    "request_refused",
];

/// What it says of what was there before, in this order, among other things.
const ON_THE_STAGE: [&str; 5] = [
    "server_set",
    "steward_added",
    "agent_set",
    "policy_loaded",
    "operator_added",
];

/// How many calls were made in the task; a refused one is asked for its reason once more.
const CALLS: usize = 10;
