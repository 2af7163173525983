//! What is wrong with the Secret that the operator is to write.

use super::setting::Setting;
use crate::effects::kubernetes::conditions::{About, ESO_LABEL, blocker, is_marked, warning};
use crate::effects::kubernetes::secret::AppSecret;
use crate::machine::facts::Finding;

pub(super) fn missing(setting: &Setting<'_>, app: Option<&AppSecret>) -> Vec<Finding> {
    if app.is_some() {
        return Vec::new();
    }
    let (namespace, secret) = (&setting.policy.namespace, &setting.policy.delivery.target.secret);
    let (this, sync) = (setting.this(), setting.sync_command());
    let message = if setting.external.spec.target.creation_policy == "Merge" {
        format!(
            "Secret {namespace}/{secret} does not exist, and {this} does not make it: with creationPolicy Merge it only writes one that is there. Make it, and ask for a sync: kubectl -n {namespace} create secret generic {secret} && {sync}"
        )
    } else {
        format!("Secret {namespace}/{secret} does not exist; {this} is to make it. Ask for a sync: {sync}")
    };
    vec![blocker("SecretMissing", message)]
}

pub(super) fn unusable(setting: &Setting<'_>, app: Option<&AppSecret>) -> Vec<Finding> {
    let Some(app) = app else { return Vec::new() };
    let about = About {
        policy: setting.policy,
        namespace: &setting.policy.namespace,
    };
    let mut findings: Vec<_> = about.going(&app.live).into_iter().collect();
    findings.extend(about.immutable(&app.live).map(|finding| {
        if setting.external.spec.target.creation_policy == "Merge" {
            return finding;
        }
        // What the operator makes it also makes anew.
        let (namespace, secret) = (&setting.policy.namespace, &setting.policy.delivery.target.secret);
        let sync = setting.sync_command();
        Finding {
            message: format!(
                "Secret {namespace}/{secret} is immutable and can only be made anew: kubectl -n {namespace} delete secret {secret} && {sync}"
            ),
            ..finding
        }
    }));
    findings.extend(about.writers(&app.live));
    findings
}

pub(super) fn unmarked(setting: &Setting<'_>, app: Option<&AppSecret>) -> Vec<Finding> {
    let Some(app) = app else { return Vec::new() };
    // Releases that serve only the older version know no such label.
    if is_marked(&app.live) || setting.version != "v1" || setting.external.status.ready().is_none() {
        return Vec::new();
    }
    let (namespace, secret) = (&setting.policy.namespace, &setting.policy.delivery.target.secret);
    vec![warning(
        "SecretUnmarked",
        format!(
            "Secret {namespace}/{secret} lacks the label {ESO_LABEL}, without which External Secrets Operator does not notice what is done to it. The next sync puts it back: {}",
            setting.sync_command()
        ),
    )]
}
