//! Everything on the SQL side that a rotation will need, so that what would fail at night is known at noon.

use std::time::Duration;

use tokio::time::Instant;

use super::classify::Failure;
use super::connect::{Purpose, Session, Trouble};
use super::copies::copies;
use super::hush::visible;
use super::parity::{Compared, differences};
use super::probe::{identity, no_password_asked, prove, unidentified};
use super::rights::{Asked, rights};
use super::server::{Credential, Server};
use super::words::{blocker, quoted, run};
use crate::api::spec::{OnActiveSessions, RetireMode};
use crate::machine::facts::{Finding, Identity};
use crate::machine::project::ACTIVE_LOGIN_FAILED;
use crate::policy::target::{FunctionName, RoleName};
use crate::policy::{Pair, Policy};
use crate::sensitive::Sensitive;

/// The oldest release that its makers still mend.
const OLDEST: u32 = 14;
const LIMIT: Duration = Duration::from_mins(1);

/// What a rotation will ask of the server.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The two users.
    pub pair: &'a Pair,
    /// The credential in the application Secret, when it names one of them.
    pub active: Option<&'a Credential>,
    /// What `current_user` must be after login.
    pub effective_role: Option<&'a RoleName>,
    /// What changes passwords in the administrator's stead.
    pub function: Option<&'a FunctionName>,
    /// What must succeed as the standby; as the active user, then, too.
    pub smoke_query: Option<&'a str>,
    /// How users are retired: after `NoLogin` the standby cannot log in before its turn.
    pub retire: RetireMode,
    /// Whether sessions will be ended.
    pub on_active: OnActiveSessions,
}

impl<'a> Wanted<'a> {
    /// What the policy's rotations will ask.
    #[must_use]
    pub fn by(policy: &'a Policy, active: Option<&'a Credential>) -> Self {
        Self {
            pair: &policy.pair,
            active,
            effective_role: policy.database.effective_role.as_ref(),
            function: policy.database.function.as_ref(),
            smoke_query: policy.database.smoke_query.as_deref(),
            retire: policy.retire.mode,
            on_active: policy.on_active(),
        }
    }
}

/// Looks at everything, changes nothing. The blockers come first; the server's identity is there when the
/// administrator could ask for it.
pub async fn preflight(
    server: &Server,
    admin: &Credential,
    wanted: Wanted<'_>,
) -> (Vec<Finding>, Option<Identity>) {
    let mut findings = Vec::new();
    if wanted.pair.contains(&admin.user) {
        findings.push(blocker(
            "AdminIsInThePair",
            format!(
                "{} is the administrator and one of spec.users: it would change its own password and lose its access. Put the login of another role into the Secret of spec.database.admin.secretRef",
                quoted(&admin.user)
            ),
        ));
    }
    let mut found = None;
    let until = Instant::now() + LIMIT;
    let server_answers = match Session::open(server, admin, Purpose::Administer, until).await {
        Ok(mut session) => {
            match as_admin(&mut session, server, admin, &wanted, &mut findings).await {
                Ok(identity) => found = identity,
                Err(trouble) => findings.push(trouble.failure().finding(server, &admin.user)),
            }
            true
        }
        Err(failure) => {
            findings.push(of_the_admin(&failure.finding(server, &admin.user)));
            !is_the_servers(&failure)
        }
    };
    if let Some(active) = wanted.active
        && server_answers
    {
        findings.extend(as_active(server, active, &wanted).await);
    }
    findings.sort_by_key(|finding| !finding.blocks);
    (findings, found)
}

/// A failure that every other login would meet as well.
fn is_the_servers(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Unreachable(_)
            | Failure::Tls(_)
            | Failure::NotPostgres
            | Failure::Pooler
            | Failure::NotReady
            | Failure::Ended
            | Failure::TooManyClients
            | Failure::ReservedConnections
            | Failure::DatabaseMissing
            | Failure::DatabaseClosed
            | Failure::DatabaseConnectionLimit
    )
}

fn of_the_admin(finding: &Finding) -> Finding {
    let message = &finding.message;
    blocker(
        finding.reason,
        format!("the login of spec.database.admin.secretRef fails: {message}"),
    )
}

async fn as_admin(
    session: &mut Session,
    server: &Server,
    login: &Credential,
    wanted: &Wanted<'_>,
    findings: &mut Vec<Finding>,
) -> Result<Option<Identity>, Trouble> {
    let admin = &login.user;
    let major = session.major();
    if major < OLDEST {
        findings.push(blocker(
            "ServerTooOld",
            format!(
                "{} is PostgreSQL {major}; Tandem knows {OLDEST} and later. Upgrade the server",
                server.at()
            ),
        ));
        return Ok(None);
    }
    if session.row("SELECT pg_is_in_recovery()", &[]).await?.get(0) {
        findings.push(Failure::Standby.finding(server, admin));
        return Ok(None);
    }
    let found = match identity(session).await {
        Ok(identity) => Some(identity),
        Err(trouble) => {
            findings.push(unidentified(server, admin, &trouble));
            None
        }
    };
    let Pair(one, other) = wanted.pair;
    let roles = [Role::read(session, one).await?, Role::read(session, other).await?];
    let mut shut_out = false;
    for (user, role) in [one, other].into_iter().zip(&roles) {
        let active = wanted.active.is_some_and(|active| active.user == *user);
        match role {
            None => findings.push(Failure::NoSuchRole.finding(server, user)),
            Some(role) => {
                let found = role.findings(server, user, active, wanted.retire);
                shut_out |= !found.is_empty();
                findings.extend(found);
            }
        }
    }
    if let [Some(first), Some(second)] = &roles {
        let asked = Asked {
            wanted,
            may_change: first.may_change && second.may_change,
            may_terminate: first.may_terminate && second.may_terminate,
        };
        rights(session, server, admin, asked, findings).await?;
        // What keeps one of them out altogether is a difference too, and has been told.
        if !shut_out {
            let compared = Compared {
                pair: wanted.pair,
                active: wanted.active.map(|active| &active.user),
                effective_role: wanted.effective_role,
            };
            // On the heap: it holds sessions of its own, and every pass would carry the room for them.
            findings.extend(Box::pin(differences(session, server, login, compared)).await?);
        }
        findings.extend(copies(session, server, admin, wanted.pair).await?);
    }
    findings.extend(visible(session, server, admin, wanted.function.is_some()).await?);
    Ok(found)
}

