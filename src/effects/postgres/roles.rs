//! Changing a role, fenced: after the caller's time is over the server itself refuses the change, however long its
//! packets were on the way.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::types::ToSql;
use zeroize::Zeroizing;

use super::classify::{Failure, is_fence, is_idle_end};
use super::connect::{Purpose, Session, Trouble};
use super::function;
use super::hush::hush;
use super::probe::unidentified;
use super::rights::change_right;
use super::server::{Credential, Server};
use super::verifier::Verifier;
use super::words::{blocker, quoted, run};
use crate::effects::{Error, Outcome};
use crate::machine::facts::{Finding, Identity, Refused};
use crate::policy::target::{FunctionName, RoleName};

/// Microseconds since 1970 by the server's clock: no time zone or date style to misread.
pub(super) const CLOCK: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::int8";

/// Longest that a statement of the transaction may take.
const STATEMENT_LIMIT: Duration = Duration::from_secs(15);

/// A new verifier for one role.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The role.
    pub user: &'a RoleName,
    /// What its password becomes.
    pub verifier: &'a Verifier,
    /// How it is set.
    pub means: Means<'a>,
    /// The server that the rotation began on; any when nothing.
    pub expected: Option<&'a Identity>,
    /// How long the caller may still write.
    pub time_left: Duration,
}

/// How a verifier is set.
#[derive(Clone, Copy, Debug)]
pub enum Means<'a> {
    /// By a statement of the administrator's own.
    AlterRole {
        /// Whether the role also becomes `LOGIN` or `NOLOGIN`, in the same statement; as it was when nothing.
        login: Option<bool>,
    },
    /// By a function that may do just this. The verifier is a parameter, so it is in no statement that could be logged.
    Function(&'a FunctionName),
}

/// Sets a verifier. Idempotent: the same change again ends in the same state.
///
/// The steps, each one message: who are you, and what time is it; begin, quietly; alter; commit, unless it is too late.
/// The last says nothing secret, so that when the server refuses it, and logs what it refused, it logs no verifier.
/// Only the server's clock is compared with itself, and the time that the first message took counts as used up.
///
/// # Errors
/// When it is unknown whether the role was changed, and when the caller's time was over. Both are settled by looking.
pub async fn change(server: &Server, admin: &Credential, change: Change<'_>) -> Result<Outcome, Error> {
    let until = Instant::now() + change.time_left;
    let mut session = match Session::open(server, admin, Purpose::Administer, until).await {
        Ok(session) => session,
        Err(_) if Instant::now() >= until => return Err(Error::Fenced),
        Err(failure) => return Ok(refused(failure.finding(server, &admin.user))),
    };
    let start = match Start::read(&mut session).await {
        Ok(start) => start,
        Err(trouble) => return Ok(refused(unidentified(server, &admin.user, &trouble))),
    };
    if start.in_recovery {
        return Ok(refused(Failure::Standby.finding(server, &admin.user)));
    }
    if let Some(expected) = change.expected
        && expected.system != start.system
    {
        return Ok(refused(blocker(
            "OtherServer",
            format!(
                "{} is the cluster with system identifier {}, the rotation began on {}; nothing was changed. Point spec.database.host back to that server",
                server.at(),
                start.system,
                expected.system
            ),
        )));
    }
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Error::Fenced);
    }
    let deadline = start
        .clock
        .saturating_add(i64::try_from(left.as_micros()).unwrap_or(i64::MAX));

    let what = || format!("change role {} at {}", quoted(change.user), server.at());
    let hush = hush(&mut session)
        .await
        .map_err(|trouble| unknown(what(), &trouble))?;
    let begin = session.batch(&begin(&hush, left), until).await;
    begin.map_err(|trouble| unknown(what(), &trouble))?;
    // What was said so far was about other things.
    session.take_notices();

    if let Err(trouble) = set(&mut session, &change, until).await {
        return denied(server, admin, &change, session.major(), &trouble)
            .ok_or_else(|| unknown(what(), &trouble));
    }
    // «clearing password», «MD5»: the statement did something else than it was asked for (R5). It is not committed.
    if let Some(notice) = session.take_notices().first() {
        return Ok(refused(blocker(
            "UnexpectedNotice",
            format!(
                "{} answered the change of role {} with a {} (SQLSTATE {}, raised in {}), so it was rolled back; look at the server's log, and for a password check: SHOW shared_preload_libraries",
                server.at(),
                quoted(change.user),
                notice.severity(),
                notice.code().code(),
                notice.routine().unwrap_or("an unknown place")
            ),
        )));
    }
    match session.batch(&commit(deadline), until).await {
        Ok(()) => {}
        Err(Trouble::Said(error)) if is_fence(&error) => return Err(Error::Fenced),
        // The time was over for the server too, and its word came before ours ended: the same end, told by the other side.
        Err(Trouble::Said(error)) if is_idle_end(&error) => {
            return Err(Error::TimedOut {
                what: what(),
                seconds: left.as_secs(),
            });
        }
        Err(trouble) => return Err(unknown(what(), &trouble)),
    }
    // «canceling wait for synchronous replication» comes with success, and with standbys that lack the change (R20).
    match session.take_notices().first() {
        None => Ok(Outcome::Done),
        Some(notice) => Err(Error::Postgres {
            what: what(),
            detail: format!(
                "it was committed with a warning, SQLSTATE {}",
                notice.code().code()
            ),
        }),
    }
}

