//! Scripts: steps, each with what both worlds must answer.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::Value;
use tandem::machine::Query::{Pending, Preflight, Previous, Secret};
use tandem::machine::step::Entry::{Adopt, Stage};
use tandem_lab::run;

use crate::place::Side;
use crate::place::Step::{self, Flip, Load, Look, Record, SetVerifier};
use crate::real::Scene;
use crate::simulated::Simulated;

/// Steps, each with what must come of it.
pub(crate) type Script = &'static [(Step, &'static str)];

/// The active user.
pub(crate) const A: usize = 0;
/// The standby.
pub(crate) const B: usize = 1;

/// Plays a script in both worlds, and tells every step at which one of them answers something else.
pub(crate) fn play(name: &'static str, pods: bool, changes: Value, beginning: Script, script: Script) {
    run(move |lab| async move {
        let mut simulated = Side::new(Simulated::new(pods, &changes));
        let scene = Box::pin(Scene::new(&lab, name, pods, &changes)).await?;
        let mut real = Side::new(scene.place());
        let mut differences = String::new();
        for (number, (step, expected)) in beginning.iter().chain(script).enumerate() {
            let (simulated, real) = (said(simulated.take(*step).await), said(real.take(*step).await));
            if simulated != *expected || real != *expected {
                writeln!(
                    differences,
                    "step {number}, {step:?}:\n  expected  {expected}\n  simulated {simulated}\n  real      {real}"
                )?;
            }
        }
        assert!(differences.is_empty(), "{name}:\n{differences}");
        Ok(())
    });
}

/// A step that could not be taken is a difference too.
fn said(took: Result<String>) -> String {
    took.unwrap_or_else(|error| format!("not taken: {error:#}"))
}

pub(crate) const ROTATING: &str = "journal 1, answered nonce-1, RotateNow from app_a to app_b";
pub(crate) const ROLLED_OUT: &str = "journal 1, answered nonce-1, RotateNow from app_a to app_b, rolled out";
pub(crate) const ENDED: &str = "journal 1, answered nonce-1, idle, 1 ended";
pub(crate) const DELIVERED: &str = "app_b, pending, delivered by 1 for nonce-1, landed";

/// Up to a rotation that is written down.
pub(crate) const STAGED: Script = &[
    (Load, "no journal"),
    (Record(Adopt), "done"),
    (Load, "no journal"),
    (Record(Adopt), "done"),
    (Load, "journal 0, idle"),
    (Look(Preflight), "app_a, passed"),
    (Record(Stage), "done"),
    (Load, ROTATING),
    (Look(Secret), "app_a"),
];

/// Up to a Secret that names the standby.
pub(crate) const FLIPPED: Script = &[
    (Load, "no journal"),
    (Record(Adopt), "done"),
    (Load, "no journal"),
    (Record(Adopt), "done"),
    (Load, "journal 0, idle"),
    (Look(Preflight), "app_a, passed"),
    (Record(Stage), "done"),
    (Load, ROTATING),
    (Look(Secret), "app_a"),
    (SetVerifier(B), "done"),
    (Look(Pending), "accepted"),
    (Look(Previous), "accepted"),
    (Flip, "done"),
    (Load, ROTATING),
    (Look(Secret), DELIVERED),
];
