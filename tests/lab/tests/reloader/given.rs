//! Objects as lines of the contract describe them.

use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};

pub(crate) const AUTO: &str = "reloader.stakater.com/auto";
pub(crate) const SECRET_AUTO: &str = "secret.reloader.stakater.com/auto";
pub(crate) const CONFIG_MAP_AUTO: &str = "configmap.reloader.stakater.com/auto";
pub(crate) const NAMED: &str = "secret.reloader.stakater.com/reload";
pub(crate) const SEARCH: &str = "reloader.stakater.com/search";
pub(crate) const MATCH: &str = "reloader.stakater.com/match";
pub(crate) const EXCLUDE: &str = "secrets.exclude.reloader.stakater.com/reload";
pub(crate) const IGNORE: &str = "reloader.stakater.com/ignore";
pub(crate) const PAUSE: &str = "deployment.reloader.stakater.com/pause-period";
pub(crate) const LAST: &str = "reloader.stakater.com/last-reloaded-from";
/// What an object of the table has, when nothing else is said.
const SECRET: &str = "db";
const IMAGE: &str = "lab.local/empty:1";

/// A workload. It has no pods, and one container `app` that reads the Secret `db` from its environment.
#[derive(Clone)]
pub(crate) struct Given {
    kind: &'static str,
    name: &'static str,
    secret: &'static str,
    annotations: Value,
    labels: Value,
    template_annotations: Value,
    containers: Vec<&'static str>,
    spec: Value,
    pod: Value,
}

pub(crate) fn deployment(name: &'static str) -> Given {
    Given::new("Deployment", name, json!({"replicas": 0}))
}

pub(crate) fn web() -> Given {
    deployment("web")
}

pub(crate) fn stateful_set(name: &'static str) -> Given {
    Given::new("StatefulSet", name, json!({"replicas": 0, "serviceName": "none"}))
}

/// It has no pods, since no node has the label that they want.
pub(crate) fn daemon_set(name: &'static str) -> Given {
    let set = Given::new("DaemonSet", name, json!({}));
    set.pod(json!({"nodeSelector": {"nowhere": "at-all"}}))
}

pub(crate) fn cron_job(name: &'static str) -> Given {
    Given::new("CronJob", name, json!({"schedule": "0 0 1 1 *", "suspend": true}))
}

/// It has no pods, since it is suspended.
pub(crate) fn job(name: &'static str) -> Given {
    Given::new("Job", name, json!({"suspend": true}))
}

impl Given {
    fn new(kind: &'static str, name: &'static str, spec: Value) -> Self {
        Self {
            kind,
            name,
            secret: SECRET,
            annotations: json!({}),
            labels: json!({}),
            template_annotations: json!({}),
            containers: vec!["app env"],
            spec,
            pod: json!({}),
        }
    }

    /// With an annotation of its own.
    pub(crate) fn on(mut self, key: &str, value: &str) -> Self {
        self.annotations[key] = value.into();
        self
    }

    /// With an annotation on the pod template.
    pub(crate) fn template(mut self, key: &str, value: &str) -> Self {
        self.template_annotations[key] = value.into();
        self
    }

    pub(crate) fn label(mut self, key: &str, value: &str) -> Self {
        self.labels[key] = value.into();
        self
    }

    pub(crate) fn auto(self) -> Self {
        self.on(AUTO, "true")
    }

    pub(crate) fn named(self, list: &str) -> Self {
        self.on(NAMED, list)
    }

    /// Whose containers refer to another Secret.
    pub(crate) fn of(self, secret: &'static str) -> Self {
        Self { secret, ..self }
    }

