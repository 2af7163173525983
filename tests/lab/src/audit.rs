//! What was asked of the API server, and by whom, as its audit log says.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Deserialize;

/// The audit log, or the part of it that a test is interested in.
///
/// It has the requests of tests and of pods, not those of the cluster's own programs. An event is there when the
/// request's answer is.
#[derive(Clone, Debug)]
pub struct Audit {
    path: PathBuf,
    start: u64,
    user: Option<String>,
    namespace: Option<String>,
    since: Option<Timestamp>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// When it came.
    pub at: Timestamp,
    /// Who made it: `system:serviceaccount:<namespace>:<name>` for pods, `lab-admin` for tests.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, …
    pub verb: String,
    /// In the plural, as in `secrets`; empty for requests of no resource, as `/readyz`.
    pub resource: String,
    /// As in `status`.
    pub subresource: Option<String>,
    /// The object's namespace.
    pub namespace: Option<String>,
    /// The object's name.
    pub name: Option<String>,
    /// The status of the answer, as in HTTP.
    pub code: u16,
}

impl Request {
    /// Whether it asked for a change.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

impl Audit {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self {
            path,
            start: 0,
            user: None,
            namespace: None,
            since: None,
        }
    }

    /// Only what comes from now on; cheaper than [`Audit::since`].
    ///
    /// # Errors
    /// When the log cannot be found.
    pub fn from_here(self) -> Result<Self> {
        let length = std::fs::metadata(&self.path)
            .context("cannot find the audit log")?
            .len();
        Ok(Self {
            start: length,
            ..self
        })
    }

    /// Only what came at this time or later.
    #[must_use]
    pub fn since(self, time: Timestamp) -> Self {
        Self {
            since: Some(time),
            ..self
        }
    }

    /// Only the requests of this user.
    #[must_use]
    pub fn user(self, user: &str) -> Self {
        Self {
            user: Some(user.to_owned()),
            ..self
        }
    }

    /// Only the requests of this service account.
    #[must_use]
    pub fn service_account(self, namespace: &str, name: &str) -> Self {
        self.user(&format!("system:serviceaccount:{namespace}:{name}"))
    }

    /// Only the requests for objects in this namespace.
    #[must_use]
    pub fn namespace(self, namespace: &str) -> Self {
        Self {
            namespace: Some(namespace.to_owned()),
            ..self
        }
    }

    /// The requests, in the order in which they were answered; a watch counts when it begins.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn read(&self) -> Result<Vec<Request>> {
        let context = || format!("cannot read {}", self.path.display());
        let mut file = File::open(&self.path).with_context(context)?;
        file.seek(SeekFrom::Start(self.start)).with_context(context)?;
        let mut requests = Vec::new();
        for line in BufReader::new(file).lines() {
            let line = line.with_context(context)?;
            // The last line may be half written.
            let Ok(event) = serde_json::from_str::<Event>(&line) else {
                continue;
            };
            requests.extend(event.into_request().filter(|request| self.is_wanted(request)));
        }
        Ok(requests)
    }

    fn is_wanted(&self, request: &Request) -> bool {
        self.user.as_ref().is_none_or(|user| *user == request.user)
            && (self.namespace.is_none() || self.namespace == request.namespace)
            && self.since.is_none_or(|since| since <= request.at)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: String,
    verb: String,
    user: User,
    #[serde(default)]
    object_ref: Object,
    #[serde(default)]
    response_status: Status,
    request_received_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Object {
    resource: String,
    subresource: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
}

impl Event {
    /// A request that lasts has two events, and one that does not has the second only.
    fn into_request(self) -> Option<Request> {
        let lasts = self.verb == "watch";
        if lasts != (self.stage == "ResponseStarted") {
            return None;
        }
        let Object {
            resource,
            subresource,
            namespace,
            name,
        } = self.object_ref;
        Some(Request {
            at: self.request_received_timestamp,
            user: self.user.username,
            verb: self.verb,
            resource,
            subresource,
            namespace,
            name,
            code: self.response_status.code,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[&str]) -> (tempfile::TempDir, Audit) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        std::fs::write(&path, lines.join("\n")).unwrap();
        (directory, Audit::at(path))
    }

    fn event(user: &str, verb: &str, stage: &str) -> String {
        format!(
            r#"{{"stage":"{stage}","verb":"{verb}","user":{{"username":"{user}"}},"objectRef":{{"resource":"secrets","namespace":"n","name":"s"}},"responseStatus":{{"code":200}},"requestReceivedTimestamp":"2026-01-01T00:00:00.000001Z"}}"#
        )
    }

    #[test]
    fn a_watch_counts_once_and_a_half_line_not_at_all() {
        let lines = [
            event("u", "watch", "ResponseStarted"),
            event("u", "watch", "ResponseComplete"),
            event("v", "get", "ResponseComplete"),
            r#"{"stage":"Resp"#.to_owned(),
        ];
        let (_directory, audit) = log(&lines.each_ref().map(String::as_str));
        let verbs: Vec<_> = audit
            .read()
            .unwrap()
            .into_iter()
            .map(|request| request.verb)
            .collect();
        assert_eq!(verbs, ["watch", "get"]);
        assert_eq!(audit.clone().user("v").read().unwrap().len(), 1);
        assert_eq!(audit.clone().namespace("other").read().unwrap(), []);
        assert_eq!(audit.from_here().unwrap().read().unwrap(), []);
    }
}
