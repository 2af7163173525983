//! Words in the commands that messages tell people to type.

/// A word in a POSIX shell.
pub(super) fn word(word: &str) -> String {
    if plain(word) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Whether it needs no quotation marks, in a shell and elsewhere.
pub(super) fn plain(word: &str) -> bool {
    !word.is_empty()
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-:".contains(c))
}
