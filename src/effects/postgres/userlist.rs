//! The file in which `PgBouncer` is told passwords: one line for each user, `"name" "password or verifier"`.

use std::ops::Range;

use super::verifier::Verifier;
use crate::policy::target::RoleName;
use crate::sensitive::Sensitive;

/// A file, and where the password of each user stands in it. Whatever else there is stays as it is.
#[derive(Clone, Debug)]
pub struct Userlist {
    text: Sensitive,
    entries: Vec<(String, Range<usize>)>,
}

/// Why a file, or one user's entry in it, is not touched. It repeats nothing of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// A line is not of the form.
    #[error(
        "has in line {0} something else than a user and a password, each between double quotes; from there on the pooler may read nothing"
    )]
    Malformed(usize),
    /// The user has no entry.
    #[error("has no line for the user {0:?}; add one with the name and the password that it has now")]
    Missing(String),
    /// The user has several.
    #[error("has several lines for the user {0:?}, of which the pooler takes one; leave one")]
    Twice(String),
}

impl Userlist {
    /// Reads a file, more strictly than the pooler, which silently leaves out what follows a line that it cannot read.
    ///
    /// # Errors
    /// Names the first line that is not understood.
    pub fn parse(text: Sensitive) -> Result<Self, Flaw> {
        let mut entries = Vec::new();
        let mut start = 0;
        for (number, line) in text.expose().split_inclusive('\n').enumerate() {
            if !is_blank(line) {
                let (user, password) = entry(line).ok_or(Flaw::Malformed(number + 1))?;
                entries.push((user, start + password.start..start + password.end));
            }
            start += line.len();
        }
        Ok(Self { text, entries })
    }

    /// Whether the user's entry is this password, or this verifier.
    ///
    /// # Errors
    /// When it has not exactly one.
    pub fn has(&self, user: &RoleName, secrets: &[&Sensitive]) -> Result<bool, Flaw> {
        let found = self.text.expose().get(self.place(user)?).unwrap_or_default();
        let found = Sensitive::new(found.replace("\"\"", "\""));
        Ok(secrets.iter().any(|secret| secret.same_as(&found)))
    }

    /// The file with another verifier for this user, and without any other change.
    ///
    /// # Errors
    /// When it has not exactly one entry.
    pub fn with(&self, user: &RoleName, verifier: &Verifier) -> Result<Sensitive, Flaw> {
        let mut text = self.text.expose().to_owned();
        // A verifier contains no quotes.
        text.replace_range(self.place(user)?, verifier.sensitive().expose());
        Ok(Sensitive::new(text))
    }

    fn place(&self, user: &RoleName) -> Result<Range<usize>, Flaw> {
        let mut found = self.entries.iter().filter(|(name, _)| name == user.as_str());
        match (found.next(), found.next()) {
            (None, _) => Err(Flaw::Missing(user.to_string())),
            (Some((_, place)), None) => Ok(place.clone()),
            (Some(_), Some(_)) => Err(Flaw::Twice(user.to_string())),
        }
    }
}

/// Nothing, or a comment.
fn is_blank(line: &str) -> bool {
    let line = line.trim_ascii_start();
    line.is_empty() || line.starts_with(';')
}

/// The user, and where the password stands. The pooler takes no notice of what follows.
fn entry(line: &str) -> Option<(String, Range<usize>)> {
    let user = quoted(line, skip_blanks(line, 0))?;
    let password = quoted(line, skip_blanks(line, user.end + 1))?;
    Some((line.get(user)?.replace("\"\"", "\""), password))
}

/// What stands between the quote here and the next one that is not doubled.
fn quoted(line: &str, at: usize) -> Option<Range<usize>> {
    let start = at + line.get(at..)?.starts_with('"').then_some(1)?;
    let mut end = start;
    loop {
        end += line.get(end..)?.find('"')?;
        if !line.get(end + 1..)?.starts_with('"') {
            return Some(start..end);
        }
        end += 2;
    }
}

