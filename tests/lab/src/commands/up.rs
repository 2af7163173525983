//! `lab up`

use anyhow::Result;

/// Keeps the lab until Ctrl-C.
pub(crate) fn run() -> Result<()> {
    let kept = tandem_lab::cli::keep()?;
    let lab = std::env::current_exe()?;
    eprintln!(
        "The lab runs in {}. In another terminal:",
        kept.home().dir().display()
    );
    eprintln!("  {} kubectl get pods --all-namespaces", lab.display());
    eprintln!("  {} exec -- sh", lab.display());
    eprintln!("It stops a quarter of a minute after its last user; Ctrl-C here ends this one.");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(tokio::signal::ctrl_c())?;
    Ok(())
}
