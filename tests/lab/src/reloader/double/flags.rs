//! The flags of the real one, as far as they decide what happens to a Secret, and its variables.

use std::collections::BTreeMap;

use clap::{ArgAction, Parser};

/// The key of what Reloader writes to a pod template with the strategy `annotations`.
pub(super) const LAST_RELOADED_FROM: &str = "reloader.stakater.com/last-reloaded-from";
const HA_NEEDS: [&str; 2] = ["POD_NAME", "POD_NAMESPACE"];

/// The flags. Three of them look like switches and are texts: only `true` switches them on, and what the program
/// publishes of itself says so of `1` as well.
#[derive(Clone, Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
pub(super) struct Flags {
    #[arg(long, default_value = "reloader.stakater.com/auto")]
    pub(super) auto_annotation: String,
    #[arg(long, default_value = "secret.reloader.stakater.com/auto")]
    pub(super) secret_auto_annotation: String,
    #[arg(long, default_value = "configmap.reloader.stakater.com/auto")]
    pub(super) configmap_auto_annotation: String,
    #[arg(long, default_value = "secret.reloader.stakater.com/reload")]
    pub(super) secret_annotation: String,
    #[arg(long, default_value = "configmap.reloader.stakater.com/reload")]
    pub(super) configmap_annotation: String,
    #[arg(long, default_value = "reloader.stakater.com/search")]
    pub(super) auto_search_annotation: String,
    #[arg(long, default_value = "reloader.stakater.com/match")]
    pub(super) search_match_annotation: String,
    #[arg(long, default_value = "reloader.stakater.com/ignore")]
    pub(super) ignore_annotation: String,
    #[arg(long, default_value = "deployment.reloader.stakater.com/pause-period")]
    pub(super) pause_deployment_annotation: String,
    #[arg(long, default_value = "deployment.reloader.stakater.com/paused-at")]
    pub(super) pause_deployment_time_annotation: String,
    #[arg(long, default_value = "env-vars")]
    pub(super) reload_strategy: String,
    #[arg(long = "is-Argo-Rollouts", default_value = "false")]
    pub(super) is_argo_rollouts: String,
    #[arg(long, default_value = "false")]
    pub(super) reload_on_create: String,
    #[arg(long, default_value = "false")]
    pub(super) reload_on_delete: String,
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub(super) sync_after_restart: bool,
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub(super) auto_reload_all: bool,
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub(super) enable_ha: bool,
    #[arg(long, default_value = "")]
    pub(super) webhook_url: String,
    #[arg(long, value_delimiter = ',')]
    pub(super) resources_to_ignore: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub(super) ignored_workload_types: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub(super) namespaces: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub(super) namespaces_to_ignore: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub(super) namespace_selector: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub(super) resource_label_selector: Vec<String>,
    #[arg(long, default_value = "")]
    pub(super) log_format: String,
    #[arg(long, default_value = "info")]
    pub(super) log_level: String,
}

/// Which of the two marks is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    EnvVars,
    Annotations,
}

impl Flags {
    /// Understands the arguments, and refuses what the real one refuses.
    pub(super) fn parse_from_args(
        args: &[String],
        env: &BTreeMap<String, String>,
    ) -> Result<(Self, Strategy), String> {
        let mut flags = Self::try_parse_from(args).map_err(|error| error.to_string())?;
        let strategy = match flags.reload_strategy.as_str() {
            "env-vars" => Strategy::EnvVars,
            "annotations" => Strategy::Annotations,
            other => return Err(format!("{other:?} is no reload strategy")),
        };
        if flags.ignores("secrets") && flags.ignores("configmaps") {
            return Err("there is nothing left to watch".to_owned());
        }
        let missing = HA_NEEDS.iter().find(|name| !env.contains_key(**name));
        if let Some(missing) = missing.filter(|_| flags.enable_ha) {
            return Err(format!("{missing} is not set"));
        }
        for selector in [&mut flags.namespace_selector, &mut flags.resource_label_selector] {
            for part in selector.iter_mut() {
                *part = normalised(part);
            }
        }
        Ok((flags, strategy))
    }

    /// Whether a kind of resource is not watched at all.
    pub(super) fn ignores(&self, resource: &str) -> bool {
        self.resources_to_ignore
            .iter()
            .any(|ignored| ignored.eq_ignore_ascii_case(resource))
    }

    /// Whether a kind of workload is never touched. A value that is none of the two is complained of and has no effect.
    pub(super) fn never_touches(&self, kind: &str) -> bool {
        let plural = match kind {
            "Job" => "jobs",
            "CronJob" => "cronjobs",
            _ => return false,
        };
        self.ignored_workload_types
            .iter()
            .any(|ignored| ignored.eq_ignore_ascii_case(plural))
    }
}

/// `"team:a"` as the chart renders it, quotes included, is `team=a`.
fn normalised(selector: &str) -> String {
    let selector = selector.trim().trim_matches('"');
    match selector.split_once(':') {
        Some((key, value)) if !selector.contains('=') => format!("{}={}", key.trim(), value.trim()),
        Some(_) | None => selector.to_owned(),
    }
}
