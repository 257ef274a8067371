//! What the first start of a broker made, and what to type next.

use std::path::PathBuf;

use crate::{
    cli::{
        access::TOKEN_FILE_VARIABLE,
        client::{BROKER_VARIABLE, CA_FILE_VARIABLE},
        config_file::{ConfigFile, LocalBroker},
        output::Output,
    },
    server::config::{CONFIG_VARIABLE, Config, LogFormat, Overrides},
};
use hallpass_broker::{KEYS_DIRECTORY, OPERATOR_TOKEN_FILE};
use hallpass_core::base::ids::IssuerUri;

/// Says where keys, operator's token and policy are: to people with what to type next, to machines as one event.
pub(super) fn tell(config: &Config, file: &ConfigFile, issuer: &IssuerUri, output: Output) {
    match config.log.format {
        LogFormat::Text => next_steps(config, file, issuer, output),
        // A log that machines read holds nothing else.
        LogFormat::Json => tracing::info!(
            keys = %config.data_dir.join(KEYS_DIRECTORY).display(),
            operator_token_file = %config.data_dir.join(OPERATOR_TOKEN_FILE).display(),
            policy = %config.policy_dir.display(),
            "first start: made keys, the first operator's token and an example policy"
        ),
    }
}

fn next_steps(config: &Config, file: &ConfigFile, issuer: &IssuerUri, output: Output) {
    let token = config.data_dir.join(OPERATOR_TOKEN_FILE);
    let (data, policy) = (config.data_dir.display(), config.policy_dir.display());
    output.note(&format!(
        "first start: keys are in {data}, an example of grants in {policy}"
    ));
    output.note(&format!(
        "the operator's token is in {} (mode 0600)",
        token.display()
    ));
    output.note("next, in another terminal in this directory:");
    let variables = variables(config, file, issuer);
    let variables = variables.map(|(name, value)| format!("export {name}={}", shell_word(&value)));
    for line in variables.chain(FIRST_COMMANDS.map(str::to_owned)) {
        output.note(&format!("  {line}"));
    }
}

/// The variables that a command in this directory needs to find this broker: none, where it finds it by itself.
fn variables(
    config: &Config,
    file: &ConfigFile,
    issuer: &IssuerUri,
) -> impl Iterator<Item = (&'static str, String)> {
    // What is no file cannot be read again.
    let named = file.name().filter(|path| path.is_file());
    let origin = issuer.parts().origin;
    // What such a command reads: the file, and no flag or variable of this process.
    let seen = Config::load(&Overrides::new(named.clone()), &|_| None).ok();
    let found = seen.map(|seen| LocalBroker::new(seen, named.is_none()));
    let url = found.as_ref().and_then(|found| found.url().ok());
    let finds_url = url.is_some_and(|url| url.as_str() == origin);
    let certificate = config.tls.as_ref().map(|tls| &tls.certificate);
    let found = found.as_ref();
    let finds_certificate = finds_url && found.and_then(LocalBroker::certificate) == certificate;
    let token = config.data_dir.join(OPERATOR_TOKEN_FILE);
    let finds_token = found.is_some_and(|found| found.operator_token() == token);
    let text = |path: &PathBuf| path.display().to_string();
    let config_file = named.as_ref().map(text);
    [
        (CONFIG_VARIABLE, config_file),
        (BROKER_VARIABLE, (!finds_url).then(|| origin.to_owned())),
        (
            CA_FILE_VARIABLE,
            certificate.filter(|_| !finds_certificate).map(text),
        ),
        (TOKEN_FILE_VARIABLE, (!finds_token).then(|| text(&token))),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
}

/// `text` as one word of a POSIX shell.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

const FIRST_COMMANDS: [&str; 4] = [
    "hallpass server add https://ledger.example/mcp --name ledger --import",
    "hallpass agent add research-bot --steward alice --group research --key-out research-bot.key",
    "hallpass policy grant --id research-reads --agents group:research --server ledger --tools 'read_*' --max-ttl 10m",
    "hallpass task open --as research-bot.key --purpose \"close the Q3 books\" --server ledger --tool read_ledger --ttl 5m",
];
