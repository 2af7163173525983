//! `PgBouncer`: Debian's.

use anyhow::Result;

use super::packages::{self, PGBOUNCER};
use crate::join::outside;

/// The program, which pods see where the machine has it.
pub(crate) const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// Finds it or installs it.
pub(crate) fn install() -> Result<()> {
    outside(|| packages::install(PGBOUNCER))
}
