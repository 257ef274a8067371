//! Faults between the broker and its disk, made by a small library that is put under the process.

use std::{fs, path::PathBuf, process::Command};

use super::{BrokerHome, BrokerProcess};

/// A fault that begins when the test says so, and ends when it says so.
pub struct Fault {
    directory: tempfile::TempDir,
}

impl Fault {
    /// Brokers that are started in `home` from now on suffer `fault` on the files of their journal,
    /// while it is on. What faults there are stands in `faults.c`.
    pub fn of(home: &mut BrokerHome, fault: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join("faults.so");
        let source = directory.path().join("faults.c");
        fs::write(&source, include_str!("faults.c")).unwrap();
        let mut compiler = Command::new("cc");
        let compiled = compiler
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(&source)
            .arg("-ldl")
            .status();
        // Rust links by the same compiler: where this test runs there is one.
        assert!(
            compiled.unwrap().success(),
            "the library of faults does not compile"
        );
        let fault_is_on = Self { directory };
        home.set("LD_PRELOAD", library.to_str().unwrap());
        home.set("HALLPASS_FAULT", fault);
        home.set(
            "HALLPASS_FAULT_WHEN",
            fault_is_on.switch().to_str().unwrap(),
        );
        home.set("HALLPASS_FAULT_PATH", "/journal");
        fault_is_on
    }

    pub fn on(&self) {
        fs::write(self.switch(), b"").unwrap();
    }

    pub fn off(&self) {
        fs::remove_file(self.switch()).unwrap();
    }

    fn switch(&self) -> PathBuf {
        self.directory.path().join("on")
    }
}

/// Waits until every thread of the process has stopped; `false` when it ended instead.
pub async fn stopped(process: rustix::process::Pid) -> bool {
    let wait =
        move || rustix::process::waitpid(Some(process), rustix::process::WaitOptions::UNTRACED);
    let (_, status) = tokio::task::spawn_blocking(wait)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    status.stopped()
}

impl BrokerProcess {
    /// Waits until it was stopped by a fault.
    pub async fn stopped(&self) -> bool {
        stopped(self.id()).await
    }
}
