//! The SQL side against real servers: PostgreSQL 14 to 18 in the lab.

mod changes;
mod logins;
mod proxy;
mod rights;
mod scene;
mod sessions;
mod trust;
