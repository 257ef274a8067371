//! The policy of one directory, read, checked and compiled.

use std::{collections::BTreeSet, path::Path};

#[cfg(test)]
use crate::policy::candidates::Candidates;
use crate::policy::{
    candidates::EngineFault,
    catalogue::Catalogue,
    check::{Findings, check_grants},
    compiled::Compiled,
    decide::{Decision, decide},
    engine::schema,
    entitled::Entitlements,
    finding::{Finding, PolicyErrors},
    grant::Grant,
    grant_file::{PlacedGrant, read_grants},
    guardrail::{Guardrail, check_guardrails, read_guardrails},
    question::Question,
    source::{GUARDRAIL_ENDING, PolicyFile, digest_of, read_directory},
};
use hallpass_core::{
    base::{
        digest::Digest,
        ids::{AgentId, GroupName, StewardId},
    },
    token::manifest::Manifest,
};

/// Everything that decides: all grants and guardrails of one directory, compiled.
#[derive(Debug)]
pub struct PolicySet {
    files: Vec<PolicyFile>,
    compiled: Compiled,
    digest: Digest,
}

#[cfg(test)]
impl PolicySet {
    pub(super) const fn candidates(&self) -> &Candidates {
        self.compiled.engine.candidates()
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
        match Self::from_files(files, catalogue) {
            Ok((set, more)) => {
                warnings.extend(more);
                Ok((set, warnings))
            }
            Err(errors) => {
                warnings.extend_from_slice(errors.warnings());
                Err(errors.beside(warnings))
            }
        }
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
            if name.ends_with(GUARDRAIL_ENDING) {
                let (read, findings) = read_guardrails(name, text, guardrails.len());
                guardrails.extend(read);
                errors.extend(findings);
            } else {
                let (read, findings) = read_grants(name, text);
                grants.extend(read);
                errors.extend(findings);
            }
        }
        let digest = digest_of(&files);
        let Findings {
            errors: more,
            warnings,
        } = findings(&files, &grants, &guardrails, catalogue);
        errors.extend(more);
        if !errors.is_empty() {
            return Err(PolicyErrors::new(errors).beside(warnings));
        }
        let compiled = Compiled::new(grants, guardrails).map_err(|fault| fault_error(&fault))?;
        Ok((
            Self {
                files,
                compiled,
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
        decide(&self.compiled, question, catalogue)
    }

    /// Checks the set again, against servers that have changed since it was loaded: errors, then
    /// warnings. A grant that contradicts a manifest refuses until one of them is mended.
    #[must_use]
    pub fn check(&self, catalogue: &Catalogue) -> (Vec<Finding>, Vec<Finding>) {
        let Compiled {
            grants, guardrails, ..
        } = &self.compiled;
        let Findings { errors, warnings } = findings(&self.files, grants, guardrails, catalogue);
        (errors, warnings)
    }

    /// What could be given to `agent`, which is in `groups` and for which `steward` answers.
    #[must_use]
    pub fn entitlements(
        &self,
        agent: &AgentId,
        groups: &BTreeSet<GroupName>,
        steward: &StewardId,
    ) -> Entitlements<'_> {
        Entitlements::of(&self.compiled, agent, groups, steward)
    }

    /// Whether some grant speaks of the agent, or of one of its groups, at the server of `manifest`. Guardrails may forbid
    /// all of it all the same.
    #[must_use]
    pub fn speaks_of(
        &self,
        agent: &AgentId,
        groups: &BTreeSet<GroupName>,
        manifest: &Manifest,
    ) -> bool {
        let candidates = self.compiled.engine.candidates();
        candidates.select(agent, groups, manifest)
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
        self.compiled
            .grants
            .iter()
            .map(|placed| (&placed.grant, placed.file.as_str(), placed.line))
    }

    /// The guardrails' names, each with its file and line.
    pub fn guardrails(&self) -> impl ExactSizeIterator<Item = (&str, &str, usize)> {
        self.compiled.guardrails.iter().map(|guardrail| {
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
    match schema() {
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
    use crate::policy::question::Behalf;
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
