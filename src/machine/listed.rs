//! Lists in messages.

use std::fmt::Display;

/// More would bury the command that a message ends with.
const SHOWN: usize = 10;

/// The first of them, and how many more there are.
#[must_use]
pub fn listed<T: Display>(all: impl IntoIterator<Item = T>) -> String {
    let mut all = all.into_iter();
    let mut shown: Vec<_> = all.by_ref().take(SHOWN).map(|one| one.to_string()).collect();
    let more = all.count();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::listed;

    #[test]
    fn a_thousand_are_ten_and_a_number() {
        assert_eq!(listed(["a", "b"]), "a, b");
        let ten = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10";
        assert_eq!(listed(1..=10), ten);
        assert_eq!(listed(1..=1000), format!("{ten}, and 990 more"));
    }
}
