//! What a generated password looks like: a recipe, never a password.

/// First characters: a letter, so that no YAML reader takes the password for a number or a date (R37).
const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The others.
const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// The only symbols that every URI, shell, driver and configuration file takes as they are.
const SYMBOLS: &[u8] = b"-_";

/// How to make a password out of random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    length: u8,
    symbol: bool,
}

impl Recipe {
    /// A recipe for passwords of this length, with or without one symbol.
    ///
    /// # Errors
    /// Refuses lengths outside 20 to 99: shorter ones can be guessed, longer ones are cut by old clients (R37).
    pub fn new(length: u8, symbol: bool) -> Result<Self, String> {
        if !(20..=99).contains(&length) {
            return Err(format!("{length} is not between 20 and 99"));
        }
        Ok(Self { length, symbol })
    }

    /// Makes one password. `below(n)` gives an unbiased random number smaller than `n`.
    ///
    /// Passwords without an upper-case letter, a lower-case letter and a digit are thrown away and made again, which
    /// keeps those that remain equally likely.
    pub fn make(&self, mut below: impl FnMut(usize) -> usize) -> String {
        loop {
            let mut text = String::with_capacity(self.length.into());
            text.push(pick(LETTERS, &mut below));
            while text.len() < self.length.into() {
                text.push(pick(ALPHABET, &mut below));
            }
            if self.symbol {
                // Never first nor last, where a shell or a file format could give it a meaning.
                let at = 1 + below(usize::from(self.length) - 2);
                text.replace_range(at..=at, pick(SYMBOLS, &mut below).encode_utf8(&mut [0; 4]));
            }
            let has = |test: fn(char) -> bool| text.chars().any(test);
            if has(|c| c.is_ascii_uppercase())
                && has(|c| c.is_ascii_lowercase())
                && has(|c| c.is_ascii_digit())
            {
                return text;
            }
        }
    }
}

fn pick(from: &[u8], below: &mut impl FnMut(usize) -> usize) -> char {
    from.get(below(from.len())).copied().map_or('A', char::from)
}
