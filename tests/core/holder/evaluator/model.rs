//! The reference evaluator: plain structs and plain Rust, from `docs/token-format.md`.
//!
//! It knows no Datalog, no Biscuit and nothing of the code that it judges: that the two agree is
//! the point. Every answer is the set of reason codes; the empty one is a yes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub(super) type Reasons = BTreeSet<&'static str>;

/// The server that judges; the other one is only named.
pub(super) const HERE: &str = "https://ledger.example/mcp";
pub(super) const ELSEWHERE: &str = "https://b.example/mcp";

/// Tools of the manifest that change nothing, and the others.
const READING: [&str; 2] = ["read_ledger", "search_ledger"];
const CHANGING: [&str; 2] = ["transfer", "delete_ledger"];
const PROMPT: &str = "summary";
/// The one tool whose manifest declares paths and a URL.
const DECLARING: &str = "transfer";

const STALE_AFTER_MS: i64 = 60_000;
const SKEW_SECONDS: i64 = 5;
const MOST_POINTERS: usize = 64;
const MOST_BLOCKS: usize = 8;
const LONGEST_TEXT: usize = 4096;

/// Somebody with a key. The last one's is P-256: it can use a pass and not hand it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Who(pub(super) usize);

pub(super) const PEOPLE: usize = 5;

impl Who {
    pub(super) const fn is_p256(self) -> bool {
        self.0 + 1 == PEOPLE
    }
}

/// One pass, its chain, and everything that is asked of it.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) granted: Vec<Detail>,
    /// When it is issued, in seconds after the story begins.
    pub(super) issued: i64,
    /// How long it lives, in seconds.
    pub(super) life: i64,
    /// To whom it is bound, and how often it may be handed on.
    pub(super) bound: Option<(Who, u8)>,
    pub(super) hops: Vec<Hop>,
    pub(super) calls: Vec<Call>,
    pub(super) moments: Vec<Moment>,
}

/// Rights on one server.
#[derive(Debug, Clone)]
pub(super) struct Detail {
    pub(super) server: &'static str,
    pub(super) tools: Vec<&'static str>,
    pub(super) prompts: Vec<&'static str>,
    pub(super) trees: Vec<&'static str>,
    pub(super) constraints: BTreeMap<(&'static str, &'static str), Rule>,
    pub(super) closed: Option<&'static str>,
    pub(super) call_proof: Option<&'static str>,
    pub(super) read_only: bool,
}

