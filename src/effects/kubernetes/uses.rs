//! Whether a pod's spec names a Secret.

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};

/// Whether the pod would be given anything of the Secret: by its environment or by a volume, init containers included.
pub(super) fn uses(spec: &PodSpec, secret: &str) -> bool {
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    containers
        .into_iter()
        .any(|container| in_environment(container, secret))
        || spec
            .volumes
            .iter()
            .flatten()
            .any(|volume| in_volume(volume, secret))
}

pub(super) fn in_environment(container: &Container, secret: &str) -> bool {
    let by_key = container.env.iter().flatten().any(|variable| {
        let source = variable
            .value_from
            .as_ref()
            .and_then(|from| from.secret_key_ref.as_ref());
        source.is_some_and(|key| key.name == secret)
    });
    let whole = container.env_from.iter().flatten();
    by_key
        || whole
            .into_iter()
            .any(|from| from.secret_ref.as_ref().is_some_and(|named| named.name == secret))
}

pub(super) fn in_volume(volume: &Volume, secret: &str) -> bool {
    let plain = volume
        .secret
        .as_ref()
        .and_then(|source| source.secret_name.as_deref());
    let projected = volume
        .projected
        .iter()
        .flat_map(|source| source.sources.iter().flatten());
    plain == Some(secret)
        || projected
            .into_iter()
            .any(|part| part.secret.as_ref().is_some_and(|named| named.name == secret))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::uses;

    #[expect(
        clippy::needless_pass_by_value,
        reason = "each caller makes the value on the spot"
    )]
    fn spec(extra: Value) -> k8s_openapi::api::core::v1::PodSpec {
        let mut spec = json!({"containers": [{"name": "main"}]});
        spec.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    fn shapes(secret: &str) -> Vec<Value> {
        let key =
            json!([{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": secret, "key": "password"}}}]);
        vec![
            json!({"containers": [{"name": "main"}, {"name": "side", "env": key}]}),
            json!({"initContainers": [{"name": "migrate", "env": key}]}),
            json!({"containers": [{"name": "main", "envFrom": [{"configMapRef": {"name": "db"}}, {"secretRef": {"name": secret}}]}]}),
            json!({"initContainers": [{"name": "wait", "envFrom": [{"secretRef": {"name": secret, "optional": true}}]}]}),
            json!({"volumes": [{"name": "v", "secret": {"secretName": secret}}]}),
            json!({"volumes": [{"name": "v", "projected": {"sources": [{"configMap": {"name": "db"}}, {"secret": {"name": secret}}]}}]}),
        ]
    }

    #[test]
    fn every_shape_of_reference_is_found_and_no_other_secret_is() {
        for shape in shapes("db") {
            assert!(uses(&spec(shape.clone()), "db"), "{shape}");
            assert!(!uses(&spec(shape.clone()), "other"), "{shape}");
        }
    }

    #[test]
    fn what_only_looks_like_the_secret_is_not_found() {
        let config_map = json!([{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "db", "key": "x"}}}]);
        for shape in [
            json!({}),
            json!({"imagePullSecrets": [{"name": "db"}]}),
            json!({"volumes": [{"name": "db", "emptyDir": {}}, {"name": "c", "configMap": {"name": "db"}}]}),
            json!({"containers": [{"name": "db", "env": config_map, "envFrom": [{"configMapRef": {"name": "db"}}]}]}),
        ] {
            assert!(!uses(&spec(shape.clone()), "db"), "{shape}");
        }
    }
}
