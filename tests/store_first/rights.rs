//! Exactly the rights it needs, in the cluster and in AWS: what was used is what the manifests grant, no more and no
//! less.

use std::collections::BTreeSet;

use anyhow::ensure;
use serde_json::json;
use tandem::manifest::iam::Call;
use tandem_lab::aws::Value;

use crate::place::{Place, STORED, Setup};
use crate::scene::merge;
use crate::used::{exactly, exercise};

/// The secret that RDS would keep the administrator's credential in.
const MASTER: &str = "rds!db-orders";

#[test]
fn the_rights_used_are_the_rights_granted_in_the_cluster_and_in_aws() {
    tandem_lab::run(|lab| async move {
        let admin = json!({"secretRef": null, "awsSecret": {"secretId": MASTER, "region": "us-east-1"}});
        let policy = json!({"spec": {"database": {"admin": admin}}});
        let setup = Setup {
            policy: policy.clone(),
            ..Setup::default()
        };
        let place = Place::unready(&lab, "rights", setup).await?;
        let login = &place.stage.pair.admin;
        let master = json!({"username": login.user, "password": login.password});
        place.aws.create(MASTER, Value::Text(master.to_string()))?;
        place.ready().await?;
        exercise(&place).await?;

        let mut text = serde_json::from_str(&place.policy_text())?;
        merge(&mut text, &policy);
        exactly(&place, &text.to_string())?;
        place.secret_never_written()?;

        let calls = place.calls();
        let refused: Vec<_> = calls
            .iter()
            .filter(|call| call.error.as_deref() == Some("AccessDeniedException"))
            .collect();
        ensure!(refused.is_empty(), "refused calls: {refused:?}");
        let used: BTreeSet<(&str, String)> = calls
            .iter()
            .map(|call| {
                let secret = call.secret.as_deref().unwrap_or_default();
                (secret, format!("secretsmanager:{}", call.action))
            })
            .collect();
        let granted = [(STORED, &Call::DELIVERY[..]), (MASTER, &Call::ADMINISTRATION[..])];
        let granted: BTreeSet<(&str, String)> = granted
            .iter()
            .flat_map(|(secret, calls)| calls.iter().map(|call| (*secret, call.action().to_owned())))
            .collect();
        ensure!(used == granted, "used: {used:?}; granted: {granted:?}");
        Ok(())
    });
}
