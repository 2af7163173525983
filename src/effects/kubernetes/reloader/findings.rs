//! What a person should know of Reloader before a rotation, with the command that mends it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use regex::Regex;

use super::decision::{Why, source};
use super::instances::Doubt;
use super::options::Options;
use super::pattern::{compile, elements};
use super::{Reloading, Verdict, verdict};
use crate::api::RELOADER_META_INFO;
use crate::api::spec::RestartMode;
use crate::effects::kubernetes::conditions::{blocker, warning};
use crate::effects::kubernetes::consumers::Workloads;
use crate::effects::kubernetes::owners::{Owner, Workload, name};
use crate::machine::facts::{Consumer, Finding, Restarter};
use crate::machine::listed;
use crate::machine::words::restart_commands;
use crate::policy::Policy;
use crate::policy::target::ConsumerKind;

/// A duration of Go: numbers with units, or a bare zero.
const DURATION: &str = r"^[-+]?(?:0|(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|ms|s|m|h))+)$";

impl Workloads {
    /// What stands in the way of a restart by Reloader, and what it leaves to somebody else.
    #[must_use]
    pub fn reloader_findings(&self, policy: &Policy, consumers: &[Consumer]) -> Vec<Finding> {
        let about = About {
            policy,
            reloading: &self.reloading,
        };
        let mut findings = about.doubts();
        let known: Vec<&Options> = self.reloading.instances.options().collect();
        for options in &known {
            for workload in self.all() {
                findings.extend(about.pattern(options, workload));
                findings.extend(about.pause(options, workload));
            }
        }
        match policy.restart.mode {
            RestartMode::Auto => findings.extend(about.ignored(&known)),
            RestartMode::Reloader => findings.extend(about.left(known.is_empty(), consumers)),
            RestartMode::Controller | RestartMode::None => {}
        }
        findings
    }
}

struct About<'a> {
    policy: &'a Policy,
    reloading: &'a Reloading,
}

