//! The database, its users and their sessions, and the pods.

use serde_json::json;
use tandem::machine::Query::{Consumers, Pending, Preflight, Previous, Room, Secret, Sessions};
use tandem::machine::step::Entry::RollOut;

use crate::place::Change::{
    DatabaseDown, DatabaseUp, EndSession, NoLogin, OpenSession, ReplacePod, RolledOut, SessionsEnded,
    SetPassword, TimePasses,
};
use crate::place::Step::{Change as Then, Flip, Load, Look, Record, Restart, Retire, SetVerifier, Terminate};
use crate::scripts::{A, B, DELIVERED, FLIPPED, ROLLED_OUT, ROTATING, STAGED, play};

#[test]
fn passwords_that_somebody_else_changes_and_users_that_may_not_log_in() {
    play(
        "passwords",
        false,
        json!({}),
        STAGED,
        &[
            (Look(Pending), "wrong password"),
            (Look(Previous), "accepted"),
            (SetVerifier(B), "done"),
            (Look(Pending), "accepted"),
            (Then(SetPassword(B)), ""),
            (Look(Pending), "wrong password"),
            (Then(NoLogin(B)), ""),
            // The server asks for the password first.
            (Look(Pending), "wrong password"),
            (SetVerifier(B), "done"),
            (Look(Pending), "refused"),
            (SetVerifier(B), "done"),
            (Look(Pending), "refused"),
            (Then(SetPassword(B)), ""),
            (SetVerifier(B), "done"),
            (Look(Pending), "accepted"),
            (Then(NoLogin(A)), ""),
            (Look(Previous), "accepted"),
            (Look(Preflight), "app_a, login failed"),
            (Then(SetPassword(A)), ""),
            (Look(Previous), "refused"),
            (Look(Preflight), "app_a, login failed"),
        ],
    );
}

#[test]
fn users_that_are_retired_with_nologin() {
    play(
        "retired",
        false,
        json!({"retire": {"mode": "NoLogin"}}),
        FLIPPED,
        &[
            (Then(NoLogin(B)), ""),
            (Look(Pending), "refused"),
            (SetVerifier(B), "done"),
            (Look(Pending), "accepted"),
            (Record(RollOut), "done"),
            (Load, ROLLED_OUT),
            (Look(Secret), DELIVERED),
            (Retire(A), "done"),
            (Look(Previous), "refused"),
            (Retire(A), "done"),
            (Look(Previous), "refused"),
        ],
    );
}

#[test]
fn sessions_are_counted_and_ended_and_a_poll_that_fails_ends_the_quiet() {
    play(
        "sessions",
        false,
        json!({}),
        FLIPPED,
        &[
            (Record(RollOut), "done"),
            (Load, ROLLED_OUT),
            (Look(Secret), DELIVERED),
            (Look(Room), "room is known"),
            (Look(Sessions), "0 left, quiet 1"),
            (Look(Sessions), "0 left, quiet 2"),
            (Then(OpenSession), ""),
            (Look(Sessions), "1 left, quiet 0"),
            (Look(Sessions), "1 left, quiet 0"),
            (Then(EndSession), ""),
            (Look(Sessions), "0 left, quiet 1"),
            (Then(OpenSession), ""),
            (Terminate(A), "done"),
            (Then(SessionsEnded), ""),
            // Nobody has looked while it was there.
            (Look(Sessions), "0 left, quiet 2"),
            (Terminate(A), "done"),
            (Look(Sessions), "0 left, quiet 3"),
            (Load, ROLLED_OUT),
            (Look(Sessions), "0 left, quiet 4"),
            (Then(DatabaseDown), ""),
            (Look(Secret), DELIVERED),
            (Look(Sessions), "unreachable"),
            (Look(Room), "unreachable"),
            (Look(Pending), "refused"),
            (Look(Previous), "unreachable"),
            (Look(Preflight), "app_b, blocked, server unknown"),
            (SetVerifier(B), "refused"),
            (Retire(A), "refused"),
            (Terminate(A), "refused"),
            (Then(DatabaseUp), ""),
            (Look(Sessions), "0 left, quiet 1"),
            (Look(Pending), "accepted"),
            (Look(Previous), "accepted"),
            (Look(Preflight), "app_b, passed"),
        ],
    );
}

#[test]
fn pods_are_old_until_they_have_started_after_the_delivery() {
    play(
        "pods",
        true,
        json!({}),
        STAGED,
        &[
            (Look(Consumers), "web: not marked, 1 old"),
            (Then(ReplacePod), ""),
            (Look(Consumers), "web: not marked, 1 old"),
            (SetVerifier(B), "done"),
            (Look(Pending), "accepted"),
            (Then(TimePasses), ""),
            (Flip, "done"),
            (Load, ROTATING),
            (Look(Secret), DELIVERED),
            (Look(Consumers), "web: not marked, 1 old"),
            (Then(TimePasses), ""),
            // Somebody replaces it by hand, or a node dies: the new one has no mark, and is younger.
            (Then(ReplacePod), ""),
            (Load, ROTATING),
            (Look(Secret), DELIVERED),
            (Look(Consumers), "web: not marked, 0 old"),
            (Restart, "done"),
            (Then(RolledOut), ""),
            (Load, ROTATING),
            (Look(Secret), DELIVERED),
            (Look(Consumers), "web: marked, 0 old"),
        ],
    );
}
