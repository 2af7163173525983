//! What people do today, with one user.

use anyhow::Result;
use tandem_lab::{Consumer, Login, Stage};

use super::delivery::Route;

/// Changes the user's password, then the Secret, then restarts the application: between the first and the last, every
/// new login of a pod that has not been replaced yet fails.
pub(super) async fn rotate(stage: &Stage, route: &Route, app: &Consumer) -> Result<()> {
    let login = Login::new(&stage.pair.a.user, "a-password-that-only-this-demo-uses-1");
    let Login { user, password } = &login;
    stage
        .postgres
        .sql("postgres", &format!("ALTER ROLE {user} PASSWORD '{password}'"))
        .await?;
    route.by_hand(stage, &login).await?;
    app.restart().await?;
    app.wait_until_ready().await
}
