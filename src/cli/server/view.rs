//! Servers as people read them.

use crate::{
    api::servers::ServerWithSecret,
    cli::{
        output::View,
        view::{listed, secrets_words, state, under},
    },
};
use hallpass_broker::ServerView;
use hallpass_core::{base::ids::ToolName, token::manifest::Tool};

/// One server.
pub(super) fn show(server: ServerView) -> View {
    with_secret(ServerWithSecret {
        server,
        client_id: None,
        client_secret: None,
    })
}

/// One server, with the secret that was just made for it.
pub(super) fn with_secret(made: ServerWithSecret) -> View {
    let ServerWithSecret {
        server,
        client_id,
        client_secret,
    } = made;
    let manifest = &server.manifest;
    let mut fields = vec![
        ("name", manifest.name.to_string()),
        ("server", manifest.server.to_string()),
        ("state", state(server.suspended)),
    ];
    let aliases = Some(listed(&manifest.aliases)).filter(|_| !manifest.aliases.is_empty());
    let optional = [
        ("client id", client_id.map(|id| id.to_string())),
        (
            "client secret",
            client_secret.map(|secret| secret.expose().to_owned()),
        ),
        ("aliases", aliases),
        ("region", manifest.region.clone()),
    ];
    fields.extend(
        optional
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let tools = manifest.tools.iter();
    fields.extend(under(
        "tools",
        tools.map(|(name, tool)| tool_words(name, tool)).collect(),
    ));
    let roots = manifest.resources.iter();
    fields.extend(under(
        "resources",
        roots.map(|root| root.uri.to_string()).collect(),
    ));
    fields.extend(under(
        "prompts",
        manifest.prompts.keys().map(ToString::to_string).collect(),
    ));
    fields.extend(under("secrets", secrets_words(&server.secrets)));
    View::Fields(fields)
}

/// `read_ledger (/year, /path): read-only; paths /path; risk = low`.
fn tool_words(name: &ToolName, tool: &Tool) -> String {
    let mut words = Vec::new();
    words.extend(tool.read_only.then(|| "read-only".to_owned()));
    words.extend(tool.irreversible.then(|| "irreversible".to_owned()));
    for (word, arguments) in [
        ("paths", &tool.path_arguments),
        ("URLs", &tool.url_arguments),
    ] {
        words.extend((!arguments.is_empty()).then(|| format!("{word} {}", listed(arguments))));
    }
    let labels = tool.labels.iter();
    words.extend(labels.map(|(label, value)| format!("{label} = {value}")));
    let arguments = if tool.arguments.is_empty() {
        String::new()
    } else {
        format!(" ({})", listed(&tool.arguments))
    };
    let words = if words.is_empty() {
        String::new()
    } else {
        format!(": {}", words.join("; "))
    };
    format!("{name}{arguments}{words}")
}
