//! One connection: bounded in time, bound to its TLS, and driven by whoever uses it, so that nothing outlives the
//! caller and no notice is lost.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use futures::stream;
use tokio::net::lookup_host;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::config::{ChannelBinding, SslMode};
use tokio_postgres::error::DbError;
use tokio_postgres::types::ToSql;
use tokio_postgres::{
    AsyncMessage, Client, Config, Connection, Error, IsolationLevel, NoTls, Row, SimpleQueryMessage,
    SimpleQueryRow, Socket,
};

use super::classify::{Failure, Silence};
use super::server::{Credential, Server};

// The driver passes the text of each statement, verifiers included, to the `log` facade at level debug. This build has
// no such level: there is nothing that a subscriber could be given.
const _: () = assert!(log::STATIC_MAX_LEVEL as usize <= log::LevelFilter::Info as usize);

/// To find the server, to be let in, and all that lies between: the driver's own limit covers only the second of five
/// steps.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// The same through a pooler, which lets clients wait for so long after a failed login of its own, and then tries again.
const POOLER_LIMIT: Duration = Duration::from_secs(20);
/// To one address of several.
const ADDRESS_LIMIT: Duration = Duration::from_secs(5);
/// For one call: longer than any of the server's own limits below, which leave a clean session behind.
const CALL_LIMIT: Duration = Duration::from_secs(20);
/// The server's own limits. With them a statement ends there too when its caller is gone, so nothing is ever cancelled
/// from here.
const LIMITS: &str = "-c lock_timeout=5s -c statement_timeout=15s -c idle_in_transaction_session_timeout=15s";
/// For the administrator: a role's own search path must not decide what its statements mean; and compiling a question
/// about the catalogs would take longer than answering it.
const ADMIN_OPTIONS: &str = "-c search_path=pg_catalog -c jit=off";
const APPLICATION_NAME: &str = "tandem";

/// Whose login it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The administrator's.
    Administer,
    /// That of a user whose verifier Tandem has set.
    Prove,
    /// That of a user whose password may be older than Tandem. Its login is not required to be bound to its TLS: a
    /// password stored as MD5 cannot be, and the rotation is what mends that.
    Check,
    /// That of anybody, through a pooler, which can bind no login to its TLS, and does not know the server's own
    /// settings.
    Pooled,
}

type Messages = Pin<Box<dyn Stream<Item = Result<AsyncMessage, Error>> + Send>>;

/// A session. Dropping it closes the connection; the server ends what it was doing.
pub(super) struct Session {
    client: Client,
    messages: Messages,
    notices: Vec<DbError>,
    major: u32,
    bound: bool,
}

impl Session {
    /// Logs in, to one address at a time. The next address is tried only when nobody answers at one: the answer of one
    /// server must never be taken for another's (R25).
    pub(super) async fn open(
        server: &Server,
        credential: &Credential,
        purpose: Purpose,
        until: Instant,
    ) -> Result<Self, Failure> {
        let until = until.min(Instant::now() + limit(purpose));
        let no_answer = Failure::Unreachable(Silence::NoAnswer);
        let mut failure = Failure::Unreachable(Silence::NoSuchName);
        for address in addresses(server, until).await? {
            let mut config = config(server, credential, purpose);
            config.hostaddr(address);
            failure = match timeout_at(until, connect(server, purpose, &config)).await {
                Err(_) => return Err(no_answer),
                Ok(Ok(session)) => {
                    return Ok(Self {
                        bound: binding(server, purpose) == ChannelBinding::Require,
                        ..session
                    });
                }
                Ok(Err(error)) => Failure::at_login(&error),
            };
            if !matches!(failure, Failure::Unreachable(_)) {
                break;
            }
        }
        Err(failure)
    }

    /// Major version of the server.
    pub(super) fn major(&self) -> u32 {
        self.major
    }

    /// Whether the server has proven, bound to this connection, that it knows the password.
    pub(super) fn bound(&self) -> bool {
        self.bound
    }

    /// One statement with parameters, and its rows.
    pub(super) async fn query(
        &mut self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Trouble> {
        let Self {
            client,
            messages,
            notices,
            ..
        } = self;
        let limit = Instant::now() + CALL_LIMIT;
        driven(messages, notices, limit, client.query(sql, parameters)).await
    }

    /// One statement that gives exactly one row.
    pub(super) async fn row(
        &mut self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Trouble> {
        let Self {
            client,
            messages,
            notices,
            ..
        } = self;
        let limit = Instant::now() + CALL_LIMIT;
        driven(messages, notices, limit, client.query_one(sql, parameters)).await
    }

    /// Statements in one message, without parameters, and their rows as text.
    pub(super) async fn simple(&mut self, sql: &str) -> Result<Vec<SimpleQueryRow>, Trouble> {
        let Self {
            client,
            messages,
            notices,
            ..
        } = self;
        let limit = Instant::now() + CALL_LIMIT;
        let answers = driven(messages, notices, limit, client.simple_query(sql)).await?;
        let rows = answers.into_iter().filter_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => Some(row),
            SimpleQueryMessage::CommandComplete(_) | SimpleQueryMessage::RowDescription(_) | _ => None,
        });
        Ok(rows.collect())
    }

