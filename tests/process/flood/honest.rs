//! Honest work: an agent opens tasks, an operator revokes passes, a connected verifier refuses them.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use hallpass_core::base::{
    ReasonCode,
    time::{Clock as _, SystemClock},
};
use hallpass_verify::{
    Verifier,
    feed::{FeedClient, FeedHandle},
};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use support::process::{BrokerProcess, ISSUER, load::SERVER, setup::Setup};
use tokio::task::JoinSet;

/// The work, and what came of it lately.
pub struct Work {
    outcomes: Arc<Mutex<Outcomes>>,
    clients: JoinSet<()>,
    feed: FeedHandle,
}

/// How long everything took; `None` for what failed.
#[derive(Default)]
struct Outcomes {
    mints: Vec<Option<Duration>>,
    revocations: Vec<Option<Duration>>,
    /// From sending a revocation to the verifier's refusal.
    refusals: Vec<Option<Duration>>,
    errors: Vec<String>,
}

/// What was measured in one phase.
pub struct Measured {
    name: &'static str,
    outcomes: Outcomes,
    mebibytes: u64,
}

struct Client {
    http: reqwest::Client,
    url: String,
    admin: String,
    setup: Arc<Setup>,
    outcomes: Arc<Mutex<Outcomes>>,
}

impl Work {
    pub async fn begin(broker: &BrokerProcess, setup: &Arc<Setup>) -> Self {
        let builder = Verifier::builder(
            ISSUER.parse().unwrap(),
            &setup.feed_key,
            setup.manifest.clone(),
        );
        let verifier = Arc::new(builder.build());
        let feed = FeedClient::builder(Arc::clone(&verifier), broker.url(), &setup.verifier_token);
        let feed = feed.build().unwrap().spawn();
        feed.ready().await.unwrap();
        let outcomes = Arc::<Mutex<Outcomes>>::default();
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
        // A connection for each request: one that is open already is not kept out by those who take all places.
        let http = http.pool_max_idle_per_host(0).build().unwrap();
        let client = || Client {
            http: http.clone(),
            url: broker.url().to_owned(),
            admin: broker.admin().to_owned(),
            setup: Arc::clone(setup),
            outcomes: Arc::clone(&outcomes),
        };
        let mut clients = JoinSet::new();
        let (minter, revoker) = (client(), client());
        clients.spawn(async move { minter.mint_often().await });
        clients.spawn(async move { revoker.revoke_often(&verifier).await });
        Self {
            outcomes,
            clients,
            feed,
        }
    }

    /// Forgets what came of it up to now.
    pub fn reset(&self) {
        *self.outcomes.lock().unwrap() = Outcomes::default();
    }

    pub fn measured(&self, name: &'static str, mebibytes: u64) -> Measured {
        Measured {
            name,
            outcomes: std::mem::take(&mut *self.outcomes.lock().unwrap()),
            mebibytes,
        }
    }

    pub async fn end(mut self) {
        self.clients.shutdown().await;
        self.feed.shutdown().await;
    }
}

impl Client {
    async fn mint_often(&self) {
        let mut ticks = tokio::time::interval(MINT_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let begun = Instant::now();
            let outcome = self.mint().await.map(|_| begun.elapsed());
            self.note(outcome, |outcomes| &mut outcomes.mints);
        }
    }

    async fn revoke_often(&self, verifier: &Verifier) {
        let mut ticks = tokio::time::interval(REVOKE_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // Whether passes can be had is measured by the others.
            let Ok(issued) = self.mint().await else {
                continue;
            };
            let begun = Instant::now();
            let answered = self.revoke(&issued).await.map(|_| begun.elapsed());
            let is_answered = answered.is_ok();
            self.note(answered, |outcomes| &mut outcomes.revocations);
            if is_answered {
                let refused = refused(verifier, issued["token"].as_str().unwrap(), begun).await;
                self.note(refused, |outcomes| &mut outcomes.refusals);
            }
        }
    }

    async fn mint(&self) -> Result<Value, String> {
        let issuer = ISSUER.parse().unwrap();
        let assertion = self
            .setup
            .agent
            .assertion(&issuer, SystemClock::default().now());
        let task = json!({"purpose": "close the Q3 books", "ttl_seconds": 60,
            "authorization_details": [{"type": "mcp", "server": SERVER, "tools": ["read_ledger"]}]});
        let request = self.http.post(format!("{}/v1/tasks", self.url));
        answer(request.bearer_auth(assertion.unwrap()).json(&task)).await
    }

