//! Metrics. Labels are words of a bounded vocabulary, never names of objects.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    writes: Family<Write, Counter>,
    errors: Family<Class, Counter>,
    rotations: Family<Started, Counter>,
    store_calls: Family<Asked, Counter>,
    checks: Family<Checked, Counter>,
    leader: Gauge,
    turns: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Started {
    trigger: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Write {
    action: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Checked {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    class: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("tandem");
        let (writes, errors, rotations) = (Family::default(), Family::default(), Family::default());
        let store_calls = Family::default();
        let (leader, turns) = (Gauge::default(), Counter::default());
        registry.register(
            "writes",
            "Writes of rotations, by action and outcome",
            writes.clone(),
        );
        registry.register(
            "errors",
            "Turns that did not come to an end, by class of error",
            errors.clone(),
        );
        registry.register(
            "rotations",
            "Rotations begun, by trigger; CatchUp means that scheduled times had been missed",
            rotations.clone(),
        );
        registry.register(
            "store_calls",
            "Calls to stores, by operation and outcome",
            store_calls.clone(),
        );
        let checks = Family::default();
        registry.register(
            "checks",
            "Checks of idle policies, by what they found: in_sync, active_refused, retired_accepted, unknown",
            checks.clone(),
        );
        registry.register("leader", "1 on the replica that holds the lease", leader.clone());
        registry.register("turns", "Turns taken", turns.clone());
        Self {
            registry,
            writes,
            errors,
            rotations,
            store_calls,
            checks,
            leader,
            turns,
        }
    }
}

impl Metrics {
    /// Counts a write.
    pub fn write(&self, action: &'static str, outcome: &'static str) {
        self.writes.get_or_create(&Write { action, outcome }).inc();
    }

    /// Counts a rotation that has begun.
    pub fn rotation(&self, trigger: &'static str) {
        self.rotations.get_or_create(&Started { trigger }).inc();
    }

    /// Counts a call to a store, with all of its retries.
    pub fn store_call(&self, operation: &'static str, outcome: &'static str) {
        self.store_calls
            .get_or_create(&Asked { operation, outcome })
            .inc();
    }

    /// Counts a check of an idle policy.
    pub fn check(&self, result: &'static str) {
        self.checks.get_or_create(&Checked { result }).inc();
    }

    /// Counts a turn that did not come to an end.
    pub fn error(&self, class: &'static str) {
        self.errors.get_or_create(&Class { class }).inc();
    }

    /// Counts a turn.
    pub fn turn(&self) {
        self.turns.inc();
    }

    /// Says whether this replica leads.
    pub fn lead(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// Everything, in the text format of Prometheus.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail; half a page of metrics would be worse than none.
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
    }
}
