//! Shapes: recognition of checks, so that a refusal can explain them.
//!
//! Recognition guesses the shape, rebuilds the check and compares: only a check that is exactly
//! one of hallpass's has a shape. Anything else is [`Shape::Other`], which the engine evaluates
//! too; a shape explains a decision and never makes one.

use std::{collections::BTreeSet, fmt};

use biscuit_auth::builder::{Check, Op, Predicate, Rule, Term};

use crate::{
    base::{ReasonCode, ids::ServerUri, text::quote, time::Timestamp},
    token::{
        constraint::{Constraint, Scalar},
        datalog::{self, Target},
        path::Pointer,
        rights::Kind,
    },
};

/// The meaning of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    Time {
        from: Option<Timestamp>,
        until: Timestamp,
    },
    Constraint {
        target: Target,
        pointer: Pointer,
        constraint: Constraint,
    },
    Closed {
        target: Target,
        allowed: BTreeSet<String>,
    },
    ReadOnly {
        target: Option<Target>,
    },
    CallProven {
        target: Target,
    },
    Depth {
        at_most: u8,
    },
    Only {
        targets: Vec<Target>,
        subtrees: Vec<(ServerUri, Vec<String>)>,
    },
    /// Not one of hallpass's checks; its predicates give at least the topic.
    Other {
        topic: ReasonCode,
    },
}

impl Shape {
    pub(super) fn of(check: &Check) -> Self {
        recognise(check).unwrap_or_else(|| Self::Other {
            topic: topic(check),
        })
    }

    /// Whether the check applies to this call.
    pub(super) fn concerns(&self, server: &ServerUri, kind: Kind, name: &str) -> bool {
        let is_target = |target: &Target| {
            target.server == *server && target.kind == kind && target.names.contains(name)
        };
        match self {
            Self::Constraint { target, .. }
            | Self::Closed { target, .. }
            | Self::CallProven { target }
            | Self::ReadOnly {
                target: Some(target),
            } => is_target(target),
            Self::Time { .. }
            | Self::ReadOnly { target: None }
            | Self::Depth { .. }
            | Self::Only { .. }
            | Self::Other { .. } => true,
        }
    }

    /// The code of a refusal by this check at `now`.
    pub(super) fn code(&self, now: Timestamp) -> ReasonCode {
        match self {
            Self::Time {
                from: Some(from), ..
            } if now < *from => ReasonCode::NotYetValid,
            Self::Time { .. } => ReasonCode::Expired,
            Self::Constraint { .. } => ReasonCode::ArgumentConstraint,
            Self::Closed { .. } => ReasonCode::ArgumentNotAllowed,
            Self::ReadOnly { .. } => ReasonCode::ReadOnly,
            Self::CallProven { .. } => ReasonCode::CallProofRequired,
            Self::Depth { .. } => ReasonCode::DelegationDepth,
            Self::Only { .. } => ReasonCode::NotGranted,
            Self::Other { topic } => *topic,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time {
                from: Some(from),
                until,
            } => write!(f, "valid from {from} until {until}"),
            Self::Time { from: None, until } => write!(f, "valid until {until}"),
            Self::Constraint {
                target,
                pointer,
                constraint,
            } => {
                write!(
                    f,
                    "argument `{pointer}` of {} must be {constraint}",
                    names(target)
                )
            }
            Self::Closed { target, allowed } if allowed.is_empty() => {
                write!(f, "{} takes no arguments", names(target))
            }
            Self::Closed { target, allowed } => {
                let allowed: Vec<_> = allowed
                    .iter()
                    .map(|name| format!("`{}`", quote(name)))
                    .collect();
                write!(
                    f,
                    "{} takes no arguments but {}",
                    names(target),
                    allowed.join(", ")
                )
            }
            Self::ReadOnly {
                target: Some(target),
            } => write!(f, "{} only where it is read-only", names(target)),
            Self::ReadOnly { target: None } => f.write_str("read-only"),
            Self::CallProven { target } => {
                write!(f, "{} only with a proof of the very call", names(target))
            }
            Self::Depth { at_most: 0 } => f.write_str("may not be handed on"),
            Self::Depth { at_most } => write!(f, "handed on at most {at_most} times"),
            Self::Only { targets, subtrees } => {
                let named = targets.iter().map(names);
                let under = subtrees
                    .iter()
                    .map(|(_, segments)| format!("resources under `{}`", show_uri(segments)));
                let all: Vec<_> = named.chain(under).collect();
                write!(
                    f,
                    "allows only {}",
                    if all.is_empty() {
                        "nothing".to_owned()
                    } else {
                        all.join(", ")
                    }
                )
            }
            Self::Other { .. } => f.write_str("a check that hallpass did not write"),
        }
    }
}

