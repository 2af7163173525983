//! What a version that Tandem proposes is called: a function of the rotation, so that whoever proposes it, and however
//! often, there is one.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Length of an owner: a uid without its dashes.
const OWNER: usize = 32;
/// Hexadecimal digits of the digest. With the longest number, the whole has 64 characters: as many as AWS takes.
const DIGEST: usize = 10;

/// The version that a rotation proposes, as `<uid>-<number>-<digest>`: the uid of the policy without its dashes, the
/// number of the rotation, and a digest of these, of how many passwords the server has rejected, and of the version
/// that it is made from. So another password or another base is another version, and the same is the same.
#[must_use]
pub fn version_id(policy_uid: &str, number: u64, rejected: u32, base: &str) -> String {
    let digest = hex(&format!("{policy_uid}\0{number}\0{rejected}\0{base}"), DIGEST);
    format!("{}-{number}-{digest}", owner(policy_uid))
}

/// The rotation of this policy that proposed a version; none when somebody else did.
#[must_use]
pub fn rotation_of(version_id: &str, policy_uid: &str) -> Option<u64> {
    let rest = version_id.strip_prefix(&owner(policy_uid))?.strip_prefix('-')?;
    let (number, digest) = rest.split_once('-')?;
    let digest = digest.len() == DIGEST && digest.bytes().all(|b| b.is_ascii_hexdigit());
    let canonical = number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
    (digest && canonical).then(|| number.parse().ok()).flatten()
}

/// The uid without its dashes; the API server makes nothing but UUIDs. Any other is hashed, which keeps the length.
fn owner(uid: &str) -> String {
    let plain: String = uid.chars().filter(|c| *c != '-').collect();
    if plain.len() == OWNER && plain.bytes().all(|b| b.is_ascii_alphanumeric()) {
        plain
    } else {
        hex(uid, OWNER)
    }
}

fn hex(text: &str, digits: usize) -> String {
    let mut all = String::new();
    for byte in Sha256::digest(text) {
        // Writing to a string does not fail.
        let _ = write!(all, "{byte:02x}");
    }
    all.truncate(digits);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0b5c1d7e-4f7a-4f0e-9a55-3a1f0c2d9b88";

    #[test]
    fn a_version_id_can_be_read() {
        let id = version_id(UID, 7, 0, "EXAMPLE1-90ab-cdef-fedc-ba987EXAMPLE");
        assert!(id.starts_with("0b5c1d7e4f7a4f0e9a553a1f0c2d9b88-7-"), "{id}");
        assert_eq!(rotation_of(&id, UID), Some(7));
    }

    #[test]
    fn every_version_id_has_a_length_that_the_store_takes() {
        for uid in [UID, "", "u", "a very much longer one, that nobody has ever seen"] {
            for number in [1, u64::MAX] {
                let id = version_id(uid, number, u32::MAX, "base");
                assert!((32..=64).contains(&id.len()), "{id}");
                assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{id}");
                assert_eq!(rotation_of(&id, uid), Some(number));
            }
        }
    }

    #[test]
    fn whatever_differs_makes_another_version_and_the_same_makes_the_same() {
        let ids = [
            version_id(UID, 1, 0, "base"),
            version_id("1b5c1d7e-4f7a-4f0e-9a55-3a1f0c2d9b88", 1, 0, "base"),
            version_id(UID, 2, 0, "base"),
            version_id(UID, 1, 1, "base"),
            version_id(UID, 1, 0, "other"),
        ];
        for (i, one) in ids.iter().enumerate() {
            for (j, other) in ids.iter().enumerate() {
                assert_eq!(one == other, i == j);
            }
        }
        assert_eq!(ids[0], version_id(UID, 1, 0, "base"));
    }

    #[test]
    fn a_version_of_somebody_else_is_nobodys_rotation() {
        let id = version_id(UID, 7, 0, "base");
        let other = "1b5c1d7e-4f7a-4f0e-9a55-3a1f0c2d9b88";
        assert_eq!(rotation_of(&id, other), None);
        let owner = owner(UID);
        for id in [
            "EXAMPLE1-90ab-cdef-fedc-ba987EXAMPLE".to_owned(),
            owner.clone(),
            format!("{owner}-7"),
            format!("{owner}-7-0123456789a"),
            format!("{owner}-07-0123456789"),
            format!("{owner}-+7-0123456789"),
            format!("{owner}--0123456789"),
            format!("{owner}-99999999999999999999-0123456789"),
        ] {
            assert_eq!(rotation_of(&id, UID), None, "{id}");
        }
    }
}
