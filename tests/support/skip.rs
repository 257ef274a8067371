//! Tests that cannot run where they are run say so, past the test runner, which keeps what passing tests print to
//! itself.

use std::{fmt::Display, io::Write as _};

/// Nothing of `what` is tested, because of `why`: said loudly, and a failure where `CI` is `true`.
pub fn skipped(what: impl Display, why: impl Display) {
    assert!(
        !std::env::var("CI").is_ok_and(|value| value == "true"),
        "CI skips nothing, and {what} cannot run: {why}"
    );
    impossible(what, why);
}

/// Nothing of `what` is tested, since this machine cannot do it at all: said loudly, in CI too.
pub fn impossible(what: impl Display, why: impl Display) {
    // Whoever closed the stream does not want to hear it.
    let _ = writeln!(
        std::io::stderr(),
        "\n*** SKIPPED, NOTHING WAS TESTED OF {what}: {why} ***\n"
    );
}