/// What must be known before the transaction.
struct Start {
    system: String,
    in_recovery: bool,
    clock: i64,
}

impl Start {
    async fn read(session: &mut Session) -> Result<Self, Trouble> {
        let sql = format!(
            "SELECT (SELECT system_identifier FROM pg_control_system())::text, pg_is_in_recovery(), {CLOCK}"
        );
        let row = session.row(&sql, &[]).await?;
        Ok(Self {
            system: row.get(0),
            in_recovery: row.get(1),
            clock: row.get(2),
        })
    }
}

fn begin(hush: &str, left: Duration) -> String {
    let limit = left.min(STATEMENT_LIMIT).as_millis().max(1);
    format!(
        "BEGIN; SET LOCAL statement_timeout = {limit}; SET LOCAL idle_in_transaction_session_timeout = {limit}{hush}"
    )
}

async fn set(session: &mut Session, change: &Change<'_>, until: Instant) -> Result<(), Trouble> {
    let (user, verifier) = (change.user, change.verifier);
    match change.means {
        Means::AlterRole { login } => session.batch(&alter(user, verifier, login), until).await,
        Means::Function(function) => {
            let parameters: [&(dyn ToSql + Sync); 2] = [&user.as_str(), &verifier.sensitive().expose()];
            let called = session.query(&function::call(function), &parameters).await;
            called.map(drop)
        }
    }
}

/// The only text that contains a verifier. Being a [`Verifier`], it cannot end the literal.
fn alter(user: &RoleName, verifier: &Verifier, login: Option<bool>) -> Zeroizing<String> {
    let login = match login {
        Some(true) => " LOGIN",
        Some(false) => " NOLOGIN",
        None => "",
    };
    let (user, verifier) = (quoted(user), verifier.sensitive().expose());
    Zeroizing::new(format!("ALTER ROLE {user}{login} PASSWORD '{verifier}'"))
}

/// The fence comes after the change and before the commit, since the change may have waited for a lock. A conversion
/// that must fail, rather than a block of PL/pgSQL, which need not be installed; being of a volatile value, it is made
/// only when the branch is taken.
fn fence(deadline: i64) -> String {
    format!(
        "SELECT CASE WHEN {CLOCK} < {deadline} THEN 0 ELSE (clock_timestamp()::text || ': too late, the lease of the Tandem leader that sent this is over')::int4 END"
    )
}

fn commit(deadline: i64) -> String {
    format!("{}; COMMIT", fence(deadline))
}

