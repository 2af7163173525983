//! The JSON document that a secret holds. Two of its values are Tandem's; everything else belongs to whoever made it and
//! is kept byte for byte: spaces, order, escapes, numbers, and keys that come twice.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::sensitive::Sensitive;

/// What a version holds, in the form in which the store gave it. No `Debug`: it is the secret.
#[derive(Clone)]
pub enum Body {
    /// Text.
    Text(Sensitive),
    /// Bytes.
    Binary(Zeroizing<Vec<u8>>),
}

/// The keys of the two values.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    /// Key of the user name.
    pub username: &'a str,
    /// Key of the password.
    pub password: &'a str,
}

/// One version of a secret, in which the two values have been found. No `Debug`: it holds the secret.
#[derive(Clone)]
pub struct Document {
    version: String,
    body: Body,
    user: Place,
    password: Place,
}

/// A value, and where in the text it stands, its quotation marks included.
#[derive(Clone)]
struct Place {
    at: Range<usize>,
    value: Sensitive,
}

/// Why a document cannot be used. Names keys and positions, never values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// There is nothing in it.
    Empty,
    /// It is not JSON from this line and column on; 0 and 0 when it is no text at all.
    NotJson(usize, usize),
    /// It is JSON, but no object.
    NotAnObject,
    /// The object lacks this key.
    Missing(String),
    /// The object has this key more than once, and readers differ in which one they take.
    Twice(String),
    /// The value under this key is no text.
    NotText(String),
}

impl Document {
    /// Finds the two values.
    ///
    /// # Errors
    /// Says why they cannot be found, or not be replaced without a doubt.
    pub fn parse(version: String, body: Body, keys: Keys<'_>) -> Result<Self, Flaw> {
        let text = body.text().ok_or(Flaw::NotJson(0, 0))?;
        if text.trim().is_empty() {
            return Err(Flaw::Empty);
        }
        let whole: &RawValue = serde_json::from_str(text).map_err(|error| not_json(&error))?;
        if !whole.get().starts_with('{') {
            return Err(Flaw::NotAnObject);
        }
        let found = serde_json::Deserializer::from_str(text)
            .deserialize_map(Finder { keys })
            .map_err(|error| not_json(&error))?;
        let user = place(text, keys.username, &found.username)?;
        let password = place(text, keys.password, &found.password)?;
        Ok(Self {
            version,
            body,
            user,
            password,
        })
    }

    /// Identity of the version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What stands under the user name key.
    #[must_use]
    pub fn user(&self) -> &str {
        self.user.value.expose()
    }

    /// What stands under the password key.
    #[must_use]
    pub fn password(&self) -> &Sensitive {
        &self.password.value
    }

    /// Whether it carries exactly this credential.
    #[must_use]
    pub fn carries(&self, user: &str, password: &Sensitive) -> bool {
        self.user() == user && self.password().same_as(password)
    }

    /// What the version holds.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The same with another credential, in the same form.
    #[must_use]
    pub fn with(&self, user: &str, password: &Sensitive) -> Body {
        let text = self.body.text().unwrap_or_default();
        let (user, password) = (
            (&self.user.at, quoted(user)),
            (&self.password.at, quoted(password.expose())),
        );
        let (first, second) = if user.0.start < password.0.start {
            (user, password)
        } else {
            (password, user)
        };
        let part = |range: Range<usize>| text.get(range).unwrap_or_default();
        let parts = [
            part(0..first.0.start),
            &first.1,
            part(first.0.end..second.0.start),
            &second.1,
            part(second.0.end..text.len()),
        ];
        // `concat` knows the length beforehand: no copy of the secret is left behind by growing.
        let whole = parts.concat();
        match self.body {
            Body::Text(_) => Body::Text(Sensitive::new(whole)),
            Body::Binary(_) => Body::Binary(Zeroizing::new(whole.into_bytes())),
        }
    }
}

impl Body {
    /// The text in it.
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.expose()),
            Self::Binary(bytes) => std::str::from_utf8(bytes).ok(),
        }
    }
}

/// Where, and never what: some of the parser's messages repeat values.
fn not_json(error: &serde_json::Error) -> Flaw {
    Flaw::NotJson(error.line(), error.column())
}

fn place(text: &str, key: &str, found: &[&RawValue]) -> Result<Place, Flaw> {
    let [raw] = found else {
        return Err(if found.is_empty() {
            Flaw::Missing(key.to_owned())
        } else {
            Flaw::Twice(key.to_owned())
        });
    };
    let value: String = serde_json::from_str(raw.get()).map_err(|_| Flaw::NotText(key.to_owned()))?;
    // The parser lends parts of the text itself, so the distance between the two is the position.
    let start = raw.get().as_ptr().addr() - text.as_ptr().addr();
    Ok(Place {
        at: start..start + raw.get().len(),
        value: Sensitive::new(value),
    })
}

/// As JSON writes it.
fn quoted(text: &str) -> Zeroizing<String> {
    Zeroizing::new(serde_json::Value::from(text).to_string())
}

/// Every value that stands under one of the two keys, at the top.
struct Found<'de> {
    username: Vec<&'de RawValue>,
    password: Vec<&'de RawValue>,
}

struct Finder<'k> {
    keys: Keys<'k>,
}

