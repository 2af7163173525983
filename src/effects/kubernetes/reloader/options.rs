//! How an instance of Reloader was started, as far as that decides who is restarted. It publishes this itself; two things
//! it leaves out, and they are read from its Deployment.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Container;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::selector::selects;

/// Exclusion list on a workload. No flag renames it.
pub(super) const EXCLUDE: &str = "secrets.exclude.reloader.stakater.com/reload";

/// What an instance was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// Every workload that refers to the Secret and does not opt out.
    pub(super) all: bool,
    /// Annotation with names of Secrets.
    pub(super) named: String,
    /// Annotation that asks for whatever the workload refers to.
    pub(super) auto: String,
    /// The same for Secrets only.
    pub(super) secret_auto: String,
    /// The same for Secrets that carry `matching`.
    pub(super) search: String,
    /// Annotation of a Secret.
    pub(super) matching: String,
    /// Annotation of a Secret that is not to be looked at.
    pub(super) ignore: String,
    /// Annotation with the time for which a Deployment is paused before it is restarted.
    pub(super) pause: String,
    /// Annotation that it writes on a Deployment while it pauses it.
    pub(super) paused_at: String,
    /// How it writes.
    pub(super) strategy: Strategy,
}

/// How an instance restarts a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    /// An environment variable of one container.
    EnvVars,
    /// An annotation of the pod template, with the time.
    Annotations,
}

/// Which Secrets an instance looks at, as it publishes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sight {
    /// The namespaces that it was confined to; it does not publish them.
    pub(super) namespaces: Vec<String>,
    /// Namespaces that it leaves out, when it is not confined.
    pub(super) ignored: Vec<String>,
    /// Label selectors of namespaces, when it is not confined.
    pub(super) namespace_labels: Vec<String>,
    /// Label selectors of Secrets.
    pub(super) secret_labels: Vec<String>,
    /// Whether it restarts anything at all when a Secret changes.
    pub(super) active: bool,
}

/// What an instance publishes of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) options: Options,
    pub(super) sight: Sight,
    /// Whether only the holder of its Lease restarts anything.
    pub(super) leads: bool,
    /// Whether it makes good at its start what it missed.
    pub(super) catches_up: bool,
}

/// `reloaderOptions`, of which older releases know less.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_excessive_bools, reason = "these are flags of another program")]
struct Raw {
    auto_reload_all: bool,
    secret_update_on_change_annotation: String,
    reloader_auto_annotation: String,
    secret_reloader_auto_annotation: String,
    auto_search_annotation: String,
    search_match_annotation: String,
    ignore_resource_annotation: String,
    pause_deployment_annotation: String,
    pause_deployment_time_annotation: String,
    reload_strategy: String,
    reload_on_create: bool,
    sync_after_restart: bool,
    #[serde(rename = "enableHA")]
    enable_ha: bool,
    webhook_url: String,
    resources_to_ignore: Option<Vec<String>>,
    namespace_selectors: Option<Vec<String>>,
    resource_selectors: Option<Vec<String>>,
    namespaces_to_ignore: Option<Vec<String>>,
}

impl Default for Options {
    fn default() -> Self {
        Raw::default().options()
    }
}

impl Default for Raw {
    fn default() -> Self {
        let own = |name: &str| format!("reloader.stakater.com/{name}");
        Self {
            auto_reload_all: false,
            secret_update_on_change_annotation: format!("secret.{}", own("reload")),
            reloader_auto_annotation: own("auto"),
            secret_reloader_auto_annotation: format!("secret.{}", own("auto")),
            auto_search_annotation: own("search"),
            search_match_annotation: own("match"),
            ignore_resource_annotation: own("ignore"),
            pause_deployment_annotation: format!("deployment.{}", own("pause-period")),
            pause_deployment_time_annotation: format!("deployment.{}", own("paused-at")),
            reload_strategy: "env-vars".to_owned(),
            reload_on_create: false,
            sync_after_restart: false,
            enable_ha: false,
            webhook_url: String::new(),
            resources_to_ignore: None,
            namespace_selectors: None,
            resource_selectors: None,
            namespaces_to_ignore: None,
        }
    }
}

