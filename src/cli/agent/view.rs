//! Agents as people read them.

use crate::{
    api::agents::AgentWithSecret,
    cli::{
        output::View,
        view::{details_words, listed, secrets_words, state, under},
    },
};
use hallpass_broker::{AgentView, identity::RegisteredKey};

/// One agent.
pub(super) fn show(agent: AgentView) -> View {
    with_secret(AgentWithSecret {
        agent,
        client_secret: None,
    })
}

/// One agent, with the secret that was just made for it.
pub(super) fn with_secret(made: AgentWithSecret) -> View {
    let AgentWithSecret {
        agent,
        client_secret,
    } = made;
    let keys = agent
        .keys
        .iter()
        .map(|jwk| match RegisteredKey::from_jwk(jwk) {
            Ok(key) => format!("{} {}", key.algorithm().as_str(), key.thumbprint()),
            Err(error) => error.to_string(),
        });
    let mut fields = vec![
        ("agent", agent.agent.to_string()),
        ("steward", steward(&agent)),
        ("groups", listed(&agent.groups)),
    ];
    fields.extend(under("keys", keys.collect()));
    fields.extend(client_secret.map(|secret| ("client secret", secret.expose().to_owned())));
    fields.extend(under("secrets", secrets_words(&agent.secrets)));
    // Most agents have none of these.
    let of_clients = [
        ("default rights", details_words(&agent.default_details)),
        ("redirect URIs", agent.redirect_uris.clone()),
        (
            "client document",
            agent.client_document.iter().cloned().collect(),
        ),
        ("keys at", agent.jwks_uri.iter().cloned().collect()),
    ];
    for (name, values) in of_clients {
        if !values.is_empty() {
            fields.extend(under(name, values));
        }
    }
    fields.extend([
        ("registered", agent.registered_at.to_string()),
        ("state", state(agent.suspended)),
    ]);
    View::Fields(fields)
}

/// The agent's steward, by name where one is known.
pub(super) fn steward(agent: &AgentView) -> String {
    match &agent.steward_name {
        Some(name) => format!("{name} ({})", agent.steward),
        None => agent.steward.to_string(),
    }
}
