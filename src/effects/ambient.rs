//! Time and chance: the only callers of the clock and of the random generator.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the clock and rolls the dice"
)]

use jiff::Timestamp;
use rand::RngExt as _;
use rand::distr::Uniform;

use crate::policy::password::Recipe;
use crate::sensitive::Sensitive;

/// The clock and the random generator of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ambient;

impl Ambient {
    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// A number smaller than `n`, each equally likely; 0 when there is none. The generator is a cryptographic one,
    /// seeded by the operating system.
    #[must_use]
    pub fn below(&self, n: usize) -> usize {
        // Not `random_range`, which trades a small bias for speed.
        Uniform::new(0, n).map_or(0, |even| rand::rng().sample(even))
    }

    /// A new password.
    #[must_use]
    pub fn password(&self, recipe: &Recipe) -> Sensitive {
        Sensitive::new(recipe.make(|n| self.below(n)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_number_below_n_comes_up_and_no_other() {
        let seen: HashSet<usize> = (0..2_000).map(|_| Ambient.below(7)).collect();
        assert_eq!(seen, (0..7).collect());
        assert_eq!(Ambient.below(0), 0);
    }

    #[test]
    fn numbers_are_spread_evenly() {
        let n = 62;
        let draws = 62_000;
        let mut counts = vec![0_i64; n];
        for _ in 0..draws {
            counts[Ambient.below(n)] += 1;
        }
        let expected = i64::from(draws) / 62;
        let chi_squared: i64 = counts.iter().map(|c| (c - expected).pow(2) / expected).sum();
        // With 61 degrees of freedom, more than 150 comes up less than once in a hundred million runs.
        assert!(chi_squared < 150, "{counts:?}");
    }

    #[test]
    fn fm26_passwords_need_no_quoting_anywhere_and_never_repeat() {
        let recipe = Recipe::new(32, true).unwrap();
        let passwords: HashSet<String> = (0..1_000)
            .map(|_| Ambient.password(&recipe).expose().to_owned())
            .collect();
        assert_eq!(passwords.len(), 1_000);
        for password in passwords {
            assert_eq!(password.len(), 32);
            assert!(password.starts_with(|c: char| c.is_ascii_alphabetic()));
            assert!(password.ends_with(|c: char| c.is_ascii_alphanumeric()));
            assert!(
                password
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)),
                "{password}"
            );
        }
    }
}
