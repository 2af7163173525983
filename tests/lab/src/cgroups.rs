//! The control groups that a lab's containers leave when they are ended all at once.

use std::fs;
use std::path::{Path, PathBuf};

use crate::home::Home;

const MOUNT: &str = "/sys/fs/cgroup";
/// containerd names the group of all that a kubelet runs so, on every machine and whoever else runs one.
const PARENT: &str = "k8s.io";

/// Removes the groups of the containers that this lab's containerd knew last. Another kubelet's are left alone.
pub(crate) fn remove(home: &Home) -> std::io::Result<()> {
    let bundles = home.join("ctd/state/io.containerd.runtime.v2.task").join(PARENT);
    let containers: Vec<_> = children(&bundles)
        .into_iter()
        .filter_map(|path| path.file_name().map(Into::into))
        .collect();
    for parent in parents() {
        for container in &containers {
            let group: PathBuf = parent.join::<&PathBuf>(container);
            if group.is_dir() {
                remove_group(&group)?;
            }
        }
        // Not empty when somebody else runs a kubelet here.
        let _ = fs::remove_dir(parent);
    }
    Ok(())
}

/// One group for each hierarchy of version 1, or the one of version 2.
fn parents() -> Vec<PathBuf> {
    let places = children(Path::new(MOUNT))
        .into_iter()
        .chain([PathBuf::from(MOUNT)]);
    places
        .map(|place| place.join(PARENT))
        .filter(|group| group.is_dir())
        .collect()
}

fn children(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect()
}

fn remove_group(group: &Path) -> std::io::Result<()> {
    for child in children(group).iter().filter(|path| path.is_dir()) {
        remove_group(child)?;
    }
    fs::remove_dir(group)
}
