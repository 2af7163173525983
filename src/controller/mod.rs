//! Pulse: what makes the machine turn.

pub mod turn;
