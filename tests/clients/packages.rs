//! The clients' packages: pinned, fetched once from their registries, kept in `target/clients`.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{OnceLock, mpsc},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use sha2::{Digest as _, Sha256};

use support::skip::skipped;

/// A set of packages that are installed together.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Packages {
    /// Python's `mcp` of the 2.x line, and fastmcp, which is built on it.
    Mcp2,
    /// The last of Python's `mcp` of the 1.x line.
    Mcp1,
    /// Both TypeScript lines, the conformance suite, and a Node that is new enough for it.
    Node,
    /// A Chromium, and what drives it; needs [`Packages::Node`] to run.
    Browser,
}

/// Packages that are there.
#[derive(Debug, Clone)]
pub(crate) struct Fetched(PathBuf);

impl Packages {
    /// The packages, fetched if they were not yet. `None` when they cannot be had here, which is said loudly;
    /// the caller skips.
    pub(crate) fn fetched(self) -> Option<Fetched> {
        static FETCHED: [OnceLock<Result<Fetched, String>>; 4] = [const { OnceLock::new() }; 4];
        let slot = match self {
            Self::Mcp2 => &FETCHED[0],
            Self::Mcp1 => &FETCHED[1],
            Self::Node => &FETCHED[2],
            Self::Browser => &FETCHED[3],
        };
        match slot.get_or_init(|| self.fetch()) {
            Ok(fetched) => Some(fetched.clone()),
            Err(why) => {
                skipped(format_args!("the clients of {self:?}"), why);
                None
            }
        }
    }

    fn fetch(self) -> Result<Fetched, String> {
        let specification = self.specification();
        let digest = hex::encode(Sha256::digest(specification.concat()));
        let shelf = shelf();
        fs::create_dir_all(&shelf).unwrap();
        let directory = shelf.join(format!("{}-{}", self.name(), &digest[..12]));
        // Another test process may be at it.
        let lock = File::create(shelf.join(format!("{}.lock", self.name()))).unwrap();
        lock.lock().unwrap();
        let complete = directory.join("complete");
        if !complete.exists() {
            let _ = fs::remove_dir_all(&directory);
            fs::create_dir_all(&directory).unwrap();
            self.install(&directory)?;
            fs::write(complete, "").unwrap();
            self.clear_older(&shelf, &directory);
        }
        lay_out_scripts(&directory, self.scripts());
        Ok(Fetched(directory))
    }

    /// What an earlier list of packages had installed.
    fn clear_older(self, shelf: &Path, newest: &Path) {
        let mine = format!("{}-", self.name());
        let directories = fs::read_dir(shelf)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let is_mine = |path: &PathBuf| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(&mine))
        };
        for older in directories.filter(|path| is_mine(path) && path != newest) {
            fs::remove_dir_all(older).unwrap();
        }
    }

    fn install(self, directory: &Path) -> Result<(), String> {
        match self {
            Self::Mcp1 | Self::Mcp2 => {
                found("python3", "--version")?;
                let environment = directory.join("venv");
                installed(
                    Command::new("python3")
                        .args(["-m", "venv"])
                        .arg(&environment),
                )?;
                let requirements = directory.join("requirements.txt");
                fs::write(&requirements, self.specification()[0]).unwrap();
                let mut pip = Command::new(environment.join("bin/python"));
                pip.args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--only-binary",
                    ":all:",
                    "--no-deps",
                    "-r",
                ]);
                installed(pip.arg(requirements))
            }
            Self::Node | Self::Browser => {
                found("npm", "--version")?;
                for (name, text) in ["package.json", "package-lock.json"]
                    .iter()
                    .zip(self.specification())
                {
                    fs::write(directory.join(name), text).unwrap();
                }
                installed(
                    Command::new("npm")
                        .args(["ci", "--no-audit", "--no-fund"])
                        .current_dir(directory),
                )
            }
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Mcp2 => "mcp2",
            Self::Mcp1 => "mcp1",
            Self::Node => "node",
            Self::Browser => "browser",
        }
    }

    fn specification(self) -> Vec<&'static str> {
        match self {
            Self::Mcp2 => vec![include_str!("python/requirements-mcp2.txt")],
            Self::Mcp1 => vec![include_str!("python/requirements-mcp1.txt")],
            Self::Node => vec![
                include_str!("node/package.json"),
                include_str!("node/package-lock.json"),
            ],
            Self::Browser => vec![
                include_str!("browser/package.json"),
                include_str!("browser/package-lock.json"),
            ],
        }
    }

    /// What runs beside the packages.
    const fn scripts(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Mcp2 | Self::Mcp1 => &[],
            Self::Node => &[
                ("driver.mjs", include_str!("node/driver.mjs")),
                ("sdk1.mjs", include_str!("node/sdk1.mjs")),
                ("client2.mjs", include_str!("node/client2.mjs")),
            ],
            Self::Browser => &[("browser.mjs", include_str!("browser/browser.mjs"))],
        }
    }
}

impl Fetched {
    /// A command that runs a script of `tests/clients/python`.
    pub(crate) fn python(&self, script: &str) -> Command {
        let mut command = Command::new(self.0.join("venv/bin/python"));
        command
            .arg(scripts().join("python").join(script))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// A command that runs a script of `tests/clients/node`.
    pub(crate) fn node(&self, script: &str) -> Command {
        let mut command = self.node_itself();
        command.arg(self.0.join(script));
        command
    }

    /// A command that runs a script of `others` by this Node.
    pub(crate) fn node_beside(&self, others: &Self, script: &str) -> Command {
        let mut command = self.node_itself();
        command.arg(others.0.join(script));
        command
    }

    /// A command that runs what a package installed as `binary`.
    pub(crate) fn node_binary(&self, binary: &str) -> Command {
        let mut command = self.node_itself();
        command.arg(self.0.join("node_modules/.bin").join(binary));
        command
    }

    fn node_itself(&self) -> Command {
        Command::new(self.0.join("node_modules/node/bin/node"))
    }
}

/// Where the packages, and what the tests write, are kept.
pub(crate) fn shelf() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("clients")
}

/// Runs a command to its end, within `limit`. Its process group is killed if that is over.
pub(crate) fn finished(command: &mut Command, limit: Duration) -> Output {
    use std::os::unix::process::CommandExt as _;
    let child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let group = Pid::from_child(&child);
    let (tell, told) = mpsc::channel();
    let wait = |child: Child| child.wait_with_output().unwrap();
    thread::spawn(move || tell.send(wait(child)));
    told.recv_timeout(limit).unwrap_or_else(|_| {
        let _ = kill_process_group(group, Signal::KILL);
        told.recv().unwrap()
    })
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Node looks for modules from where a script is. Whole or not at all: another process may run them.
fn lay_out_scripts(directory: &Path, scripts: &[(&str, &str)]) {
    for (name, text) in scripts {
        let new = directory.join(format!("{name}.{}", std::process::id()));
        fs::write(&new, text).unwrap();
        fs::rename(new, directory.join(name)).unwrap();
    }
}

fn found(program: &'static str, argument: &str) -> Result<(), String> {
    let asked = Command::new(program)
        .arg(argument)
        .stdin(Stdio::null())
        .output();
    match asked {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err(format!("{program} is not installed")),
    }
}

fn installed(command: &mut Command) -> Result<(), String> {
    let output = finished(command, FETCH_LIMIT);
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// For one installation; some hundred packages over a slow network.
const FETCH_LIMIT: Duration = Duration::from_secs(300);
