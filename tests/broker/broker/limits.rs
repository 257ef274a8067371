//! What limited a task when it was opened limits every pass that ever comes of it, whatever is asked for later.

use std::collections::BTreeSet;

use hallpass_broker::{Ask, NewAgent, PersonsClient, Redemption, Refresh, SignedIn, TaskClient};
use hallpass_core::{
    base::{digest::Digest, ids::TaskId},
    token::{GrantedDetail, Narrowing, RequestedDetail, attenuate, scope::Scope},
};
use proptest::prelude::*;

use super::{
    exchanges::{Of, exchange, named},
    *,
};

/// A call: the tool, and for `read_ledger` the year.
type Calls = BTreeSet<(&'static str, Option<i64>)>;

const YEARS: [i64; 3] = [1, 2, 3];
const OTHERS: [&str; 3] = ["search_ledger", "transfer", "delete_ledger"];

/// What is asked for: some tools, and years up to one where `read_ledger` is among them.
#[derive(Debug, Clone)]
struct Wanted {
    years: Option<i64>,
    others: BTreeSet<&'static str>,
}

#[derive(Debug, Clone)]
enum Step {
    /// An agent opens a task, whose rights another party may have fixed.
    Open { wanted: Wanted, fixed: bool },
    /// A person allows a client something.
    Consent(Wanted),
    /// An agent opens a task for a client of its own.
    ForClient(Wanted),
    /// The agent of a task asks for another pass.
    Again { task: usize, wanted: Option<Wanted> },
    /// The client of a person asks for another pass.
    Refresh { task: usize, wanted: Option<Wanted> },
    /// A task's own client asks for a pass.
    Client { task: usize },
    /// A pass is narrowed, or not, and exchanged.
    Exchange {
        pass: usize,
        actor: usize,
        narrowed: Option<Wanted>,
        wanted: Option<Wanted>,
    },
}

/// A task, and all that any pass in it may ever allow.
struct Opened {
    agent: AgentId,
    task: TaskId,
    limit: Calls,
    refresh: Option<String>,
    /// What its own client may have, where it has one.
    client: Option<Calls>,
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let others = prop::sample::subsequence(&OTHERS[..], 0..=3);
    (prop::option::of(1..=3_i64), others)
        .prop_map(|(years, others)| Wanted {
            years,
            others: others.into_iter().collect(),
        })
        .prop_filter("asks for something", |wanted| {
            wanted.years.is_some() || !wanted.others.is_empty()
        })
}

fn step() -> impl Strategy<Value = Step> {
    let some = || prop::option::of(wanted());
    prop_oneof![
        2 => (wanted(), any::<bool>()).prop_map(|(wanted, fixed)| Step::Open { wanted, fixed }),
        2 => wanted().prop_map(Step::Consent),
        1 => wanted().prop_map(Step::ForClient),
        3 => (any::<usize>(), some()).prop_map(|(task, wanted)| Step::Again { task, wanted }),
        3 => (any::<usize>(), some()).prop_map(|(task, wanted)| Step::Refresh { task, wanted }),
        1 => any::<usize>().prop_map(|task| Step::Client { task }),
        5 => (any::<usize>(), any::<usize>(), some(), some())
            .prop_map(|(pass, actor, narrowed, wanted)| Step::Exchange { pass, actor, narrowed, wanted }),
    ]
}

impl Wanted {
    fn tools(&self) -> Vec<&'static str> {
        let read = self.years.map(|_| "read_ledger");
        read.into_iter()
            .chain(self.others.iter().copied())
            .collect()
    }

    fn json(&self) -> serde_json::Value {
        let mut detail = json!({"type": "mcp", "server": support::SERVER, "tools": self.tools()});
        if let Some(last) = self.years {
            detail["constraints"] = json!({"read_ledger": {"/year": {"max": last}}});
        }
        detail
    }

    fn requested(&self) -> RequestedDetail {
        serde_json::from_value(self.json()).unwrap()
    }

    fn granted(&self) -> GrantedDetail {
        serde_json::from_value(self.json()).unwrap()
    }

    fn scope(&self) -> String {
        let tools = self.tools().into_iter().map(|tool| format!("tool:{tool}"));
        tools.collect::<Vec<_>>().join(" ")
    }

    fn calls(&self) -> Calls {
        let years = YEARS
            .iter()
            .filter(|year| self.years.is_some_and(|last| **year <= last));
        let reads = years.map(|year| ("read_ledger", Some(*year)));
        reads
            .chain(self.others.iter().map(|tool| (*tool, None)))
            .collect()
    }
}

fn all() -> Calls {
    let others = OTHERS.into_iter().collect();
    Wanted {
        years: Some(3),
        others,
    }
    .calls()
}

