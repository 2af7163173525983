//! The only way to hold a password: no `Debug` of the value, no `Display`, no `Serialize`, wiped when dropped.

use secrecy::{ExposeSecret, SecretString};

/// A text that must not be seen. Copies inside TLS, HTTP and database libraries are beyond its reach; see
/// docs/threat-model.md.
#[derive(Clone, Debug)]
pub struct Sensitive(SecretString);

impl Sensitive {
    /// Takes the text over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }

    /// The text itself. Every call is a place to look at in review.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether both hold the same text.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}
