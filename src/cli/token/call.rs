//! The call that a command is about.

use clap::Args;
use serde_json::Value;

use crate::cli::access::MAX_INPUT_BYTES;
use hallpass_core::{
    base::json,
    token::{Call, rights::Kind},
};

/// The arguments of a call.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The call's arguments.
    #[arg(long, value_name = "JSON", value_parser = parse_arguments, requires = "call")]
    arguments: Option<Value>,
}

/// What is called: `tool:NAME`, `resource:URI` or `prompt:NAME`.
#[derive(Debug, Clone)]
pub(super) struct Called {
    kind: Kind,
    name: String,
}

impl Called {
    /// The call with `arguments`; reading a resource has none.
    pub(super) fn with<'c>(&'c self, arguments: &'c Arguments) -> Call<'c> {
        let arguments = arguments.arguments.as_ref();
        Call::new(
            self.kind,
            &self.name,
            arguments.filter(|_| self.kind != Kind::Resource),
        )
    }
}

impl std::str::FromStr for Called {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "expected tool:NAME, resource:URI or prompt:NAME";
        let (kind, name) = text.split_once(':').ok_or(expected)?;
        match kind.parse() {
            Ok(kind) if !name.is_empty() => Ok(Self {
                kind,
                name: name.to_owned(),
            }),
            _ => Err(expected),
        }
    }
}

fn parse_arguments(text: &str) -> Result<Value, String> {
    json::parse(text.as_bytes(), MAX_INPUT_BYTES).map_err(|error| error.to_string())
}
