//! What the server logs, at every level.

use std::sync::{Arc, Mutex, OnceLock};

use tracing_subscriber::fmt::MakeWriter;

/// The log of this process. Tests that run beside each other write to it all: look for what only one of them has.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// From now on.
    pub fn of_this_process() -> &'static Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Self::default();
            // Other crates' lines are not ours to write; the default filter leaves them out at this level.
            let subscriber = tracing_subscriber::fmt()
                .with_env_filter("hallpass=trace")
                .with_ansi(false)
                .with_writer(log.clone())
                .finish();
            // For the whole process: a subscriber of one thread may miss what others were first to reach.
            tracing::subscriber::set_global_default(subscriber).unwrap();
            log
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines that have this text.
    pub fn lines_with(&self, text: &str) -> Vec<String> {
        let all = self.text();
        let found = all.lines().filter(|line| line.contains(text));
        found.map(str::to_owned).collect()
    }

    /// The one line at `info` that has this text.
    pub fn info(&self, text: &str) -> String {
        let mut found = self.lines_with(text);
        found.retain(|line| line.contains(" INFO "));
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
        found.remove(0)
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
