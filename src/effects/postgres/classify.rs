//! What an error of the server or of the way to it means, by SQLSTATE and the routine that raised it. Never by the
//! server's message: that is translated, and may repeat values.

use std::error::Error as _;
use std::io::{self, ErrorKind as Kind};

use tokio_postgres::error::{DbError, SqlState};

/// Why a login or a statement did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no connection, or it broke off.
    Unreachable(Silence),
    /// No trusted connection could be made; the text is that of the TLS library.
    Tls(String),
    /// The login was not bound to the TLS connection.
    NotBound,
    /// The server proved no knowledge of the password, or speaks another protocol.
    NotPostgres,
    /// It was a pooler that answered.
    Pooler,
    /// `pg_hba.conf` does not let this user in from here.
    HbaRejected,
    /// The password is not the role's. The server says the same of a role that does not exist or has expired.
    WrongPassword,
    /// There is no such role.
    NoSuchRole,
    /// `VALID UNTIL` is over.
    Expired,
    /// The role is `NOLOGIN`.
    NoLogin,
    /// The role's `CONNECTION LIMIT` is reached.
    RoleConnectionLimit,
    /// The database's `CONNECTION LIMIT` is reached.
    DatabaseConnectionLimit,
    /// Only the connections kept for superusers are left.
    ReservedConnections,
    /// All connections are taken.
    TooManyClients,
    /// There is no such database.
    DatabaseMissing,
    /// The database does not allow connections.
    DatabaseClosed,
    /// The role has no `CONNECT` on the database.
    NoConnectPrivilege,
    /// The server is starting up, shutting down or recovering.
    NotReady,
    /// The server ended the session.
    Ended,
    /// The server is a standby.
    Standby,
    /// The transaction may not write.
    ReadOnly,
    /// A right is missing.
    PermissionDenied,
    /// The server's password policy said no.
    PasswordRejected,
    /// Somebody else changed the same role at the same time.
    ConcurrentUpdate,
    /// The server gave up waiting: `lock_timeout` or `statement_timeout`.
    ServerTimeout,
    /// Something else, with this SQLSTATE.
    Other(String),
}

/// How no answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The host name does not resolve.
    NoSuchName,
    /// Nobody listens.
    Refused,
    /// Nothing came back in time.
    NoAnswer,
    /// The connection broke off.
    BrokenOff,
}

/// What a failed login says about the password that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the role's: the server checks it before what it complained of.
    Right,
    /// It is not the role's.
    Wrong,
    /// Nothing.
    Unknown,
}

impl Failure {
    /// Why a login failed.
    pub(super) fn at_login(error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) => login_row(db.code().code(), db.routine().unwrap_or_default()),
            None => Self::before_the_server(error),
        }
    }

    /// Why a statement failed, on a connection that had been made.
    pub(super) fn at_statement(error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) => Self::of_statement(db),
            None => Self::before_the_server(error),
        }
    }

    /// See [`Self::at_statement`].
    pub(super) fn of_statement(db: &DbError) -> Self {
        statement_row(db.code().code(), db.routine().unwrap_or_default())
    }

    /// No SQLSTATE: the server has said nothing.
    fn before_the_server(error: &tokio_postgres::Error) -> Self {
        let Some(cause) = error.source() else {
            return if error.is_closed() {
                Self::Unreachable(Silence::BrokenOff)
            } else {
                Self::NotPostgres
            };
        };
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return Self::of_io(io);
        }
        // The driver has no types for these two, only constant texts of its own.
        match cause.to_string().as_str() {
            "server does not support TLS" => Self::Tls("the server offers no TLS".into()),
            "server did not use channel binding" => Self::NotBound,
            _ => Self::NotPostgres,
        }
    }

    /// Why a socket, or TLS on it, failed.
    pub(super) fn of_io(error: &io::Error) -> Self {
        if let Some(tls) = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
            return Self::Tls(tls.to_string());
        }
        let kind = error.kind();
        if kind == Kind::ConnectionRefused {
            Self::Unreachable(Silence::Refused)
        } else if [
            Kind::TimedOut,
            Kind::HostUnreachable,
            Kind::NetworkUnreachable,
            Kind::NetworkDown,
        ]
        .contains(&kind)
        {
            Self::Unreachable(Silence::NoAnswer)
        } else if [Kind::InvalidInput, Kind::InvalidData, Kind::Other].contains(&kind) {
            // The driver's way to say that it did not like what it read.
            Self::NotPostgres
        } else {
            Self::Unreachable(Silence::BrokenOff)
        }
    }

    /// What this says about the password that was tried.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::NoLogin
            | Self::RoleConnectionLimit
            | Self::DatabaseConnectionLimit
            | Self::ReservedConnections
            | Self::DatabaseMissing
            | Self::DatabaseClosed
            | Self::NoConnectPrivilege => Verdict::Right,
            Self::WrongPassword | Self::NoSuchRole => Verdict::Wrong,
            Self::Unreachable(_)
            | Self::Tls(_)
            | Self::NotBound
            | Self::NotPostgres
            | Self::Pooler
            | Self::HbaRejected
            | Self::Expired
            | Self::TooManyClients
            | Self::NotReady
            | Self::Ended
            | Self::Standby
            | Self::ReadOnly
            | Self::PermissionDenied
            | Self::PasswordRejected
            | Self::ConcurrentUpdate
            | Self::ServerTimeout
            | Self::Other(_) => Verdict::Unknown,
        }
    }
}

