//! Voice: logs, metrics, health.

pub mod http;
pub mod logs;
pub mod metrics;
