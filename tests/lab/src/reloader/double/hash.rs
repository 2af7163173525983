//! What of a Secret's content reaches a workload.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use sha1::{Digest as _, Sha1};

/// What a Secret's data comes to.
pub(super) fn of_secret(data: &BTreeMap<String, ByteString>) -> String {
    hash(data.iter().map(|(key, value)| pair(key, &value.0)).collect())
}

/// What a `ConfigMap`'s data comes to.
pub(super) fn of_config_map(
    data: &BTreeMap<String, String>,
    binary: &BTreeMap<String, ByteString>,
) -> String {
    let texts = data.iter().map(|(key, value)| pair(key, value.as_bytes()));
    let binary = binary.iter();
    let binary = binary.map(|(key, value)| pair(key, STANDARD.encode(&value.0).as_bytes()));
    hash(texts.chain(binary).collect())
}

fn pair(key: &str, value: &[u8]) -> Vec<u8> {
    [key.as_bytes(), b"=", value].concat()
}

/// Nothing is escaped: a value with `;` in it can look like another pair, and then a change is not seen.
fn hash(mut pairs: Vec<Vec<u8>>) -> String {
    pairs.sort();
    hex::encode(Sha1::digest(pairs.join(&b';')))
}

/// The variable for an object: `STAKATER_DB_SECRET` for a Secret `db`. Different names can have the same one.
pub(super) fn variable(name: &str, suffix: &str) -> String {
    let mut variable = "STAKATER_".to_owned();
    for letter in name.to_ascii_uppercase().chars() {
        if letter.is_ascii_alphanumeric() {
            variable.push(letter);
        } else if !variable.ends_with('_') {
            variable.push('_');
        }
    }
    if !variable.ends_with('_') {
        variable.push('_');
    }
    variable + suffix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_real_one() {
        for (data, expected) in [
            (&[][..], "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            (
                &[("username", "app_a"), ("password", "p1")],
                "47420d9182db74a96ee77f9b7b3c78af38ea3278",
            ),
            (
                &[("a", "x\n"), ("b", "é=;")],
                "77871f4a3d24c2c37bcae42699bb5c44eb0cd527",
            ),
        ] {
            let data = data.iter();
            let data = data.map(|(key, value)| ((*key).to_owned(), ByteString((*value).into())));
            assert_eq!(of_secret(&data.collect()), expected);
        }
    }

    #[test]
    fn a_run_of_other_letters_is_one_underscore() {
        assert_eq!(variable("db.prod--x-1", "SECRET"), "STAKATER_DB_PROD_X_1_SECRET");
        assert_eq!(variable("9db", "SECRET"), "STAKATER_9DB_SECRET");
    }
}
