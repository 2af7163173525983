//! Further keys of the application Secret, rendered from the credential with the escapes of the place they stand in.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but RFC 3986's unreserved characters is encoded, so that no part of a URI can end early.
pub(crate) const URI: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A text with places for the user name and the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value(Field, Escape),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Username,
    Password,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    Uri,
    SingleQuote,
    DoubleQuote,
}

impl Template {
    /// Reads `{username}` and `{password}`, each with an optional escape: `uri` and `jdbc` percent-encode, `squote` and
    /// `dquote` put a backslash before the quote and the backslash. `{{` and `}}` are braces.
    ///
    /// # Errors
    /// Says what stands in the braces that should not.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '{' if rest.next_if_eq(&'{').is_some() => plain.push('{'),
                '}' if rest.next_if_eq(&'}').is_some() => plain.push('}'),
                '}' => return Err("a single } stands alone; write }} for a brace".into()),
                '{' => {
                    let mut inside = String::new();
                    loop {
                        match rest.next() {
                            Some('}') => break,
                            Some(c) => inside.push(c),
                            None => return Err("a { is never closed; write {{ for a brace".into()),
                        }
                    }
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    }
                    pieces.push(value(&inside)?);
                }
                c => plain.push(c),
            }
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    /// The text for one credential.
    #[must_use]
    pub fn render(&self, username: &str, password: &str) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Value(field, escape) => {
                    let value = match field {
                        Field::Username => username,
                        Field::Password => password,
                    };
                    match escape {
                        Escape::None => out.push_str(value),
                        Escape::Uri => out.extend(utf8_percent_encode(value, URI)),
                        Escape::SingleQuote => quote(&mut out, value, '\''),
                        Escape::DoubleQuote => quote(&mut out, value, '"'),
                    }
                }
            }
        }
        out
    }
}

fn value(inside: &str) -> Result<Piece, String> {
    let (field, escape) = inside.split_once(':').unwrap_or((inside, ""));
    let field = match field {
        "username" => Field::Username,
        "password" => Field::Password,
        other => {
            return Err(format!(
                "{{{other}}} is unknown; write {{username}} or {{password}}"
            ));
        }
    };
    let escape = match escape {
        "" => Escape::None,
        "uri" | "jdbc" => Escape::Uri,
        "squote" => Escape::SingleQuote,
        "dquote" => Escape::DoubleQuote,
        other => {
            return Err(format!(
                "escape {other:?} is unknown; use uri, jdbc, squote or dquote"
            ));
        }
    };
    Ok(Piece::Value(field, escape))
}

/// As libpq's connection strings and most configuration files want it: a backslash before the quote and itself.
fn quote(out: &mut String, value: &str, mark: char) {
    for c in value.chars() {
        if c == mark || c == '\\' {
            out.push('\\');
        }
        out.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::Template;

    fn render(text: &str) -> String {
        Template::parse(text).unwrap().render("app/ä", r#"p'@"\:%"#)
    }

    #[test]
    fn each_escape_fits_its_place() {
        assert_eq!(render("{username}|{password}"), r#"app/ä|p'@"\:%"#);
        assert_eq!(
            render("postgresql://{username:uri}:{password:uri}@db"),
            "postgresql://app%2F%C3%A4:p%27%40%22%5C%3A%25@db"
        );
        assert_eq!(render("password='{password:squote}'"), r#"password='p\'@"\\:%'"#);
        assert_eq!(render(r#""{password:dquote}""#), r#""p'@\"\\:%""#);
        assert_eq!(render("{{{username}}}"), "{app/ä}");
    }

    #[test]
    fn what_stands_in_wrong_braces_is_named() {
        for (text, named) in [
            ("{user}", "{user}"),
            ("{password:html}", "html"),
            ("{password", "never closed"),
            ("a}b", "alone"),
        ] {
            assert!(Template::parse(text).unwrap_err().contains(named), "{text}");
        }
    }
}
