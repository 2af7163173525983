//! The writes of one undisturbed rotation. Tests that end the controller at each write count with this list, so a
//! write that is added or dropped must be added or dropped here too.

/// A policy with one consumer and a new rotate-now value, from its first turn to its last: every
/// [`tandem::effects::World::perform`], by [`tandem::machine::Action::label`].
pub const HAPPY_WRITES: [&str; 9] = [
    // The empty Secret, which can be bound to a name, and then its content, which can be guarded.
    "adopt",
    "adopt",
    "stage",
    "set_verifier",
    "flip",
    "restart",
    "roll_out",
    "retire",
    "finish",
];

/// The same through a store.
pub const HAPPY_WRITES_THROUGH_A_STORE: [&str; 12] = [
    "adopt",
    "adopt",
    "stage",
    "set_verifier",
    "propose",
    "flip",
    "sync",
    // The journal once more: from now on the Secret carries it.
    "deliver",
    "restart",
    "roll_out",
    "retire",
    "finish",
];

/// The same of a roll-back, after a rotation with direct delivery was given up while its one consumer was rolling.
pub const ROLL_BACK_WRITES: [&str; 6] = ["roll_back", "flip", "restart", "roll_out", "retire", "finish"];
