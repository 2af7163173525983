//! Failures in words for the person on call: what happened, to which object, and the next command to type.

use postgres_protocol::escape::escape_identifier;

use super::classify::{Failure, Silence};
use super::server::Server;
use crate::effects::shell::{self, plain};
use crate::machine::facts::Finding;
use crate::policy::target::RoleName;

/// A finding that stands in the way of a rotation.
pub(super) fn blocker(reason: &'static str, message: String) -> Finding {
    Finding {
        blocks: true,
        reason,
        message,
    }
}

/// A finding that does not.
pub(super) fn warning(reason: &'static str, message: String) -> Finding {
    Finding {
        blocks: false,
        reason,
        message,
    }
}

/// A role as SQL names it.
pub(super) fn quoted(role: &RoleName) -> String {
    escape_identifier(role.as_str())
}

/// What a superuser has to type, or who is in its place where nobody is one. It comes last in a message, without a full
/// stop, so that it can be copied.
pub(super) fn run(sql: &str) -> String {
    format!("as {SUPERUSER}, run: {sql}")
}

/// Managed servers make nobody a superuser, and give a role of their own to whom they call their administrator.
const SUPERUSER: &str =
    "a superuser (on a managed server as a member of rds_superuser, cloudsqlsuperuser or azure_pg_admin)";

impl Server {
    /// The command with which a person tries the same login.
    pub(super) fn psql(&self, user: &RoleName) -> String {
        self.psql_to(self.database(), user)
    }

    fn psql_to(&self, database: &str, user: &RoleName) -> String {
        let value = |text: &str| {
            if plain(text) {
                text.to_owned()
            } else {
                format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
            }
        };
        let address = self
            .address()
            .map(|address| format!(" hostaddr={address}"))
            .unwrap_or_default();
        let parameters = format!(
            "host={}{address} port={} dbname={} user={} sslmode={}",
            value(self.host()),
            self.port(),
            value(database),
            value(user.as_str()),
            if self.verifies() { "require" } else { "disable" },
        );
        format!("psql {}", shell::word(&parameters))
    }
}

