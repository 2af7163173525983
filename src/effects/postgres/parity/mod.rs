//! Whether the two users are alike: in what they may do, in what belongs to them, and in how the server behaves towards
//! them (R10). What the application can do as the one it must be able to do as the other, from one login to the next.
//!
//! | file | what it does |
//! |---|---|
//! | `catalog.rs` | asks the catalogs, which any role may read |
//! | `roles.sql` | attributes, memberships, members, settings |
//! | `grants.sql` | privileges on objects, and default privileges |
//! | `parameters.sql` | privileges on parameters, since 15 |
//! | `objects.sql` | ownership, policies, user mappings, other databases |
//! | `names.sql` | what depends on the name of the login |
//! | `words.rs` | what to tell, and what to type |
//!
//! What only one of them has is found by what the server notes of each role's dependencies, so that the cost grows with
//! what the pair has and not with the database. See docs/parity.md for each kind, and for what is not looked at.

mod catalog;
mod words;

use std::time::Duration;

use tokio::time::Instant;

use super::classify::Failure;
use super::connect::{Purpose, Session, Trouble};
use super::server::{Credential, Server};
use crate::machine::facts::Finding;
use crate::policy::Pair;
use crate::policy::target::RoleName;
use catalog::{Difference, Kind, Question};

/// For one database.
const LIMIT: Duration = Duration::from_mins(1);

/// Whom to compare.
#[derive(Clone, Copy, Debug)]
pub struct Compared<'a> {
    /// The two users.
    pub pair: &'a Pair,
    /// The one that applications are now; when nobody knows, whatever one of them lacks stands in the way.
    pub active: Option<&'a RoleName>,
    /// The role that both become after login.
    pub effective_role: Option<&'a RoleName>,
}

/// Compares the two with a session of its own, as it is done again just before a flip.
///
/// # Errors
/// When the server could not be asked.
pub async fn parity(
    server: &Server,
    admin: &Credential,
    compared: Compared<'_>,
) -> Result<Vec<Finding>, Finding> {
    let failed = |failure: &Failure| failure.finding(server, &admin.user);
    let mut session = Session::open(server, admin, Purpose::Administer, Instant::now() + LIMIT)
        .await
        .map_err(|failure| failed(&failure))?;
    differences(&mut session, server, admin, compared)
        .await
        .map_err(|trouble| failed(&trouble.failure()))
}

/// How the two differ, as far as the administrator may see. Both roles exist.
pub(super) async fn differences(
    session: &mut Session,
    server: &Server,
    admin: &Credential,
    compared: Compared<'_>,
) -> Result<Vec<Finding>, Trouble> {
    let here = match catalog::ask(session, compared, &Question::ALL).await {
        Ok(here) => here,
        Err(trouble) => return hidden(session, server, admin, trouble).await,
    };
    let (elsewhere, here): (Vec<_>, Vec<_>) = here
        .into_iter()
        .partition(|difference| difference.kind == Kind::Elsewhere);
    let mut findings = words::findings(server, compared, &admin.user, &here);
    for database in &elsewhere {
        let there = server.in_database(&database.what);
        findings.extend(in_other_database(&there, admin, compared).await);
    }
    if let Some(unvisited) = words::unvisited(server, compared, &elsewhere) {
        findings.push(unvisited);
    }
    Ok(findings)
}

/// The same in another database in which the two do not have the same number of rights and objects.
async fn in_other_database(server: &Server, admin: &Credential, compared: Compared<'_>) -> Vec<Finding> {
    let session = Session::open(server, admin, Purpose::Administer, Instant::now() + LIMIT).await;
    let found: Result<Vec<Difference>, Failure> = match session {
        Ok(mut session) => catalog::ask(&mut session, compared, &Question::OF_ONE_DATABASE)
            .await
            .map_err(|trouble| trouble.failure()),
        Err(failure) => Err(failure),
    };
    match found {
        Ok(found) => words::findings(server, compared, &admin.user, &found),
        Err(failure) => vec![words::unseen(
            server,
            compared,
            &failure.finding(server, &admin.user),
        )],
    }
}

/// What a server that hides its catalogs does not let the administrator compare.
async fn hidden(
    session: &mut Session,
    server: &Server,
    admin: &Credential,
    trouble: Trouble,
) -> Result<Vec<Finding>, Trouble> {
    if trouble.failure() != Failure::PermissionDenied {
        return Err(trouble);
    }
    let catalogs = catalog::hidden(session).await?;
    Ok(vec![words::hidden(server, &admin.user, &catalogs)])
}
