//! What people do today, with one user.

use anyhow::Result;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tandem_lab::{CREDENTIALS_SECRET, Consumer, Stage};

/// Changes the user's password, then the Secret, then restarts the application: between the first and the last, every
/// new login of a pod that has not been replaced yet fails.
pub(super) async fn rotate(stage: &Stage, app: &Consumer) -> Result<()> {
    let password = "a-password-that-only-this-demo-uses-1";
    let user = &stage.pair.a.user;
    stage
        .postgres
        .sql("postgres", &format!("ALTER ROLE {user} PASSWORD '{password}'"))
        .await?;
    let secrets: Api<Secret> = stage.namespace.api();
    let change = Patch::Merge(json!({"stringData": {"password": password}}));
    secrets
        .patch(CREDENTIALS_SECRET, &PatchParams::default(), &change)
        .await?;
    app.restart().await?;
    app.wait_until_ready().await
}
