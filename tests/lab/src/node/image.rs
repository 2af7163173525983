//! The lab's one image, written by hand: no registry is asked for anything.
//!
//! It has a shell and empty directories, into which pods mount the machine's own programs.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use crate::home::Home;
use crate::poll::eventually;

/// The image's name, for pods and for the node's sandboxes.
pub(crate) const NAME: &str = "lab.local/empty:1";

const DIRECTORIES: [&str; 14] = [
    "bin", "dev", "etc", "home", "lab", "lib", "lib64", "proc", "root", "run", "sys", "tmp", "usr", "var",
];
const USERS: &str = "root:x:0:0:root:/root:/bin/sh\npostgres:x:999:999:postgres:/tmp:/bin/sh\nnobody:x:65532:65532:nobody:/tmp:/bin/sh\n";
const GROUPS: &str = "root:x:0:\npostgres:x:999:\nnobody:x:65532:\n";

/// Writes the image in the format of `docker save`.
pub(super) fn write(path: &Path) -> Result<()> {
    let layer = layer()?;
    let layer_id = format!("sha256:{}", hex::encode(Sha256::digest(&layer)));
    let config = serde_json::to_vec(&serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {"Entrypoint": ["/bin/busybox", "sleep", "2147483647"], "Env": ["PATH=/bin:/usr/bin:/usr/sbin"]},
        "rootfs": {"type": "layers", "diff_ids": [layer_id]},
    }))?;
    let manifest = serde_json::to_vec(&serde_json::json!([
        {"Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"]},
    ]))?;
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut archive = Builder::new(file);
    for (name, data) in [
        ("config.json", &config),
        ("layer.tar", &layer),
        ("manifest.json", &manifest),
    ] {
        append(&mut archive, name, EntryType::Regular, 0o644, data)?;
    }
    archive.finish().context("cannot finish the image")
}

fn layer() -> Result<Vec<u8>> {
    let busybox = fs::read("/bin/busybox").context("cannot read /bin/busybox")?;
    let mut layer = Builder::new(Vec::new());
    for name in DIRECTORIES {
        let mode = if name == "tmp" { 0o1777 } else { 0o755 };
        append(&mut layer, name, EntryType::Directory, mode, &[])?;
    }
    append(&mut layer, "bin/busybox", EntryType::Regular, 0o755, &busybox)?;
    append(
        &mut layer,
        "etc/passwd",
        EntryType::Regular,
        0o644,
        USERS.as_bytes(),
    )?;
    append(
        &mut layer,
        "etc/group",
        EntryType::Regular,
        0o644,
        GROUPS.as_bytes(),
    )?;
    let mut link = Header::new_gnu();
    link.set_entry_type(EntryType::Symlink);
    link.set_size(0);
    layer
        .append_link(&mut link, "bin/sh", "busybox")
        .context("cannot link the shell")?;
    layer.into_inner().context("cannot finish the image's layer")
}

fn append<W: std::io::Write>(
    archive: &mut Builder<W>,
    name: &str,
    kind: EntryType,
    mode: u32,
    data: &[u8],
) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(u64::try_from(data.len())?);
    archive
        .append_data(&mut header, name, data)
        .with_context(|| format!("cannot put {name} into the image"))
}

/// Gives the image to containerd, as soon as that listens.
pub(super) async fn import(home: &Home) -> Result<()> {
    let imported = eventually(
        "containerd to take the image",
        Duration::from_secs(30),
        async || {
            let mut ctr = tokio::process::Command::new("ctr");
            ctr.arg("--address").arg(home.join("ctd/sock")).args([
                "--namespace",
                "k8s.io",
                "images",
                "import",
            ]);
            let output = ctr
                .arg(home.join("image.tar"))
                .output()
                .await
                .context("cannot run ctr")?;
            if !output.status.success() {
                bail!("ctr: {}", String::from_utf8_lossy(&output.stderr).trim());
            }
            Ok(Some(()))
        },
    );
    imported.await
}