/// What `token` allows at the server.
fn allowed(verifier: &Verifier, token: &PassToken) -> Calls {
    let pass = verifier.verify(token.expose()).unwrap();
    let is_allowed = |(tool, year): &(&'static str, Option<i64>)| {
        let arguments = year.map(|year| json!({"year": year}));
        verifier
            .clear(&pass, &Call::tool(tool, arguments.as_ref()))
            .is_ok()
    };
    all().into_iter().filter(is_allowed).collect()
}

/// A broker, its verifier, and everything that was opened and minted.
struct World {
    fixture: BrokerFiles,
    broker: Arc<Broker>,
    verifier: Verifier,
    tasks: Vec<Opened>,
    /// Each with what it allows.
    passes: Vec<(PassToken, Calls)>,
}

const AGENTS: [&str; 3] = ["research-bot", "helper-bot", "desk-app"];

impl World {
    async fn new() -> Self {
        let fixture = BrokerFiles::new();
        let everything = GRANT.replace(r#""read_*", "search_*""#, r#""*""#);
        std::fs::write(
            fixture.directory.path().join("policy/reads.toml"),
            everything,
        )
        .unwrap();
        let broker = fixture.with_registrations().await;
        for agent in &AGENTS[1..] {
            let new = NewAgent {
                keys: Vec::new(),
                redirect_uris: vec!["http://127.0.0.1/cb".parse().unwrap()],
                ..new_agent(agent)
            };
            broker.registry.add_agent(&admin(), new).await.unwrap();
        }
        let verifier = fixture.verifier(&broker);
        Self {
            fixture,
            broker,
            verifier,
            tasks: Vec::new(),
            passes: Vec::new(),
        }
    }

    /// Notes a pass, and holds it to `limit`.
    fn minted(&mut self, issued: &Issued, limit: &Calls) -> Result<(), TestCaseError> {
        self.fixture.tell(&self.broker, &self.verifier);
        let allowed = allowed(&self.verifier, &issued.token);
        prop_assert!(allowed.is_subset(limit), "{allowed:?} beyond {limit:?}");
        let server = support::server();
        let told = self
            .broker
            .verifiers
            .introspect(&server, issued.token.expose())
            .unwrap();
        for detail in told.unwrap().rights {
            for tool in &detail.tools {
                prop_assert!(
                    limit.iter().any(|(name, _)| *name == tool.as_str()),
                    "{tool}"
                );
            }
        }
        let token = PassToken::from_text(issued.token.expose().to_owned());
        self.passes.push((token, allowed));
        Ok(())
    }

    async fn run(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Open { wanted, fixed } => self.open(wanted, fixed).await,
            Step::Consent(wanted) => self.consent(wanted).await,
            Step::ForClient(wanted) => self.open_for_client(wanted).await,
            Step::Again { task, wanted } => self.again(task, wanted).await,
            Step::Refresh { task, wanted } => self.refresh(task, wanted).await,
            Step::Client { task } => self.client(task).await,
            Step::Exchange {
                pass,
                actor,
                narrowed,
                wanted,
            } => self.exchange((pass, narrowed), actor, wanted).await,
        }
    }

    async fn open(&mut self, wanted: Wanted, fixed: bool) -> Result<(), TestCaseError> {
        let (caller, agent) = bot();
        let request = OpenTask {
            details: vec![wanted.requested()],
            fixed_rights: fixed,
            ..wants(&[])
        };
        let issued = self
            .broker
            .issuance
            .open_task(&caller, &agent, request)
            .await
            .unwrap();
        let limit = if fixed { wanted.calls() } else { all() };
        self.minted(&issued, &wanted.calls())?;
        self.opened(agent, issued.task.task, limit);
        Ok(())
    }

    fn opened(&mut self, agent: AgentId, task: TaskId, limit: Calls) {
        self.tasks.push(Opened {
            agent,
            task,
            limit,
            refresh: None,
            client: None,
        });
    }

    async fn consent(&mut self, wanted: Wanted) -> Result<(), TestCaseError> {
        let (caller, agent) = named("desk-app");
        let ask = Ask {
            client: PersonsClient::Known(agent.clone()),
            redirect_uri: None,
            challenge: Digest::of(b"verifier"),
            holder: None,
            in_detail: false,
            details: vec![wanted.requested()],
        };
        let person = self
            .broker
            .registry
            .add_steward(&admin(), ("bob", None))
            .await
            .unwrap();
        let offer = self
            .broker
            .consents
            .offer(SignedIn::with_code(person.steward.clone()), ask)
            .unwrap();
        let code = self
            .broker
            .consents
            .consent(&Caller::broker(), offer)
            .await
            .unwrap();
        let redemption = Redemption {
            code: code.expose(),
            redirect_uri: None,
            verifier: Digest::of(b"verifier"),
            servers: BTreeSet::new(),
            holder: None,
        };
        let handed = self
            .broker
            .codes
            .redeem_code(&caller, &agent, redemption)
            .await
            .unwrap();
        self.minted(&handed.issued, &wanted.calls())?;
        self.opened(agent, handed.issued.task.task, wanted.calls());
        let opened = self.tasks.last_mut().unwrap();
        opened.refresh = Some(handed.refresh.expose().to_owned());
        Ok(())
    }

