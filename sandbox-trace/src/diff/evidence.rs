//! Finds in recordings who needs a new privilege.

use super::Diff;
use crate::requirements::Requirements;

/// What a change is about, in the terms that recordings have.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// Nothing that a recording has.
    #[default]
    Nothing,
}

impl Diff {
    /// Says of each new privilege who needs it, as far as these recordings tell.
    pub fn attach_evidence(&mut self, needs: &Requirements) {
        let _ = needs;
    }
}
