//! What an application in the lab has counted.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What an application was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Doing {
    /// It was opening a connection.
    Login,
    /// It was using one that it had.
    Query,
}

/// One thing that went wrong for an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When.
    pub at: Timestamp,
    /// The pod that it happened in.
    pub pod: String,
    /// At what.
    pub doing: Doing,
    /// As which user.
    pub user: String,
    /// The server's error code, if it was the server who refused.
    pub sqlstate: Option<String>,
    /// What the driver said.
    pub message: String,
}

impl Failure {
    /// Whether the server was there, and did not let the user in (class 28). Anything else says nothing of a password.
    #[must_use]
    pub fn refuses_login(&self) -> bool {
        let code = self.sqlstate.as_deref();
        self.doing == Doing::Login && code.is_some_and(|code| code.starts_with("28"))
    }
}

/// What one run of a container has counted: the content of a file that outlives its pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// The pod's name.
    pub pod: String,
    /// Connections that it tried to open, by user.
    pub logins: BTreeMap<String, u64>,
    /// Queries on connections that it kept.
    pub queries: u64,
    /// Everything that went wrong, up to a limit of this many.
    pub failures: Vec<Failure>,
    /// How many failures there were beyond the limit.
    pub more_failures: u64,
}

impl Count {
    const LIMIT: usize = 5_000;

    /// Adds a failure.
    pub fn fail(&mut self, failure: Failure) {
        if self.failures.len() < Self::LIMIT {
            self.failures.push(failure);
        } else {
            self.more_failures += 1;
        }
    }
}

/// The sum over all pods of an application that ever were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Connections that were tried to be opened.
    pub attempts: u64,
    /// The same by user.
    pub attempts_as: BTreeMap<String, u64>,
    /// Queries on connections that were kept.
    pub queries: u64,
    /// Everything that went wrong, in the order of time.
    pub failures: Vec<Failure>,
    /// How many failures there were that were not kept one by one.
    pub more_failures: u64,
    /// The names of the pods.
    pub pods: Vec<String>,
}

impl Tally {
    /// How many connections could not be opened.
    #[must_use]
    pub fn failed_logins(&self) -> usize {
        self.failures
            .iter()
            .filter(|failure| failure.doing == Doing::Login)
            .count()
    }

    /// How many of them because the server was there and refused them.
    #[must_use]
    pub fn refused_logins(&self) -> usize {
        self.failures
            .iter()
            .filter(|failure| failure.refuses_login())
            .count()
    }

    /// Reads all counts in a directory.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn read(directory: &Path) -> Result<Self> {
        let mut tally = Self::default();
        let entries =
            fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                let count = serde_json::from_slice(&text);
                tally.add(count.with_context(|| format!("cannot understand {}", path.display()))?);
            }
        }
        tally.failures.sort_by_key(|failure| failure.at);
        tally.pods.sort();
        tally.pods.dedup();
        Ok(tally)
    }

    fn add(&mut self, count: Count) {
        let Count {
            pod,
            logins,
            queries,
            failures,
            more_failures,
        } = count;
        for (user, attempts) in logins {
            self.attempts += attempts;
            *self.attempts_as.entry(user).or_default() += attempts;
        }
        self.queries += queries;
        self.failures.extend(failures);
        self.more_failures += more_failures;
        self.pods.push(pod);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(second: i64, doing: Doing) -> Failure {
        let at = Timestamp::from_second(second).unwrap();
        Failure {
            at,
            pod: "p".into(),
            doing,
            user: "u".into(),
            sqlstate: None,
            message: "m".into(),
        }
    }

    #[test]
    fn counts_of_all_files_are_summed_and_failures_sorted() {
        let directory = tempfile::tempdir().unwrap();
        for (file, pod, second) in [("1.json", "a", 9), ("2.json", "a", 5), ("3.json", "b", 7)] {
            let mut count = Count {
                pod: pod.into(),
                queries: 2,
                ..Count::default()
            };
            count.logins.insert("u".into(), 10);
            count.fail(failure(
                second,
                if second == 7 { Doing::Query } else { Doing::Login },
            ));
            fs::write(directory.path().join(file), serde_json::to_vec(&count).unwrap()).unwrap();
        }
        fs::write(directory.path().join("4.json.new"), "half").unwrap();
        let tally = Tally::read(directory.path()).unwrap();
        assert_eq!((tally.attempts, tally.queries, tally.failed_logins()), (30, 6, 2));
        assert_eq!(tally.pods, ["a", "b"]);
        assert!(tally.failures.is_sorted_by_key(|failure| failure.at));
    }

    #[test]
    fn only_a_login_that_a_server_answered_was_refused() {
        let with = |doing, code: Option<&str>| Failure {
            sqlstate: code.map(str::to_owned),
            ..failure(1, doing)
        };
        let tally = Tally {
            failures: vec![
                with(Doing::Login, Some("28P01")),
                with(Doing::Login, Some("57P03")),
                with(Doing::Login, None),
                with(Doing::Query, Some("28000")),
            ],
            ..Tally::default()
        };
        assert_eq!((tally.failed_logins(), tally.refused_logins()), (3, 1));
    }

    #[test]
    fn failures_beyond_the_limit_are_still_counted() {
        let mut count = Count::default();
        for second in 0..i64::try_from(Count::LIMIT).unwrap() + 3 {
            count.fail(failure(second, Doing::Login));
        }
        assert_eq!((count.failures.len(), count.more_failures), (Count::LIMIT, 3));
    }
}
