//! What the effects refuse, and what they see after people have changed the Secret, the journal or the policy.

use serde_json::json;
use tandem::machine::Query::{Consumers, Pending, Preflight, Previous, Secret, Sessions};
use tandem::machine::step::Entry::{Adopt, Finish, Recover, RollOut};

use crate::place::Change::{
    ApplySecret, CorruptJournal, DeleteJournal, DeletePolicy, DeleteSecret, Finalize, MeddleWithSecret,
    NameStranger, ReplaceSecret, Resume, RolledOut, Suspend, TimePasses, TouchSecret, UnmarkSecret,
};
use crate::place::Step::{Change as Then, Flip, Load, Look, Publish, Record, Restart, Retire, SetVerifier};
use crate::scripts::{A, B, DELIVERED, FLIPPED, ROTATING, STAGED, play};

#[test]
fn the_user_that_the_secret_names_is_not_changed() {
    play(
        "named",
        false,
        json!({}),
        STAGED,
        &[
            // Before the flip.
            (SetVerifier(A), "refused"),
            (Retire(A), "refused"),
            (Retire(B), "refused"),
            (Look(Previous), "accepted"),
            (Look(Pending), "wrong password"),
            (Then(NameStranger), ""),
            (Look(Secret), "stranger"),
            (Look(Preflight), "nobody, blocked"),
            (Retire(A), "refused"),
            (Look(Previous), "accepted"),
            (SetVerifier(B), "done"),
            (Look(Pending), "accepted"),
            (Then(ReplaceSecret), ""),
            (Look(Secret), "app_a"),
            (Flip, "done"),
            // After it.
            (Load, ROTATING),
            (Look(Secret), DELIVERED),
            (SetVerifier(B), "done"),
            (Look(Pending), "accepted"),
            (Retire(B), "refused"),
            (Look(Pending), "accepted"),
            (Then(MeddleWithSecret), ""),
            (Look(Secret), "app_b, delivered by 1 for nonce-1, landed"),
            (SetVerifier(B), "refused"),
            (Retire(A), "refused"),
            (Look(Preflight), "app_b, login failed"),
            (Look(Previous), "accepted"),
            // Somebody applies the first manifest: the mark stays, and what it says is over.
            (Then(ApplySecret), ""),
            (Look(Secret), "app_a, delivered by 1 for nonce-1, landed"),
            (Retire(A), "refused"),
            (Look(Previous), "accepted"),
            (Look(Preflight), "app_a, passed"),
            (Then(DeleteSecret), ""),
            (Look(Secret), "missing"),
            (SetVerifier(B), "refused"),
            (Retire(A), "refused"),
            (Look(Pending), "accepted"),
            (Look(Previous), "accepted"),
        ],
    );
}

#[test]
fn what_was_delivered_once_can_be_delivered_again_and_has_a_mark_of_its_own() {
    play(
        "again",
        true,
        json!({}),
        FLIPPED,
        &[
            (Look(Consumers), "web: not marked, 1 old"),
            (Restart, "done"),
            (Then(RolledOut), ""),
            (Load, ROTATING),
            (Look(Secret), DELIVERED),
            (Look(Consumers), "web: marked, 0 old"),
            // The same once more is a delivery of its own: the machine does not ask for one that it sees.
            (Flip, "done"),
            (Load, ROTATING),
            (Look(Secret), DELIVERED),
            (Look(Consumers), "web: not marked, 1 old"),
            (Restart, "done"),
            (Then(RolledOut), ""),
            (Load, ROTATING),
            (Look(Consumers), "web: marked, 0 old"),
            // What somebody writes beside it changes nothing either.
            (Then(TouchSecret), ""),
            (Look(Secret), DELIVERED),
            (Look(Consumers), "web: marked, 0 old"),
            (Then(TimePasses), ""),
            (Then(ReplaceSecret), ""),
            (Look(Secret), "app_a"),
            (Then(TimePasses), ""),
            (Flip, "done"),
            (Load, ROTATING),
            (Look(Secret), DELIVERED),
            (Look(Consumers), "web: not marked, 1 old"),
            // Without the mark nobody can tell which pods are younger.
            (Then(UnmarkSecret), ""),
            (Look(Secret), "app_b, pending"),
            (Look(Consumers), "web: not marked, 1 old"),
            (Flip, "done"),
            (Load, ROTATING),
            (Look(Secret), DELIVERED),
        ],
    );
}

