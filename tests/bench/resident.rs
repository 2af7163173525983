//! How much memory the controller holds.

use std::fs;

use anyhow::{Context as _, Result};

/// Resident memory of the one controller that runs, in KiB.
pub(crate) fn resident() -> Result<u64> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")? {
        let path = entry?.path();
        let Ok(line) = fs::read(path.join("cmdline")) else {
            continue;
        };
        if line.starts_with(b"/lab/bin/tandem\0run") {
            let status = fs::read_to_string(path.join("status")).unwrap_or_default();
            let rss = status
                .lines()
                .find_map(|l| l.strip_prefix("VmRSS:"))
                .and_then(|l| l.split_whitespace().next());
            found.extend(rss.and_then(|kib| kib.parse::<u64>().ok()));
        }
    }
    found.into_iter().max().context("no controller runs")
}
