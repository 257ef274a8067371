//! The whole story, for real, in a temporary directory: a broker, an MCP server and an MCP client
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
#[path = "support/story.rs"]
mod story;

use std::{error::Error, process::ExitCode};

use hallpass_broker::ledger::audit;
use hallpass_core::token::{
    Attenuated, GrantedDetail, Narrowing, PassToken, UnverifiedPass, attenuate,
};
use serde_json::json;

use story::{House, Outcome, Pass, Story};

#[tokio::main]
async fn main() -> ExitCode {
    let mut story = Story::new();
    match play(&mut story).await {
        Ok(()) => story.end(),
        Err(error) => {
            eprintln!("\nthe story broke off: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn play(story: &mut Story) -> Result<(), Box<dyn Error>> {
    let house = set_the_stage(story).await?;
    let pass = story
        .step("the agent asks for a pass for one task", house.open_task())
        .await?;
    println!("     {} until {}", pass.task_id, pass.expires_at);
    for (right, grant) in &pass.decided_by {
        println!("     {right}: by grant `{grant}`");
    }
    use_it(story, &house, &pass.token).await?;
    let narrowed = hand_it_on(story, &house, &pass).await?;

    story
        .step(
            "the admin revokes the pass; the feed carries it to the server",
            house.revoke(&pass.revocation_id),
        )
        .await?;
    let read = || json!({"year": 2026});
    let revoked = Outcome::Refused("revoked_token");
    story
        .expect(
            "the agent reads the ledger: refused",
            house.call(&pass.token, "read_ledger", read()),
            revoked,
        )
        .await;
    story
        .expect(
            "the sub-agent reads the ledger: refused",
            house.call(&narrowed, "read_ledger", read()),
            revoked,
        )
        .await;
    let ended = Outcome::Refused("task_ended");
    story
        .expect(
            "the agent asks for another pass in the task: refused",
            house.renew(&pass.task_id),
            ended,
        )
        .await;

    look_back(story, &house, &pass.task_id).await
}

async fn set_the_stage(story: &mut Story) -> Result<House, Box<dyn Error>> {
    let house = story
        .step(
            "start a broker; its first start makes keys and the admin's token",
            House::build(),
        )
        .await?;
    println!(
        "     broker {}, MCP server {}",
        house.broker_url(),
        house.server()
    );
    story
        .step(
            "the admin registers the MCP server, with a manifest of its tools",
            house.register_server(),
        )
        .await?;
    story
        .step(
            "the admin registers the agent research-bot, for whom alice answers",
            house.register_agent(),
        )
        .await?;
    story
        .step(
            "the admin writes a grant: research may read, search, transfer up to 100",
            house.write_grant(),
        )
        .await?;
    story
        .step(
            "the MCP server starts and follows the broker's feed",
            house.start_server(),
        )
        .await?;
    Ok(house)
}

async fn use_it(story: &mut Story, house: &House, pass: &PassToken) -> Result<(), Box<dyn Error>> {
    let tools = Outcome::Says("read_ledger, search_ledger, transfer");
    story
        .expect(
            "the agent lists the tools: only what its pass names",
            house.list_tools(pass),
            tools,
        )
        .await;
    let reading = house.call(pass, "read_ledger", json!({"year": 2026}));
    story
        .expect(
            "the agent reads the ledger of 2026",
            reading,
            Outcome::Says("rent"),
        )
        .await;
    let transfer = |amount| {
        house.call(
            pass,
            "transfer",
            json!({"amount": amount, "account": "rent"}),
        )
    };
    story
        .expect(
            "the agent transfers 100",
            transfer(100),
            Outcome::Says("booked by research-bot"),
        )
        .await;
    story
        .expect(
            "the agent transfers 101: refused",
            transfer(101),
            Outcome::Refused("argument_constraint"),
        )
        .await;
    let deleting = house.call(pass, "delete_ledger", json!({"year": 2026}));
    story
        .expect(
            "the agent deletes the ledger: refused",
            deleting,
            Outcome::Refused("not_granted"),
        )
        .await;
    Ok(())
}

async fn hand_it_on(
    story: &mut Story,
    house: &House,
    pass: &Pass,
) -> Result<PassToken, Box<dyn Error>> {
    let narrowing = async { allow_only(house, &pass.token, &["read_ledger"]) };
    let Attenuated {
        token: narrowed,
        blocks,
        ..
    } = story
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
    let report = house.report_delegation(&pass.task_id, &blocks, "summariser");
    story
        .step(
            "the agent tells the broker whom it handed the narrowed pass to",
            report,
        )
        .await?;
    let reading = house.call(&narrowed, "read_ledger", json!({"year": 2026}));
    story
        .expect(
            "the sub-agent reads the ledger",
            reading,
            Outcome::Says("rent"),
        )
        .await;
    let transfer = |pass| house.call(pass, "transfer", json!({"amount": 1, "account": "rent"}));
    let refused = Outcome::Refused("not_granted");
    story
        .expect(
            "the sub-agent transfers 1: refused",
            transfer(&narrowed),
            refused,
        )
        .await;

    // What a dishonest sub-agent might try: blocks can only add checks, so this changes nothing.
    let everything = ["read_ledger", "search_ledger", "transfer", "delete_ledger"];
    let widening = async { allow_only(house, &narrowed, &everything) };
    let widened = story
        .step(
            "the sub-agent appends a block that names everything",
            widening,
        )
        .await?
        .token;
    story
        .expect(
            "the widened pass transfers 1: refused",
            transfer(&widened),
            refused,
        )
        .await;
    let deleting = house.call(&widened, "delete_ledger", json!({"year": 2026}));
    story
        .expect(
            "the widened pass deletes the ledger: refused",
            deleting,
            refused,
        )
        .await;
    Ok(narrowed)
}

async fn look_back(story: &mut Story, house: &House, task: &str) -> Result<(), Box<dyn Error>> {
    let trail = story
        .step(
            "the audit trail tells every step of the task",
            house.audit(&format!("&task={task}")),
        )
        .await?;
    for (_, line) in &trail {
        println!("     {line}");
    }
    let told: Vec<_> = trail.iter().map(|(kind, _)| kind.as_str()).collect();
    if told != OF_THE_TASK {
        return Err(format!("the audit trail of the task says {told:?}").into());
    }
    let whole = story
        .step("and, beside it, how the stage was set", house.audit(""))
        .await?;
    let mut told = whole.iter().map(|(kind, _)| kind);
    if let Some(missing) = ON_THE_STAGE
        .iter()
        .find(|wanted| !told.any(|kind| kind == *wanted))
    {
        return Err(format!("the audit trail has no `{missing}` in its place").into());
    }
    let calls = story
        .step(
            "every call that the server decided is traced to alice",
            house.calls(task),
        )
        .await?;
    for (_, line) in &calls {
        println!("     {line}");
    }
    if calls.len() < CALLS || calls.iter().any(|(answers, _)| answers != "alice") {
        return Err(format!(
            "of at least {CALLS} calls {} are told, not all of them alice's",
            calls.len()
        )
        .into());
    }
    let journal = house.journal();
    story
        .step(
            "the broker finishes what it is doing and stops",
            house.stop(),
        )
        .await?;
    let checking = async { audit::verify_file(&journal, &audit::Claims::default()) };
    let summary = story
        .step("the journal verifies from its file alone", checking)
        .await?;
    println!("     {} records, head {}", summary.records, summary.head);
    Ok(())
}

/// A block that allows only `tools`. Needs no key and no network.
fn allow_only(
    house: &House,
    pass: &PassToken,
    tools: &[&str],
) -> Result<Attenuated, Box<dyn Error>> {
    let mut detail = GrantedDetail::new(house.server().clone());
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
