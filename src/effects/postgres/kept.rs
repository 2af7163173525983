//! Whether a server still lets in whom it did, asked while no rotation runs.

use std::time::Duration;

use tokio::time::Instant;

use super::classify::{Failure, Verdict};
use super::connect::{Purpose, Session};
use super::probe::{identity, prove, refused};
use super::server::{Credential, Server};
use crate::machine::facts::{Identity, Login};
use crate::policy::target::RoleName;

const LIMIT: Duration = Duration::from_mins(1);

/// Logs in with the credential that applications are told, once. What else the application would do is not tried: nothing but
/// the password is asked about.
pub async fn active(server: &Server, told: &Credential) -> Login {
    let until = Instant::now() + LIMIT;
    match Session::open(server, told, Purpose::Check, until).await {
        Ok(mut session) => match prove(&mut session, server, &told.user, None, None).await {
            Ok(identity) => Login::Accepted(identity),
            Err(finding) => Login::Refused(finding),
        },
        Err(failure) => match failure.verdict() {
            Verdict::Wrong => Login::WrongPassword,
            Verdict::Right | Verdict::Unknown => Login::Refused(failure.finding(server, &told.user)),
        },
    }
}

/// Has the administrator look why a password was refused, and on which server. Nothing is known of a standby: its primary may
/// be elsewhere, with the right password.
pub async fn why_refused(server: &Server, user: &RoleName, admin: &Credential) -> (Login, Option<Identity>) {
    let until = Instant::now() + LIMIT;
    let mut session = match Session::open(server, admin, Purpose::Administer, until).await {
        Ok(session) => session,
        Err(failure) => return (Login::Refused(failure.finding(server, &admin.user)), None),
    };
    let standby = session.row("SELECT pg_is_in_recovery()", &[]).await;
    match standby {
        Ok(row) if row.get(0) => (
            Login::Refused(Failure::Standby.finding(server, &admin.user)),
            None,
        ),
        Ok(_) => {
            let identity = identity(&mut session).await.ok();
            (refused(&mut session, server, user, admin).await, identity)
        }
        Err(trouble) => (
            Login::Refused(trouble.failure().finding(server, &admin.user)),
            None,
        ),
    }
}