/// Classes are told apart by the C function that raised the error where one SQLSTATE has several meanings; its name is
/// part of every error and has been the same for all supported versions.
fn login_row(code: &str, routine: &str) -> Failure {
    match (code, routine) {
        ("28P01", _) => Failure::WrongPassword,
        ("28000", "InitializeSessionUserId") => Failure::NoLogin,
        ("28000", _) => Failure::HbaRejected,
        ("3D000" | "57P04", _) => Failure::DatabaseMissing,
        ("42501", _) => Failure::NoConnectPrivilege,
        ("55000", _) => Failure::DatabaseClosed,
        ("53300", "InitializeSessionUserId") => Failure::RoleConnectionLimit,
        ("53300", "CheckMyDatabase") => Failure::DatabaseConnectionLimit,
        ("53300", "InitPostgres") => Failure::ReservedConnections,
        ("53300", _) => Failure::TooManyClients,
        ("57P03", _) => Failure::NotReady,
        ("57P01" | "57P02", _) => Failure::Ended,
        // PostgreSQL has no reason to say this to a correct client; PgBouncer says it of a wrong password, of a server
        // that does not let it in, and of a parameter that it does not know.
        ("08P01", _) => Failure::Pooler,
        (other, _) => Failure::Other(other.to_owned()),
    }
}

fn statement_row(code: &str, routine: &str) -> Failure {
    match (code, routine) {
        ("42501", _) => Failure::PermissionDenied,
        ("25006", _) => Failure::ReadOnly,
        ("42704", _) => Failure::NoSuchRole,
        ("57014" | "55P03" | "25P03" | "25P04", _) => Failure::ServerTimeout,
        ("57P01" | "57P02" | "57P05", _) => Failure::Ended,
        ("XX000", "simple_heap_update") => Failure::ConcurrentUpdate,
        // Hooks choose their code freely; those known use one of these or name themselves after what they check.
        ("22023" | "28000" | "28P01", _) => Failure::PasswordRejected,
        (_, routine) if routine.contains("password") => Failure::PasswordRejected,
        (other, _) => Failure::Other(other.to_owned()),
    }
}

/// Whether the error is the one that the fence of a transaction raises, and nothing else in its message can.
pub(super) fn is_fence(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::INVALID_TEXT_REPRESENTATION)
}

