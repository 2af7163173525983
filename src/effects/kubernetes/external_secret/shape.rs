//! What is wrong with how an `ExternalSecret` is written, or with who else writes what it writes.

use super::objects::ExternalSecret;
use super::setting::Setting;
use super::sources;
use crate::api::OPERATOR_GROUP as GROUP;
use crate::effects::kubernetes::conditions::{blocker, warning};
use crate::machine::facts::Finding;

pub(super) fn another_target(setting: &Setting<'_>) -> Vec<Finding> {
    let (this, wanted) = (setting.this(), &setting.policy.delivery.target.secret);
    let target = setting.external.target();
    if let Some(manifest) = &setting.external.spec.target.manifest {
        return vec![blocker(
            "ExternalSecretTargetElsewhere",
            format!(
                "{this} makes a {} and no Secret (spec.target.manifest). Name another ExternalSecret in spec.delivery.externalSecret.name, or change what it makes: {}",
                manifest.kind,
                setting.edit()
            ),
        )];
    }
    if target == wanted.as_str() {
        return Vec::new();
    }
    let (namespace, policy) = (&setting.policy.namespace, &setting.policy.name);
    vec![blocker(
        "ExternalSecretTargetElsewhere",
        format!(
            "{this} makes Secret {namespace}/{target}, and the policy speaks of Secret {namespace}/{wanted}. If applications use the former: kubectl -n {namespace} patch rotpol {policy} --type=merge -p '{{\"spec\":{{\"delivery\":{{\"externalSecret\":{{\"secretName\":\"{target}\"}}}}}}}}'"
        ),
    )]
}

