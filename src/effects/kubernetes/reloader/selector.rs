//! Label selectors as text, the way flags and published options write them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{Expression, SelectorExt as _};

/// Whether the object's labels satisfy every part of the selector. A part that cannot be read is satisfied by nothing:
/// whoever wrote it then waits for Tandem, and not for somebody who may not come.
pub(super) fn selects(text: &str, object: &ObjectMeta) -> bool {
    let none = BTreeMap::new();
    let labels = object.labels.as_ref().unwrap_or(&none);
    parts(text.trim_matches('"'))
        .into_iter()
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .all(|part| expression(part).is_some_and(|expression| expression.matches(labels)))
}

/// Splits at the commas that are not between brackets.
fn parts(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

fn expression(part: &str) -> Option<Expression> {
    let word = |text: &str| {
        let text = text.trim();
        (!text.contains(char::is_whitespace)).then(|| text.to_owned())
    };
    if let Some(list) = part.strip_suffix(')') {
        let (head, values) = list.split_once('(')?;
        let mut head = head.split_whitespace();
        let (key, operator) = (head.next()?.to_owned(), head.next()?);
        let values: BTreeSet<String> = values.split(',').map(|value| value.trim().to_owned()).collect();
        return match operator {
            "in" => Some(Expression::In(key, values)),
            "notin" => Some(Expression::NotIn(key, values)),
            _ => None,
        };
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Some(Expression::NotEqual(word(key)?, word(value)?));
    }
    // The chart and the flag's own help write `key:value` as well, and it is taken so (137).
    let equals = part
        .split_once("==")
        .or_else(|| part.split_once('='))
        .or_else(|| part.split_once(':'));
    if let Some((key, value)) = equals {
        return Some(match value.trim() {
            "*" => Expression::Exists(word(key)?),
            value => Expression::Equal(word(key)?, word(value)?),
        });
    }
    match part.strip_prefix('!') {
        Some(key) => Some(Expression::DoesNotExist(word(key)?)),
        None => Some(Expression::Exists(word(part)?)),
    }
}