/// `scheme://authority/segment/…`.
pub(super) fn show_uri(segments: &[String]) -> String {
    let mut parts = segments.iter().map(|segment| quote(segment));
    let scheme = parts.next().unwrap_or_default();
    let authority = parts.next().unwrap_or_default();
    parts.fold(format!("{scheme}://{authority}"), |uri, segment| {
        uri + "/" + &segment
    })
}

fn names(target: &Target) -> String {
    let names: Vec<_> = target
        .names
        .iter()
        .map(|name| format!("`{}`", quote(name)))
        .collect();
    format!("{} {}", target.kind, names.join(", "))
}

fn recognise(check: &Check) -> Option<Shape> {
    let candidate = guess(check)?;
    let rebuilt = match &candidate {
        Shape::Time {
            from: Some(from),
            until,
        } => datalog::time_window(*from, *until),
        Shape::Time { from: None, until } => datalog::ends_at(*until),
        Shape::Constraint {
            target,
            pointer,
            constraint,
        } => datalog::constraint(target, pointer, constraint)?,
        Shape::Closed { target, allowed } => {
            datalog::closed_arguments(target, allowed.iter().map(String::as_str))
        }
        Shape::ReadOnly { target } => datalog::read_only(target.as_ref()),
        Shape::CallProven { target } => datalog::call_proven(target),
        Shape::Depth { at_most } => datalog::depth(*at_most),
        Shape::Only { targets, subtrees } => datalog::only(targets, subtrees),
        Shape::Other { .. } => return None,
    };
    (rebuilt == *check).then_some(candidate)
}

/// A guess. It may be wrong, since the result is rebuilt and compared.
fn guess(check: &Check) -> Option<Shape> {
    let (last, before) = check.queries.split_last()?;
    let target = before.first().and_then(guess_target);
    let first_predicate = last.body.first()?;
    match first_predicate.name.as_str() {
        "time" => guess_time(last),
        "read_only" => Some(Shape::ReadOnly { target }),
        "call_proven" => Some(Shape::CallProven { target: target? }),
        "depth" => match values(last).find(|term| !matches!(term, Term::Variable(_)))? {
            Term::Integer(at_most) => Some(Shape::Depth {
                at_most: u8::try_from(*at_most).ok()?,
            }),
            _ => None,
        },
        "arg_names" => {
            let allowed = texts_of(values(last).next()?)?;
            Some(Shape::Closed {
                target: target?,
                allowed,
            })
        }
        "arg" | "arg_path" | "arg_host" => {
            let Some(Term::Str(pointer)) = first_predicate.terms.first() else {
                return None;
            };
            let constraint = guess_constraint(first_predicate, last)?;
            Some(Shape::Constraint {
                target: target?,
                pointer: pointer.parse().ok()?,
                constraint,
            })
        }
        "call" => guess_only(&check.queries),
        "nothing" => Some(Shape::Only {
            targets: Vec::new(),
            subtrees: Vec::new(),
        }),
        _ => None,
    }
}

fn guess_time(query: &Rule) -> Option<Shape> {
    let mut dates = values(query).filter_map(|term| match term {
        Term::Date(seconds) => Some(Timestamp::from_unix_seconds(*seconds)),
        _ => None,
    });
    let first = dates.next()?;
    Some(match dates.next() {
        Some(until) => Shape::Time {
            from: Some(first),
            until,
        },
        None => Shape::Time {
            from: None,
            until: first,
        },
    })
}