impl About<'_> {
    /// Whoever leaves the restart to Reloader alone must be able to see it.
    fn doubts(&self) -> Vec<Finding> {
        let make = match self.policy.restart.mode {
            RestartMode::Reloader => blocker,
            RestartMode::Auto | RestartMode::Controller | RestartMode::None => warning,
        };
        let until = match self.policy.restart.mode {
            RestartMode::Reloader => "spec.restart.mode Reloader leaves every restart to it",
            RestartMode::Auto | RestartMode::Controller | RestartMode::None => {
                "workloads annotated for it are given time before Tandem restarts them"
            }
        };
        let told = |doubt: &Doubt| match doubt {
            Doubt::MayNotList => make(
                "ReloaderUnknown",
                format!(
                    "Tandem may not see whether Reloader runs: {until}. Allow it with: kubectl apply -k deploy/base"
                ),
            ),
            Doubt::Unreadable { namespace } => make(
                "ReloaderUnreadable",
                format!(
                    "ConfigMap {namespace}/{RELOADER_META_INFO} does not say how Reloader was started: {until}. See: kubectl -n {namespace} get configmap {RELOADER_META_INFO} -o jsonpath='{{.data.reloaderOptions}}'; Reloader writes it anew when it is restarted"
                ),
            ),
            Doubt::MayNotAsk { namespace, name } => make(
                "ReloaderUnknown",
                format!(
                    "Tandem may not see whether Reloader, Deployment {namespace}/{name}, runs: {until}. Allow it with: tandem rbac -f policy.yaml --reloader {namespace}/{name} | kubectl apply -f -"
                ),
            ),
            Doubt::Unnamed { namespace } => make(
                "ReloaderUnknown",
                format!(
                    "ConfigMap {namespace}/{RELOADER_META_INFO} does not name the Deployment of Reloader, so nobody can tell whether it runs: {until}. Set RELOADER_DEPLOYMENT_NAME in its environment"
                ),
            ),
            Doubt::MayNotReadNamespace => make(
                "ReloaderUnknown",
                format!(
                    "Tandem may not read the labels of namespace {}, by which Reloader chooses: {until}. Allow it with: tandem rbac -f policy.yaml --reloader NAMESPACE/DEPLOYMENT | kubectl apply -f -",
                    self.policy.namespace
                ),
            ),
        };
        self.reloading.instances.doubts.iter().map(told).collect()
    }

    /// An element that cannot be read ends the process of Reloader up to v1.4.21, whichever Secret of the namespace
    /// changes; later releases leave it out.
    fn pattern(&self, options: &Options, workload: Workload<'_>) -> Option<Finding> {
        let list = source(options, workload.metadata(), workload.template()).get(&options.named)?;
        let invalid = elements(list).find(|element| compile(element).is_none())?;
        let (namespace, reference) = (&self.policy.namespace, Owner::from(workload).reference);
        Some(warning(
            "ReloaderPatternInvalid",
            format!(
                "{reference} in namespace {namespace} names Secrets by {invalid:?} in {}, which is no regular expression: up to v1.4.21 Reloader ends when it reads it. Correct it with: kubectl -n {namespace} edit {reference}",
                options.named
            ),
        ))
    }

    /// Reloader gives up on such a Deployment, and on every workload after it.
    fn pause(&self, options: &Options, workload: Workload<'_>) -> Option<Finding> {
        let Workload::Deployment(deployment) = workload else {
            return None;
        };
        let text = deployment.metadata.annotations.as_ref()?.get(&options.pause)?;
        let valid = Regex::new(DURATION).is_ok_and(|duration| duration.is_match(text));
        let (namespace, reference) = (&self.policy.namespace, Owner::from(workload).reference);
        (!valid).then(|| {
            warning(
                "ReloaderPauseInvalid",
                format!(
                    "{reference} in namespace {namespace} says {text:?} in {}, which is no duration: Reloader restarts neither it nor what comes after it. Write it as 5m: kubectl -n {namespace} annotate --overwrite {reference} {}=5m",
                    options.pause, options.pause
                ),
            )
        })
    }

    /// The Secret is hidden from Reloader. That says who is not to restart, and not that nobody is.
    fn ignored(&self, known: &[&Options]) -> Option<Finding> {
        let secret = &self.reloading.secret;
        let hidden = known.iter().find(|options| is_ignored(options, secret))?;
        let namespace = &self.policy.namespace;
        Some(warning(
            "ReloaderIgnoresSecret",
            format!(
                "Secret {namespace}/{} carries {}, so Reloader restarts nobody for it; Tandem restarts its consumers itself. If nobody is to, set spec.restart.mode to None",
                name(secret),
                hidden.ignore
            ),
        ))
    }

    /// Consumers that keep the old credential, because only Reloader may restart and does not.
    fn left(&self, nobody: bool, consumers: &[Consumer]) -> Option<Finding> {
        let Policy { namespace, name, .. } = self.policy;
        if nobody {
            return Some(blocker(
                "ReloaderMissing",
                format!(
                    "spec.restart.mode is Reloader, and no Reloader runs that looks at Secret {namespace}/{}. See: kubectl get configmap -A -l reloader.stakater.com/meta-info=reloader. Or let Tandem restart: kubectl -n {namespace} patch rotpol {name} --type=merge -p '{{\"spec\":{{\"restart\":{{\"mode\":\"Auto\"}}}}}}'",
                    self.policy.delivery.target.secret
                ),
            ));
        }
        let left: Vec<_> = consumers
            .iter()
            .filter(|c| c.restarter == Restarter::Tandem)
            .filter(|c| matches!(c.reference.kind, ConsumerKind::Workload(_)))
            .map(|c| c.reference.clone())
            .collect();
        (!left.is_empty()).then(|| {
            warning(
                "NotRestartedByReloader",
                format!(
                    "spec.restart.mode is Reloader, and by its rules it does not restart {} in namespace {namespace}: they keep the old credential, which stays valid, until somebody does. Annotate them for Reloader, or after each rotation: {}",
                    listed(&left),
                    restart_commands(namespace, &left)
                ),
            )
        })
    }
}

fn is_ignored(options: &Options, secret: &ObjectMeta) -> bool {
    let nothing = k8s_openapi::api::core::v1::PodTemplateSpec::default();
    verdict(options, secret, &ObjectMeta::default(), &nothing) == Verdict::Leaves(Why::Ignored)
}
