//! Floor 2: policy. Grants say what may be given, guardrails what must not; one engine decides.
//!
//! [`PolicySet::load`] reads a directory once: grants from `*.toml`, guardrails from `*.cedar`.
//! Whatever is wrong is collected with file, line and reason, and nothing half-read is ever used.
//! [`PolicySet::decide`] is pure: no clock, no randomness, no I/O. It never mints, so it serves a
//! dry run as it serves the real one.
//!
//! The set is compiled once and does not depend on the registered servers: their manifests become
//! Cedar entities with every question, so a server that is registered or changed needs no reload.

mod assemble;
mod candidates;
mod catalogue;
mod check;
mod decide;
mod engine;
mod entitled;
mod expand;
mod finding;
mod fit;
mod grant;
mod grant_file;
mod guardrail;
mod question;
mod reason;
mod source;

use std::path::Path;

use crate::policy::{
    candidates::EngineFault,
    check::{Findings, check_grants},
    engine::Engine,
    grant_file::{PlacedGrant, read_grants},
    guardrail::{Guardrail, check_guardrails, read_guardrails},
    source::read_directory,
};
pub use crate::policy::{
    catalogue::{Catalogue, CatalogueError},
    decide::{DecidedBy, Decision, Granted},
    engine::SCHEMA,
    entitled::{Answer, Entitlement, Entitlements, Proof},
    finding::{Finding, PolicyErrors},
    grant::{AgentSelector, EXAMPLE_GRANTS, Grant, ServerSelector, grant_toml},
    question::{Behalf, Question, Right, RightName},
    reason::{Reason, Source},
    source::PolicyFile,
};
use hallpass_core::base::digest::Digest;

/// Everything that decides: all grants and guardrails of one directory, compiled.
#[derive(Debug)]
pub struct PolicySet {
    files: Vec<PolicyFile>,
    grants: Vec<PlacedGrant>,
    guardrails: Vec<Guardrail>,
    engine: Engine,
    digest: Digest,
}

#[cfg(test)]
impl PolicySet {
    const fn candidates(&self) -> &candidates::Candidates {
        self.engine.candidates()
    }
}

impl PolicySet {
    /// Reads and checks the policy directory. The second value is what is odd but harmless, such
    /// as a grant on a server that is not registered yet.
    ///
    /// # Errors
    ///
    /// Everything that is wrong in any file, each with its place: what cannot be read or parsed,
    /// unknown keys, two grants or guardrails of one name, keys that this build cannot enforce,
    /// guardrails that permit, have slots, do not fit the schema or can never apply, constraints
    /// that contradict a registered server's manifest.
    pub fn load(dir: &Path, catalogue: &Catalogue) -> Result<(Self, Vec<Finding>), PolicyErrors> {
        let (files, mut warnings) = read_directory(dir)?;
        let (set, more) = Self::from_files(files, catalogue)?;
        warnings.extend(more);
        Ok((set, warnings))
    }

