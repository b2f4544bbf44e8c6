//! What to write instead, in the words of the source.

use crate::audit::Source;

/// A fix in the words of each source.
#[derive(Debug, Clone, Copy)]
pub struct Fix<'a> {
    /// Options of `docker run`.
    pub run: &'a str,
    /// Lines of a compose service.
    pub compose: &'a str,
    /// Parts of an OCI configuration.
    pub oci: &'a str,
}

impl Fix<'_> {
    /// For one source.
    pub fn of(&self, source: Source) -> String {
        match source {
            Source::DockerRun => self.run,
            Source::Compose => self.compose,
            Source::Oci => self.oci,
        }
        .to_owned()
    }
}
