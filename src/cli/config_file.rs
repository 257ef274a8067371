//! The broker of this machine: where its configuration is, and how it is opened.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use zeroize::Zeroizing;

use crate::{
    cli::error::CliError,
    server::config::{CONFIG_VARIABLE, Config, DEFAULT_FILE, Overrides, process_environment},
};
use hallpass_broker::{
    KEYS_DIRECTORY, KeyProtection, KeysAtRest, OPERATOR_TOKEN_FILE, Options, OtherIssuer,
};
use hallpass_core::base::{ids::IssuerUri, secret_file::read_secret, uri::is_loopback_host};

/// Where the configuration of a broker on this machine is.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ConfigFile {
    /// The configuration file; ./hallpass.toml when it is there. [env: HALLPASS_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: ConfigFlags,
}

/// What is said over the configuration file.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ConfigFlags {
    /// The broker's public URL, which passes name; the URL of the listener when it is not set.
    #[arg(long = "issuer", id = "own_issuer", value_name = "URI")]
    issuer: Option<String>,
    /// Where journal, index and keys live. [default: ./hallpass-data]
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// Where grants and guardrails live. [default: ./policy]
    #[arg(long, value_name = "DIRECTORY")]
    policy_dir: Option<String>,
}

/// The broker of this machine, as its configuration has it.
#[derive(Debug)]
pub(super) struct LocalBroker {
    config: Config,
    /// The file, when it was not named but found in the working directory.
    found: bool,
}

impl LocalBroker {
    pub(super) const fn new(config: Config, found: bool) -> Self {
        Self { config, found }
    }

    /// Where its API is: the origin of its issuer.
    ///
    /// SECURITY: a file that lies in the working directory may be anybody's. It may name a broker on this machine, and no
    /// other place to which an operator's token is sent.
    pub(super) fn url(&self) -> Result<IssuerUri, CliError> {
        let issuer = self.config.issuer(self.config.listen);
        let issuer = issuer.map_err(CliError::failed)?;
        let origin = issuer.parts().origin;
        if origin.ends_with(":0") {
            return Err(CliError::failed(
                "the configured `listen` has port 0, so the broker's port is not known here",
            )
            .hint("say --broker URL, which `hallpass serve` logs when it starts"));
        }
        if self.found && !is_loopback_host(issuer.parts().host) {
            return Err(CliError::failed(format!(
                "`./{DEFAULT_FILE}` says that the broker is {origin}, which is not this machine"
            ))
            .hint(format!(
                "if you trust that file, say --config {DEFAULT_FILE}, or HALLPASS_CONFIG; or name the broker with --broker"
            )));
        }
        origin.parse().map_err(CliError::failed)
    }

    /// The certificate that it serves. It vouches for itself when it is self-signed, and for the leaf when the file ends
    /// with the authority's.
    pub(super) fn certificate(&self) -> Option<&PathBuf> {
        self.config.tls.as_ref().map(|tls| &tls.certificate)
    }

    /// Where it wrote the first operator's token.
    pub(super) fn operator_token(&self) -> PathBuf {
        self.config.data_dir.join(OPERATOR_TOKEN_FILE)
    }
}

impl ConfigFile {
    /// The file at `path`, or where `HALLPASS_CONFIG` says, or in the working directory.
    pub(super) fn named(path: Option<PathBuf>) -> Self {
        Self {
            config: path,
            flags: ConfigFlags::default(),
        }
    }

    pub(super) fn with_flags(self, flags: ConfigFlags) -> Self {
        Self { flags, ..self }
    }

    /// The file that was named, by flag or by variable.
    pub(super) fn name(&self) -> Option<PathBuf> {
        let in_environment =
            || process_environment(CONFIG_VARIABLE).filter(|text| !text.is_empty());
        self.config
            .clone()
            .or_else(|| in_environment().map(PathBuf::from))
    }

    /// The broker that the configuration describes.
    pub(super) fn local_broker(&self) -> Result<LocalBroker, CliError> {
        let found = self.name().is_none() && Path::new(DEFAULT_FILE).exists();
        let config = self.load().map_err(|error| {
            error.hint("--broker and --operator-token-file need no configuration")
        })?;
        Ok(LocalBroker::new(config, found))
    }

