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
pub struct PolicyErrors {
    findings: Vec<Finding>,
    warnings: Vec<Finding>,
}

impl PolicyErrors {
    /// `findings` in the order of files and lines; never empty.
    pub(super) fn new(mut findings: Vec<Finding>) -> Self {
        findings.sort();
        findings.dedup();
        Self {
            findings,
            warnings: Vec::new(),
        }
    }

    /// The same, beside what is odd and harmless.
    pub(super) fn beside(self, warnings: Vec<Finding>) -> Self {
        Self { warnings, ..self }
    }

    /// Everything that is wrong, in the order of files and lines.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// What is odd beside that, and harmless.
    #[must_use]
    pub fn warnings(&self) -> &[Finding] {
        &self.warnings
    }
}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, finding) in self.findings.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            finding.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for PolicyErrors {}

/// Where the lines of a text begin: found once, since a file of thousands of grants has tens of thousands of places.
#[derive(Debug)]
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(breaks.map(|(at, _)| at).collect())
    }

    /// The line, counted from 1, of the byte at `offset`.
    pub(super) fn at(&self, offset: usize) -> usize {
        self.0
            .partition_point(|line_break| *line_break < offset)
            .saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one_and_a_break_ends_its_line() {
        let lines = Lines::of("ab\n\ncd");
        let found: Vec<_> = (0..7).map(|offset| lines.at(offset)).collect();
        assert_eq!(found, [1, 1, 1, 2, 3, 3, 3]);
        assert_eq!(Lines::of("").at(9), 1);
    }
}