    /// Statements in one message, without parameters and rows.
    pub(super) async fn batch(&mut self, sql: &str, until: Instant) -> Result<(), Trouble> {
        let Self {
            client,
            messages,
            notices,
            ..
        } = self;
        let limit = until.min(Instant::now() + CALL_LIMIT);
        driven(messages, notices, limit, client.batch_execute(sql)).await
    }

    /// Runs one statement in a read-only transaction that is never committed, and looks at one row of it at most.
    pub(super) async fn rehearse(&mut self, sql: &str) -> Result<(), Trouble> {
        let Self {
            client,
            messages,
            notices,
            ..
        } = self;
        let limit = Instant::now() + CALL_LIMIT;
        let work = async {
            let transaction = client.build_transaction().read_only(true).start().await?;
            // A portal takes one statement only, so the transaction cannot be left by one.
            let portal = transaction.bind(sql, &[]).await?;
            transaction.query_portal(&portal, 1).await?;
            transaction.rollback().await
        };
        driven(messages, notices, limit, work).await
    }

    /// Several questions with the same parameters, of one state of the server and without a change to it.
    pub(super) async fn questions(
        &mut self,
        statements: &[String],
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Trouble> {
        let Self {
            client,
            messages,
            notices,
            ..
        } = self;
        let limit = Instant::now() + CALL_LIMIT;
        let work = async {
            let transaction = client
                .build_transaction()
                .isolation_level(IsolationLevel::RepeatableRead)
                .read_only(true)
                .start()
                .await?;
            let mut rows = Vec::new();
            for statement in statements {
                rows.extend(transaction.query(statement, parameters).await?);
            }
            transaction.rollback().await?;
            Ok(rows)
        };
        driven(messages, notices, limit, work).await
    }

    /// The notices and warnings since the last call, or since the login.
    pub(super) fn take_notices(&mut self) -> Vec<DbError> {
        std::mem::take(&mut self.notices)
    }
}

/// A call that did not succeed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server, or the way to it, said so.
    Said(Error),
    /// Nothing came back within so many seconds.
    TimedOut(u64),
}

impl Trouble {
    /// What it means.
    pub(super) fn failure(&self) -> Failure {
        match self {
            Self::Said(error) => Failure::at_statement(error),
            Self::TimedOut(_) => Failure::Unreachable(Silence::NoAnswer),
        }
    }

    /// The server's own words.
    pub(super) fn db(&self) -> Option<&DbError> {
        match self {
            Self::Said(error) => error.as_db_error(),
            Self::TimedOut(_) => None,
        }
    }
}

/// How long a login of this kind may take.
fn limit(purpose: Purpose) -> Duration {
    match purpose {
        Purpose::Administer | Purpose::Prove | Purpose::Check => CONNECT_LIMIT,
        Purpose::Pooled => POOLER_LIMIT,
    }
}

/// The one that is meant, or all that the name leads to.
pub(super) async fn addresses(server: &Server, until: Instant) -> Result<Vec<IpAddr>, Failure> {
    if let Some(address) = server.address() {
        return Ok(vec![address]);
    }
    let until = until.min(Instant::now() + CONNECT_LIMIT);
    let found = match timeout_at(until, lookup_host((server.host(), server.port()))).await {
        Err(_) => return Err(Failure::Unreachable(Silence::NoAnswer)),
        Ok(Err(_)) => return Err(Failure::Unreachable(Silence::NoSuchName)),
        Ok(Ok(found)) => found,
    };
    let mut addresses: Vec<_> = found.map(|address| address.ip()).collect();
    addresses.dedup();
    Ok(addresses)
}

fn config(server: &Server, credential: &Credential, purpose: Purpose) -> Config {
    let mut config = Config::new();
    match purpose {
        Purpose::Administer => drop(config.options(format!("{LIMITS} {ADMIN_OPTIONS}"))),
        // The smoke query finds its tables by the role's own search path, as the application does.
        Purpose::Prove | Purpose::Check => drop(config.options(LIMITS)),
        Purpose::Pooled => {}
    }
    config
        // With an address beside it, this is only the name that the certificate must be for.
        .host(server.name())
        .port(server.port())
        .dbname(server.database())
        .user(credential.user.as_str())
        .password(credential.password.expose())
        .application_name(APPLICATION_NAME)
        .connect_timeout(ADDRESS_LIMIT)
        .tcp_user_timeout(Duration::from_secs(10))
        .keepalives(true)
        .keepalives_idle(Duration::from_secs(10))
        .keepalives_interval(Duration::from_secs(5))
        .keepalives_retries(3)
        // Never `prefer`, which goes on in the clear when the server has no TLS. With this connector, `require`
        // verifies chain and name.
        .ssl_mode(if server.verifies() {
            SslMode::Require
        } else {
            SslMode::Disable
        })
        .channel_binding(binding(server, purpose));
    config
}

