//! How a lab begins and ends. Each test has a lab of its own, in a directory of its own.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A lab that nobody else uses.
struct Own {
    dir: PathBuf,
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.lab(&["down"]).status();
    }
}

impl Own {
    fn new(name: &str) -> Self {
        Self {
            dir: format!("/tmp/tandem-lab-{name}-{}", std::process::id()).into(),
        }
    }

    fn lab(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command
            .args(arguments)
            .env("TANDEM_LAB_DIR", &self.dir)
            .stdin(Stdio::null());
        command
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.lab(&[&["kubectl"], arguments].concat()).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// A client that stays until it is killed.
    fn client(&self) -> Child {
        let client = self.lab(&["exec", "--", "sleep", "1000"]).spawn().unwrap();
        until("the client to be inside", || self.dir.join("ready").exists());
        client
    }

    fn start_pod(&self) {
        let overrides = r#"{"spec": {"containers": [{"name": "it", "image": "lab.local/empty:1", "imagePullPolicy": "Never"}]}}"#;
        self.kubectl(&["run", "it", "--image=lab.local/empty:1", "--overrides", overrides]);
        self.kubectl(&["wait", "--for=condition=Ready", "pod/it", "--timeout=60s"]);
    }

    fn supervisor(&self) -> Pid {
        let state: serde_json::Value =
            serde_json::from_slice(&fs::read(self.dir.join("state.json")).unwrap()).unwrap();
        Pid::from_raw(
            i32::try_from(
                state
                    .get("supervisor")
                    .and_then(serde_json::Value::as_i64)
                    .unwrap(),
            )
            .unwrap(),
        )
    }

    fn traces(&self) -> Traces {
        let bundles = self.dir.join("ctd/state/io.containerd.runtime.v2.task/k8s.io");
        Traces {
            dir: self.dir.clone(),
            network: fs::read_link(format!("/proc/{}/ns/net", self.supervisor())).unwrap(),
            containers: names(&bundles),
        }
    }
}

/// What to look for when a lab is gone.
struct Traces {
    dir: PathBuf,
    network: PathBuf,
    containers: Vec<String>,
}

impl Traces {
    fn processes(&self) -> Vec<String> {
        let dir = self.dir.display().to_string();
        let of_lab = |pid: &String| {
            let network =
                fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|network| network == self.network);
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            network || String::from_utf8_lossy(&command).contains(&dir)
        };
        names(Path::new("/proc")).into_iter().filter(of_lab).collect()
    }

    fn groups(&self) -> Vec<PathBuf> {
        let hierarchies = names(Path::new("/sys/fs/cgroup")).into_iter();
        let places = hierarchies.flat_map(|name| {
            [
                format!("/sys/fs/cgroup/{name}/k8s.io"),
                "/sys/fs/cgroup/k8s.io".into(),
            ]
        });
        let groups =
            places.flat_map(|place| self.containers.iter().map(move |id| Path::new(&place).join(id)));
        groups.filter(|group| group.exists()).collect()
    }

    fn assert_none(&self) {
        assert_eq!(self.processes(), Vec::<String>::new(), "processes are left");
        assert_eq!(self.groups(), Vec::<PathBuf>::new(), "control groups are left");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(
            !mounts.contains(&self.dir.display().to_string()),
            "mounts are left:\n{mounts}"
        );
        assert!(
            !self.dir.exists(),
            "the directory is left: {:?}",
            names(&self.dir)
        );
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !holds() {
        assert!(Instant::now() < deadline, "waited for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn kill_and_bury(client: &mut Child) {
    client.kill().unwrap();
    client.wait().unwrap();
}

#[test]
fn a_lab_is_shared_outlives_one_client_and_ends_without_a_trace_when_the_last_is_killed() {
    let own = Own::new("shared");
    let (mut first, mut second) = (own.client(), own.client());
    own.start_pod();
    let supervisor = own.supervisor();
    let traces = own.traces();
    assert!(!traces.containers.is_empty() && !traces.groups().is_empty() && !traces.processes().is_empty());
    kill_and_bury(&mut first);
    std::thread::sleep(Duration::from_secs(18));
    assert_eq!(
        own.kubectl(&["get", "pod", "it", "--output", "jsonpath={.status.phase}"]),
        "Running"
    );
    assert_eq!(own.supervisor(), supervisor, "there was a second lab");
    kill_and_bury(&mut second);
    until("the lab to end by itself", || !own.dir.exists());
    traces.assert_none();
}

#[test]
fn what_a_killed_supervisor_leaves_is_removed_by_the_next_start() {
    let own = Own::new("killed");
    own.start_pod();
    let traces = own.traces();
    kill(own.supervisor(), Signal::SIGKILL).unwrap();
    until("its processes to end with it", || traces.processes().is_empty());
    assert!(
        own.dir.exists() && !traces.groups().is_empty(),
        "there is nothing to remove"
    );
    assert!(
        !own.kubectl(&["get", "pods"]).contains("it"),
        "the next lab is not a new one"
    );
    assert_eq!(traces.groups(), Vec::<PathBuf>::new());
    let next = own.traces();
    assert!(own.lab(&["down"]).status().unwrap().success());
    next.assert_none();
    traces.assert_none();
}

#[test]
fn clients_that_come_at_once_start_one_lab() {
    let own = Own::new("race");
    let starting: Vec<Child> = (0..3)
        .map(|_| {
            own.lab(&["kubectl", "get", "--raw", "/readyz"])
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut client in starting {
        assert!(client.wait().unwrap().success());
    }
    let supervisors = names(Path::new("/proc")).into_iter().filter(|pid| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).into_owned();
        command.contains("outer") && command.contains(&own.dir.display().to_string())
    });
    assert_eq!(supervisors.count(), 1);
}

#[test]
fn a_program_of_the_node_that_ends_ends_the_lab_and_the_next_client_is_not_stuck() {
    let own = Own::new("broken");
    own.kubectl(&["get", "--raw", "/readyz"]);
    let traces = own.traces();
    let etcd = traces.processes().into_iter().find(|pid| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains("--data-dir=")
    });
    kill(Pid::from_raw(etcd.unwrap().parse().unwrap()), Signal::SIGKILL).unwrap();
    until("the lab to end", || traces.processes().is_empty());
    let why = fs::read_to_string(own.dir.join("failed")).unwrap();
    assert!(why.starts_with("etcd was ended by signal 9"), "{why}");
    own.kubectl(&["get", "--raw", "/readyz"]);
}

#[test]
fn a_directory_that_cannot_hold_a_lab_is_refused_with_what_to_do() {
    let output = Own {
        dir: "/var/lib/lab".into(),
    }
    .lab(&["kubectl", "get", "pods"])
    .output()
    .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("/var/lib"), "{said}");
}
