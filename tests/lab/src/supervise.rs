//! The process that holds a lab, and the first process inside it.
//!
//! A lab's processes live in a process, mount and network namespace of their own. When the first process in
//! there dies the kernel ends all others, unmounts what they mounted and removes their network. So stopping a lab
//! is ending one process, and a supervisor that is itself killed leaves nothing but a directory and empty control
//! groups, which the next start removes.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::Pid;

use crate::cgroups;
use crate::home::{Home, State, hidden_directories};
use crate::host;

/// How long a lab outlives its last client: long enough for the next test binary to start.
const LINGER: Duration = Duration::from_secs(15);
const PULSE: Duration = Duration::from_millis(200);
/// The locks and what the supervisor itself says, in use while the rest is cleaned.
const KEPT: [&str; 3] = ["supervisor.log", "clients", "supervisor"];

/// The steps by which a supervisor gets inside the namespaces that it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Outside: makes the namespaces, waits for clients to go, cleans up.
    Outer,
    /// The first process inside: prepares the mounts and buries orphans.
    First,
    /// Starts the node's programs and stays with them.
    Node,
}

impl Depth {
    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Outer => "outer",
            Self::First => "first",
            Self::Node => "node",
        }
    }
}

/// Runs one of the lab's own processes, until the lab stops.
///
/// # Errors
/// When the machine cannot serve, or a program of the node fails.
pub fn supervise(home: &Home, depth: Depth) -> Result<()> {
    match depth {
        Depth::Outer => outer(home),
        Depth::First => first(home),
        Depth::Node => crate::node::run(home),
    }
}

fn outer(home: &Home) -> Result<()> {
    home.create()?;
    let Some(lock) = home.lock_as_supervisor()? else {
        return Ok(());
    };
    let outcome = hold(home);
    if let Err(error) = &outcome {
        let _ = fs::write(home.join("failed"), format!("{error:#}"));
    }
    drop(lock);
    outcome
}

fn hold(home: &Home) -> Result<()> {
    clean(home)?;
    home.check_file_system()?;
    let host = host::prepare()?;
    fs::create_dir_all(home.join("bin"))?;
    // Run from a copy: the original may be rebuilt while the lab runs, and pods run the copy too.
    let binary = home.join("bin/lab");
    let original = std::env::current_exe()?;
    fs::copy(&original, &binary).with_context(|| format!("cannot copy {}", original.display()))?;
    let supervisor = Pid::this().as_raw();
    let state = State {
        supervisor,
        kube: host.kube,
        dns: host.dns,
        build: crate::binary::fingerprint(&original)?,
    };
    fs::write(home.join("state.json"), serde_json::to_vec(&state)?)?;

    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block()?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    // From here on this process cannot have threads: its children are to live in another process namespace.
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID)
        .context("cannot make the lab's namespaces")?;
    let mut inside = deeper(&binary, home, Depth::First)?;
    let end = wait_for_the_end(home, &signals, &mut inside);
    // The kernel ends everything inside with its first process.
    let _ = inside.kill();
    let _ = inside.wait();
    match end? {
        End::Wanted(no_clients) => remove(home, no_clients),
        End::Failed(why) => {
            // The logs stay for whoever looks for the cause.
            let _ = cgroups::remove(home);
            bail!(why)
        }
    }
}

enum End {
    /// With the lock that holds off clients, unless somebody asked for the end.
    Wanted(Option<File>),
    Failed(String),
}

fn wait_for_the_end(home: &Home, signals: &SignalFd, inside: &mut Child) -> Result<End> {
    let mut last_seen = Instant::now();
    loop {
        if signals.read_signal()?.is_some() {
            return Ok(End::Wanted(None));
        }
        if let Some(status) = inside.try_wait()? {
            let said = fs::read_to_string(home.join("failed")).unwrap_or_else(|_| status.to_string());
            return Ok(End::Failed(said));
        }
        match home.lock_against_clients()? {
            None => last_seen = Instant::now(),
            Some(lock) if last_seen.elapsed() > LINGER => return Ok(End::Wanted(Some(lock))),
            Some(_) => {}
        }
        std::thread::sleep(PULSE);
    }
}

fn deeper(binary: &Path, home: &Home, depth: Depth) -> Result<Child> {
    let mut command = Command::new(binary);
    command
        .args(["supervise", "--depth", depth.name()])
        .arg(home.dir())
        .stdin(Stdio::null());
    command
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))
}

fn first(home: &Home) -> Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    if !home.is_supervised() {
        bail!("the supervisor is gone already");
    }
    mounts()?;
    let node = deeper(&home.join("bin/lab"), home, Depth::Node)?;
    let node = Pid::from_raw(i32::try_from(node.id())?);
    // Containers' shims leave their parents on purpose, so they are ours to bury.
    loop {
        match wait()? {
            WaitStatus::Exited(pid, code) if pid == node => std::process::exit(code),
            WaitStatus::Signaled(pid, signal, _) if pid == node => bail!("the node was ended by {signal}"),
            WaitStatus::Exited(..)
            | WaitStatus::Signaled(..)
            | WaitStatus::Stopped(..)
            | WaitStatus::PtraceEvent(..)
            | WaitStatus::PtraceSyscall(_)
            | WaitStatus::Continued(_)
            | WaitStatus::StillAlive => {}
        }
    }
}

fn mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
    let nothing = None::<&str>;
    mount(
        nothing,
        "/",
        nothing,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        nothing,
    )?;
    for directory in hidden_directories() {
        let mounted = mount(
            Some("tmpfs"),
            *directory,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("mode=755"),
        );
        mounted.with_context(|| format!("cannot mount an empty {directory}"))?;
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, nothing).context("cannot mount /proc")
}

/// Removes what an earlier lab left in the directory, but what is in use.
fn clean(home: &Home) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match cgroups::remove(home).and_then(|()| clear(home)) {
            Ok(()) => return Ok(()),
            // The kernel may still be ending the processes of a lab whose supervisor was killed a moment ago.
            Err(_) if Instant::now() < deadline => std::thread::sleep(PULSE),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot clean {}", home.dir().display()));
            }
        }
    }
}

fn clear(home: &Home) -> std::io::Result<()> {
    for entry in fs::read_dir(home.dir())? {
        let entry = entry?;
        if KEPT.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Removes the lab without a trace.
///
/// The supervisor's lock goes last: who finds it gone starts another lab, and nothing of that may be removed here. The
/// clients' lock is only removed while it is held against them, because a client that has it is to keep it.
fn remove(home: &Home, no_clients: Option<File>) -> Result<()> {
    clean(home)?;
    let _ = fs::remove_file(home.join("supervisor.log"));
    let no_clients = no_clients.map_or_else(|| home.lock_against_clients(), |lock| Ok(Some(lock)))?;
    if no_clients.is_some() {
        let _ = fs::remove_file(home.join("clients"));
    }
    let _ = fs::remove_file(home.join("supervisor"));
    // Not empty when a new client has come already; then the directory is its.
    let _ = fs::remove_dir(home.dir());
    Ok(())
}

/// What a status says that is not a plain success.
pub(crate) fn describe(status: std::process::ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}