    /// With these containers: a name, and how it uses the Secret, if it does: `env`, `envFrom`, `volume`, `projected` or
    /// `subPath`. An init container's name begins with `init:`, a sidecar's with `sidecar:`.
    pub(crate) fn containers(self, containers: &[&'static str]) -> Self {
        Self {
            containers: containers.to_vec(),
            ..self
        }
    }

    /// With this in its spec.
    pub(crate) fn spec(mut self, more: Value) -> Self {
        merge(&mut self.spec, more);
        self
    }

    /// With this in its pods' spec.
    pub(crate) fn pod(mut self, more: Value) -> Self {
        merge(&mut self.pod, more);
        self
    }

    pub(crate) fn object(&self) -> Value {
        let labels = json!({"app": self.name});
        let group = match self.kind {
            "Job" | "CronJob" => "batch/v1",
            _ => "apps/v1",
        };
        let mut template = json!({
            "metadata": {"labels": labels, "annotations": self.template_annotations},
            "spec": self.pod_spec(),
        });
        let mut spec = self.spec.clone();
        match self.kind {
            "CronJob" => {
                template["spec"]["restartPolicy"] = "Never".into();
                merge(
                    &mut spec,
                    json!({"jobTemplate": {"spec": {"suspend": true, "template": template}}}),
                );
            }
            "Job" => {
                template["spec"]["restartPolicy"] = "Never".into();
                spec["template"] = template;
            }
            _ => {
                spec["selector"] = json!({"matchLabels": labels});
                spec["template"] = template;
            }
        }
        json!({
            "apiVersion": group,
            "kind": self.kind,
            "metadata": {"name": self.name, "annotations": self.annotations, "labels": self.labels},
            "spec": spec,
        })
    }

    fn pod_spec(&self) -> Value {
        let (mut containers, mut init, mut volumes) = (Vec::new(), Vec::new(), json!(null));
        for described in &self.containers {
            let (name, how) = described.split_once(' ').unwrap_or((described, ""));
            let (role, name) = name.split_once(':').unwrap_or(("", name));
            let mut container = json!({"name": name, "image": IMAGE, "imagePullPolicy": "Never"});
            let secret = self.secret;
            match how {
                "" => {}
                "env" => {
                    let from = json!({"secretKeyRef": {"name": secret, "key": "password"}});
                    container["env"] = json!([{"name": "PASSWORD", "valueFrom": from}]);
                }
                "envFrom" => container["envFrom"] = json!([{"secretRef": {"name": secret}}]),
                "volume" | "projected" | "subPath" => {
                    let mut mount = json!({"name": "data", "mountPath": "/data"});
                    if how == "subPath" {
                        mount["subPath"] = "password".into();
                    }
                    container["volumeMounts"] = json!([mount]);
                    volumes = if how == "projected" {
                        json!([{"name": "data", "projected": {"sources": [{"secret": {"name": secret}}]}}])
                    } else {
                        json!([{"name": "data", "secret": {"secretName": secret}}])
                    };
                }
                other => panic!("there is no way of use that is called {other}"),
            }
            match role {
                "" => containers.push(container),
                "init" => init.push(container),
                "sidecar" => {
                    container["restartPolicy"] = "Always".into();
                    init.push(container);
                }
                other => panic!("there is no kind of container that is called {other}"),
            }
        }
        let mut spec = json!({"terminationGracePeriodSeconds": 0, "containers": containers});
        if !init.is_empty() {
            spec["initContainers"] = init.into();
        }
        if !volumes.is_null() {
            spec["volumes"] = volumes;
        }
        merge(&mut spec, self.pod.clone());
        spec
    }
}

/// A Secret with a user and this password.
pub(crate) fn secret(name: &str, password: &str) -> Value {
    secret_of(name, json!({"username": "app_a", "password": password}))
}

/// A Secret with this content.
#[expect(
    clippy::needless_pass_by_value,
    reason = "each caller makes the value on the spot"
)]
pub(crate) fn secret_of(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})
}

/// Puts one value over another, as a merge patch does.
pub(crate) fn merge(place: &mut Value, more: Value) {
    match (place, more) {
        (Value::Object(place), Value::Object(more)) => {
            for (key, value) in more {
                merge(place.entry(key).or_insert(Value::Null), value);
            }
        }
        (place, more) => *place = more,
    }
}

/// What content of this form, `key=value`, comes to.
pub(crate) fn hash(content: &str) -> String {
    hex::encode(Sha1::digest(content))
}
