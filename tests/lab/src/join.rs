//! Becoming a client of the lab, which starts it when it is not there.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::home::{Home, State};
use crate::progress::Progress;
use crate::{binary, host};

const START: Duration = Duration::from_mins(4);
const PAUSE: Duration = Duration::from_millis(50);

/// A running lab that stays as long as this process does.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    pub(crate) home: Home,
    pub(crate) state: State,
    /// A directory with the `lab` binary of this process's build.
    pub(crate) programs: PathBuf,
}

/// The locks that this process holds until its end.
static HELD: Mutex<Vec<(Membership, File)>> = Mutex::new(Vec::new());

/// Joins the lab that the environment names, and starts it first when nobody else has.
pub(crate) fn join() -> Result<Membership> {
    let home = Home::of_environment()?;
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((membership, _)) = held.iter().find(|(membership, _)| membership.home == home) {
        return Ok(membership.clone());
    }
    let binary = binary::path()?;
    let build = binary::fingerprint(&binary)?;
    replace_other_build(&home, &build)?;
    let client = home.lock_as_client()?;
    ensure_running(&home, &binary)?;
    let programs = publish(&home, &binary, &build)?;
    let membership = Membership {
        state: home.state()?,
        home,
        programs,
    };
    held.push((membership.clone(), client));
    Ok(membership)
}

/// Copies a program to where pods can have it, and returns the directory with it.
pub(crate) fn publish(home: &Home, program: &Path, build: &str) -> Result<PathBuf> {
    let directory = home.join("bin").join(build);
    let place = directory.join(program.file_name().context("a program without a name")?);
    if !place.exists() {
        fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let copy = tempfile::NamedTempFile::new_in(&directory)?;
        fs::copy(program, copy.path()).with_context(|| format!("cannot copy {}", program.display()))?;
        // Moved into place: another process may be doing the same.
        copy.persist(&place)
            .with_context(|| format!("cannot write {}", place.display()))?;
    }
    Ok(directory)
}

/// Stops a lab that another build of the lab runs, if nobody uses it.
fn replace_other_build(home: &Home, build: &str) -> Result<()> {
    if !home.is_supervised() || !home.is_ready() || home.state().is_ok_and(|state| state.build == build) {
        return Ok(());
    }
    let Some(lock) = home.lock_against_clients()? else {
        return Ok(());
    };
    let stopped = stop(home);
    drop(lock);
    stopped.map(|_| ())
}

/// Stops the lab, whoever uses it, and says whether there was one.
pub(crate) fn stop(home: &Home) -> Result<bool> {
    if !home.is_supervised() {
        return Ok(false);
    }
    let state = home.state().context("the lab is only just starting")?;
    kill(Pid::from_raw(state.supervisor), Signal::SIGTERM).context("cannot signal the lab's supervisor")?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while home.is_supervised() {
        if Instant::now() > deadline {
            bail!("the lab in {} did not stop in 30 s", home.dir().display());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(true)
}

fn ensure_running(home: &Home, binary: &Path) -> Result<()> {
    if home.is_supervised() && home.is_ready() {
        return Ok(());
    }
    if !home.is_supervised() {
        // Here and not in the supervisor, so that whoever waits sees what for.
        host::prepare()?;
        host::prepare_ahead(binary)?;
    }
    let _progress = Progress::start("starting the cluster");
    let mut started = false;
    let deadline = Instant::now() + START;
    loop {
        if home.is_supervised() {
            if home.is_ready() {
                return Ok(());
            }
        } else if !started {
            spawn_supervisor(home, binary)?;
            started = true;
        } else if let Some(why) = home.failure() {
            bail!("the lab did not start: {why}");
        }
        if Instant::now() > deadline {
            bail!(
                "the lab did not start in {} s: see {}",
                START.as_secs(),
                home.join("log").display()
            );
        }
        std::thread::sleep(PAUSE);
    }
}

/// Starts a supervisor that outlives this process. When another is faster, it ends by itself.
fn spawn_supervisor(home: &Home, binary: &Path) -> Result<()> {
    // The failure and the ready mark of an earlier lab are not this one's.
    for name in ["failed", "ready"] {
        let _ = fs::remove_file(home.join(name));
    }
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(home.join("supervisor.log"))?;
    let mut command = Command::new("setsid");
    command
        .arg("--fork")
        .arg(binary)
        .args(["supervise", "--depth", "outer"])
        .arg(home.dir());
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let status = command
        .status()
        .context("cannot run setsid (package util-linux)")?;
    if !status.success() {
        bail!("cannot start the lab's supervisor: setsid {status}");
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while !home.is_supervised() && home.failure().is_none() {
        if Instant::now() > deadline {
            bail!(
                "the lab's supervisor ended at once: see {}",
                home.join("supervisor.log").display()
            );
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Lets the program that this process becomes hold on to the lab.
pub(crate) fn keep_through_exec() -> Result<()> {
    for (_, lock) in HELD.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        fcntl(lock, FcntlArg::F_SETFD(FdFlag::empty())).context("cannot keep the lab's lock open")?;
    }
    Ok(())
}

/// Moves the calling thread, and the threads and processes that it starts, into the lab's network, where names are
/// asked of the lab's name server.
pub(crate) fn enter(membership: &Membership) -> Result<()> {
    let path = format!("/proc/{}/ns/net", membership.state.supervisor);
    let network = File::open(&path).with_context(|| format!("the lab is gone: cannot open {path}"))?;
    setns(network, CloneFlags::CLONE_NEWNET).context("cannot enter the lab's network")?;
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
    let nothing = None::<&str>;
    mount(
        nothing,
        "/",
        nothing,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        nothing,
    )?;
    let names = membership.home.join("resolv.conf");
    if fs::exists("/etc/resolv.conf").unwrap_or(false) {
        let mounted = mount(
            Some(&names),
            "/etc/resolv.conf",
            nothing,
            MsFlags::MS_BIND,
            nothing,
        );
        mounted.context("cannot put the lab's name server into /etc/resolv.conf")?;
    }
    Ok(())
}

/// Does something that needs the machine's own network, from a thread inside the lab.
pub(crate) fn outside<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let thread = || {
        // Only threads enter the lab; the process itself is still where it began.
        let (network, mounts) = (File::open("/proc/self/ns/net")?, File::open("/proc/self/ns/mnt")?);
        unshare(CloneFlags::CLONE_FS)?;
        setns(mounts, CloneFlags::CLONE_NEWNS).context("cannot leave the lab")?;
        setns(network, CloneFlags::CLONE_NEWNET).context("cannot leave the lab")?;
        work()
    };
    std::thread::scope(|scope| match scope.spawn(thread).join() {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
