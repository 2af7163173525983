//! Going back to what was: a snapshot of a server's volume, and the restore of it.

use anyhow::Result;

use super::{Postgres, Stop};

/// The archive that is a snapshot, as the server's pod sees it.
const SNAPSHOT: &str = "/server/snapshot.tar";

impl Postgres {
    /// Keeps its files as they are now. It is stopped for that, and returns when it answers again.
    ///
    /// # Errors
    /// When it does not stop, or does not come back in time.
    pub async fn snapshot(&self) -> Result<()> {
        self.stop(Stop::Fast).await?;
        self.in_shell(&format!("/usr/bin/tar -C /data/cluster -cf {SNAPSHOT} ."))
            .await?;
        self.start().await
    }

    /// Has it begin again with the files of the last snapshot: the same cluster by everything that it says of itself, and
    /// nothing is left of what was written since.
    ///
    /// # Errors
    /// When there is no snapshot, or it does not answer in time.
    pub async fn restore(&self) -> Result<()> {
        self.stop(Stop::Immediate).await?;
        let back = "rm -rf /data/cluster && mkdir -m 700 /data/cluster";
        self.in_shell(&format!("{back} && /usr/bin/tar -C /data/cluster -xf {SNAPSHOT}"))
            .await?;
        self.start().await
    }

    async fn in_shell(&self, script: &str) -> Result<()> {
        self.exec(&["/bin/sh", "-c", script]).await
    }
}
