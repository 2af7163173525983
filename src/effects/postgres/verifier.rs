//! SCRAM-SHA-256 verifiers: what the server keeps instead of a password.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use postgres_protocol::password::scram_sha_256;

use crate::sensitive::Sensitive;

/// Fewer rounds would make a stolen verifier easier to guess from; nothing issues them.
const MIN_ROUNDS: u32 = 4_096;
/// Clients in Rust refuse to log in with more, so that a server cannot keep them busy.
const MAX_ROUNDS: u32 = 100_000;
const KEY_BYTES: usize = 32;

/// A well-formed verifier. Only this can be sent to a server: it takes a malformed one for a password in plain text,
/// and with that text one could then log in (R1).
#[derive(Clone, Debug)]
pub struct Verifier(Sensitive);

/// A text that is no verifier. It does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a SCRAM-SHA-256 verifier")]
pub struct Malformed;

impl Verifier {
    /// Makes a verifier of the password. The salt is random, so two of the same password are different: make it once,
    /// keep it, and set that one again whenever it must be set (R2).
    #[must_use]
    pub fn compute(password: &Sensitive) -> Self {
        Self(Sensitive::new(scram_sha_256(password.expose().as_bytes())))
    }

    /// Takes a verifier that was kept.
    ///
    /// # Errors
    /// When the server would not take it for one.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        well_formed(text)
            .then(|| Self(Sensitive::new(text.to_owned())))
            .ok_or(Malformed)
    }

    /// The text, to be kept in the journal. It contains neither quotes nor backslashes.
    #[must_use]
    pub fn sensitive(&self) -> &Sensitive {
        &self.0
    }
}

/// `SCRAM-SHA-256$rounds:salt$stored key:server key`, each part strictly decoded: the server's own reader falls back to
/// plain text silently when one of them is off.
fn well_formed(text: &str) -> bool {
    let parts = || {
        let (rounds, rest) = text.strip_prefix("SCRAM-SHA-256$")?.split_once(':')?;
        let (salt, keys) = rest.split_once('$')?;
        let (stored, server) = keys.split_once(':')?;
        Some((rounds, salt, stored, server))
    };
    let Some((rounds, salt, stored, server)) = parts() else {
        return false;
    };
    let length = |part: &str| BASE64_STANDARD.decode(part).map_or(0, |bytes| bytes.len());
    // `parse` alone would take a sign and leading zeros.
    let digits = rounds.bytes().all(|b| b.is_ascii_digit()) && !rounds.starts_with('0');
    digits
        && rounds
            .parse()
            .is_ok_and(|n: u32| (MIN_ROUNDS..=MAX_ROUNDS).contains(&n))
        && length(salt) > 0
        && length(stored) == KEY_BYTES
        && length(server) == KEY_BYTES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of the password `secret`.
    const VERIFIER: &str = "SCRAM-SHA-256$4096:WEP8EcPxlyFoCIkCLjqIPA==$Mb2pR7NQPzXXCGtUQEHXW1OQcYwPl2gnPzyVjwtUjMY=:WRFeVVBqzRRVVCX0Xhb3kGCDrXZgw6iCDd7vJYzYJCk=";

    /// The form that R1 asks for, in other words than those of the code.
    fn is_in_the_language(text: &str) -> bool {
        let base64 = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
        let key = |part: &str| part.len() == 44 && part.ends_with('=') && part[..43].chars().all(base64);
        let Some(rest) = text.strip_prefix("SCRAM-SHA-256$") else {
            return false;
        };
        let fields: Vec<&str> = rest.split([':', '$']).collect();
        let [rounds, salt, stored, server] = fields[..] else {
            return false;
        };
        let order: String = rest.chars().filter(|c| matches!(c, ':' | '$')).collect();
        (4..=6).contains(&rounds.len())
            && rounds.chars().all(|c| c.is_ascii_digit())
            && salt.trim_end_matches('=').len() >= 2
            && salt.len() - salt.trim_end_matches('=').len() <= 2
            && salt.trim_end_matches('=').chars().all(base64)
            && key(stored)
            && key(server)
            && order == ":$:"
    }

    fn parses(text: &str) -> bool {
        Verifier::parse(text).is_ok()
    }

    #[test]
    fn a_computed_verifier_parses_and_is_never_the_same_twice() {
        let password = Sensitive::new("secret".into());
        let (one, other) = (Verifier::compute(&password), Verifier::compute(&password));
        assert!(parses(one.sensitive().expose()));
        assert!(is_in_the_language(one.sensitive().expose()));
        assert!(!one.sensitive().same_as(other.sensitive()));
        assert!(parses(VERIFIER));
    }

    #[test]
    fn fm28_debug_does_not_show_it_nor_does_the_error() {
        let verifier = Verifier::parse(VERIFIER).unwrap();
        let shown = format!("{verifier:?} {:?} {}", Verifier::parse("hunter2"), Malformed);
        assert!(!shown.contains("WEP8") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn what_the_server_would_take_for_plain_text_does_not_parse() {
        let cases = [
            "",
            "hunter2",
            "SCRAM-SHA-256",
            "SCRAM-SHA-256$4096:notbase64",
            "md53175bce1d3201d16594cebf9d7eb3f9d",
            &VERIFIER.replace("SCRAM", "scram"),
            &VERIFIER.replace("4096", "409"),
            &VERIFIER.replace("4096", "+4096"),
            &VERIFIER.replace("4096", "04096"),
            &VERIFIER.replace("4096", "-1"),
            &VERIFIER.replace("4096", "100001"),
            &VERIFIER.replace("4096", ""),
            &VERIFIER.replace("WEP8EcPxlyFoCIkCLjqIPA==", ""),
            &VERIFIER.replace("IPA==", "IPA="),
            &VERIFIER.replace("IPA==", "IPA"),
            &VERIFIER.replace("jMY=", "jMY"),
            &VERIFIER.replace("jMY=", "jMYA"),
            &VERIFIER.replace("JCk=", "J'k="),
            &format!("{VERIFIER}:"),
            &format!("{VERIFIER}$"),
            &format!("{VERIFIER}' VALID UNTIL 'infinity"),
            &format!(" {VERIFIER}"),
            &format!("{VERIFIER}\n"),
            &format!("{VERIFIER}\0"),
        ];
        for text in cases {
            assert!(!parses(text), "{text:?} parsed");
        }
    }

    #[test]
    fn a_verifier_with_a_byte_less_does_not_parse() {
        for at in 0..VERIFIER.len() {
            let mut text = VERIFIER.to_owned();
            text.remove(at);
            assert!(!parses(&text), "without byte {at}");
        }
    }

    proptest! {
        #[test]
        fn mutations_that_still_parse_are_still_verifiers(at in 0..VERIFIER.len(), by in any::<char>(), insert: bool) {
            let mut text: Vec<char> = VERIFIER.chars().collect();
            if insert { text.insert(at, by) } else { text[at] = by }
            let text: String = text.into_iter().collect();
            prop_assert!(!parses(&text) || is_in_the_language(&text), "{text:?}");
            if !(by.is_ascii_alphanumeric() || "+/=$:-".contains(by)) {
                prop_assert!(!parses(&text), "{text:?}");
            }
        }

        #[test]
        fn whatever_parses_is_safe_between_single_quotes(text in ".{0,200}") {
            prop_assert!(!parses(&text) || is_in_the_language(&text));
        }
    }
}
