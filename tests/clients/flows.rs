//! What every client is put through: metadata, token, `tools/list`, `tools/call`, by each of its flows.

use serde_json::{Value, json};

use crate::{
    broker_and_server::{Agent, BrokerAndServer},
    driver::Driver,
    idp::{APPLICATION_SECRET, Idp, PERSON},
    packages::Packages,
    table::Row,
};

/// A client as its registry gives it.
pub(crate) struct Stock {
    /// As the table calls it.
    pub(crate) client: &'static str,
    /// The package that its version is of.
    pub(crate) package: &'static str,
    /// How it can get a token; each is a column.
    pub(crate) flows: &'static [&'static str],
    /// The one of these that it uses a task's credentials in.
    pub(crate) task_flow: &'static str,
    /// A flow that it has and gets wrong itself: what the broker answers, and what the table says of it.
    pub(crate) broken: Option<(&'static str, &'static str, &'static str)>,
}

#[tokio::test(flavor = "multi_thread")]
async fn python_mcp_1_gets_through() {
    let Some(fetched) = Packages::Mcp1.fetched() else {
        return;
    };
    let broken = Some((
        "client_secret_post",
        "invalid_request",
        "no: it sends no `client_id`",
    ));
    let flows = &[BASIC, "private_key_jwt"];
    let stock = Stock {
        client: "Python `mcp` 1",
        package: "mcp",
        flows,
        task_flow: BASIC,
        broken,
    };
    walk_through(&stock, Driver::start(fetched.python("mcp1.py"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_mcp_2_gets_through() {
    let Some(fetched) = Packages::Mcp2.fetched() else {
        return;
    };
    let flows = &[
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt",
        "id_jag",
    ];
    let stock = Stock {
        client: "Python `mcp` 2",
        package: "mcp",
        flows,
        task_flow: BASIC,
        broken: None,
    };
    walk_through(&stock, Driver::start(fetched.python("mcp2.py"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fastmcp_gets_through() {
    let Some(fetched) = Packages::Mcp2.fetched() else {
        return;
    };
    let stock = Stock {
        client: "`fastmcp`",
        package: "fastmcp",
        flows: &SECRETS_AND_JWT,
        task_flow: BASIC,
        broken: None,
    };
    walk_through(&stock, Driver::start(fetched.python("fastmcp_client.py"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_sdk_1_gets_through() {
    let Some(fetched) = Packages::Node.fetched() else {
        return;
    };
    let package = "@modelcontextprotocol/sdk";
    let flows = &["client_secret_basic", "private_key_jwt"];
    let stock = Stock {
        client: "`@modelcontextprotocol/sdk`",
        package,
        flows,
        task_flow: BASIC,
        broken: None,
    };
    walk_through(&stock, Driver::start(fetched.node("sdk1.mjs"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_client_2_gets_through() {
    let Some(fetched) = Packages::Node.fetched() else {
        return;
    };
    let package = "@modelcontextprotocol/client";
    let flows = &["client_secret_basic", "private_key_jwt", "id_jag", "dpop"];
    let stock = Stock {
        client: "`@modelcontextprotocol/client`",
        package,
        flows,
        task_flow: BASIC,
        broken: None,
    };
    walk_through(&stock, Driver::start(fetched.node("client2.mjs"))).await;
}

/// Puts a client through all that it can do, and writes its row of the table.
pub(crate) async fn walk_through(stock: &Stock, mut driver: Driver) {
    let idp = Idp::open().await;
    let fixture = BrokerAndServer::open_with(&trusting(&idp)).await;
    fixture.register_person("alice", idp.url(), PERSON);
    let agent = fixture.register_agent("stock-client").await;
    let mut row = Row::of(stock.client, &driver.version(stock.package).await);
    for flow in stock.flows {
        row.note(
            column(flow),
            gets_through(&mut driver, &order(&fixture, &agent, Some(&idp), flow)).await,
        );
    }
    if let Some((flow, answer, note)) = stock.broken {
        let refused = driver
            .tell(&of_era(&order(&fixture, &agent, None, flow), ERAS[0]))
            .await
            .unwrap_err();
        assert!(refused.contains(answer), "{flow}: {refused}");
        row.note(column(flow), note);
    }
    row.note(
        "task client",
        uses_a_task(&fixture, &agent, &mut driver, stock.task_flow).await,
    );
    let plain = order(&fixture, &agent, None, stock.task_flow);
    row.note(
        "renewal",
        renews(&fixture, &agent, &mut driver, &plain).await,
    );
    row.note(
        "what a refused call says",
        is_refused(&mut driver, &plain).await,
    );
    row.note(
        "what a refused argument says",
        hears_of_a_refused_argument(&fixture, &agent, &mut driver, stock.task_flow).await,
    );
    row.note("step-up", steps_up(&fixture, &mut driver, plain).await);
    row.conclude();
}

/// Metadata, token, `tools/list`, `tools/call`, in both eras: the revisions of MCP that were spoken.
async fn gets_through(driver: &mut Driver, order: &Value) -> String {
    let flow = order["flow"].as_str().unwrap();
    let mut spoken = Vec::new();
    for era in ERAS {
        let protocol = connected(driver, order, era).await;
        assert_eq!(
            driver.list().await.unwrap(),
            ["read_ledger"],
            "{flow}, {era}"
        );
        let read = driver
            .call("read_ledger", json!({"year": 2026}))
            .await
            .unwrap();
        assert!(read.contains("rent"), "{flow}, {era}: {read}");
        driver.close().await;
        if !spoken.contains(&protocol) {
            spoken.push(protocol);
        }
    }
    spoken.join(", ")
}

/// Connects, and tells the revision of MCP that is spoken.
async fn connected(driver: &mut Driver, order: &Value, era: &str) -> String {
    let order = of_era(order, era);
    let opened = driver
        .tell(&order)
        .await
        .unwrap_or_else(|error| panic!("{}, {era}: {error}", order["flow"]));
    opened["protocol"]
        .as_str()
        .unwrap_or_else(|| panic!("{}, {era}: {opened}", order["flow"]))
        .to_owned()
}

/// A task's own credentials get exactly its pass, with no scope configured, and nothing once it has ended.
async fn uses_a_task(
    fixture: &BrokerAndServer,
    agent: &Agent,
    driver: &mut Driver,
    flow: &str,
) -> String {
    // Which the agent may do, and this task not.
    fixture.grant("deletes", &["delete_ledger"]).await;
    let task = fixture.open_task_client(agent, &["read_ledger"]).await;
    let order = json!({"do": "connect", "flow": flow, "url": fixture.server(), "issuer": fixture.issuer(),
        "client_id": task["client_id"], "client_secret": task["client_secret"]});
    let protocol = gets_through(driver, &order).await;
    fixture
        .complete_task(agent, task["task_id"].as_str().unwrap())
        .await;
    let refused = driver.tell(&of_era(&order, ERAS[0])).await.unwrap_err();
    assert!(refused.contains("invalid_client"), "{refused}");
    protocol
}

/// Whether it gets another pass when its own has ended, and goes on, in the same session where there are sessions.
async fn renews(
    fixture: &BrokerAndServer,
    agent: &Agent,
    driver: &mut Driver,
    order: &Value,
) -> &'static str {
    let mut outcomes = Vec::new();
    for era in ERAS {
        connected(driver, order, era).await;
        driver
            .call("read_ledger", json!({"year": 2026}))
            .await
            .unwrap();
        fixture.end_newest_task(agent).await;
        outcomes.push(driver.call("read_ledger", json!({"year": 2026})).await);
        driver.close().await;
    }
    match outcomes.as_slice() {
        [Ok(_), Ok(_)] => "yes",
        [Err(_), Err(_)] => "no",
        _ => panic!("not the same in both eras: {outcomes:?}"),
    }
}

/// What the client's error says of a call that is not granted.
async fn is_refused(driver: &mut Driver, order: &Value) -> String {
    connected(driver, order, ERAS[0]).await;
    let refused = driver
        .call("search_ledger", json!({"text": "rent"}))
        .await
        .unwrap_err();
    let says = if refused.contains("not_granted") {
        "our reason"
    } else if refused.contains("tool:search_ledger") {
        "the scope it lacks"
    } else if refused.contains("invalid_scope") {
        "`invalid_scope`"
    } else if refused.contains("403") {
        "403"
    } else {
        panic!("the client's error says nothing of use: {refused}")
    };
    let goes_on = driver
        .call("read_ledger", json!({"year": 2026}))
        .await
        .is_ok();
    if goes_on {
        driver.close().await;
    }
    format!(
        "{says}{}",
        if goes_on {
            ""
        } else {
            ", and its session ends"
        }
    )
}

/// What the client's error says of an argument beyond its limits. Its session goes on, and it asks for no other pass.
async fn hears_of_a_refused_argument(
    fixture: &BrokerAndServer,
    agent: &Agent,
    driver: &mut Driver,
    flow: &str,
) -> String {
    let limits = json!({"read_ledger": {"/year": {"min": 2000, "max": 2100}}});
    let task = fixture
        .open_limited_task_client(agent, &["read_ledger"], limits)
        .await;
    let order = json!({"do": "connect", "flow": flow, "url": fixture.server(), "issuer": fixture.issuer(),
        "client_id": task["client_id"], "client_secret": task["client_secret"]});
    let mut said = Vec::new();
    for era in ERAS {
        connected(driver, &order, era).await;
        let read = json!({"year": 2026});
        driver.call("read_ledger", read.clone()).await.unwrap();
        let passes = fixture.passes_of(&task).await;
        let refused = driver.call("read_ledger", json!({"year": 1})).await;
        let refused = refused.expect_err("a year beyond the limits was read");
        said.push(if refused.contains("must be between 2000 and 2100") {
            "our reason"
        } else {
            panic!("{era}: the client's error says nothing of use: {refused}")
        });
        driver.call("read_ledger", read).await.unwrap();
        assert_eq!(
            fixture.passes_of(&task).await,
            passes,
            "{era}: it asked for another pass"
        );
        driver.close().await;
    }
    said.dedup();
    said.join(", ")
}

/// Whether a call gets through that was granted after the pass was given.
async fn steps_up(
    fixture: &BrokerAndServer,
    driver: &mut Driver,
    mut order: Value,
) -> &'static str {
    if gets_through_once_granted(
        fixture,
        driver,
        &order,
        ("search_ledger", json!({"text": "rent"})),
    )
    .await
    {
        return "yes";
    }
    order["scope"] = Value::Null;
    let transfer = ("transfer", json!({"amount": 1, "account": "rent"}));
    if gets_through_once_granted(fixture, driver, &order, transfer).await {
        "when no scope is configured"
    } else {
        "no"
    }
}

async fn gets_through_once_granted(
    fixture: &BrokerAndServer,
    driver: &mut Driver,
    order: &Value,
    (tool, arguments): (&str, Value),
) -> bool {
    connected(driver, order, ERAS[0]).await;
    fixture.grant(&tool.replace('_', "-"), &[tool]).await;
    let got_through = driver.call(tool, arguments).await.is_ok();
    driver.close().await;
    got_through
}

fn of_era(order: &Value, era: &str) -> Value {
    let mut order = order.clone();
    order["era"] = json!(era);
    order
}

/// All that a flow may need to know; each takes its own.
fn order(fixture: &BrokerAndServer, agent: &Agent, idp: Option<&Idp>, flow: &str) -> Value {
    let idp = idp.map(|idp| {
        json!({"issuer": idp.url(), "token_endpoint": idp.token_endpoint(), "id_token": idp.id_token(&agent.id),
            "client_id": agent.id, "client_secret": APPLICATION_SECRET})
    });
    json!({"do": "connect", "flow": flow, "url": fixture.server(), "issuer": fixture.issuer(), "client_id": agent.id,
        "client_secret": agent.secret, "private_key": agent.key.serialize_pem(), "algorithm": "ES256",
        "scope": "tool:read_ledger", "idp": idp})
}

fn column(flow: &str) -> &'static str {
    match flow {
        "client_secret_basic" => "`client_secret_basic`",
        "client_secret_post" => "`client_secret_post`",
        "private_key_jwt" => "`private_key_jwt`",
        "id_jag" => "ID-JAG",
        "dpop" => "DPoP",
        other => panic!("no column for {other}"),
    }
}

/// The broker's settings under which it believes `idp`.
fn trusting(idp: &Idp) -> String {
    format!(
        "[[oauth.issuer]]\nissuer = \"{}\"\nkinds = [\"id_jag\"]\nnetworks = [\"127.0.0.0/8\"]\n",
        idp.url()
    )
}

/// MCP as the client speaks it best, and as all did before 2026-07-28.
const ERAS: [&str; 2] = ["newest", "legacy"];

const BASIC: &str = "client_secret_basic";
const SECRETS_AND_JWT: [&str; 3] = [BASIC, "client_secret_post", "private_key_jwt"];