    /// As [`PolicySet::load`], from files that were read already; their order is the order of
    /// their names.
    ///
    /// # Errors
    ///
    /// As [`PolicySet::load`].
    pub fn from_files(
        mut files: Vec<PolicyFile>,
        catalogue: &Catalogue,
    ) -> Result<(Self, Vec<Finding>), PolicyErrors> {
        files.sort_by(|left, right| left.name.cmp(&right.name));
        let (mut grants, mut guardrails, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for PolicyFile { name, text } in &files {
            if name.ends_with(source::GUARDRAIL_ENDING) {
                let (read, findings) = read_guardrails(name, text, guardrails.len());
                guardrails.extend(read);
                errors.extend(findings);
            } else {
                let (read, findings) = read_grants(name, text);
                grants.extend(read);
                errors.extend(findings);
            }
        }
        let digest = source::digest_of(&files);
        let Findings {
            errors: more,
            warnings,
        } = findings(&files, &grants, &guardrails, catalogue);
        errors.extend(more);
        if !errors.is_empty() {
            return Err(PolicyErrors::new(errors));
        }
        let engine = Engine::new(&grants, &guardrails).map_err(|fault| fault_error(&fault))?;
        Ok((
            Self {
                files,
                grants,
                guardrails,
                engine,
                digest,
            },
            warnings,
        ))
    }

    /// A set that gives nothing.
    ///
    /// # Errors
    ///
    /// Only when hallpass was built with a schema that is none.
    pub fn empty() -> Result<Self, PolicyErrors> {
        Self::from_files(Vec::new(), &Catalogue::default()).map(|(set, _)| set)
    }

    /// Decides. The same answer serves a dry run (`explain`) and a mint.
    ///
    /// Every right is decided by itself; the request is refused whole when any is refused, unless
    /// the question allows a partial answer. What cannot be evaluated refuses everything.
    #[must_use]
    pub fn decide(&self, question: &Question, catalogue: &Catalogue) -> Decision {
        decide::decide(self, question, catalogue)
    }

    /// Checks the set again, against servers that have changed since it was loaded: errors, then
    /// warnings. A grant that contradicts a manifest refuses until one of them is mended.
    #[must_use]
    pub fn check(&self, catalogue: &Catalogue) -> (Vec<Finding>, Vec<Finding>) {
        let Findings { errors, warnings } =
            findings(&self.files, &self.grants, &self.guardrails, catalogue);
        (errors, warnings)
    }

    /// Digest over the names and the text of all files.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The files that it was made of, in order.
    #[must_use]
    pub fn files(&self) -> &[PolicyFile] {
        &self.files
    }

    /// The grants in the order in which they are asked, each with its file and line.
    pub fn grants(&self) -> impl ExactSizeIterator<Item = (&Grant, &str, usize)> {
        self.grants
            .iter()
            .map(|placed| (&placed.grant, placed.file.as_str(), placed.line))
    }

    /// The guardrails' names, each with its file and line.
    pub fn guardrails(&self) -> impl ExactSizeIterator<Item = (&str, &str, usize)> {
        self.guardrails.iter().map(|guardrail| {
            (
                guardrail.name.as_str(),
                guardrail.file.as_str(),
                guardrail.line,
            )
        })
    }
}

fn findings(
    files: &[PolicyFile],
    grants: &[PlacedGrant],
    guardrails: &[Guardrail],
    catalogue: &Catalogue,
) -> Findings {
    let mut findings = check_grants(grants, catalogue);
    match engine::schema() {
        Ok(schema) => {
            let texts = files
                .iter()
                .map(|file| (file.name.clone(), file.text.clone()))
                .collect();
            let (errors, warnings) = check_guardrails(guardrails, &texts, &schema, catalogue);
            findings.errors.extend(errors);
            findings.warnings.extend(warnings);
        }
        Err(fault) => findings
            .errors
            .extend(fault_error(&fault).findings().iter().cloned()),
    }
    findings
}

fn fault_error(fault: &EngineFault) -> PolicyErrors {
    PolicyErrors::new(vec![Finding::new(
        "policy",
        None,
        format!("the engine cannot take the policies: {fault}"),
    )])
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::*;
    use hallpass_core::{
        base::ReasonCode,
        token::{RequestedDetail, manifest::Manifest},
    };

    #[test]
    fn a_grant_that_wants_proof_refuses_a_pass_without_a_holder_key() {
        let text = "[[grant]]\nid = \"g\"\nagents = [\"*\"]\nserver = \"a\"\ntools = [\"*\"]\nmax_ttl = \"1m\"\n\
                    require_proof = true\n";
        let files = || {
            vec![PolicyFile {
                name: "policy/a.toml".to_owned(),
                text: text.to_owned(),
            }]
        };
        let mut manifest =
            Manifest::new("https://a.example".parse().unwrap(), "a".parse().unwrap());
        manifest
            .tools
            .insert("x".parse().unwrap(), Default::default());
        let catalogue = Catalogue::new([Arc::new(manifest)]).unwrap();
        let (set, _) = PolicySet::from_files(files(), &catalogue).unwrap();
        let mut requested = RequestedDetail::new("https://a.example".parse().unwrap());
        requested.tools.push("x".parse().unwrap());
        let mut question = Question {
            agent: "bot".parse().unwrap(),
            groups: Default::default(),
            steward: "stw_00000000000000000000000000000001".parse().unwrap(),
            behalf: Behalf {
                steward: "stw_00000000000000000000000000000001".parse().unwrap(),
                verified: false,
                groups: Default::default(),
            },
            purpose: String::new(),
            requested: vec![requested],
            ttl_seconds: 1,
            context: BTreeMap::new(),
            holder_bound: false,
            allow_partial: false,
        };
        let Decision::Refused(reasons) = set.decide(&question, &catalogue) else {
            panic!("granted")
        };
        assert_eq!(
            reasons.iter().map(|reason| reason.code).collect::<Vec<_>>(),
            [ReasonCode::HolderKeyRequired]
        );
        question.holder_bound = true;
        assert!(matches!(
            set.decide(&question, &catalogue),
            Decision::Granted(_)
        ));
    }
}