impl<'de> Visitor<'de> for Finder<'_> {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found<'de>, A::Error> {
        let (mut username, mut password) = (Vec::new(), Vec::new());
        while let Some(key) = map.next_key::<String>()? {
            let value: &RawValue = map.next_value()?;
            if key == self.keys.username {
                username.push(value);
            }
            if key == self.keys.password {
                password.push(value);
            }
        }
        Ok(Found { username, password })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEYS: Keys<'static> = Keys {
        username: "username",
        password: "password",
    };

    fn text(text: &str) -> Body {
        Body::Text(Sensitive::new(text.to_owned()))
    }

    fn parse(body: Body) -> Result<Document, Flaw> {
        Document::parse("v1".into(), body, KEYS)
    }

    fn replaced(before: &str, user: &str, password: &str) -> String {
        let after = parse(text(before))
            .unwrap_or_else(|flaw| panic!("{before}: {flaw:?}"))
            .with(user, &Sensitive::new(password.into()));
        assert!(matches!(after, Body::Text(_)), "text stays text");
        after.text().unwrap().to_owned()
    }

    #[test]
    fn only_the_two_values_change() {
        let cases = [
            (
                r#"{"username":"app_a","password":"old"}"#,
                r#"{"username":"app_b","password":"n\"w"}"#,
            ),
            (
                "\n{ \"password\" :\"old\",\t\"username\": \"app_a\" ,\"port\":5.4320e3}\r\n",
                "\n{ \"password\" :\"n\\\"w\",\t\"username\": \"app_b\" ,\"port\":5.4320e3}\r\n",
            ),
            (
                r#"{"a":1,"a":2,"user\u006eame":"app_a","x":{"password":"inner"},"password":"o\u006cd","z":"\u00e9é\/"}"#,
                r#"{"a":1,"a":2,"user\u006eame":"app_b","x":{"password":"inner"},"password":"n\"w","z":"\u00e9é\/"}"#,
            ),
        ];
        for (before, after) in cases {
            assert_eq!(replaced(before, "app_b", "n\"w"), after);
        }
    }

    #[test]
    fn what_cannot_be_replaced_without_a_doubt_is_refused() {
        let cases = [
            ("", Flaw::Empty),
            (" \n", Flaw::Empty),
            ("hunter2", Flaw::NotJson(1, 1)),
            (r#"{"username":"a","password":"b"} x"#, Flaw::NotJson(1, 33)),
            (r#"{"username":"a","password":"b",}"#, Flaw::NotJson(1, 32)),
            ("\u{feff}{}", Flaw::NotJson(1, 1)),
            (r#"["username","password"]"#, Flaw::NotAnObject),
            (r#""username""#, Flaw::NotAnObject),
            (
                r#"{"username":"a","Password":"b"}"#,
                Flaw::Missing("password".into()),
            ),
            (
                r#"{"x":{"username":"a"},"password":"b"}"#,
                Flaw::Missing("username".into()),
            ),
            (
                r#"{"username":"a","password":"b","password":"b"}"#,
                Flaw::Twice("password".into()),
            ),
            (
                r#"{"username":"a","password":"b","p\u0061ssword":"b"}"#,
                Flaw::Twice("password".into()),
            ),
            (
                r#"{"username":null,"password":"b"}"#,
                Flaw::NotText("username".into()),
            ),
            (
                r#"{"username":"a","password":123}"#,
                Flaw::NotText("password".into()),
            ),
            (
                r#"{"username":"a","password":"\ud800"}"#,
                Flaw::NotText("password".into()),
            ),
        ];
        for (body, flaw) in cases {
            assert_eq!(parse(text(body)).err(), Some(flaw), "{body}");
        }
        let bytes = Body::Binary(Zeroizing::new(vec![0xff, b'{', b'}']));
        assert_eq!(parse(bytes).err(), Some(Flaw::NotJson(0, 0)));
    }

    /// JSON as somebody may have written it: any spaces between the tokens, any key but the two.
    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("-0.10E+2".to_owned()),
            Just(r#""\u00E9\/\ud83d\ude00 é""#.to_owned()),
            any::<i64>().prop_map(|n| n.to_string()),
            any::<String>().prop_map(|s| quoted(&s).to_string()),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            let member = (any::<String>(), inner.clone())
                .prop_map(|(key, value)| format!("{}:{value}", quoted(&key).as_str()));
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(" ,\n"))),
                prop::collection::vec(member, 0..4).prop_map(|items| format!("{{\t{} }}", items.join(", "))),
            ]
        })
    }

    proptest! {
        #[test]
        fn everything_outside_the_two_values_stays_as_it_is(
            others in prop::collection::vec(("[a-zé ]{0,6}", json()), 0..5),
            places in (0..6_usize, 0..6_usize),
            before in (any::<String>(), any::<String>()),
            after in (any::<String>(), any::<String>()),
            space in "[ \t\r\n]{0,3}",
            binary in any::<bool>(),
        ) {
            // The same document twice, with the two values left out: what lies between must be found again.
            let written = |user: &str, password: &str| {
                let mut members: Vec<String> = others
                    .iter()
                    .map(|(key, value)| format!("{}{space}:{value}", quoted(key).as_str()))
                    .collect();
                let at = |place: usize, len: usize| place.min(len);
                let user = format!("\"username\":{space}{}", quoted(user).as_str());
                members.insert(at(places.0, members.len()), user);
                let password = format!("\"password\"{space}:{}", quoted(password).as_str());
                members.insert(at(places.1, members.len()), password);
                format!("{space}{{{}{space}}}{space}", members.join(&format!("{space},")))
            };
            let (old, new) = (written(&before.0, &before.1), written(&after.0, &after.1));
            let body = if binary { Body::Binary(Zeroizing::new(old.into_bytes())) } else { text(&old) };
            let document = parse(body).unwrap();
            prop_assert!(document.carries(&before.0, &Sensitive::new(before.1)));
            let password = Sensitive::new(after.1);
            let made = document.with(&after.0, &password);
            prop_assert_eq!(matches!(made, Body::Binary(_)), binary, "the form stays");
            prop_assert_eq!(made.text().unwrap(), new);
            prop_assert!(parse(made).unwrap().carries(&after.0, &password));
        }
    }
}