impl Failure {
    /// Bounded label for metrics and logs.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Unreachable(Silence::NoSuchName) => "no_such_name",
            Self::Unreachable(Silence::Refused) => "refused",
            Self::Unreachable(Silence::NoAnswer) => "no_answer",
            Self::Unreachable(Silence::BrokenOff) => "broken_off",
            Self::Tls(_) => "tls",
            Self::NotBound => "not_bound",
            Self::NotPostgres => "not_postgres",
            Self::Pooler => "pooler",
            Self::HbaRejected => "hba_rejected",
            Self::WrongPassword => "wrong_password",
            Self::NoSuchRole => "no_such_role",
            Self::Expired => "expired",
            Self::NoLogin => "no_login",
            Self::RoleConnectionLimit => "role_connection_limit",
            Self::DatabaseConnectionLimit => "database_connection_limit",
            Self::ReservedConnections => "reserved_connections",
            Self::TooManyClients => "too_many_clients",
            Self::DatabaseMissing => "database_missing",
            Self::DatabaseClosed => "database_closed",
            Self::NoConnectPrivilege => "no_connect_privilege",
            Self::NotReady => "not_ready",
            Self::Ended => "ended",
            Self::Standby => "standby",
            Self::ReadOnly => "read_only",
            Self::PermissionDenied => "permission_denied",
            Self::PasswordRejected => "password_rejected",
            Self::ConcurrentUpdate => "concurrent_update",
            Self::ServerTimeout => "server_timeout",
            Self::Other(_) => "other",
        }
    }

    /// What happened to a login of this user at this server, and the command that mends it.
    #[must_use]
    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each class, side by side, is how it is read"
    )]
    pub fn finding(&self, server: &Server, user: &RoleName) -> Finding {
        let at = server.at();
        let (host, name) = (server.host(), server.name());
        let field = server.field();
        let database = escape_identifier(server.database());
        let role = quoted(user);
        let try_it = format!("try it: {}", server.psql(user));
        let is_up = format!(
            "see whether it is up: pg_isready -h {} -p {}",
            shell::word(host),
            server.port()
        );
        let activity = "see who takes them: SELECT usename, application_name, count(*) FROM pg_stat_activity GROUP BY 1, 2 ORDER BY 3 DESC";
        let (reason, message) = match self {
            Self::Unreachable(Silence::NoSuchName) => (
                "HostNotFound",
                format!(
                    "the name {host} ({field}.host) does not resolve; look it up where Tandem runs: kubectl run -i --rm lookup --image=busybox --restart=Never -- nslookup {}",
                    shell::word(host)
                ),
            ),
            Self::Unreachable(Silence::Refused) => (
                "ConnectionRefused",
                format!(
                    "nobody listens at {at}: the server is down, or {field}.port is another one; {try_it}"
                ),
            ),
            Self::Unreachable(Silence::NoAnswer) => (
                "NoAnswer",
                format!(
                    "{at} does not answer: a firewall, security group or NetworkPolicy may drop the packets, or the server hangs; {try_it}"
                ),
            ),
            Self::Unreachable(Silence::BrokenOff) => (
                "ConnectionLost",
                format!("the connection to {at} broke off; {try_it}"),
            ),
            Self::Tls(why) => (
                "TlsFailed",
                format!(
                    "no trusted connection to {at}: {why}. Nothing was sent. Compare the server's certificate with {field}.tls.caRef and the name {name}: openssl s_client -starttls postgres -connect {} -servername {name} -showcerts",
                    server.target()
                ),
            ),
            Self::NotBound => (
                "NoChannelBinding",
                format!(
                    "{at} did not prove that it is the server which knows the password of {role}: a pooler or proxy may be in between, pg_hba.conf may not ask for scram-sha-256, the certificate may be signed with Ed25519 or RSA-PSS, which have no channel binding, or the role has an MD5 password: then in psql, SET password_encryption = 'scram-sha-256'; \\password {role}"
                ),
            ),
            Self::NotPostgres => (
                "NotPostgres",
                format!("what answers at {at} does not behave as PostgreSQL does; {try_it}"),
            ),
            Self::Pooler => (
                "PoolerAnswered",
                format!(
                    "a pooler answers at {at}; through it neither a change nor a login proves anything. Set {field}.host and port to the server itself, which tells them: {} -c 'SELECT inet_server_addr(), inet_server_port()'",
                    server.psql(user)
                ),
            ),
            Self::HbaRejected => (
                "HbaRejected",
                format!(
                    "pg_hba.conf of {at} does not let {role} in from where Tandem runs, or asks for a certificate (spec.database.admin.certificateRef); {}",
                    run(
                        "SELECT line_number, type, database, user_name, address, auth_method, error FROM pg_hba_file_rules"
                    )
                ),
            ),
            Self::WrongPassword => (
                "WrongPassword",
                format!("{at} refuses the password of {role}; {try_it}"),
            ),
            Self::NoSuchRole => (
                "NoSuchRole",
                format!(
                    "there is no role {role} at {at}; create it like its partner, {}",
                    run(&format!("CREATE ROLE {role} LOGIN"))
                ),
            ),
            Self::Expired => (
                "PasswordExpired",
                format!(
                    "VALID UNTIL of role {role} is over at {at}: no password would log in; {}",
                    run(&format!("ALTER ROLE {role} VALID UNTIL 'infinity'"))
                ),
            ),
            Self::NoLogin => (
                "NoLogin",
                format!(
                    "role {role} is NOLOGIN at {at}; {}",
                    run(&format!("ALTER ROLE {role} LOGIN"))
                ),
            ),
            Self::RoleConnectionLimit => (
                "RoleConnectionLimit",
                format!(
                    "role {role} has reached its CONNECTION LIMIT at {at}; {}",
                    run(&format!("ALTER ROLE {role} CONNECTION LIMIT -1"))
                ),
            ),
            Self::DatabaseConnectionLimit => (
                "DatabaseConnectionLimit",
                format!(
                    "database {database} at {at} has reached its CONNECTION LIMIT; {}",
                    run(&format!("ALTER DATABASE {database} CONNECTION LIMIT -1"))
                ),
            ),
            Self::ReservedConnections => (
                "TooManyConnections",
                format!(
                    "{at} has only the connections left that it keeps for superusers; as {SUPERUSER}, {activity}"
                ),
            ),
            Self::TooManyClients => (
                "TooManyConnections",
                format!("{at} has no connection left (max_connections); from an open session, {activity}"),
            ),
            Self::DatabaseMissing => (
                "DatabaseMissing",
                format!(
                    "there is no database {database} (spec.database.name) at {at}; list them: {} -l",
                    server.psql_to("postgres", user)
                ),
            ),
            Self::DatabaseClosed => (
                "DatabaseClosed",
                format!(
                    "database {database} at {at} does not allow connections; {}",
                    run(&format!("ALTER DATABASE {database} ALLOW_CONNECTIONS true"))
                ),
            ),
            Self::NoConnectPrivilege => (
                "NoConnectPrivilege",
                format!(
                    "role {role} may not connect to database {database} at {at}; {}",
                    run(&format!("GRANT CONNECT ON DATABASE {database} TO {role}"))
                ),
            ),
            Self::NotReady => (
                "ServerNotReady",
                format!("{at} is starting up, shutting down or recovering; it is tried again; {is_up}"),
            ),
            Self::Ended => (
                "SessionEnded",
                format!(
                    "{at} ended the session: it is stopping, or somebody called pg_terminate_backend; it is tried again; {is_up}"
                ),
            ),
            Self::Standby => (
                "NotThePrimary",
                format!(
                    "{at} is a standby; passwords can be changed only on the primary. Point spec.database.host to it: SELECT conninfo FROM pg_stat_wal_receiver tells the standby's primary"
                ),
            ),
            Self::ReadOnly => (
                "ReadOnly",
                format!(
                    "{at} takes no writes from {role} (default_transaction_read_only is on); see where it is set: SELECT * FROM pg_db_role_setting, and SHOW default_transaction_read_only"
                ),
            ),
            Self::PermissionDenied => (
                "PermissionDenied",
                format!(
                    "{at} denies {role} what it needs (SQLSTATE 42501); see what it may and is a member of: {} -c '\\du'",
                    server.psql(user)
                ),
            ),
            Self::PasswordRejected => (
                "PasswordRejected",
                format!(
                    "a password check of {at} refuses the new password of {role}; see which: SHOW shared_preload_libraries"
                ),
            ),
            Self::ConcurrentUpdate => (
                "ConcurrentUpdate",
                format!(
                    "somebody else changed role {role} at {at} at the same time; it is tried again; see who: SELECT usename, application_name, client_addr FROM pg_stat_activity WHERE query ~* 'ALTER (ROLE|USER)'"
                ),
            ),
            Self::ServerTimeout => (
                "ServerTimeout",
                format!(
                    "{at} could not do it in time, perhaps because of a lock; see: SELECT pid, usename, state, query FROM pg_stat_activity WHERE pid = ANY (SELECT unnest(pg_blocking_pids(pid)) FROM pg_stat_activity)"
                ),
            ),
            Self::Other(code) => (
                "DatabaseError",
                format!("{at} answers {role} with SQLSTATE {code}; {try_it}"),
            ),
        };
        blocker(reason, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Admin, Database, SecretKeyPair, Tls};

    fn server(host: &str, database: &str) -> Server {
        let admin = SecretKeyPair {
            secret: crate::policy::target::SecretName::new("admin").unwrap(),
            username_key: "username".into(),
            password_key: "password".into(),
        };
        let database = Database {
            host: host.into(),
            port: 5432,
            name: database.into(),
            admin: Admin::Secret(admin),
            function: None,
            admin_certificate: None,
            tls: Tls::Disabled,
            effective_role: None,
            smoke_query: None,
        };
        Server::new(&database, None, None).unwrap()
    }

    #[test]
    fn fm26_commands_can_be_pasted_whatever_the_names() {
        let cases = [
            (
                "app_b",
                "'host=db.example port=5432 dbname=appdb user=app_b sslmode=disable'",
            ),
            (
                "o'b",
                r"'host=db.example port=5432 dbname=appdb user='\''o\'\''b'\'' sslmode=disable'",
            ),
        ];
        for (user, parameters) in cases {
            let user = RoleName::new(user).unwrap();
            assert_eq!(
                server("db.example", "appdb").psql(&user),
                format!("psql {parameters}")
            );
        }
        let user = RoleName::new("a\"b").unwrap();
        let finding = Failure::NoConnectPrivilege.finding(&server("::1", "my db"), &user);
        let grant = r#"run: GRANT CONNECT ON DATABASE "my db" TO "a""b""#;
        assert!(finding.message.ends_with(grant), "{}", finding.message);
        assert!(finding.message.contains("[::1]:5432"), "{}", finding.message);
    }
}
