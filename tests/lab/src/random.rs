//! Names and passwords that nobody else has.

use rand::RngExt as _;
use rand::distr::Alphanumeric;

/// A short word that may be part of a Kubernetes name.
pub(crate) fn word() -> String {
    let mut random = rand::rng();
    (0..5)
        .map(|_| char::from(random.random_range(b'a'..=b'z')))
        .collect()
}

/// A password of letters and digits.
pub(crate) fn password() -> String {
    rand::rng()
        .sample_iter(Alphanumeric)
        .take(24)
        .map(char::from)
        .collect()
}
