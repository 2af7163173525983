//! What would keep a credential from arriving. Each rule says what it rests on: a number is that of a case in
//! external-secrets-observed, where the operator was seen to do so.

use super::objects::{Condition, Store, StoreRef};
use super::setting::Setting;
use super::{shape, sources, target};
use crate::api::{FORCE_SYNC, OPERATOR_GROUP as GROUP};
use crate::effects::kubernetes::conditions::{blocker, warning};
use crate::effects::kubernetes::secret::AppSecret;
use crate::machine::facts::{Asked, Finding};

type Rule = fn(&Setting<'_>) -> Vec<Finding>;
type RuleOfSecret = fn(&Setting<'_>, Option<&AppSecret>) -> Vec<Finding>;

/// What keeps the operator from syncing at all, the cause before its effects. Also told while a sync is awaited.
const IN_THE_WAY: [Rule; 5] = [
    // Section D, 4: what is being deleted is not synced any more, and 37: its Secret goes with it.
    going,
    // 18: with these the operator reports success and never looks at the store.
    never_refreshes,
    // 57, 59: an ExternalSecret is not synced while its store is not ready.
    stores,
    // 59: where no operator feels responsible there is no status at all.
    unhandled,
    // 35, 40, 42, 46, 55: its own words. 32, 47, 48: success that brings nothing.
    not_ready,
];

/// What is wrong with how the `ExternalSecret` is written, and with who else writes what it writes.
const BEFORE_ROTATION: [Rule; 10] = [
    // A.2: spec.target.name may be another than its own, and spec.target.manifest another kind of object.
    shape::another_target,
    // 39: reports success over old data and never writes.
    shape::target_immutable,
    // 34: reports success and makes no Secret.
    shape::makes_no_secret,
    // 50: a generator makes another password with every sync.
    shape::generators,
    // 44, 46 and A.7: another secret, property, version or stage; a store elsewhere; a value that is decoded.
    sources::findings,
    // A user name that is written out stays the same when the users alternate.
    shape::template_names_user,
    // 48: the operator empties or deletes the Secret when the store has nothing for it.
    shape::deletes,
    // 36: whoever refreshed last has its way. A second one that reads the same secret would come an hour late.
    shape::shared_target,
    // 6: nobody asks another one that reads the same secret, and its applications stay behind.
    shape::also_read,
    // 66, 69: puts the old credential back over the new one.
    shape::pushes,
];

/// What is wrong with the Secret itself.
const OF_SECRET: [RuleOfSecret; 3] = [
    // 32, 33: not every creationPolicy makes a Secret that is gone.
    target::missing,
    // 35, 40 and the rules of direct delivery: going away, immutable, or also written by somebody else.
    target::unusable,
    // 27: without its label the operator is blind to the Secret.
    target::unmarked,
];

/// What keeps the operator from syncing at all.
pub(super) fn in_the_way(setting: &Setting<'_>) -> Vec<Finding> {
    IN_THE_WAY.iter().flat_map(|rule| rule(setting)).collect()
}

/// What would go wrong with a rotation although the operator works.
pub(super) fn before_rotation(setting: &Setting<'_>, app: Option<&AppSecret>) -> Vec<Finding> {
    let written = BEFORE_ROTATION.iter().flat_map(|rule| rule(setting));
    let secret = OF_SECRET.iter().flat_map(|rule| rule(setting, app));
    written.chain(secret).collect()
}

/// What can be told of a request that the operator has not answered yet.
pub(super) fn unanswered(setting: &Setting<'_>, asked: Asked) -> Option<Finding> {
    let this = setting.this();
    if let Some(owner) = &setting.owner
        && owner.annotation(FORCE_SYNC) != setting.external.annotation(FORCE_SYNC)
    {
        return Some(warning(
            "SyncNotPassedOn",
            format!(
                "ClusterExternalSecret {} has not passed the request of {} on to {this}: External Secrets Operator does so from release 0.20 on, when it runs. See: kubectl get pods -A -l app.kubernetes.io/name=external-secrets",
                owner.name(),
                asked.at
            ),
        ));
    }
    // The operator notes when it began, to the second.
    let answered = setting
        .external
        .status
        .refresh_time
        .is_some_and(|at| at >= asked.at);
    (!answered).then(|| {
        warning(
            "SyncUnanswered",
            format!(
                "{this} was asked to sync at {} and has not done so since: External Secrets Operator is not running, busy, or waits for its store. See: kubectl get pods -A -l app.kubernetes.io/name=external-secrets",
                asked.at
            ),
        )
    })
}

fn going(setting: &Setting<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(owner) = setting.owner.as_ref().filter(|owner| owner.is_going()) {
        let name = owner.name();
        findings.push(blocker(
            "ExternalSecretDeleting",
            format!("ClusterExternalSecret {name} is being deleted, and {} with it. Apply its manifest again when it is gone. See: kubectl get clusterexternalsecrets.{GROUP} {name} -o yaml", setting.this()),
        ));
    } else if setting.external.is_going() {
        findings.push(blocker(
            "ExternalSecretDeleting",
            format!("{} is being deleted, and its Secret may go with it. Apply its manifest again when it is gone. See what holds it: {} -o jsonpath='{{.metadata.finalizers}}'", setting.this(), setting.command("get")),
        ));
    }
    findings
}

fn never_refreshes(setting: &Setting<'_>) -> Vec<Finding> {
    let spec = &setting.external.spec;
    let this = setting.this();
    match spec.refresh_policy.as_str() {
        "CreatedOnce" => vec![blocker(
            "ExternalSecretCreatedOnce",
            format!(
                "{this} has refreshPolicy CreatedOnce and never looks at the store again, whatever it is asked. Let it: {}",
                setting.mend(r#"{"refreshPolicy":"OnChange"}"#)
            ),
        )],
        "OnChange" => Vec::new(),
        _ if spec.refresh_interval.as_deref().is_some_and(is_never) => vec![blocker(
            "ExternalSecretIntervalZero",
            format!(
                "{this} has refreshInterval 0 and never looks at the store again, whatever it is asked. Let it when it is asked: {}",
                setting.mend(r#"{"refreshPolicy":"OnChange"}"#)
            ),
        )],
        _ => Vec::new(),
    }
}

/// Go's durations: numbers with units, with a sign before all of them.
fn is_never(interval: &str) -> bool {
    interval.starts_with('-') || !interval.contains(|c: char| matches!(c, '1'..='9'))
}

fn stores(setting: &Setting<'_>) -> Vec<Finding> {
    let known = setting.external.stores().into_iter();
    let known = known.filter_map(|store| Some((store, setting.stores.get(store)?.as_ref())));
    known
        .filter_map(|(reference, store)| store_finding(setting, reference, store))
        .collect()
}

fn store_finding(setting: &Setting<'_>, reference: &StoreRef, store: Option<&Store>) -> Option<Finding> {
    let (this, name) = (setting.this(), setting.store_name(reference));
    let see = setting.store_command(reference);
    let Some(store) = store else {
        return Some(blocker(
            "StoreMissing",
            format!(
                "{name}, which {this} reads, does not exist. Apply its manifest, or name another store: {}. See: {see}",
                setting.edit()
            ),
        ));
    };
    match store.status.ready() {
        Some(ready) if ready.holds() => None,
        Some(ready) => Some(blocker(
            "StoreNotReady",
            format!(
                "{name}, which {this} reads, is not ready: {}. It is looked at again by itself. See: {see}",
                said(ready)
            ),
        )),
        None => {
            let class = &store.spec.controller;
            let class = if class.is_empty() {
                String::new()
            } else {
                format!(" of the class {class:?}, which its spec.controller names,")
            };
            Some(blocker(
                "StoreNotReady",
                format!(
                    "no operator{class} has looked at {name} yet, which {this} reads. See whether one runs: kubectl get pods -A -l app.kubernetes.io/name=external-secrets; and what the store says: {see}"
                ),
            ))
        }
    }
}

fn unhandled(setting: &Setting<'_>) -> Vec<Finding> {
    let silent = setting.external.status.ready().is_none() && stores(setting).is_empty();
    let finding = || {
        blocker(
            "OperatorSilent",
            format!(
                "no operator has looked at {} yet: none runs, or none of its store's class (spec.controller of the store). See: kubectl get pods -A -l app.kubernetes.io/name=external-secrets; and: {} -o yaml",
                setting.this(),
                setting.command("get")
            ),
        )
    };
    silent.then(finding).into_iter().collect()
}

fn not_ready(setting: &Setting<'_>) -> Vec<Finding> {
    // Where the store is not ready, that is the cause, and has been told.
    let Some(ready) = setting
        .external
        .status
        .ready()
        .filter(|_| stores(setting).is_empty())
    else {
        return Vec::new();
    };
    let fruitless = ["SecretMissing", "SecretDeleted"].contains(&ready.reason.as_str())
        || ready.message.contains("retained");
    if ready.holds() && !fruitless {
        return Vec::new();
    }
    let what = if ready.holds() {
        "has synced and brought nothing"
    } else {
        "cannot sync"
    };
    vec![blocker(
        "ExternalSecretNotReady",
        format!(
            "{} {what}: {}. See its Events: {}. The operator tries again by itself, later and later; once it is mended, at once with: {}",
            setting.this(),
            said(ready),
            setting.command("describe"),
            setting.sync_command()
        ),
    )]
}

/// What a condition says.
fn said(condition: &Condition) -> String {
    format!("{} ({})", condition.message, condition.reason)
}