impl Raw {
    fn options(self) -> Options {
        Options {
            all: self.auto_reload_all,
            named: self.secret_update_on_change_annotation,
            auto: self.reloader_auto_annotation,
            secret_auto: self.secret_reloader_auto_annotation,
            search: self.auto_search_annotation,
            matching: self.search_match_annotation,
            ignore: self.ignore_resource_annotation,
            pause: self.pause_deployment_annotation,
            paused_at: self.pause_deployment_time_annotation,
            strategy: match self.reload_strategy.as_str() {
                "annotations" => Strategy::Annotations,
                // It starts with no other word.
                _ => Strategy::EnvVars,
            },
        }
    }
}

impl Default for Published {
    fn default() -> Self {
        Raw::default().into()
    }
}

impl Published {
    /// Reads `reloaderOptions`.
    pub(super) fn read(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<Raw>(json).map(Self::from)
    }
}

impl From<Raw> for Published {
    fn from(mut raw: Raw) -> Self {
        let ignored = raw.resources_to_ignore.take().unwrap_or_default();
        let sight = Sight {
            namespaces: Vec::new(),
            ignored: raw.namespaces_to_ignore.take().unwrap_or_default(),
            namespace_labels: raw.namespace_selectors.take().unwrap_or_default(),
            secret_labels: raw.resource_selectors.take().unwrap_or_default(),
            // With a webhook it tells others of a change, and restarts nothing itself (142).
            active: raw.webhook_url.is_empty()
                && !ignored.iter().any(|kind| kind.eq_ignore_ascii_case("secrets")),
        };
        Self {
            sight,
            leads: raw.enable_ha,
            catches_up: raw.reload_on_create && raw.sync_after_restart,
            options: raw.options(),
        }
    }
}

impl Sight {
    /// Whether the Secret is looked at. Labels of its namespace are needed only where selectors name some.
    pub(super) fn covers(&self, namespace: &ObjectMeta, secret: &ObjectMeta) -> bool {
        let name = namespace.name.as_deref().unwrap_or_default();
        let in_scope = if self.namespaces.is_empty() {
            !self.ignored.iter().any(|ignored| ignored == name)
                && self.namespace_labels.iter().all(|text| selects(text, namespace))
        } else {
            // What it publishes of namespaces besides is not in force then (147).
            self.namespaces.iter().any(|own| own == name)
        };
        self.active && in_scope && self.secret_labels.iter().all(|text| selects(text, secret))
    }
}

/// The namespaces that its Deployment confines it to: by a flag, else by the environment.
pub(super) fn confined_to(deployment: &Deployment) -> Vec<String> {
    let spec = deployment.spec.template.spec.as_ref();
    let containers = spec.into_iter().flat_map(|spec| &spec.containers);
    let own = deployment.metadata.namespace.as_deref().unwrap_or_default();
    let mut by_environment = Vec::new();
    for container in containers {
        let by_flag = flag(container, "--namespaces");
        if !by_flag.is_empty() {
            return by_flag;
        }
        by_environment.extend(environment(container, own));
    }
    by_environment
}

fn flag(container: &Container, name: &str) -> Vec<String> {
    let mut words = container
        .command
        .iter()
        .flatten()
        .chain(container.args.iter().flatten());
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        let value = match word.strip_prefix(name) {
            Some("") => words.next().map(String::as_str),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        };
        let list = value.map(|value| value.trim_matches('"').split(','));
        found.extend(list.into_iter().flatten().map(|one| one.trim().to_owned()));
    }
    found.retain(|one| !one.is_empty());
    found
}

fn environment(container: &Container, own: &str) -> Option<String> {
    let mut all = container.env.iter().flatten();
    let variable = all.find(|variable| variable.name == "KUBERNETES_NAMESPACE")?;
    let from_field = variable
        .value_from
        .as_ref()
        .and_then(|from| from.field_ref.as_ref())
        .filter(|field| field.field_path == "metadata.namespace");
    match from_field {
        Some(_) => Some(own.to_owned()),
        None => variable.value.clone().filter(|value| !value.is_empty()),
    }
}