    async fn open_for_client(&mut self, wanted: Wanted) -> Result<(), TestCaseError> {
        let (caller, agent) = bot();
        let request = OpenTask {
            details: vec![wanted.requested()],
            ..wants(&[])
        };
        let issuance = &self.broker.issuance;
        let opened = issuance
            .open_task_for_client(&caller, &agent, request)
            .await
            .unwrap();
        self.opened(agent, opened.task.task, all());
        self.tasks.last_mut().unwrap().client = Some(wanted.calls());
        Ok(())
    }

    async fn again(&mut self, task: usize, wanted: Option<Wanted>) -> Result<(), TestCaseError> {
        let Some(opened) = pick(&self.tasks, task) else {
            return Ok(());
        };
        let (caller, agent) = named(opened.agent.as_str());
        let (id, limit) = (opened.task.clone(), opened.limit.clone());
        let details = wanted.map(|wanted| vec![wanted.requested()]);
        let again = IssueAgain { details };
        match self
            .broker
            .issuance
            .issue_again(&caller, &agent, (&id, again))
            .await
        {
            Ok(issued) => self.minted(&issued, &limit),
            Err(_) => Ok(()),
        }
    }

    async fn refresh(&mut self, task: usize, wanted: Option<Wanted>) -> Result<(), TestCaseError> {
        let consented: Vec<usize> = (0..self.tasks.len())
            .filter(|at| self.tasks[*at].refresh.is_some())
            .collect();
        let Some(at) = pick(&consented, task).copied() else {
            return Ok(());
        };
        let (caller, agent) = named("desk-app");
        let scope: Option<Scope> = wanted.map(|wanted| wanted.scope().parse().unwrap());
        let token = self.tasks[at].refresh.clone().unwrap();
        let refresh = Refresh {
            token: &token,
            servers: BTreeSet::new(),
            scope: scope.as_ref(),
            holder: None,
        };
        let limit = self.tasks[at].limit.clone();
        match self.broker.codes.refresh(&caller, &agent, refresh).await {
            Ok(handed) => {
                self.tasks[at].refresh = Some(handed.handed.refresh.expose().to_owned());
                self.minted(&handed.handed.issued, &limit)
            }
            Err(_) => Ok(()),
        }
    }

    async fn client(&mut self, task: usize) -> Result<(), TestCaseError> {
        let of_clients: Vec<&Opened> = self.tasks.iter().filter(|it| it.client.is_some()).collect();
        let Some(opened) = pick(&of_clients, task) else {
            return Ok(());
        };
        let client = TaskClient {
            task: opened.task.clone(),
            agent: opened.agent.clone(),
        };
        let limit = opened.client.clone().unwrap();
        let caller = Caller {
            actor: Actor::TaskClient(client.task.clone()),
            ..Caller::broker()
        };
        match self
            .broker
            .issuance
            .issue_to_task_client(&caller, &client, None)
            .await
        {
            Ok(issued) => self.minted(&issued, &limit),
            Err(_) => Ok(()),
        }
    }

    async fn exchange(
        &mut self,
        (pass, narrowed): (usize, Option<Wanted>),
        actor: usize,
        wanted: Option<Wanted>,
    ) -> Result<(), TestCaseError> {
        let Some((token, limit)) = pick(&self.passes, pass) else {
            return Ok(());
        };
        let attenuated = narrowed.map(|wanted| {
            let mut narrowing = Narrowing::default();
            narrowing.rights = Some(vec![wanted.granted()]);
            attenuate(token, &narrowing).unwrap()
        });
        let token = attenuated
            .as_ref()
            .map_or(token, |narrower| &narrower.token);
        let limit: Calls = match &attenuated {
            Some(_) => allowed(&self.verifier, token),
            None => limit.clone(),
        };
        let who = named(AGENTS[actor % AGENTS.len()]);
        let asked = wanted.map(|wanted| vec![wanted.requested()]);
        let of = Of {
            token,
            proven: None,
            asked,
        };
        match exchange(&self.broker, &who, of).await {
            Ok(issued) => {
                self.minted(&issued, &limit)?;
                self.opened(who.1, issued.task.task, limit);
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }
}

fn pick<T>(from: &[T], at: usize) -> Option<&T> {
    from.get(at.checked_rem(from.len())?)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn no_pass_of_a_task_ever_allows_what_its_opening_did_not(
        steps in prop::collection::vec(step(), 4..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in steps {
                world.run(step).await?;
            }
            Ok::<_, TestCaseError>(())
        })?;
    }
}