    async fn revoke(&self, issued: &Value) -> Result<Value, String> {
        let subject = json!({"revocation_id": issued["revocation_id"]});
        let request = self.http.post(format!("{}/v1/revocations", self.url));
        answer(request.bearer_auth(&self.admin).json(&subject)).await
    }

    fn note(
        &self,
        outcome: Result<Duration, String>,
        of: impl Fn(&mut Outcomes) -> &mut Vec<Option<Duration>>,
    ) {
        let mut outcomes = self.outcomes.lock().unwrap();
        match outcome {
            Ok(took) => of(&mut outcomes).push(Some(took)),
            Err(error) => {
                of(&mut outcomes).push(None);
                outcomes.errors.push(error);
            }
        }
    }
}

/// Returns when the verifier refuses the pass as revoked.
async fn refused(verifier: &Verifier, pass: &str, begun: Instant) -> Result<Duration, String> {
    // The verifier tells nobody what it learned: it is asked until it says so.
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    while begun.elapsed() < PATIENCE {
        ticks.tick().await;
        if let Err(denial) = verifier.verify(pass)
            && denial.codes().contains(&ReasonCode::RevokedToken)
        {
            return Ok(begun.elapsed());
        }
    }
    Err("the verifier took a revoked pass".to_owned())
}

async fn answer(request: RequestBuilder) -> Result<Value, String> {
    let response = request.send().await.map_err(|error| format!("{error:?}"))?;
    let status = response.status();
    let text = response.text().await.map_err(|error| error.to_string())?;
    if !status.is_success() {
        return Err(format!("{status}: {text}"));
    }
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

impl Measured {
    pub const HEADER: &'static str = "| phase | mints | success | p50 ms | p99 ms | revocations | answered, max ms | refused at the verifier, max ms | MiB |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |";

    /// Honest agents get their passes, operators revoke, verifiers refuse, and memory is bounded.
    pub fn assert_served(&self) {
        let Outcomes {
            mints,
            revocations,
            refusals,
            errors,
        } = &self.outcomes;
        let name = self.name;
        let is_failed = |outcome: &&Option<Duration>| outcome.is_none();
        let failed = mints.iter().filter(is_failed).count();
        assert!(!mints.is_empty(), "{name}: nobody could ask for a pass");
        assert!(
            failed * 100 <= mints.len(),
            "{name}: {failed} of {} mints failed: {errors:?}",
            mints.len()
        );
        assert!(
            revocations.iter().chain(refusals).all(Option::is_some),
            "{name}: {errors:?}"
        );
        assert!(self.mebibytes <= 512, "{name}: {} MiB", self.mebibytes);
    }

    /// And none of them waits long.
    pub fn assert_fast(&self, idle: &Self) {
        let Outcomes {
            mints,
            revocations,
            refusals,
            ..
        } = &self.outcomes;
        let name = self.name;
        assert!(
            percentile(mints, 99) <= percentile(&idle.outcomes.mints, 99) * 10,
            "{name}: minting takes more than ten times what it takes without a flood"
        );
        assert!(
            percentile(revocations, 100) <= Duration::from_secs(1),
            "{name}: a revocation was not answered within a second"
        );
        assert!(
            percentile(refusals, 100) <= Duration::from_secs(2),
            "{name}: a verifier took a revoked pass for more than two seconds"
        );
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcomes {
            mints,
            revocations,
            refusals,
            ..
        } = &self.outcomes;
        let good = mints.iter().filter(|outcome| outcome.is_some()).count();
        let millis = |outcomes, percent| percentile(outcomes, percent).as_secs_f64() * 1e3;
        write!(
            f,
            "| {} | {} | {:.1} % | {:.1} | {:.1} | {} | {:.1} | {:.1} | {} |",
            self.name,
            mints.len(),
            good as f64 * 100.0 / mints.len() as f64,
            millis(mints, 50),
            millis(mints, 99),
            revocations.len(),
            millis(revocations, 100),
            millis(refusals, 100),
            self.mebibytes
        )
    }
}

/// Of what did not fail.
fn percentile(outcomes: &[Option<Duration>], percent: usize) -> Duration {
    let mut times: Vec<_> = outcomes.iter().flatten().copied().collect();
    times.sort();
    let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(at).copied().unwrap_or_default()
}

const MINT_EVERY: Duration = Duration::from_millis(25);
const REVOKE_EVERY: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(20);