/// The outcome, when the server has refused the change for good; everything else may be over in a moment. An error in
/// a transaction changes nothing.
fn denied(
    server: &Server,
    admin: &Credential,
    change: &Change<'_>,
    major: u32,
    trouble: &Trouble,
) -> Option<Outcome> {
    let failure = trouble.failure();
    if let Means::Function(function) = change.means
        && (failure == Failure::PermissionDenied || function::is_missing(trouble))
    {
        return Some(refused(function::refusal(server, admin, change.user, function)));
    }
    if failure == Failure::PermissionDenied {
        return Some(refused(blocker(
            "AdminLacksRights",
            format!(
                "{} may not change the password of {} at {}; {}",
                quoted(&admin.user),
                quoted(change.user),
                server.at(),
                run(&change_right(major, &admin.user, &[change.user]))
            ),
        )));
    }
    if failure == Failure::ReadOnly {
        return Some(refused(failure.finding(server, &admin.user)));
    }
    if failure == Failure::PasswordRejected {
        return Some(Outcome::Refused(Refused::Password(
            failure.finding(server, change.user),
        )));
    }
    (failure == Failure::NoSuchRole).then(|| refused(failure.finding(server, change.user)))
}

fn refused(finding: Finding) -> Outcome {
    Outcome::Refused(Refused::Otherwise(finding))
}

/// An error whose effect is unknown. Only SQLSTATE and class are told, never what the server said.
pub(super) fn unknown(what: String, trouble: &Trouble) -> Error {
    match trouble {
        Trouble::TimedOut(seconds) => Error::TimedOut {
            what,
            seconds: *seconds,
        },
        Trouble::Said(error) => {
            let code = error.code().map_or("none", |code| code.code());
            let detail = format!("{} (SQLSTATE {code})", trouble.failure().label());
            Error::Postgres { what, detail }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensitive::Sensitive;

    fn verifier() -> Verifier {
        Verifier::compute(&Sensitive::new("secret".into()))
    }

    #[test]
    fn fm26_names_are_quoted_and_verifiers_cannot_end_the_literal() {
        let verifier = verifier();
        for (name, quoted) in [
            ("app_a", r#""app_a""#),
            ("App \"A\"", r#""App ""A""""#),
            ("o'brien\\%@:", r#""o'brien\%@:""#),
            ("x\" PASSWORD 'y'; --", r#""x"" PASSWORD 'y'; --""#),
            ("größe", r#""größe""#),
        ] {
            let user = RoleName::new(name).unwrap();
            let secret = verifier.sensitive().expose();
            assert_eq!(
                *alter(&user, &verifier, None),
                format!("ALTER ROLE {quoted} PASSWORD '{secret}'")
            );
            assert_eq!(
                *alter(&user, &verifier, Some(false)),
                format!("ALTER ROLE {quoted} NOLOGIN PASSWORD '{secret}'")
            );
        }
    }

    #[test]
    fn fm10_no_statement_and_no_pause_is_allowed_to_outlast_the_lease() {
        let limits = |limit: &str| {
            format!(
                "BEGIN; SET LOCAL statement_timeout = {limit}; SET LOCAL idle_in_transaction_session_timeout = {limit}"
            )
        };
        assert_eq!(begin("", Duration::from_secs(4)), limits("4000"));
        assert_eq!(begin("", Duration::from_mins(5)), limits("15000"));
        // Zero would mean no limit at all.
        assert_eq!(begin("", Duration::from_micros(1)), limits("1"));
    }

    #[test]
    fn fm28_debug_of_a_change_shows_no_verifier() {
        let (user, verifier) = (RoleName::new("app_a").unwrap(), verifier());
        let change = Change {
            user: &user,
            verifier: &verifier,
            means: Means::AlterRole { login: None },
            expected: None,
            time_left: Duration::ZERO,
        };
        assert!(!format!("{change:?}").contains("SCRAM"), "{change:?}");
    }
}
