//! A kustomization over `deploy/base` that replaces the image by a build of this machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{ControllerOptions, NAME};
use crate::node::IMAGE;
use crate::pods::{Mount, machine, volume_mounts, volumes};

/// What stands for the authorities that the system trusts: a shipped image has some, the lab's is empty, and the AWS
/// client of a debug build panics when it finds none.
const AUTHORITIES: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

/// Where a controller is to run.
pub(super) struct Place<'a> {
    pub(super) namespace: &'a str,
    /// The namespace's id, with which everything goes that is not in it.
    pub(super) owner: &'a str,
    /// The controller's own directory.
    pub(super) own: &'a Path,
    /// The directory with its binary, and the binary's name.
    pub(super) programs: &'a Path,
    pub(super) program: &'a str,
}

/// Writes the kustomization into a directory.
pub(super) fn write(directory: &Path, place: &Place<'_>, options: &ControllerOptions) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/base");
    let base = base
        .canonicalize()
        .with_context(|| format!("there is no {}", base.display()))?;
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": place.namespace,
        "resources": [relative(&directory.canonicalize()?, &base)],
        "patches": [
            {"target": {"kind": "Namespace"}, "patch": namespace().to_string()},
            {"target": {"kind": "RoleBinding"}, "patch": Value::Array(vec![subject(place)]).to_string()},
            {
                "target": {"kind": "ClusterRoleBinding"},
                "patch": binding(place).to_string(),
                "options": {"allowNameChange": true},
            },
            {"target": {"kind": "Deployment", "name": NAME}, "patch": deployment(place, options).to_string()},
        ],
    });
    let path = directory.join("kustomization.yaml");
    fs::write(&path, kustomization.to_string()).with_context(|| format!("cannot write {}", path.display()))
}

/// kustomize takes other directories by relative paths only.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let up = from.components().skip(1).map(|_| "..");
    up.collect::<PathBuf>().join(to.strip_prefix("/").unwrap_or(to))
}

/// The restricted profile forbids to mount the machine's directories, which only the lab does.
fn namespace() -> Value {
    json!([{"op": "replace", "path": "/metadata/labels/pod-security.kubernetes.io~1enforce", "value": "privileged"}])
}

/// Several controllers run at once, and this object is in no namespace.
fn binding(place: &Place<'_>) -> Value {
    json!([
        {"op": "replace", "path": "/metadata/name", "value": place.namespace},
        {"op": "add", "path": "/metadata/ownerReferences", "value": [
            {"apiVersion": "v1", "kind": "Namespace", "name": place.namespace, "uid": place.owner},
        ]},
        subject(place),
    ])
}

/// kustomize moves the account to another namespace, and leaves those who refer to it behind.
fn subject(place: &Place<'_>) -> Value {
    json!({"op": "replace", "path": "/subjects/0/namespace", "value": place.namespace})
}

fn deployment(place: &Place<'_>, options: &ControllerOptions) -> Value {
    let mut mounts = machine();
    mounts.push(Mount::read_only(place.programs, "/lab/bin"));
    mounts.push(Mount::writable(place.own, "/lab/own"));
    let mut env = vec![
        json!({"name": "LAB_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
        json!({"name": "TANDEM_LOG", "value": options.log}),
        json!({"name": "SSL_CERT_FILE", "value": AUTHORITIES}),
    ];
    env.extend(
        options
            .watch
            .iter()
            .map(|watch| json!({"name": "TANDEM_NAMESPACE", "value": watch})),
    );
    env.extend(
        options
            .env
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value})),
    );
    let more: Vec<String> = options.args.iter().map(|argument| quoted(argument)).collect();
    // The log goes to a file, because a pod's own goes with the pod.
    let script = format!(
        r#"exec /lab/bin/{} "$@" {} >>"/lab/own/$LAB_POD.log" 2>&1"#,
        place.program,
        more.join(" ")
    );
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME},
        "spec": {
            "replicas": options.replicas,
            "template": {"spec": {
                "volumes": volumes(&mounts),
                "containers": [{
                    "name": NAME,
                    "image": IMAGE,
                    "imagePullPolicy": "Never",
                    "command": ["/bin/sh", "-c", script, NAME],
                    "env": env,
                    "volumeMounts": volume_mounts(&mounts),
                }],
            }},
        },
    })
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_from_one_directory_to_another() {
        assert_eq!(
            relative(Path::new("/tmp/lab"), Path::new("/src/deploy")),
            Path::new("../../src/deploy")
        );
    }

    #[test]
    fn a_quote_survives_the_shell() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
