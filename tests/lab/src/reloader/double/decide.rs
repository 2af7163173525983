//! Whether a workload is to be reloaded, by the rules of the real one and in their order.

use std::collections::BTreeMap;

use regex::bytes::Regex;

use super::Exit;
use super::flags::Flags;
use super::subject::{Resource, Subject};

/// Annotations, of an object or of a pod template.
pub(super) type Annotations = BTreeMap<String, String>;

/// What the rules say of one workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is left alone.
    No,
    /// It is reloaded, whether or not it refers to the object.
    Named,
    /// It is reloaded if it refers to the object.
    IfReferred,
}

/// The verdict on a workload with these annotations, its own and those of its pod template.
///
/// # Errors
/// When an element of the list that is reached is no regular expression, with which the real program panics. What is one
/// differs a little: Go knows `\Q…\E` and `\C` besides, and not the operations on classes.
pub(super) fn verdict(
    flags: &Flags,
    kind: &str,
    subject: &Subject,
    own: &Annotations,
    template: &Annotations,
) -> Result<Verdict, Exit> {
    if flags.never_touches(kind) {
        return Ok(Verdict::No);
    }
    let is = |annotations: &Annotations, key: &str, value: &str| {
        annotations.get(key).is_some_and(|found| found == value)
    };
    if is(&subject.annotations, &flags.ignore_annotation, "true") {
        return Ok(Verdict::No);
    }
    let (named, typed_auto, exclude) = match subject.resource {
        Resource::Secret => (
            &flags.secret_annotation,
            &flags.secret_auto_annotation,
            "secrets.exclude.reloader.stakater.com/reload",
        ),
        Resource::ConfigMap => (
            &flags.configmap_annotation,
            &flags.configmap_auto_annotation,
            "configmaps.exclude.reloader.stakater.com/reload",
        ),
    };
    let keys = [
        named,
        typed_auto,
        &flags.auto_annotation,
        &flags.auto_search_annotation,
    ];
    let annotations = if keys.iter().any(|key| own.contains_key(*key)) {
        own
    } else {
        template
    };
    let excluded = own.get(exclude).map(String::as_str).unwrap_or_default();
    if excluded.split(',').any(|name| name.trim() == subject.name) {
        return Ok(Verdict::No);
    }
    let value = |key: &str| annotations.get(key).map(String::as_str).unwrap_or_default();
    if !value(named).is_empty() && in_list(value(named), &subject.name)? {
        return Ok(Verdict::Named);
    }
    if value(&flags.auto_search_annotation) == "true"
        && is(&subject.annotations, &flags.search_match_annotation, "true")
    {
        return Ok(Verdict::IfReferred);
    }
    let (auto, typed) = (value(&flags.auto_annotation), value(typed_auto));
    let unsaid = auto.is_empty() && typed.is_empty();
    if is_true(auto) || is_true(typed) || (unsaid && flags.auto_reload_all) {
        return Ok(Verdict::IfReferred);
    }
    Ok(Verdict::No)
}

/// Each element is anchored as a whole and not grouped, so that `db|x` is `^db` or `x$`.
fn in_list(list: &str, name: &str) -> Result<bool, Exit> {
    for element in list.split(',') {
        let expression = format!("^{}$", with_plain_braces(element.trim()));
        let expression = Regex::new(&expression)
            .map_err(|error| Exit::panicking(&format!("regexp: Compile({element:?}): {error}")))?;
        if expression.is_match(name.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A brace that begins no count stands for itself in Go; here it would be refused.
fn with_plain_braces(expression: &str) -> String {
    let mut parts = expression.split('{');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let count = part.split_once('}').map_or("", |(count, _)| count);
        let begins_with_figure = count.starts_with(|letter: char| letter.is_ascii_digit());
        let is_count = begins_with_figure
            && count
                .chars()
                .all(|letter| letter.is_ascii_digit() || letter == ',');
        // What is escaped, or names a class as `\p{Greek}` does, is no count either.
        let is_escaped = plain.ends_with('\\') || plain.ends_with("\\p") || plain.ends_with("\\P");
        plain.push_str(if is_count || is_escaped { "{" } else { "\\{" });
        plain.push_str(part);
    }
    plain
}

/// What Go's `strconv.ParseBool` takes for true.
fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}