/// What an argument must be.
#[derive(Debug, Clone)]
pub(super) enum Rule {
    Between(Option<i64>, Option<i64>),
    OneOf(Vec<Plain>),
    Exactly(Plain),
    Begins(&'static str),
    Under(&'static str),
    Host(Vec<&'static str>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plain {
    Bool(bool),
    Int(i64),
    Text(String),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Narrowing {
    /// In seconds after the story begins.
    pub(super) until: Option<i64>,
    pub(super) rights: Option<Vec<Detail>>,
    pub(super) read_only: bool,
}

/// One block more. `by: None` is whoever may rightfully sign.
#[derive(Debug, Clone)]
pub(super) enum Hop {
    Narrow(Narrowing),
    Delegate {
        by: Option<Who>,
        to: Who,
        narrowing: Narrowing,
        further: u8,
        seals: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tool,
    Prompt,
    Resource,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    pub(super) arguments: Option<Value>,
}

/// The broker speaks, then is silent for a while, then somebody presents the pass.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    /// After the moment before, in milliseconds.
    pub(super) after: i64,
    /// Since the broker's word, in milliseconds.
    pub(super) silence: i64,
    pub(super) publishes_root: bool,
    pub(super) revoked: Vec<Revoked>,
    pub(super) presented: Vec<Presented>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Revoked {
    pub(super) subject: Subject,
    /// Seconds after the pass was issued; `None` for all passes whenever issued.
    pub(super) cut_off: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Block(usize),
    Task,
    Agent,
    Steward,
    Server,
    Root,
    Key(Who),
    /// Another of each kind.
    Strangers,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Presented {
    Bearer,
    /// `by: None` is the rightful holder; `call` is one of the case's calls.
    Proof {
        by: Option<Who>,
        flaw: Flaw,
        call: Option<usize>,
    },
    /// Nothing: what was verified at an earlier moment is used again, as by a call under way.
    Before,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    None,
    OtherToken,
    OtherUrl,
    OtherMethod,
    Old,
    Future,
    Twice,
}

/// What the blocks of a token come to.
#[derive(Debug, Clone, Default)]
pub(super) struct Chain {
    pub(super) blocks: usize,
    holders: Vec<Who>,
    deepest: Vec<u8>,
    narrowings: Vec<Narrowing>,
    is_broken: bool,
    is_sealed: bool,
}

/// What whoever makes a block is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    Yes,
    Empty,
    Sealed,
    BrokenChain,
    Unbound,
    NotHolder,
    CannotDelegate,
    TooDeep,
}

impl Chain {
    pub(super) fn start(bound: Option<(Who, u8)>) -> Self {
        let (holders, deepest) = bound.into_iter().unzip();
        Self {
            holders,
            deepest,
            ..Self::default()
        }
    }

    /// Who may use it now.
    pub(super) fn leaf(&self) -> Option<Who> {
        self.holders.last().copied()
    }

    fn depth(&self) -> usize {
        self.holders.len().saturating_sub(1)
    }

    pub(super) fn has_room(&self) -> bool {
        self.blocks < MOST_BLOCKS && !self.is_sealed
    }

    /// What comes of asking for this hop; the chain is longer when it is made.
    pub(super) fn lengthen(&mut self, hop: &Hop) -> Made {
        let made = self.may(hop);
        if made != Made::Yes {
            return made;
        }
        self.blocks += 1;
        match hop {
            Hop::Narrow(narrowing) => self.narrowings.push(narrowing.clone()),
            Hop::Delegate {
                to,
                narrowing,
                further,
                seals,
                ..
            } => {
                self.holders.push(*to);
                self.deepest
                    .push(u8::try_from(self.depth()).unwrap() + further);
                self.narrowings.push(narrowing.clone());
                self.is_sealed = *seals;
            }
        }
        Made::Yes
    }

    fn may(&self, hop: &Hop) -> Made {
        if self.is_sealed {
            return match hop {
                Hop::Narrow(narrowing) if narrowing.is_empty() => Made::Empty,
                // Who hands a pass on verifies it first.
                Hop::Delegate { .. } if self.is_broken => Made::BrokenChain,
                _ => Made::Sealed,
            };
        }
        let Hop::Delegate {
            by,
            to,
            further,
            seals,
            ..
        } = hop
        else {
            let Hop::Narrow(narrowing) = hop else {
                unreachable!()
            };
            return if narrowing.is_empty() {
                Made::Empty
            } else {
                Made::Yes
            };
        };
        let left = self
            .deepest
            .iter()
            .map(|most| usize::from(*most))
            .min()
            .unwrap_or(usize::MAX);
        let left = left
            .saturating_sub(self.depth())
            .min(MOST_BLOCKS - self.blocks);
        match self.leaf() {
            _ if self.is_broken => Made::BrokenChain,
            None => Made::Unbound,
            Some(leaf) if leaf.is_p256() || by.is_some_and(|by| by != leaf) => Made::NotHolder,
            _ if *further > 0 && (*seals || to.is_p256()) => Made::CannotDelegate,
            _ if usize::from(*further) + 1 > left => Made::TooDeep,
            _ => Made::Yes,
        }
    }

    /// Somebody writes the delegation by hand, with nothing else in it.
    pub(super) fn force(&mut self, by: Who, to: Who) {
        self.is_broken |= self.leaf() != Some(by);
        self.blocks += 1;
        self.holders.push(to);
    }
}

impl Narrowing {
    const fn is_empty(&self) -> bool {
        self.until.is_none() && self.rights.is_none() && !self.read_only
    }
}

/// Whether the pass is taken from whoever presents it. `now` is in milliseconds after the story begins.
pub(super) fn present(
    case: &Case,
    chain: &Chain,
    moment: &Moment,
    presented: Presented,
) -> Reasons {
    if moment.silence > STALE_AFTER_MS {
        return Reasons::from(["feed_stale"]);
    }
    if !moment.publishes_root {
        return Reasons::from(["token_key_unknown"]);
    }
    if chain.is_broken {
        return Reasons::from(["holder_chain"]);
    }
    let revoked = revocations(case, chain, moment);
    if !revoked.is_empty() {
        return revoked;
    }
    let wrong = match (presented, chain.leaf()) {
        (Presented::Bearer, Some(_)) => "proof_required",
        (Presented::Proof { .. }, None) => "proof_invalid",
        (Presented::Proof { by: Some(by), .. }, Some(leaf)) if by != leaf => "proof_key",
        (Presented::Proof { flaw, .. }, Some(_)) => match flaw {
            Flaw::None => return Reasons::new(),
            Flaw::OtherToken => "proof_token",
            Flaw::OtherUrl | Flaw::OtherMethod => "proof_target",
            Flaw::Old | Flaw::Future => "proof_time",
            Flaw::Twice => "proof_replayed",
        },
        (Presented::Bearer, None) | (Presented::Before, _) => return Reasons::new(),
    };
    Reasons::from([wrong])
}

/// Whether the call is cleared for a pass that was taken, with a proof of the call `proven` or of none.
pub(super) fn clear(
    case: &Case,
    chain: &Chain,
    moment: &Moment,
    now: i64,
    proven: Option<&Call>,
    call: &Call,
) -> Reasons {
    if moment.silence > STALE_AFTER_MS {
        return Reasons::from(["feed_stale"]);
    }
    let revoked = revocations(case, chain, moment);
    if !revoked.is_empty() {
        return revoked;
    }
    if !moment.publishes_root {
        return Reasons::from(["token_key_unknown"]);
    }
    let known = match call.kind {
        Kind::Tool => READING.contains(&call.name) || CHANGING.contains(&call.name),
        Kind::Prompt => call.name == PROMPT,
        Kind::Resource => true,
    };
    if !known {
        return Reasons::from(["not_in_manifest"]);
    }
    if proven.is_some_and(|proven| proven != call) {
        return Reasons::from(["proof_call"]);
    }
    let asked = Asked::new(call, proven.is_some());
    let mut all = case.granted.iter().chain(
        chain
            .narrowings
            .iter()
            .flat_map(|step| step.rights.iter().flatten()),
    );
    if asked.too_many && all.any(|detail| !detail.constraints.is_empty() || detail.closed.is_some())
    {
        return Reasons::from(["argument_count"]);
    }
    let mut reasons = by_block_0(case, now, &asked);
    if chain
        .deepest
        .iter()
        .any(|most| chain.depth() > usize::from(*most))
    {
        reasons.insert("delegation_depth");
    }
    for narrowing in &chain.narrowings {
        reasons.extend(by_narrowing(narrowing, now, &asked));
    }
    reasons
}

fn revocations(case: &Case, chain: &Chain, moment: &Moment) -> Reasons {
    let ends = |revoked: &&Revoked| revoked.cut_off.is_none_or(|cut_off| cut_off >= 0);
    let code = |revoked: &Revoked| match revoked.subject {
        Subject::Block(block) => (block <= chain.blocks).then_some("revoked_token"),
        Subject::Task => Some("revoked_task"),
        Subject::Agent => Some("revoked_agent"),
        Subject::Steward => Some("revoked_steward"),
        Subject::Server => Some("revoked_server"),
        Subject::Root => Some("revoked_key"),
        Subject::Key(who) => {
            (case.bound.is_some() && chain.holders.contains(&who)).then_some("revoked_agent")
        }
        Subject::Strangers => None,
    };
    moment
        .revoked
        .iter()
        .filter(ends)
        .filter_map(code)
        .collect()
}

fn by_block_0(case: &Case, now: i64, asked: &Asked<'_>) -> Reasons {
    let mut reasons = Reasons::new();
    let seconds = now.div_euclid(1000);
    if seconds < case.issued - SKEW_SECONDS {
        reasons.insert("not_yet_valid");
    } else if seconds >= case.issued + case.life {
        reasons.insert("expired");
    }
    if case.granted.iter().all(|detail| detail.server != HERE) {
        reasons.insert("audience");
    }
    if case.granted.iter().all(|detail| detail.read_only) && !asked.reads {
        reasons.insert("read_only");
    }
    reasons.extend(by_details(&case.granted, asked));
    reasons
}

fn by_narrowing(narrowing: &Narrowing, now: i64, asked: &Asked<'_>) -> Reasons {
    let mut reasons = Reasons::new();
    if narrowing
        .until
        .is_some_and(|until| now.div_euclid(1000) >= until)
    {
        reasons.insert("expired");
    }
    if narrowing.read_only && !asked.reads {
        reasons.insert("read_only");
    }
    if let Some(rights) = &narrowing.rights {
        reasons.extend(by_details(rights, asked));
    }
    reasons
}

/// One of the details must name the call, and it must satisfy every one of them.
fn by_details(details: &[Detail], asked: &Asked<'_>) -> Reasons {
    let mut reasons = Reasons::new();
    let here = || details.iter().filter(|detail| detail.server == HERE);
    if !here().any(|detail| names(detail, asked.call)) {
        reasons.insert("not_granted");
    }
    for detail in here().filter(|_| asked.call.kind == Kind::Tool) {
        let tool = asked.call.name;
        let constraints = || {
            detail
                .constraints
                .iter()
                .filter(move |((of, _), _)| *of == tool)
        };
        reasons
            .extend(constraints().filter_map(|((_, pointer), rule)| asked.refuses(pointer, rule)));
        let allowed: BTreeSet<String> = constraints()
            .flat_map(|((_, pointer), _)| way_to(pointer))
            .collect();
        if detail.closed == Some(tool)
            && !asked
                .pointers
                .iter()
                .all(|pointer| allowed.contains(pointer))
        {
            reasons.insert("argument_not_allowed");
        }
        if detail.call_proof == Some(tool) && !asked.is_proven {
            reasons.insert("call_proof_required");
        }
        if detail.read_only && detail.tools.contains(&tool) && !asked.reads {
            reasons.insert("read_only");
        }
    }
    reasons
}

fn names(detail: &Detail, call: &Call) -> bool {
    match call.kind {
        Kind::Tool => detail.tools.contains(&call.name),
        Kind::Prompt => detail.prompts.contains(&call.name),
        Kind::Resource => detail.trees.iter().any(|tree| {
            let (tree, uri) = (place(tree).unwrap(), place(call.name));
            uri.is_some_and(|uri| uri.len() >= tree.len() && uri[..tree.len()] == tree[..])
        }),
    }
}

/// `/a/b` is reached by `/a` and `/a/b`.
fn way_to(pointer: &str) -> Vec<String> {
    let mut way = Vec::new();
    for step in pointer.split('/').skip(1) {
        let before = way.last().cloned().unwrap_or_default();
        way.push(format!("{before}/{step}"));
    }
    way
}

/// A call, with its arguments taken apart.
struct Asked<'c> {
    call: &'c Call,
    reads: bool,
    is_proven: bool,
    too_many: bool,
    pointers: Vec<String>,
    /// Where exactly one plain value stands that nothing speaks against.
    values: BTreeMap<String, Plain>,
}

impl<'c> Asked<'c> {
    fn new(call: &'c Call, is_proven: bool) -> Self {
        let reads = call.kind != Kind::Tool || READING.contains(&call.name);
        let mut asked = Self {
            call,
            reads,
            is_proven,
            too_many: false,
            pointers: Vec::new(),
            values: BTreeMap::new(),
        };
        match &call.arguments {
            None => {}
            Some(Value::Object(_)) => asked.take_apart("", call.arguments.as_ref().unwrap(), false),
            Some(_) => asked.pointers.push(String::new()),
        }
        asked.too_many = asked.pointers.len() > MOST_POINTERS;
        asked
    }

    fn take_apart(&mut self, at: &str, value: &Value, in_doubt: bool) {
        let members: Vec<(String, &Value)> = match value {
            Value::Object(members) => members
                .iter()
                .map(|(name, value)| (name.clone(), value))
                .collect(),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(at, value)| (at.to_string(), value))
                .collect(),
            _ => return,
        };
        let folded: Vec<String> = members
            .iter()
            .map(|(name, _)| name.to_lowercase())
            .collect();
        for ((name, value), own) in members.iter().zip(&folded) {
            let in_doubt = in_doubt || folded.iter().filter(|other| *other == own).count() > 1;
            let pointer = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
            self.pointers.push(pointer.clone());
            if let Some(plain) =
                plain(value).filter(|plain| !in_doubt && self.is_clear(&pointer, plain))
            {
                self.values.insert(pointer.clone(), plain);
            }
            self.take_apart(&pointer, value, in_doubt);
        }
    }

    fn declares(&self, pointer: &str, what: &[&str]) -> bool {
        self.call.kind == Kind::Tool && self.call.name == DECLARING && what.contains(&pointer)
    }

    fn is_clear(&self, pointer: &str, plain: &Plain) -> bool {
        match plain {
            Plain::Text(text) if text.len() > LONGEST_TEXT => false,
            Plain::Text(text) if self.declares(pointer, &PATHS) => steps(text).is_some(),
            Plain::Text(text) if self.declares(pointer, &URLS) => host(text).is_some(),
            _ => !self.declares(pointer, &PATHS) && !self.declares(pointer, &URLS),
        }
    }

    fn refuses(&self, pointer: &str, rule: &Rule) -> Option<&'static str> {
        let Some(value) = self.values.get(pointer) else {
            return Some("argument_constraint");
        };
        let text = if let Plain::Text(text) = value {
            Some(text.as_str())
        } else {
            None
        };
        let number = if let Plain::Int(number) = value {
            Some(*number)
        } else {
            None
        };
        let (fits_type, holds) = match rule {
            Rule::Between(least, most) => (
                number.is_some(),
                number.is_some_and(|number| {
                    least.is_none_or(|least| least <= number)
                        && most.is_none_or(|most| number <= most)
                }),
            ),
            Rule::OneOf(values) => (is_of_a_type(value, &values[0]), values.contains(value)),
            Rule::Exactly(wanted) => (is_of_a_type(value, wanted), value == wanted),
            Rule::Begins(with) => (
                text.is_some(),
                text.is_some_and(|text| text.starts_with(with)),
            ),
            Rule::Under(path) => {
                let (path, found) = (steps(path).unwrap(), text.and_then(steps));
                let inside =
                    found.is_some_and(|found| found.iter().take(path.len()).eq(path.iter()));
                (text.is_some(), self.declares(pointer, &PATHS) && inside)
            }
            Rule::Host(hosts) => {
                let found = text.and_then(host);
                let is_one = found.is_some_and(|found| hosts.contains(&found));
                (text.is_some(), self.declares(pointer, &URLS) && is_one)
            }
        };
        match (holds, fits_type) {
            (true, _) => None,
            (false, true) => Some("argument_constraint"),
            (false, false) => Some("argument_type"),
        }
    }
}

const PATHS: [&str; 2] = ["/path", "/paths"];
const URLS: [&str; 1] = ["/url"];

fn is_of_a_type(one: &Plain, other: &Plain) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}

fn plain(value: &Value) -> Option<Plain> {
    match value {
        Value::Bool(value) => Some(Plain::Bool(*value)),
        Value::Number(number) => number.as_i64().map(Plain::Int),
        Value::String(text) => Some(Plain::Text(text.clone())),
        _ => None,
    }
}

/// The steps of an absolute path that every program reads alike.
fn steps(path: &str) -> Option<Vec<&str>> {
    let rest = path.strip_prefix('/')?;
    let steps: Vec<&str> = if rest.is_empty() {
        Vec::new()
    } else {
        rest.split('/').collect()
    };
    let is_plain = |step: &&str| {
        let before_parameters = step.split(';').next().unwrap();
        !before_parameters.chars().all(|letter| letter == '.')
            && step.trim() == *step
            && !step.contains(['\\', '%'])
            && !step.contains(char::is_control)
    };
    steps.iter().all(is_plain).then_some(steps)
}

/// Scheme, authority and steps of a URI that every program reads alike.
fn place(uri: &str) -> Option<Vec<&str>> {
    let (scheme, rest) = uri.split_once("://")?;
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let is_plain = |text: &str| {
        text.chars()
            .all(|letter| letter.is_ascii_lowercase() || letter == '.')
    };
    let steps = if path.is_empty() {
        Vec::new()
    } else {
        steps(path)?
    };
    let known = is_plain(scheme) && is_plain(authority) && !uri.contains(['?', '#']);
    known.then(|| [scheme, authority].into_iter().chain(steps).collect())
}

/// The host of a web address that every program reads alike.
fn host(url: &str) -> Option<&str> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))?;
    let host = rest.split(['/', '?', '#', ':']).next()?;
    let is_plain = !host.is_empty()
        && host
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter == '.');
    (is_plain && !url.contains(['@', '\\']) && !host.ends_with('.')).then_some(host)
}
