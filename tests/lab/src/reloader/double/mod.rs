//! A double of Stakater Reloader v1.4.21: not the program, but what can be seen of it.
//!
//! It keeps to what was observed of the real one, vices included. It writes five times a second and ten times at once,
//! anew for each event; it handles one event after another and none of them together; it tries five times more within
//! half a second and is silent afterwards; the first workload that fails keeps the rest from being reached; what changes
//! while it is down it never learns; it looks well when it can do nothing; a regular expression that is none ends it.
//!
//! Not there: alerts, metrics, the web server, and what only matters with other drivers of Secrets or other platforms.

mod decide;
mod flags;
mod hash;
mod inform;
mod jobs;
mod lease;
mod log;
mod mark;
mod meta_info;
mod pause;
mod record;
mod references;
mod subject;
mod throttle;
mod work;
mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use flags::{Flags, Strategy};
use log::Log;
use subject::Resource;

/// Who its writes are by.
const FIELD_MANAGER: &str = "Reloader";
/// As a container counts the end of a program that panicked, and of one that could not begin.
const PANICKED: i32 = 2;
const REFUSED: i32 = 1;

/// A running double. It ends when it is dropped, as a killed program does.
pub struct ReloaderDouble {
    task: JoinHandle<()>,
    frozen: watch::Sender<bool>,
    exit: Arc<Mutex<Option<i32>>>,
}

/// The end of a double that nobody ended.
#[derive(Debug)]
pub(super) struct Exit {
    code: i32,
    why: String,
}

impl Exit {
    fn panicking(why: &str) -> Self {
        Self {
            code: PANICKED,
            why: format!("panic: {why}"),
        }
    }

    fn refusing(why: &str) -> Self {
        Self {
            code: REFUSED,
            why: why.to_owned(),
        }
    }
}

/// What all parts of a double share.
struct Program {
    client: Client,
    flags: Flags,
    strategy: Strategy,
    env: BTreeMap<String, String>,
    frozen: watch::Receiver<bool>,
    log: Log,
    /// As many first lists of each kind as are still to be gone through. Nothing is said of what is created or deleted
    /// before there is none.
    unlisted: [AtomicUsize; 2],
    /// The namespaces that a selector selects at this moment.
    selected: Mutex<BTreeSet<String>>,
    timers: pause::Timers,
}

impl ReloaderDouble {
    /// Begins with these arguments and variables and the rights of this client; what it has to say goes to the end of
    /// the log.
    pub(super) fn start(
        client: Client,
        args: &[String],
        env: BTreeMap<String, String>,
        log: &Path,
    ) -> Result<Self> {
        let log = Log::open(log)?;
        let (frozen, gate) = watch::channel(false);
        let exit = Arc::new(Mutex::new(None));
        let left = Arc::clone(&exit);
        let args = args.to_vec();
        let task = tokio::spawn(async move {
            let Exit { code, why } = run(client, &args, env, gate, log.clone()).await;
            log.say(&why);
            *left.lock().unwrap_or_else(PoisonError::into_inner) = Some(code);
        });
        Ok(Self { task, frozen, exit })
    }

    /// The code with which it ended by itself, if it did.
    #[must_use]
    pub fn exit(&self) -> Option<i32> {
        *self.exit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds it where it is, as `SIGSTOP` does: what happens meanwhile waits for it.
    pub fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.frozen.send_replace(false);
    }

    /// Ends it at once, and waits until it is gone.
    pub(super) async fn kill(mut self) {
        self.task.abort();
        // It was told to end: how it did says nothing.
        let _ = (&mut self.task).await;
    }
}

impl Drop for ReloaderDouble {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    client: Client,
    args: &[String],
    env: BTreeMap<String, String>,
    frozen: watch::Receiver<bool>,
    log: Log,
) -> Exit {
    let (flags, strategy) = match Flags::parse_from_args(args, &env) {
        Ok(parsed) => parsed,
        Err(why) => return Exit::refusing(&why),
    };
    let (timers, asked) = mpsc::unbounded_channel();
    let places = scopes(&flags, &env).len();
    let unlisted = if flags.sync_after_restart { 0 } else { places };
    let program = Arc::new(Program {
        client,
        flags,
        strategy,
        env,
        frozen,
        log,
        unlisted: [unlisted, unlisted].map(AtomicUsize::new),
        selected: Mutex::default(),
        timers: pause::Timers::new(timers),
    });
    tokio::select! {
        exit = lead(&program) => exit,
        () = pause::keep(&program, asked) => Exit::refusing("no timer is kept any more"),
    }
}

/// Publishes itself, and works for as long as it leads, which without other replicas is for ever.
async fn lead(program: &Arc<Program>) -> Exit {
    meta_info::publish(program).await;
    if !program.flags.enable_ha {
        return work::everything(program).await;
    }
    lease::until_held(program).await;
    tokio::select! {
        exit = work::everything(program) => exit,
        () = lease::until_lost(program) => {
            program.log.say("not leading any more");
            // The process stays, and never leads again.
            std::future::pending().await
        }
    }
}

impl Program {
    /// Returns at once, but not while the double is frozen.
    async fn pass(&self) {
        let mut frozen = self.frozen.clone();
        // Nobody can thaw it any more when the sender is gone, and then it is being ended.
        let _ = frozen.wait_for(|frozen| !frozen).await;
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str)
    }

    fn scopes(&self) -> Vec<Option<String>> {
        scopes(&self.flags, &self.env)
    }

    /// Whether what happens in a namespace concerns it. The two flags about namespaces are for all of them only.
    fn concerns(&self, namespace: &str) -> bool {
        if self.scopes() != [None] {
            return true;
        }
        let ignored = self.flags.namespaces_to_ignore.iter();
        let selected = || self.selected.lock().unwrap_or_else(PoisonError::into_inner);
        !ignored.into_iter().any(|ignored| ignored == namespace)
            && (self.flags.namespace_selector.is_empty() || selected().contains(namespace))
    }

    fn all_listed(&self) -> bool {
        let mut unlisted = self.unlisted.iter();
        unlisted.all(|unlisted| unlisted.load(Ordering::Relaxed) == 0)
    }

    /// Tells that the first list of a kind, in one place, is over.
    fn listed(&self, resource: Resource) {
        let [secrets, config_maps] = &self.unlisted;
        let unlisted = match resource {
            Resource::Secret => secrets,
            Resource::ConfigMap => config_maps,
        };
        // A watch that was lost begins with a list again, which is not the first.
        let _ = unlisted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |unlisted| {
            unlisted.checked_sub(1)
        });
    }
}

/// Where it looks for objects: in all namespaces, or in each of these.
fn scopes(flags: &Flags, env: &BTreeMap<String, String>) -> Vec<Option<String>> {
    if !flags.namespaces.is_empty() {
        return flags.namespaces.iter().cloned().map(Some).collect();
    }
    vec![env.get("KUBERNETES_NAMESPACE").cloned()]
}