    pub(super) fn load(&self) -> Result<Config, CliError> {
        load(&self.overrides())
    }

    /// The configuration file, if there is one.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.overrides().file(&process_environment)
    }

    /// How a broker that is not serving is opened. It stays the broker that wrote the journal.
    pub(super) fn broker_options(&self) -> Result<Options, CliError> {
        let config = self.load()?;
        Ok(Options {
            other_issuer: OtherIssuer::Keep,
            ..broker_options(&config, config.listen)?
        })
    }

    /// The same for an offline command that changes how key files are kept: `change` says to what.
    pub(super) fn options_to_change_keys(
        &self,
        change: impl FnOnce(Arc<KeyProtection>) -> KeysAtRest,
    ) -> Result<Options, CliError> {
        let config = self.load()?;
        let Some(protection) = key_protection(&config)? else {
            return Err(CliError::failed("there is nothing to encrypt or decrypt key files with").hint(
                "name the file with the passphrase in `keys.passphrase_file`, or set HALLPASS_KEY_ENCRYPTION_KEY",
            ));
        };
        if !config.data_dir.join(KEYS_DIRECTORY).is_dir() {
            return Err(CliError::failed(format!("there are no keys in `{}`", config.data_dir.display())).hint(
                "say --data-dir, or start the broker: its first start makes keys, encrypted when that is configured",
            ));
        }
        Ok(Options {
            keys_at_rest: change(protection),
            other_issuer: OtherIssuer::Keep,
            ..broker_options(&config, config.listen)?
        })
    }

    pub(super) fn overrides(&self) -> Overrides {
        Overrides::new(self.config.clone())
            .flag("--issuer", self.flags.issuer.as_deref())
            .flag("--data-dir", self.flags.data_dir.as_deref())
            .flag("--policy-dir", self.flags.policy_dir.as_deref())
    }
}

pub(super) fn load(overrides: &Overrides) -> Result<Config, CliError> {
    Config::load(overrides, &process_environment).map_err(|error| {
        let text = error.to_string();
        let lines: Vec<&str> = text.lines().collect();
        match lines.as_slice() {
            [one] => CliError::failed(one),
            many => CliError::failed("the configuration is refused").because(many),
        }
    })
}

pub(super) fn broker_options(config: &Config, bound: SocketAddr) -> Result<Options, CliError> {
    Ok(Options {
        issuer: config.issuer(bound).map_err(CliError::failed)?,
        other_issuer: OtherIssuer::default(),
        data_dir: config.data_dir.clone(),
        policy_dir: config.policy_dir.clone(),
        max_task_ttl: config.limits.max_task_ttl,
        max_pass_ttl: config.limits.max_pass_ttl,
        rotation_overlap: config.rotation_overlap,
        rotate_keys_after: config.rotate_keys_after,
        keys_at_rest: key_protection(config)?.map_or(KeysAtRest::Plain, KeysAtRest::Sealed),
        expected_head: None,
        accept_clock: false,
        retention: config.retention.clone(),
        decisions_bytes: config.limits.decisions_bytes,
        workloads: config
            .oauth
            .issuers
            .iter()
            .flat_map(|issuer| issuer.agents().cloned())
            .collect(),
    })
}

/// What private key files are encrypted under: a passphrase in a file, or a key in the environment.
fn key_protection(config: &Config) -> Result<Option<Arc<KeyProtection>>, CliError> {
    let key = process_environment(KEY_VARIABLE)
        .filter(|text| !text.is_empty())
        .map(Zeroizing::new);
    let protection = match (&config.passphrase_file, key) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            let both = format!(
                "both `keys.passphrase_file` and {KEY_VARIABLE} are set: leave one of them out"
            );
            return Err(CliError::failed(both));
        }
        (Some(path), None) => {
            let passphrase = read_secret(path).map_err(CliError::failed)?;
            KeyProtection::passphrase(&passphrase)
                .map_err(|error| CliError::failed(format!("`{}`: {error}", path.display())))?
        }
        (None, Some(key)) => KeyProtection::key(&key)
            .map_err(|error| CliError::failed(format!("{KEY_VARIABLE}: {error}")))?,
    };
    Ok(Some(Arc::new(protection)))
}

pub(super) const KEY_VARIABLE: &str = "HALLPASS_KEY_ENCRYPTION_KEY";
