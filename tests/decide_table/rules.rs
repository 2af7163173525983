//! The rules of `machine::invariant`, each broken once. The machine never does what stands here.

use std::collections::HashSet;

use tandem::api::spec::RetireMode;
use tandem::machine::facts::{KeptSeen, Login, Previous, Sessions};
use tandem::machine::invariant::permits;
use tandem::machine::journal::Trigger;
use tandem::machine::step::Entry;
use tandem::machine::{Action, Facts, Journal, Loaded};
use tandem::policy::Policy;

use crate::drift::{due, refusing, taking_the_old, told};
use crate::fixtures::*;
use crate::lists::strikes;

/// The rule, and the write that breaks it and no other.
type Rule = (&'static str, Policy, Loaded, Facts, Action);

fn writes(entry: Entry, next: Journal) -> Action {
    let next = Box::new(next);
    Action::Record { entry, next }
}

fn rules() -> Vec<Rule> {
    let scramble = || retires(RetireMode::Scramble);
    let drained = || podless().sessions(quiet(3, ago(mins(1))));
    let over = || running().rolled_out(ago(mins(2))).valid();
    let standby = || Action::Retire {
        user: role(STANDBY),
        mode: RetireMode::Scramble,
    };
    let wrong = || drained().pending(Login::WrongPassword);
    let old = || drained().consumers([deployment("a")]);
    let unasked = || delivered().sessions(quiet(3, ago(mins(1))));
    let two = || podless().sessions(quiet(2, ago(mins(1))));
    let unreachable = || podless().sessions(Sessions::Unreachable(trouble()));
    let s1_names = "S1: the user that the Secret names is never retired";
    let s3_pods = "S3: a pod may still hold the old credential";
    let s3_drain = "S3: the drain is not proven";
    let s4 = "S4: at most one pending credential, numbered without a gap";
    let s7 = "S7: a suspended or deleted policy changes nothing";
    let never_over = "a journal that is there is never started over";
    let goes_on = "only a running rotation goes on";
    let ends = "only a running rotation ends";
    let after_rollout = "sessions are ended only after the rollout";
    let back = || running().taken_back(Trigger::Abort("stop".into()));
    let open = || podless().previous(Previous::Accepted);
    let numbered = "S4: a roll-back is a rotation of its own, numbered without a gap";
    let s9 = "S9: what is put back must log in";
    let unasked_for = "S11: outside a rotation nothing is set unless somebody asks for it";
    let not_lost = "S11: only what was seen to be lost is set once more";
    let again = |user| Action::SetVerifier { user: role(user) };
    let through = || policy().store_first();
    let proven = || staged().store(storing(ACTIVE)).pending(accepted());
    let forgets = "S1: a pooler forgets the old password only after the server has";
    let gone = || podless().retired().previous(Previous::Refused);
    vec![
        (forgets, policy(), over(), gone(), strikes(STANDBY)),
        (forgets, policy(), over(), podless(), strikes(ACTIVE)),
        (
            forgets,
            policy(),
            over(),
            gone().previous(Previous::Accepted),
            strikes(ACTIVE),
        ),
        (
            "S2: only the pending user's verifier is in the journal",
            policy(),
            running().valid(),
            staged(),
            Action::Enlist {
                endpoint: "far".into(),
                user: role(ACTIVE),
                version: "uid/7".into(),
            },
        ),
        (
            "S5: the source of truth must never name an unproven credential",
            through(),
            running().valid(),
            staged().store(storing(ACTIVE)),
            Action::Propose { base: "v1".into() },
        ),
        (
            "S5: the credential is not proven at every endpoint",
            policy().reading(),
            running().valid(),
            staged().pending(accepted()),
            flips(),
        ),
        (
            "S1: the old user is retired only while the new one is proven at every endpoint",
            policy().reading(),
            over(),
            drained(),
            scramble(),
        ),
        (
            "the store makes current only what it holds",
            through(),
            running().valid(),
            proven(),
            flips(),
        ),
        (
            "a sync before the flip would bring the old credential again",
            through(),
            running().valid(),
            proven(),
            Action::Sync {
                version: "es/7".into(),
                times: 1,
            },
        ),
        (
            "a restart before the delivery would load the old credential again",
            through(),
            running().valid(),
            nothing().secret(synced()).pending(accepted()),
            restarts(&deployment("a")),
        ),
        (
            "S5: applications may have been told this password already",
            through(),
            running().valid(),
            proven().store(storing_pending()),
            writes(Entry::Regenerate, running().rejected(1)),
        ),
        (
            "the application Secret does not carry the new credential",
            through(),
            running().valid(),
            proven().store(storing_pending()),
            writes(Entry::Deliver, running().landed()),
        ),
        (
            "an abort that is too late changes nothing else",
            policy(),
            running().valid(),
            podless(),
            writes(Entry::CallOff, running().ended()),
        ),
        (
            unasked_for,
            policy(),
            due().valid(),
            told().kept(refusing()),
            again(ACTIVE),
        ),
        (
            unasked_for,
            policy().reapplying("old"),
            Journal {
                reapplied: Some("old".into()),
                ..due()
            }
            .valid(),
            told().kept(refusing()),
            again(ACTIVE),
        ),
        (
            not_lost,
            policy().reapplying("again"),
            due().valid(),
            told().kept(in_order()),
            again(ACTIVE),
        ),
        (
            not_lost,
            policy().reapplying("again"),
            due().valid(),
            told().kept(refusing()),
            again(STANDBY),
        ),
        (
            not_lost,
            policy().reapplying("again"),
            due().valid(),
            staged().kept(refusing()),
            again(ACTIVE),
        ),
        (
            not_lost,
            policy().reapplying("again"),
            due().valid(),
            told().kept(KeptSeen {
                active: None,
                ..taking_the_old()
            }),
            standby(),
        ),
        (
            "S11: what is kept of a rotation is spoken of while none runs",
            policy().accepting("fine"),
            running().valid(),
            staged(),
            writes(Entry::Accept, running()),
        ),
        (
            "only a running rotation is taken back",
            policy(),
            resting().valid(),
            open(),
            writes(Entry::RollBack, back()),
        ),
        (
            "a roll-back goes in the other direction",
            policy(),
            running().valid(),
            open(),
            writes(Entry::RollBack, running().numbered(LAST + 2)),
        ),
        (
            numbered,
            policy(),
            running().valid(),
            open(),
            writes(Entry::RollBack, back().numbered(LAST + 1)),
        ),
        (
            numbered,
            policy(),
            running().valid(),
            open(),
            writes(Entry::RollBack, back().with(|r| r.undoes = None)),
        ),
        (
            "a roll-back is never rolled back",
            policy(),
            back().valid(),
            open(),
            writes(Entry::RollBack, back().taken_back(Trigger::Abort("again".into()))),
        ),
        (
            s9,
            policy(),
            running().valid(),
            podless().previous(Previous::Refused),
            writes(Entry::RollBack, back()),
        ),
        (
            s9,
            policy(),
            running().valid(),
            open().retired(),
            writes(Entry::RollBack, back()),
        ),
        (
            "S5: applications may have been told this password already",
            policy(),
            back().valid(),
            staged(),
            writes(Entry::Regenerate, back().rejected(1)),
        ),
        (s7, policy().suspended(), running().valid(), staged(), sets()),
        (s7, policy().deleted(), over(), drained(), scramble()),
        (
            "a journal that cannot be trusted is never acted on",
            policy(),
            Loaded::Corrupt("flaw".into()),
            staged(),
            sets(),
        ),
        (
            "S2: no credential is durable in the journal",
            policy(),
            resting().valid(),
            staged(),
            sets(),
        ),
        (
            "S2: no credential is durable in the journal",
            policy(),
            Loaded::Absent,
            staged().pending(accepted()),
            flips(),
        ),
        (
            "S2: only the pending user's verifier is in the journal",
            policy(),
            running().valid(),
            staged(),
            Action::SetVerifier { user: role(ACTIVE) },
        ),
        (
            "S5: the source of truth must never name an unproven credential",
            policy(),
            running().valid(),
            staged(),
            flips(),
        ),
        (
            "S5: the source of truth must never name an unproven credential",
            policy(),
            running().valid(),
            staged().pending(Login::WrongPassword),
            flips(),
        ),
        (
            "a restart before the delivery would load the old credential again",
            policy(),
            running().valid(),
            staged().pending(accepted()),
            restarts(&deployment("a")),
        ),
        (
            "a restart that somebody took back is not made again",
            policy(),
            running().valid(),
            delivered().consumers([deployment("a").reverted()]),
            restarts(&deployment("a")),
        ),
        (
            after_rollout,
            policy(),
            running().valid(),
            podless(),
            terminates(),
        ),
        (
            after_rollout,
            policy(),
            over(),
            podless(),
            Action::Terminate { user: role(STANDBY) },
        ),
        (s1_names, policy(), over(), drained(), standby()),
        (
            s1_names,
            policy(),
            over(),
            drained().secret(naming(ACTIVE)),
            scramble(),
        ),
        (
            "S1: the old user is retired only while the new one is proven to work",
            policy(),
            over(),
            wrong(),
            scramble(),
        ),
        (
            "S3: the rollout has not ended",
            policy(),
            running().valid(),
            drained(),
            scramble(),
        ),
        (s3_pods, policy(), over(), old(), scramble()),
        (s3_pods, policy(), over(), unasked(), scramble()),
        (s3_drain, policy(), over(), podless(), scramble()),
        (s3_drain, policy(), over(), podless().sessions(left()), scramble()),
        (s3_drain, policy(), over(), two(), scramble()),
        (s3_drain, policy(), over(), unreachable(), scramble()),
        (
            never_over,
            policy(),
            resting().valid(),
            staged(),
            writes(Entry::Adopt, fresh()),
        ),
        (
            never_over,
            policy(),
            running().valid(),
            staged(),
            writes(Entry::Recover, running()),
        ),
        (
            "a running rotation ends on its snapshot",
            policy(),
            running().valid(),
            staged(),
            writes(Entry::Reschedule, running()),
        ),
        (
            s4,
            policy(),
            Loaded::Absent,
            staged(),
            writes(Entry::Stage, running().numbered(1)),
        ),
        (
            s4,
            policy(),
            running().valid(),
            staged(),
            writes(Entry::Stage, running().numbered(LAST + 2)),
        ),
        (
            s4,
            policy(),
            resting().valid(),
            staged(),
            writes(Entry::Stage, running().numbered(LAST)),
        ),
        (
            s4,
            policy(),
            resting().valid(),
            staged(),
            writes(Entry::Stage, running().numbered(LAST + 2)),
        ),
        (
            s4,
            policy(),
            resting().valid(),
            staged(),
            writes(Entry::Stage, resting().numbered(LAST + 1)),
        ),
        (
            goes_on,
            policy(),
            resting().valid(),
            staged(),
            writes(Entry::Regenerate, running().numbered(LAST)),
        ),
        (
            goes_on,
            policy(),
            running().valid(),
            staged(),
            writes(Entry::Regenerate, running().ended()),
        ),
        (
            goes_on,
            policy(),
            running().valid(),
            staged(),
            writes(Entry::RollOut, running().numbered(LAST)),
        ),
        (
            ends,
            policy(),
            resting().valid(),
            staged(),
            writes(Entry::Finish, resting()),
        ),
        (
            ends,
            policy(),
            running().valid(),
            staged(),
            writes(Entry::Finish, running()),
        ),
        (
            ends,
            policy(),
            running().valid(),
            staged(),
            writes(Entry::Finish, resting()),
        ),
    ]
}

#[test]
fn each_rule_forbids_what_breaks_it() {
    for (rule, policy, journal, facts, action) in rules() {
        let broken = permits(&policy, &journal, &facts, &action)
            .expect_err(rule)
            .to_string();
        assert!(
            broken.contains(&format!(": {rule};")),
            "{rule:?} was meant, not {broken:?}"
        );
        assert!(
            broken.starts_with(&format!("refusing to {}: ", action.label())),
            "{broken}"
        );
    }
}

/// Counts the rules where they are written, so that a rule without a row is missed.
#[test]
fn each_rule_has_a_row() {
    let source = include_str!("../../src/machine/invariant.rs");
    let names: HashSet<_> = rules().into_iter().map(|rule| rule.0).collect();
    for name in &names {
        assert_eq!(source.matches(&format!("\"{name}\"")).count(), 1, "{name}");
    }
    let rule = |text: &&str| text.contains(' ') && !text.contains('{') && !text.contains('\n');
    let written = source.split('"').skip(1).step_by(2).filter(rule).count();
    assert_eq!(names.len(), written, "{names:#?}");
}

/// What a rule forbids it forbids for its own reason: with that reason gone, the same write may happen.
#[test]
fn what_breaks_no_rule_is_permitted() {
    let over = running().rolled_out(ago(mins(2))).valid();
    let drained = podless().sessions(quiet(3, ago(mins(1))));
    let verified = staged().pending(accepted());
    for (journal, facts, action) in [
        (running().valid(), staged(), sets()),
        (running().valid(), verified, flips()),
        (running().valid(), delivered(), restarts(&deployment("a"))),
        (over.clone(), podless(), terminates()),
        (over.clone(), drained, retires(RetireMode::Scramble)),
        (resting().valid(), staged(), writes(Entry::Stage, running())),
        (over, podless(), writes(Entry::Finish, running().ended())),
    ] {
        assert_eq!(permits(&policy(), &journal, &facts, &action), Ok(()));
    }
}
