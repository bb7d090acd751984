//! A configuration file as it lies there, with named replacements.

/// One replacement. Its text must occur, so that no replacement outlives what it was for.
pub(crate) struct Replacement {
    why: &'static str,
    from: &'static str,
    to: String,
}

/// A replacement of every occurrence, and why it is needed.
pub(crate) fn replace(why: &'static str, from: &'static str, to: impl Into<String>) -> Replacement {
    Replacement { why, from, to: to.into() }
}

/// The text with all replacements made, in their order.
pub(crate) fn adapt(original: &str, replacements: &[Replacement]) -> String {
    replacements.iter().fold(original.to_owned(), |text, Replacement { why, from, to }| {
        assert!(text.contains(from), "{why}: `{from}` does not occur in\n{text}");
        text.replace(from, to)
    })
}