/// Required wherever both ends can do it: it proves that the endpoint is the server that keeps the verifier, neither
/// somebody with a certificate of the same authority nor a line `trust` in `pg_hba.conf`, and it refuses to send the
/// password in the clear. The price: roles with MD5 passwords, `pg_hba.conf` method `password`, and servers with
/// Ed25519 or RSA-PSS certificates are refused, with a finding that says so. Nor can an administrator be bound who shows
/// a certificate: the server may ask for no password then, and TLS itself has proven both ends to each other.
fn binding(server: &Server, purpose: Purpose) -> ChannelBinding {
    match purpose {
        Purpose::Administer if server.knows_the_administrator() => ChannelBinding::Prefer,
        Purpose::Administer | Purpose::Prove if server.verifies() => ChannelBinding::Require,
        Purpose::Administer | Purpose::Prove | Purpose::Check | Purpose::Pooled => ChannelBinding::Prefer,
    }
}

async fn connect(server: &Server, purpose: Purpose, config: &Config) -> Result<Session, Error> {
    let tls = match purpose {
        Purpose::Administer => server.admin_tls(),
        Purpose::Prove | Purpose::Check | Purpose::Pooled => server.tls(),
    };
    match tls {
        Some(tls) => config
            .connect(tls.clone())
            .await
            .map(|(client, connection)| session(client, connection)),
        None => config
            .connect(NoTls)
            .await
            .map(|(client, connection)| session(client, connection)),
    }
}

fn session<T>(client: Client, mut connection: Connection<Socket, T>) -> Session
where
    T: tokio_postgres::tls::TlsStream + Unpin + Send + 'static,
{
    let major = connection.parameter("server_version").map_or(0, major);
    Session {
        client,
        messages: Box::pin(stream::poll_fn(move |context| connection.poll_message(context))),
        notices: Vec::new(),
        major,
        bound: false,
    }
}

/// `15.18 (Debian 15.18-0+deb12u1)` and `19beta1` are 15 and 19.
fn major(version: &str) -> u32 {
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

/// Waits for the work, and drives the connection meanwhile.
async fn driven<T>(
    messages: &mut Messages,
    notices: &mut Vec<DbError>,
    until: Instant,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Trouble> {
    let started = Instant::now();
    let mut work = pin!(work);
    let mut cause = None;
    let both = poll_fn(|context| {
        if let Poll::Ready(Some(error)) = listen(messages, notices, context) {
            cause = Some(error);
        }
        // Also when the connection is lost: the answer may have come before.
        match work.as_mut().poll(context) {
            // That the connection is closed is less than what closed it.
            Poll::Ready(Err(error)) if error.is_closed() => Poll::Ready(Err(cause.take().unwrap_or(error))),
            ready @ (Poll::Ready(_) | Poll::Pending) => ready,
        }
    });
    match timeout_at(until, both).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Trouble::Said(error)),
        Err(_) => Err(Trouble::TimedOut(started.elapsed().as_secs())),
    }
}

/// Takes what the connection has to say until it has ended, with the reason if there is one.
fn listen(
    messages: &mut Messages,
    notices: &mut Vec<DbError>,
    context: &mut Context<'_>,
) -> Poll<Option<Error>> {
    loop {
        let end = match ready!(messages.as_mut().poll_next(context)) {
            Some(Ok(AsyncMessage::Notice(notice))) => {
                notices.push(notice);
                continue;
            }
            Some(Ok(_)) => continue,
            Some(Err(error)) => Some(error),
            None => None,
        };
        // Dropping the connection is what ends the calls that still wait for it.
        *messages = Box::pin(stream::empty());
        return Poll::Ready(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_all_kinds_have_a_major_number() {
        let cases = [
            ("15.18 (Debian 15.18-0+deb12u1)", 15),
            ("18.4", 18),
            ("19beta1", 19),
            ("", 0),
        ];
        for (text, expected) in cases {
            assert_eq!(major(text), expected, "{text:?}");
        }
    }

    #[test]
    fn fm28_nothing_below_info_can_reach_the_log_facade() {
        assert!(log::STATIC_MAX_LEVEL <= log::LevelFilter::Info);
    }
}
