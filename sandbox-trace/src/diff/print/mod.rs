//! A [`Diff`](super::Diff) as text: for people, for a pull request, for scripts, for code hosts.

use serde_json::Value;

use super::Diff;

/// For a terminal: the answer first, then what it is made of.
pub fn table(diff: &Diff) -> String {
    let _ = diff;
    String::new()
}

/// For a comment on a pull request.
pub fn markdown(diff: &Diff) -> String {
    let _ = diff;
    String::new()
}

/// For scripts.
pub fn json(diff: &Diff) -> Value {
    let _ = diff;
    Value::Null
}

/// For code hosts: SARIF 2.1.0.
pub fn sarif(diff: &Diff) -> Value {
    let _ = diff;
    Value::Null
}
