//! `lab consumer`: an application as databases know them.
//!
//! It reads its login once, keeps a few connections that it uses now and then, opens new ones all the time, answers
//! the kubelet's probes, and counts whatever goes wrong.

mod book;
mod database;
mod web;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep};

use book::Book;
use database::Database;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the database is
    #[arg(long, env = "DB_HOST")]
    host: String,
    #[arg(long, env = "DB_PORT", default_value_t = 5432)]
    port: u16,
    #[arg(long, env = "DB_NAME", default_value = "appdb")]
    database: String,
    /// The certificate that the server's is signed by; without it, no TLS
    #[arg(long, env = "DB_CA")]
    ca: Option<PathBuf>,
    /// A directory with the login, one file for each key; without it, the environment has it
    #[arg(long, env = "DB_LOGIN_DIRECTORY")]
    login_directory: Option<PathBuf>,
    /// The file or variable with the user's name
    #[arg(long, env = "DB_USERNAME_KEY", default_value = "DB_USERNAME")]
    username_key: String,
    /// The file or variable with the password
    #[arg(long, env = "DB_PASSWORD_KEY", default_value = "DB_PASSWORD")]
    password_key: String,
    /// Read the login for each connection again, as an application does that needs no restart
    #[arg(long)]
    reread: bool,
    /// The name that the database sees
    #[arg(long, env = "POD_NAME", default_value = "consumer")]
    name: String,
    /// Connections that are kept
    #[arg(long, default_value_t = 2)]
    pool: u32,
    /// Milliseconds between the queries on each of them
    #[arg(long, default_value_t = 500)]
    query_every: u64,
    /// Milliseconds between new connections
    #[arg(long, default_value_t = 50)]
    login_every: u64,
    /// Milliseconds that it goes on after it was told to stop
    #[arg(long, default_value_t = 0)]
    linger: u64,
    /// Milliseconds after which its work is done; without it, never
    #[arg(long)]
    lasts: Option<u64>,
    /// Where it answers probes
    #[arg(long, default_value_t = 8080)]
    listen: u16,
    /// The directory for the file with what it counted
    #[arg(long)]
    tally: PathBuf,
}

const FLUSH: Duration = Duration::from_millis(200);
const AGAIN: Duration = Duration::from_millis(100);

/// Works until it is told to stop.
pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(work(arguments))
}

async fn work(arguments: Arguments) -> Result<()> {
    // First of all: whoever stops us while we start expects us to stop.
    let mut told_to_stop = signal(SignalKind::terminate())?;
    let book = Arc::new(Book::open(&arguments.tally, &arguments.name)?);
    let database = Arc::new(Database::new(&arguments)?);
    let listener = tokio::net::TcpListener::bind(("0.0.0.0", arguments.listen))
        .await
        .context("cannot listen")?;
    tokio::spawn(web::serve(listener, Arc::clone(&book)));
    tokio::spawn(flush(Arc::clone(&book)));
    tokio::spawn(log_in(
        Arc::clone(&database),
        Arc::clone(&book),
        Duration::from_millis(arguments.login_every),
    ));
    for _ in 0..arguments.pool {
        let pause = Duration::from_millis(arguments.query_every);
        tokio::spawn(keep(Arc::clone(&database), Arc::clone(&book), pause));
    }
    let done = async {
        match arguments.lasts {
            Some(milliseconds) => sleep(Duration::from_millis(milliseconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = done => {}
        _ = told_to_stop.recv() => sleep(Duration::from_millis(arguments.linger)).await,
    }
    book.flush()
}

/// Opens connections, one after the other.
async fn log_in(database: Arc<Database>, book: Arc<Book>, pause: Duration) {
    let mut beat = interval(pause);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        if let Some(session) = database.log_in(&book).await {
            // The first query is part of what an application means by logging in.
            book.probe(session.query().await.is_ok());
        }
    }
}

/// Keeps one connection, and opens another when it breaks.
async fn keep(database: Arc<Database>, book: Arc<Book>, pause: Duration) {
    loop {
        let Some(session) = database.log_in(&book).await else {
            sleep(AGAIN).await;
            continue;
        };
        loop {
            sleep(pause).await;
            match session.query().await {
                Ok(()) => book.query(),
                Err(error) => {
                    book.fail(tandem_lab::Doing::Query, session.user(), &error);
                    break;
                }
            }
        }
    }
}

async fn flush(book: Arc<Book>) {
    let mut beat = interval(FLUSH);
    loop {
        beat.tick().await;
        if let Err(error) = book.flush() {
            eprintln!("consumer: {error:#}");
        }
    }
}
