//! How many pods more than usual a rollout may bring: each opens connections while those before it still hold theirs.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::owners::Workload;

/// What a Deployment is given when it says nothing.
const DEPLOYMENT: &str = "25%";

/// The most pods that a restart adds for a time. Where the old pod has to go first there is none: a `StatefulSet`,
/// `Recreate`, `OnDelete`, a `Rollout`.
pub(super) fn surge(workload: Workload<'_>) -> u32 {
    match workload {
        Workload::Deployment(deployment) => {
            let spec = &deployment.spec;
            let replicas = natural(spec.replicas.unwrap_or(1));
            let strategy = spec.strategy.as_ref();
            if strategy.and_then(|s| s.type_.as_deref()) == Some("Recreate") {
                return 0;
            }
            let most = strategy.and_then(|s| s.rolling_update.as_ref()?.max_surge.clone());
            of(
                &most.unwrap_or_else(|| IntOrString::String(DEPLOYMENT.to_owned())),
                replicas,
            )
        }
        Workload::DaemonSet(set) => {
            let strategy = set.spec.update_strategy.as_ref();
            let most = strategy.and_then(|s| s.rolling_update.as_ref()?.max_surge.clone());
            let nodes = set.status.as_ref().map_or(0, |s| s.desired_number_scheduled);
            most.map_or(0, |most| of(&most, natural(nodes)))
        }
        // A restart of Argo Rollouts evicts.
        Workload::StatefulSet(_) | Workload::Rollout(_) => 0,
    }
}

/// A number of pods, or a share of them, rounded up as Kubernetes does. What is neither is not accepted there.
fn of(most: &IntOrString, pods: u32) -> u32 {
    match most {
        IntOrString::Int(_) if pods == 0 => 0,
        IntOrString::Int(number) => natural(*number),
        IntOrString::String(share) => {
            let percent: u32 = share.trim_end_matches('%').parse().unwrap_or(0);
            pods.saturating_mul(percent).div_ceil(100)
        }
    }
}

fn natural(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
    use serde_json::{Value, from_value, json};

    use super::{Workload, surge};

    fn deployment(replicas: u32, strategy: &Value) -> u32 {
        let spec = json!({
            "replicas": replicas, "strategy": strategy,
            "selector": {}, "template": {},
        });
        let deployment: Deployment = from_value(json!({"spec": spec})).unwrap();
        surge(Workload::Deployment(&deployment))
    }

    #[test]
    fn a_deployment_adds_what_its_strategy_allows() {
        let rolling = |most: Value| json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": most}});
        assert_eq!(deployment(10, &Value::Null), 3, "25 % rounded up");
        assert_eq!(deployment(1, &Value::Null), 1);
        assert_eq!(deployment(0, &Value::Null), 0);
        assert_eq!(deployment(10, &rolling(json!("100%"))), 10);
        assert_eq!(deployment(10, &rolling(json!(2))), 2);
        assert_eq!(deployment(10, &rolling(json!(0))), 0);
        assert_eq!(deployment(0, &rolling(json!(2))), 0);
        assert_eq!(deployment(10, &json!({"type": "Recreate"})), 0);
    }

    #[test]
    fn sets_replace_their_pods_in_place_unless_a_daemon_set_says_otherwise() {
        let set: StatefulSet =
            from_value(json!({"spec": {"replicas": 10, "selector": {}, "serviceName": "", "template": {}}}))
                .unwrap();
        assert_eq!(surge(Workload::StatefulSet(&set)), 0);
        let daemon = |strategy: Value| -> DaemonSet {
            from_value(json!({
                "spec": {"selector": {}, "template": {}, "updateStrategy": strategy},
                "status": {"currentNumberScheduled": 5, "desiredNumberScheduled": 5, "numberMisscheduled": 0, "numberReady": 5},
            }))
            .unwrap()
        };
        assert_eq!(surge(Workload::DaemonSet(&daemon(Value::Null))), 0);
        assert_eq!(
            surge(Workload::DaemonSet(&daemon(json!({"type": "OnDelete"})))),
            0
        );
        let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "30%"}});
        assert_eq!(surge(Workload::DaemonSet(&daemon(rolling))), 2);
    }
}
