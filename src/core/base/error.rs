//! Formatting errors for people.

use std::{error::Error, iter::successors};

/// An error and its causes on one line, since the outermost often says only that something failed.
/// A cause that the text already contains is not repeated.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut words: Vec<String> = Vec::new();
    for cause in successors(Some(error), |error| (*error).source()).map(ToString::to_string) {
        if !words.iter().any(|word| word.contains(&cause)) {
            words.push(cause);
        }
    }
    words.join(": ")
}
