//! The request log, as `CloudTrail` would have it: who asked for what and what came of it, never a value.

use jiff::Timestamp;
use serde_json::Value as Json;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// When it came.
    pub at: Timestamp,
    /// The access key that signed it; empty when nobody did.
    pub key: String,
    /// The action, without the service's name, as in `PutSecretValue`.
    pub action: String,
    /// The secret's name, when it is about one.
    pub secret: Option<String>,
    /// `VersionId`, or the version that a label is moved to.
    pub version: Option<String>,
    /// The version that a label is removed from.
    pub removed_from: Option<String>,
    /// `VersionStage` or `VersionStages`.
    pub stages: Vec<String>,
    /// `ClientRequestToken`.
    pub token: Option<String>,
    /// The status of the answer, as in HTTP; nothing as long as there is none, or if the caller went away before.
    pub status: Option<u16>,
    /// The name of the error that was answered.
    pub error: Option<String>,
}

impl Call {
    pub(super) fn new(at: Timestamp, key: &str, action: &str, secret: Option<String>, body: &Json) -> Self {
        let text = |name: &str| body.get(name).and_then(Json::as_str).map(str::to_owned);
        let stages = body.get("VersionStages").and_then(Json::as_array);
        let stages = stages.into_iter().flatten().filter_map(Json::as_str);
        Self {
            at,
            key: key.to_owned(),
            action: action.to_owned(),
            secret,
            version: text("VersionId").or_else(|| text("MoveToVersionId")),
            removed_from: text("RemoveFromVersionId"),
            stages: stages.map(str::to_owned).chain(text("VersionStage")).collect(),
            token: text("ClientRequestToken"),
            status: None,
            error: None,
        }
    }
}