fn skip_blanks(line: &str, at: usize) -> usize {
    let rest = line.get(at..).unwrap_or_default();
    at + rest.len() - rest.trim_start_matches([' ', '\t']).len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn role(name: &str) -> RoleName {
        RoleName::new(name).unwrap()
    }

    fn sensitive(text: &str) -> Sensitive {
        Sensitive::new(text.to_owned())
    }

    fn parse(text: &str) -> Result<Userlist, Flaw> {
        Userlist::parse(sensitive(text))
    }

    fn verifier() -> Verifier {
        Verifier::compute(&sensitive("secret"))
    }

    #[test]
    fn one_entry_is_changed_and_every_other_byte_stays() {
        let before = "; made by hand\n\n  \"app_a\"  \"plain\" ; the first\r\n\"o\"\"b\"\t\"with \"\" quote\"\n\"app_b\" \"old\"";
        let list = parse(before).unwrap();
        let new = verifier();
        let after = list.with(&role("app_b"), &new).unwrap();
        let expected = before.replace("\"old\"", &format!("\"{}\"", new.sensitive().expose()));
        assert_eq!(after.expose(), expected);
        assert_eq!(list.has(&role("app_a"), &[&sensitive("plain")]), Ok(true));
        assert_eq!(list.has(&role("o\"b"), &[&sensitive("with \" quote")]), Ok(true));
        assert_eq!(
            list.has(&role("app_b"), &[&sensitive("other"), new.sensitive()]),
            Ok(false)
        );
        let again = Userlist::parse(after).unwrap();
        assert_eq!(again.has(&role("app_b"), &[new.sensitive()]), Ok(true));
        assert_eq!(
            list.has(&role("nobody"), &[]),
            Err(Flaw::Missing("nobody".into()))
        );
        let flaw = list.has(&role("nobody"), &[]).unwrap_err();
        assert!(flaw.to_string().contains("the user \"nobody\""), "{flaw}");
    }

    #[test]
    fn what_is_not_understood_is_not_touched() {
        let cases = [
            ("app_a secret", Flaw::Malformed(1)),
            ("\"app_a\" secret\n", Flaw::Malformed(1)),
            ("\"a\" \"b\"\n\"app_a\"", Flaw::Malformed(2)),
            ("\"app_a\" \"open", Flaw::Malformed(1)),
            // The pooler itself would take the next line's quotes for the end of this one.
            ("\"app_a\n\" \"x\"", Flaw::Malformed(1)),
            ("\"app_a\",\"x\"", Flaw::Malformed(1)),
        ];
        for (text, flaw) in cases {
            assert_eq!(parse(text).unwrap_err(), flaw, "{text}");
        }
        let twice = parse("\"app_a\" \"x\"\n\"app_a\" \"y\"\n").unwrap();
        assert_eq!(twice.has(&role("app_a"), &[]), Err(Flaw::Twice("app_a".into())));
        assert_eq!(
            twice.with(&role("app_a"), &verifier()).unwrap_err(),
            Flaw::Twice("app_a".into())
        );
    }

    #[test]
    fn fm28_debug_shows_no_password_nor_does_a_flaw() {
        let list = parse("\"app_a\" \"hunter2\"").unwrap();
        let flaw = parse("hunter2").unwrap_err();
        let shown = format!("{list:?} {flaw} {flaw:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    proptest! {
        #[test]
        fn whatever_a_name_and_a_password_are_made_of_they_are_found_again(
            name in "[^\0\n\r]{1,40}", password in "[^\0\n\r]{0,60}",
        ) {
            let double = |text: &str| text.replace('"', "\"\"");
            let text = format!("\"{}\" \"{}\"\n", double(&name), double(&password));
            let list = parse(&text).unwrap();
            if let Ok(user) = RoleName::new(&name) {
                prop_assert_eq!(list.has(&user, &[&sensitive(&password)]), Ok(true));
            }
        }

        #[test]
        fn no_text_makes_it_fail_otherwise_than_by_a_line(text in "[a\" ;\t\n]{0,40}") {
            match parse(&text) {
                Ok(list) => for (_, place) in &list.entries {
                    prop_assert!(text.get(place.clone()).is_some());
                },
                Err(flaw) => prop_assert!(matches!(flaw, Flaw::Malformed(_))),
            }
        }
    }
}
