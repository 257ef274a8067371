//! Subject patterns: which workloads of an issuer are meant.

use std::str::FromStr;

/// A pattern of a `sub`: `*` stands for one or more characters other than `/` and `:`.
///
/// Subjects are paths of names, some of which their owners choose: a pattern that ran over a separator
/// would let a name look like the rest of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SubjectPattern(Box<str>);

impl SubjectPattern {
    /// Whether `subject` is meant.
    pub(super) fn matches(&self, subject: &str) -> bool {
        // `reached[n]`: the pattern so far stands for the first n bytes of the subject.
        let mut reached = vec![false; subject.len().saturating_add(1)];
        if let Some(start) = reached.first_mut() {
            *start = true;
        }
        for symbol in self.0.bytes() {
            let mut next = vec![false; reached.len()];
            let mut runs = false;
            for ((byte, was), is) in subject.bytes().zip(&reached).zip(next.iter_mut().skip(1)) {
                *is = if symbol == b'*' {
                    runs = (runs || *was) && !matches!(byte, b'/' | b':');
                    runs
                } else {
                    *was && byte == symbol
                };
            }
            reached = next;
        }
        reached.last().copied().unwrap_or_default()
    }
}

impl FromStr for SubjectPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty()
            || text.len() > MAX_PATTERN_BYTES
            || text.contains("**")
            || text.chars().any(char::is_control)
        {
            return Err(format!(
                "a pattern has 1 to {MAX_PATTERN_BYTES} bytes, no control characters and no `**`"
            ));
        }
        Ok(Self(text.into()))
    }
}

const MAX_PATTERN_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_a_name_and_never_for_a_separator() {
        let matches = |pattern: &str, subject: &str| {
            pattern.parse::<SubjectPattern>().unwrap().matches(subject)
        };
        let service = "system:serviceaccount:prod:*";
        assert!(matches(service, "system:serviceaccount:prod:ledger"));
        for other in [
            "system:serviceaccount:prod:",
            "system:serviceaccount:prod",
            "system:serviceaccount:dev:ledger",
            "system:serviceaccount:prod:ledger:x",
            "xsystem:serviceaccount:prod:ledger",
            "",
        ] {
            assert!(!matches(service, other), "{other}");
        }
        let branch = "repo:acme/*:ref:refs/heads/main";
        assert!(matches(branch, "repo:acme/ledger:ref:refs/heads/main"));
        // The owner of a repository chooses its name, and the author of a pull request its branch.
        assert!(!matches(
            branch,
            "repo:acme/x:ref:refs/heads/y:ref:refs/heads/main"
        ));
        assert!(!matches(branch, "repo:acme/x:pull_request"));
        assert!(
            matches("a*b*c", "a1b2b3c") && matches("a*b*c", "abbbc") && !matches("a*b*c", "abc")
        );
        assert!(matches(
            "spiffe://td/ns/*/sa/bot",
            "spiffe://td/ns/prod/sa/bot"
        ));
        assert!(!matches(
            "spiffe://td/ns/*/sa/bot",
            "spiffe://td/ns/a/sa/x/sa/bot"
        ));
    }

    #[test]
    fn odd_patterns_are_refused() {
        for bad in ["", "a**", "a\n", &"x".repeat(257)] {
            assert!(bad.parse::<SubjectPattern>().is_err(), "{bad:?}");
        }
    }
}