/// Whether the server gave up the transaction because nothing came in time.
pub(super) fn is_idle_end(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fm16_every_row_of_the_login_table() {
        // SQLSTATE, routine, class, what it says about the password.
        let table = [
            ("28P01", "auth_failed", Failure::WrongPassword, Verdict::Wrong),
            (
                "28000",
                "InitializeSessionUserId",
                Failure::NoLogin,
                Verdict::Right,
            ),
            (
                "28000",
                "ClientAuthentication",
                Failure::HbaRejected,
                Verdict::Unknown,
            ),
            ("28000", "auth_failed", Failure::HbaRejected, Verdict::Unknown),
            ("3D000", "InitPostgres", Failure::DatabaseMissing, Verdict::Right),
            ("57P04", "InitPostgres", Failure::DatabaseMissing, Verdict::Right),
            (
                "42501",
                "CheckMyDatabase",
                Failure::NoConnectPrivilege,
                Verdict::Right,
            ),
            (
                "55000",
                "CheckMyDatabase",
                Failure::DatabaseClosed,
                Verdict::Right,
            ),
            (
                "53300",
                "InitializeSessionUserId",
                Failure::RoleConnectionLimit,
                Verdict::Right,
            ),
            (
                "53300",
                "CheckMyDatabase",
                Failure::DatabaseConnectionLimit,
                Verdict::Right,
            ),
            (
                "53300",
                "InitPostgres",
                Failure::ReservedConnections,
                Verdict::Right,
            ),
            ("53300", "InitProcess", Failure::TooManyClients, Verdict::Unknown),
            (
                "53300",
                "ProcessStartupPacket",
                Failure::TooManyClients,
                Verdict::Unknown,
            ),
            (
                "57P03",
                "ProcessStartupPacket",
                Failure::NotReady,
                Verdict::Unknown,
            ),
            ("57P01", "ProcessInterrupts", Failure::Ended, Verdict::Unknown),
            ("57P02", "quickdie", Failure::Ended, Verdict::Unknown),
            ("08P01", "", Failure::Pooler, Verdict::Unknown),
            ("58000", "", Failure::Other("58000".into()), Verdict::Unknown),
        ];
        for (code, routine, class, verdict) in table {
            let found = login_row(code, routine);
            assert_eq!((&found, found.verdict()), (&class, verdict), "{code} {routine}");
        }
    }

    #[test]
    fn fm18_every_row_of_the_statement_table() {
        let table = [
            ("42501", "AlterRole", Failure::PermissionDenied),
            ("25006", "PreventCommandIfReadOnly", Failure::ReadOnly),
            ("42704", "get_rolespec_tuple", Failure::NoSuchRole),
            ("57014", "ProcessInterrupts", Failure::ServerTimeout),
            ("55P03", "ProcessInterrupts", Failure::ServerTimeout),
            ("25P03", "ProcessInterrupts", Failure::ServerTimeout),
            ("57P01", "ProcessInterrupts", Failure::Ended),
            ("57P02", "quickdie", Failure::Ended),
            ("XX000", "simple_heap_update", Failure::ConcurrentUpdate),
            ("XX000", "check_password", Failure::PasswordRejected),
            ("XX000", "AlterRole", Failure::Other("XX000".into())),
            ("22023", "check_password", Failure::PasswordRejected),
            ("28000", "check_password", Failure::PasswordRejected),
        ];
        for (code, routine, class) in table {
            assert_eq!(statement_row(code, routine), class, "{code} {routine}");
        }
    }

    #[test]
    fn fm15_every_way_not_to_be_answered() {
        let table = [
            (Kind::ConnectionRefused, Failure::Unreachable(Silence::Refused)),
            (Kind::TimedOut, Failure::Unreachable(Silence::NoAnswer)),
            (Kind::HostUnreachable, Failure::Unreachable(Silence::NoAnswer)),
            (Kind::ConnectionReset, Failure::Unreachable(Silence::BrokenOff)),
            (Kind::BrokenPipe, Failure::Unreachable(Silence::BrokenOff)),
            (Kind::UnexpectedEof, Failure::Unreachable(Silence::BrokenOff)),
            (Kind::InvalidData, Failure::NotPostgres),
        ];
        for (kind, class) in table {
            assert_eq!(Failure::of_io(&kind.into()), class, "{kind}");
        }
        let untrusted = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let failure = Failure::of_io(&io::Error::new(Kind::InvalidData, untrusted));
        assert!(matches!(failure, Failure::Tls(_)), "{failure:?}");
    }
}
