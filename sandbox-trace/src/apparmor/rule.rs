//! File rules as text: recorded accesses → the letters and forms of AppArmor's language.

use super::pattern::Pattern;
use crate::recording::Access;

/// The rule for files that allows `access` to `pattern`, without a comment.
pub fn file(pattern: &Pattern, access: Access) -> String {
    format!("{} {},", pattern.text(), letters(access))
}

/// The rule for hard links. The pair form is the narrowest: `l` on a path would allow links to everything that
/// has the same permissions.
pub fn link(new: &Pattern, existing: &Pattern) -> String {
    format!("link {} -> {},", new.text(), existing.text())
}

/// The rule letters. `w` holds `a`, and the two in one rule are an error; `ix` holds `m`.
fn letters(access: Access) -> String {
    let write = Access::WRITE | Access::CREATE | Access::DELETE | Access::SETATTR;
    let mut out = String::new();
    if access.contains(Access::MAP_EXEC) && !access.contains(Access::EXEC) {
        out.push('m');
    }
    if access.contains(Access::READ) {
        out.push('r');
    }
    if access.intersects(write) {
        out.push('w');
    } else if access.contains(Access::APPEND) {
        out.push('a');
    }
    if access.contains(Access::LOCK) {
        out.push('k');
    }
    if access.contains(Access::EXEC) {
        out.push_str("ix");
    }
    out
}