#[test]
fn a_lost_journal_is_found_again_by_what_the_secret_says() {
    play(
        "lost",
        true,
        json!({}),
        STAGED,
        &[
            // Before the flip: nobody has been told anything, and the next rotation makes another password.
            (SetVerifier(B), "done"),
            (Look(Pending), "accepted"),
            (Then(DeleteJournal), ""),
            (Flip, "done"),
            (Load, "no journal"),
            (Look(Secret), "app_b, delivered by 1 for nonce-1, landed"),
            (Look(Pending), "error: unusable"),
            (Flip, "error: unusable"),
            // After it: the Secret says which rotation it was.
            (Record(Recover), "done"),
            (Load, "no journal"),
            (Look(Secret), "app_b, delivered by 1 for nonce-1, landed"),
            (Record(Recover), "done"),
            (Load, "journal 1, answered nonce-1, Recovery from app_a to app_b"),
            (Look(Secret), DELIVERED),
            (Look(Pending), "accepted"),
            (Look(Previous), "unknown"),
            (Look(Consumers), "web: not marked, 1 old"),
            (Restart, "done"),
            (Then(RolledOut), ""),
            (Load, "journal 1, answered nonce-1, Recovery from app_a to app_b"),
            (Look(Secret), DELIVERED),
            (Look(Consumers), "web: marked, 0 old"),
            (Record(RollOut), "done"),
            (
                Load,
                "journal 1, answered nonce-1, Recovery from app_a to app_b, rolled out",
            ),
            (Look(Secret), DELIVERED),
            (Look(Sessions), "0 left, quiet 1"),
            (Retire(A), "done"),
            (Look(Previous), "unknown"),
            (Record(Finish), "done"),
            (Load, "journal 1, answered nonce-1, idle, 1 ended"),
            (Then(CorruptJournal), ""),
            (Load, "corrupt journal"),
            (Record(Adopt), "error: unusable"),
            (Load, "corrupt journal"),
        ],
    );
}

#[test]
fn a_recovery_takes_only_what_the_secret_really_says() {
    play(
        "recover",
        false,
        json!({}),
        FLIPPED,
        &[
            (Then(DeleteJournal), ""),
            (Load, "no journal"),
            (Record(Recover), "done"),
            (Then(ApplySecret), ""),
            (Load, "no journal"),
            (Record(Recover), "error: conflict"),
            (Then(DeleteSecret), ""),
            (Record(Recover), "error: conflict"),
            (Load, "no journal"),
        ],
    );
}

#[test]
fn a_policy_that_is_suspended_deleted_or_gone_is_seen_to_be_so() {
    play(
        "policy",
        false,
        json!({}),
        STAGED,
        &[
            (Publish, "shown"),
            (Publish, "error: conflict"),
            (Load, ROTATING),
            (Then(Suspend), ""),
            (Publish, "error: conflict"),
            (
                Load,
                "journal 1, answered nonce-1, RotateNow from app_a to app_b; suspended",
            ),
            (Publish, "shown"),
            (Then(Resume), ""),
            (Load, ROTATING),
            (Then(DeletePolicy), ""),
            (
                Load,
                "journal 1, answered nonce-1, RotateNow from app_a to app_b; deleting",
            ),
            (Publish, "shown"),
            (Then(Finalize), ""),
            (Publish, "error: conflict"),
            (Load, "gone"),
        ],
    );
}
