//! Elements of Reloader's lists of names. Each is a regular expression of Go, put between `^` and `$` as text: an
//! alternation in it is not grouped.

use regex::bytes::{Regex, RegexBuilder};

/// The elements of a list. Only commas separate them.
pub(super) fn elements(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim)
}

/// The expression of one element; none when Reloader could not read it either.
pub(super) fn compile(element: &str) -> Option<Regex> {
    RegexBuilder::new(&translated(&format!("^{element}$"))?)
        // Names of Secrets are ASCII.
        .unicode(false)
        .build()
        .ok()
}

/// What is text to Go and not to this library: a brace that begins no repetition, and brackets and operators of sets
/// inside a class. None where Go refuses what this library takes: a repetition of a repetition.
fn translated(pattern: &str) -> Option<String> {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    let mut in_class = false;
    let mut repeated = false;
    while let Some(c) = rest.chars().next() {
        let repeats = match c {
            '*' | '+' | '?' if !in_class => Some(1),
            '{' if !in_class => repetition(rest),
            _ => None,
        };
        if let Some(length) = repeats {
            if repeated {
                return None;
            }
            // A question mark after it makes it frugal, and is no repetition of its own.
            let frugal = rest.get(length..).is_some_and(|after| after.starts_with('?'));
            let (head, tail) = rest.split_at(length + usize::from(frugal));
            out.push_str(head);
            rest = tail;
            repeated = true;
            continue;
        }
        repeated = false;
        let (taken, escaped) = match c {
            '\\' => (escape(rest), false),
            '{' if !in_class => (1, true),
            '[' if !in_class => {
                in_class = true;
                // A bracket that closes at once is one of the class.
                let negated = rest.strip_prefix("[^").map_or(1, |_| 2);
                let first = rest.get(negated..).is_some_and(|inner| inner.starts_with(']'));
                (negated + usize::from(first), false)
            }
            ']' => {
                in_class = false;
                (1, false)
            }
            '[' if rest.starts_with("[:") => (rest.find(":]").map_or(1, |end| end + 2), false),
            '[' | '&' | '~' => (1, in_class),
            c => (c.len_utf8(), false),
        };
        let (head, tail) = rest.split_at(taken.min(rest.len()));
        if escaped {
            out.push('\\');
        }
        out.push_str(head);
        rest = tail;
    }
    Some(out)
}

/// Length of an escape, with the braces that belong to it.
fn escape(text: &str) -> usize {
    let letter = text.chars().nth(1);
    let braces = letter.is_some_and(|c| matches!(c, 'x' | 'p' | 'P')) && text.get(2..3) == Some("{");
    let closed = braces.then(|| text.find('}')).flatten();
    closed.map_or(1 + letter.map_or(0, char::len_utf8), |end| end + 1)
}

/// Length of `{n}`, `{n,}` or `{n,m}`.
fn repetition(text: &str) -> Option<usize> {
    let end = text.find('}')?;
    let (least, most) = match text.get(1..end)?.split_once(',') {
        Some((least, most)) => (least, most),
        None => (text.get(1..end)?, ""),
    };
    let number = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    (!least.is_empty() && number(least) && number(most)).then_some(end + 1)
}