pub(super) fn target_immutable(setting: &Setting<'_>) -> Vec<Finding> {
    let finding = || {
        blocker(
            "ExternalSecretTargetImmutable",
            format!(
                "{} has spec.target.immutable: the operator never writes its Secret again, and reports success. Let it: {}; then make the Secret anew, which is immutable by now: kubectl -n {} delete secret {}",
                setting.this(),
                setting.mend(r#"{"target":{"immutable":false}}"#),
                setting.policy.namespace,
                setting.external.target()
            ),
        )
    };
    let immutable = setting.external.spec.target.immutable;
    immutable.then(finding).into_iter().collect()
}

pub(super) fn makes_no_secret(setting: &Setting<'_>) -> Vec<Finding> {
    let finding = || {
        blocker(
            "ExternalSecretMakesNone",
            format!(
                "{} has creationPolicy None and makes no Secret. Let it write the one that is there: {}",
                setting.this(),
                setting.mend(r#"{"target":{"creationPolicy":"Merge"}}"#)
            ),
        )
    };
    let none = setting.external.spec.target.creation_policy == "None";
    none.then(finding).into_iter().collect()
}

pub(super) fn generators(setting: &Setting<'_>) -> Vec<Finding> {
    let spec = &setting.external.spec;
    let data = spec.data.iter().map(|data| &data.source_ref);
    let sources = data.chain(spec.data_from.iter().map(|from| &from.source_ref));
    sources
        .filter_map(|source| source.generator_ref.as_ref())
        .map(|generator| {
            blocker(
                "ExternalSecretGenerates",
                format!("{} takes a value from the generator {} {}, which makes another one with every sync. Take generatorRef out of it, into an ExternalSecret of its own: {}", setting.this(), generator.kind, generator.name, setting.edit()),
            )
        })
        .collect()
}

pub(super) fn template_names_user(setting: &Setting<'_>) -> Vec<Finding> {
    let pair = &setting.policy.pair;
    let template = setting.external.spec.target.template.iter();
    let texts = template.flat_map(|template| &template.data);
    texts
        .filter_map(|(key, text)| {
            let user = [&pair.0, &pair.1].into_iter().find(|user| names_user(text, user.as_str()))?;
            Some(blocker(
                "TemplateNamesUser",
                format!("the template of {} writes the user name {user} out under the key {key:?}, and after a rotation applications would use it with the other user's password. Put {{{{ .{} }}}} in its place: {}", setting.this(), setting.source.username_key, setting.edit()),
            ))
        })
        .collect()
}

/// In a URL, or as a parameter of a connection string.
fn names_user(text: &str, user: &str) -> bool {
    let follows = |before: &str| {
        let mut places = text
            .match_indices(before)
            .map(|(at, _)| text.get(at + before.len()..));
        places.any(|rest| {
            let after = rest.and_then(|rest| rest.strip_prefix(user));
            after.is_some_and(|after| !after.starts_with(|c: char| c.is_alphanumeric() || "_-.".contains(c)))
        })
    };
    // With no more than a user name, what stands between the slashes and a port is a host.
    let url =
        text.contains(&format!("//{user}:")) && text.contains('@') || text.contains(&format!("//{user}@"));
    url || follows("user=") || follows("username=")
}

pub(super) fn deletes(setting: &Setting<'_>) -> Vec<Finding> {
    let policy = setting.external.spec.target.deletion_policy.as_str();
    let what = match policy {
        "Delete" => "deletes its Secret",
        "Merge" => "empties its Secret",
        _ => return Vec::new(),
    };
    vec![warning(
        "ExternalSecretDeletes",
        format!(
            "{} has deletionPolicy {policy} and {what} when the store has nothing for it, if only for a moment. Let it keep what it has: {}",
            setting.this(),
            setting.mend(r#"{"target":{"deletionPolicy":"Retain"}}"#)
        ),
    )]
}

pub(super) fn shared_target(setting: &Setting<'_>) -> Vec<Finding> {
    let target = &setting.policy.delivery.target;
    let mut ours = written(&setting.external);
    ours.extend([target.username_key.as_str(), target.password_key.as_str()]);
    let namespace = &setting.policy.namespace;
    let about = |other: &ExternalSecret| {
        let name = other.name();
        let pair = format!(
            "{} and ExternalSecret {namespace}/{name} both write Secret {namespace}/{}",
            setting.this(),
            target.secret
        );
        let remedy = format!(
            "Give the other one a Secret of its own: kubectl -n {namespace} edit externalsecrets.{GROUP} {name}"
        );
        if let Some(key) = written(other).into_iter().find(|key| ours.contains(key)) {
            return Some(blocker(
                "SecretSharedTarget",
                format!(
                    "{pair}, with the key {key:?} in common, and whichever was synced last has its way. {remedy}"
                ),
            ));
        }
        if sources::reads(setting, other) {
            return Some(blocker(
                "SecretSharedTarget",
                format!(
                    "{pair} from the same secret in the store; only the former is asked to sync, and the keys of the latter would carry the old credential until it refreshes by itself. Let one of them write all keys. {remedy}"
                ),
            ));
        }
        let unknown = !other.spec.data_from.is_empty();
        unknown.then(|| warning("SecretSharedTarget", format!("{pair}, and which keys the latter writes only the store knows; none of them must be a key of the former. {remedy}")))
    };
    setting.sharing().filter_map(about).collect()
}

/// The keys that it names.
fn written(external: &ExternalSecret) -> Vec<&str> {
    let template = external.spec.target.template.as_ref();
    let rendered = template.into_iter().flat_map(|template| template.data.keys());
    let raw = template.is_none_or(|template| template.merge_policy == "Merge");
    let raw = external
        .spec
        .data
        .iter()
        .filter(|_| raw)
        .map(|data| &data.secret_key);
    rendered.chain(raw).map(String::as_str).collect()
}

pub(super) fn also_read(setting: &Setting<'_>) -> Vec<Finding> {
    let target = setting.external.target();
    let namespace = &setting.policy.namespace;
    let others = setting.others.iter().filter(|other| other.target() != target);
    others
        .filter(|other| sources::reads(setting, other))
        .map(|other| {
            let (name, secret) = (other.name(), other.target());
            warning(
                "StoreAlsoRead",
                format!("ExternalSecret {namespace}/{name} reads the policy's secret {:?} too, and nobody asks it to sync: after a rotation, applications that use Secret {namespace}/{secret} have a password that will be refused, until it refreshes by itself. Let them use Secret {namespace}/{target}. See: kubectl -n {namespace} describe externalsecrets.{GROUP} {name}", setting.source.id),
            )
        })
        .collect()
}

pub(super) fn pushes(setting: &Setting<'_>) -> Vec<Finding> {
    let namespace = &setting.policy.namespace;
    // What is there already, this policy leaves alone (68).
    let replacing = setting
        .pushes
        .iter()
        .filter(|push| push.spec.update_policy != "IfNotExists");
    let writes = replacing.filter(|push| {
        push.keys().any(|key| {
            push.spec
                .secret_store_refs
                .iter()
                .any(|store| sources::is_pushed(setting, key, store))
        })
    });
    writes
        .map(|push| {
            let name = push.name();
            blocker(
                "PushSecretOnSource",
                format!("PushSecret {namespace}/{name} writes the policy's secret {:?} in the store, and would put the old credential back over the new one. Set its deletionPolicy to None, then take that secret out of it: kubectl -n {namespace} edit pushsecrets.{GROUP} {name}", setting.source.id),
            )
        })
        .collect()
}
