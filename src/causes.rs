//! Errors as one line.

use std::error::Error;

/// An error and what caused it, each said once.
#[must_use]
pub(crate) fn in_one_line(error: &dyn Error) -> String {
    // Some errors are lists.
    let flat =
        |error: &dyn Error| error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let mut line = flat(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = flat(error);
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}