fn guess_constraint(fact: &Predicate, query: &Rule) -> Option<Constraint> {
    use biscuit_auth::builder::Binary;

    let mut min = None;
    let mut max = None;
    for expression in &query.expressions {
        let [Op::Value(left), Op::Value(right), Op::Binary(operator)] = expression.ops.as_slice()
        else {
            return None;
        };
        match (operator, left, right) {
            (Binary::GreaterOrEqual, _, Term::Integer(value)) => min = Some(*value),
            (Binary::LessOrEqual, _, Term::Integer(value)) => max = Some(*value),
            (Binary::Equal, _, value) => return scalar_of(value).map(Constraint::Equal),
            (Binary::Prefix, _, Term::Str(prefix)) => {
                return Some(Constraint::Prefix(prefix.clone()));
            }
            (Binary::Prefix, _, Term::Array(segments)) => {
                let path: Option<Vec<_>> = segments.iter().skip(2).map(text_of).collect();
                return path.map(|path| Constraint::Under(format!("/{}", path.join("/"))));
            }
            (Binary::Contains, Term::Set(hosts), _) if fact.name == "arg_host" => {
                return hosts
                    .iter()
                    .map(text_of)
                    .collect::<Option<_>>()
                    .map(Constraint::Host);
            }
            (Binary::Contains, Term::Set(set), _) => {
                return set
                    .iter()
                    .map(scalar_of)
                    .collect::<Option<_>>()
                    .map(Constraint::In);
            }
            _ => return None,
        }
    }
    Some(Constraint::Range { min, max })
}

fn guess_only(queries: &[Rule]) -> Option<Shape> {
    let mut targets = Vec::new();
    let mut subtrees = Vec::new();
    for query in queries {
        if query.body.len() == 2 {
            let mut all = values(query);
            let server = all.find_map(text_of)?;
            let prefix = all.find_map(|term| match term {
                Term::Array(segments) => segments.iter().map(text_of).collect::<Option<Vec<_>>>(),
                _ => None,
            })?;
            subtrees.push((server.parse().ok()?, prefix));
        } else {
            targets.push(guess_target(query)?);
        }
    }
    Some(Shape::Only { targets, subtrees })
}

fn guess_target(query: &Rule) -> Option<Target> {
    let mut all = values(query).filter(|term| !matches!(term, Term::Variable(_)));
    let server = text_of(all.next()?)?.parse().ok()?;
    let kind = match text_of(all.next()?)?.as_str() {
        "tool" => Kind::Tool,
        "resource" => Kind::Resource,
        "prompt" => Kind::Prompt,
        _ => return None,
    };
    let names = match all.next()? {
        Term::Str(name) => BTreeSet::from([name.clone()]),
        set => texts_of(set)?,
    };
    Some(Target {
        server,
        kind,
        names,
    })
}

/// The literal values of a query in order, those inside `&&` included.
fn values(query: &Rule) -> impl Iterator<Item = &Term> {
    fn walk<'q>(ops: &'q [Op], found: &mut Vec<&'q Term>) {
        for op in ops {
            match op {
                Op::Value(term) => found.push(term),
                Op::Closure(_, inner) => walk(inner, found),
                Op::Unary(_) | Op::Binary(_) => {}
            }
        }
    }
    let mut found = Vec::new();
    for expression in &query.expressions {
        walk(&expression.ops, &mut found);
    }
    found.into_iter()
}

fn text_of(term: &Term) -> Option<String> {
    match term {
        Term::Str(text) => Some(text.clone()),
        _ => None,
    }
}

fn texts_of(term: &Term) -> Option<BTreeSet<String>> {
    match term {
        Term::Set(set) => set.iter().map(text_of).collect(),
        _ => None,
    }
}

fn scalar_of(term: &Term) -> Option<Scalar> {
    match term {
        Term::Str(text) => Some(Scalar::Text(text.clone())),
        Term::Integer(value) => Some(Scalar::Int(*value)),
        Term::Bool(value) => Some(Scalar::Bool(*value)),
        _ => None,
    }
}

fn topic(check: &Check) -> ReasonCode {
    let predicates = || {
        check
            .queries
            .iter()
            .flat_map(|query| &query.body)
            .map(|predicate| predicate.name.as_str())
    };
    let topics = [
        ("approved", ReasonCode::ApprovalRequired),
        ("used", ReasonCode::Budget),
        ("will_mask", ReasonCode::Mask),
        ("history", ReasonCode::Sequence),
        ("ctx", ReasonCode::Context),
        ("depth", ReasonCode::DelegationDepth),
        ("call_proven", ReasonCode::CallProofRequired),
    ];
    let known = topics
        .into_iter()
        .find_map(|(name, code)| predicates().any(|found| found == name).then_some(code));
    let looks_at_arguments = || {
        predicates()
            .any(|found| found.starts_with("arg"))
            .then_some(ReasonCode::ArgumentConstraint)
    };
    known
        .or_else(looks_at_arguments)
        .unwrap_or(ReasonCode::Attenuation)
}