/// What the catalog says of one of the pair.
#[expect(clippy::struct_excessive_bools, reason = "each is a column")]
struct Role {
    superuser: bool,
    replication: bool,
    no_login: bool,
    expired: bool,
    no_connections: bool,
    no_connect: bool,
    may_change: bool,
    may_terminate: bool,
}

impl Role {
    async fn read(session: &mut Session, user: &RoleName) -> Result<Option<Self>, Trouble> {
        // Whether the right to create roles is enough, or must come with the admin option, depends on the version and
        // is not found out by trying (R9). Since 16, being a superuser implies the option.
        let right = if session.major() >= 16 {
            "me.rolsuper OR (me.rolcreaterole AND pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION'))"
        } else {
            "me.rolsuper OR me.rolcreaterole"
        };
        let sql = format!(
            "SELECT r.rolsuper, r.rolreplication, NOT r.rolcanlogin,
                    coalesce(r.rolvaliduntil <= clock_timestamp(), false), r.rolconnlimit = 0,
                    NOT has_database_privilege(r.oid, current_database(), 'CONNECT'), {right},
                    pg_has_role(r.oid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE')
               FROM pg_roles r, pg_roles me WHERE r.rolname = $1 AND me.rolname = current_user"
        );
        let rows = session.query(&sql, &[&user.as_str()]).await?;
        Ok(rows.first().map(|row| Self {
            superuser: row.get(0),
            replication: row.get(1),
            no_login: row.get(2),
            expired: row.get(3),
            no_connections: row.get(4),
            no_connect: row.get(5),
            may_change: row.get(6),
            may_terminate: row.get(7),
        }))
    }

    fn findings(&self, server: &Server, user: &RoleName, active: bool, retire: RetireMode) -> Vec<Finding> {
        let role = quoted(user);
        let privileged = |reason, what: &str| {
            blocker(
                reason,
                format!(
                    "{role} is {what} at {}; applications need no such role, and no administrator short of a superuser could change it. {}",
                    server.at(),
                    run(&format!("ALTER ROLE {role} NO{what}"))
                ),
            )
        };
        let mut findings = Vec::new();
        if self.superuser {
            findings.push(privileged("RoleIsSuperuser", "SUPERUSER"));
        }
        if self.replication {
            findings.push(privileged("RoleIsReplication", "REPLICATION"));
        }
        // The active user's own login tells the rest.
        if active {
            return findings;
        }
        // A user that Tandem retired with NOLOGIN gets its LOGIN back with its next password.
        if self.no_login && retire != RetireMode::NoLogin {
            findings.push(Failure::NoLogin.finding(server, user));
        }
        if self.expired {
            findings.push(Failure::Expired.finding(server, user));
        }
        if self.no_connections {
            findings.push(Failure::RoleConnectionLimit.finding(server, user));
        }
        if self.no_connect {
            findings.push(Failure::NoConnectPrivilege.finding(server, user));
        }
        findings
    }
}

/// The active user's own login, with everything that will be asked of the standby.
async fn as_active(server: &Server, active: &Credential, wanted: &Wanted<'_>) -> Option<Finding> {
    let user = &active.user;
    let until = Instant::now() + LIMIT;
    let mut session = match Session::open(server, active, Purpose::Check, until).await {
        Ok(session) => session,
        // The credential is right, and there is no room for one login more.
        Err(failure) if is_the_servers(&failure) || failure == Failure::RoleConnectionLimit => {
            return Some(failure.finding(server, user));
        }
        Err(failure) => {
            return Some(blocker(
                ACTIVE_LOGIN_FAILED,
                format!(
                    "the credential in the application Secret does not log in: {}",
                    failure.finding(server, user).message
                ),
            ));
        }
    };
    // Only there nothing else tells: newer servers say how the user was let in, and with TLS the pending login is bound.
    if session.major() < 16 && !server.verifies() && lets_anybody_in(server, user).await {
        return Some(no_password_asked(server, user));
    }
    prove(
        &mut session,
        server,
        user,
        wanted.effective_role,
        wanted.smoke_query,
    )
    .await
    .err()
}

/// The negative control of R27. It leaves one failed login in the server's log.
async fn lets_anybody_in(server: &Server, user: &RoleName) -> bool {
    let nobody = Credential {
        user: user.clone(),
        password: Sensitive::new("Tandem asks whether passwords are checked".into()),
    };
    Session::open(server, &nobody, Purpose::Check, Instant::now() + LIMIT)
        .await
        .is_ok()
}
