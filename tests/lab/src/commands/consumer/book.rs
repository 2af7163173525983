//! What the application counts, in memory and in its file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use tandem_lab::{Count, Doing, Failure};

/// An application that has not logged in for so long is not ready.
const FRESH: Duration = Duration::from_secs(2);

pub(super) struct Book {
    path: PathBuf,
    page: Mutex<Page>,
}

#[derive(Default)]
struct Page {
    count: Count,
    dirty: bool,
    last_login: Option<Instant>,
}

impl Book {
    /// A file of its own for each start of the container, so that nothing is lost by one.
    pub(super) fn open(directory: &Path, pod: &str) -> Result<Self> {
        let path = directory.join(format!("{pod}-{}.json", Timestamp::now().as_millisecond()));
        let count = Count {
            pod: pod.to_owned(),
            ..Count::default()
        };
        let book = Self {
            path,
            page: Mutex::new(Page {
                count,
                dirty: true,
                last_login: None,
            }),
        };
        book.flush()?;
        Ok(book)
    }

    pub(super) fn attempt(&self, user: &str) {
        let mut page = self.page();
        *page.count.logins.entry(user.to_owned()).or_default() += 1;
        page.dirty = true;
    }

    /// Whether the newest connection was good for anything.
    pub(super) fn probe(&self, good: bool) {
        if good {
            self.page().last_login = Some(Instant::now());
        }
    }

    pub(super) fn query(&self) {
        let mut page = self.page();
        page.count.queries += 1;
        page.dirty = true;
    }

    pub(super) fn fail(&self, doing: Doing, user: &str, error: &tokio_postgres::Error) {
        let sqlstate = error.code().map(|code| code.code().to_owned());
        let message = message(error);
        eprintln!("consumer: {doing:?} as {user} failed: {message}");
        let mut page = self.page();
        let pod = page.count.pod.clone();
        page.count.fail(Failure {
            at: Timestamp::now(),
            pod,
            doing,
            user: user.to_owned(),
            sqlstate,
            message,
        });
        page.dirty = true;
        if doing == Doing::Login {
            page.last_login = None;
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.page()
            .last_login
            .is_some_and(|login| login.elapsed() < FRESH)
    }

    pub(super) fn json(&self) -> Result<Vec<u8>> {
        Ok(serde_json::to_vec(&self.page().count)?)
    }

    /// Writes the file, all at once, when there is something new.
    pub(super) fn flush(&self) -> Result<()> {
        if !std::mem::take(&mut self.page().dirty) {
            return Ok(());
        }
        let new = self.path.with_extension("json.new");
        fs::write(&new, self.json()?).with_context(|| format!("cannot write {}", new.display()))?;
        fs::rename(&new, &self.path).with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn page(&self) -> MutexGuard<'_, Page> {
        self.page.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The driver's errors say only the half; the other half is their source.
fn message(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
