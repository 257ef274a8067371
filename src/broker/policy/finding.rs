//! Findings: what is wrong, or odd, in the policy directory, with the place.

use std::fmt;

/// One thing found in a policy file: where and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, as answers name it: `policy/research.toml`.
    pub file: String,
    /// The line, counted from 1, when there is one.
    pub line: Option<usize>,
    /// What is wrong and what to do.
    pub reason: String,
}

impl Finding {
    pub(super) fn new(file: &str, line: Option<usize>, reason: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            reason: reason.into(),
        }
    }

    pub(super) fn at(file: &str, line: usize, reason: impl Into<String>) -> Self {
        Self::new(file, Some(line), reason)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.reason),
            None => write!(f, "{}: {}", self.file, self.reason),
        }
    }
}

/// A policy set that was refused, with everything that is wrong in it; displays one finding a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyErrors(Vec<Finding>);

impl PolicyErrors {
    /// `findings` in the order of files and lines; never empty.
    pub(super) fn new(mut findings: Vec<Finding>) -> Self {
        findings.sort();
        findings.dedup();
        Self(findings)
    }

    /// Everything that is wrong, in the order of files and lines.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.0
    }
}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, finding) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            finding.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for PolicyErrors {}

/// The line, counted from 1, of the byte at `offset` in `text`.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
        .saturating_add(1)
}
