//! The short forms that Docker's command line and compose files share: mounts, ports, sizes, security options. Turns
//! text into [`Container`]'s parts, looks at no file and knows neither of the two formats around it.

mod mounts;
mod ports;
mod sizes;

use std::collections::BTreeMap;

pub use self::{
    mounts::{Places, in_csv, tmpfs, volume},
    ports::published,
    sizes::{bytes, cpus, milliseconds},
};
use crate::recording::Container;

/// A container as a file or a command line asks for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// What is asked for.
    pub container: Container,
    /// Where it begins: lines are counted from 1, 0 is not known.
    pub line: u32,
    /// Where its parts are, by the names that compose gives them: `ports`, `cap_drop`.
    pub lines: BTreeMap<String, u32>,
    /// The seccomp profile's file, as it is written.
    pub seccomp_file: Option<String>,
    /// Whether all of its networks are without a way out.
    pub internal_network: bool,
    /// What was not understood fully, in sentences.
    pub notes: Vec<String>,
}

impl Written {
    /// Remembers where a part is; the first place counts.
    pub fn at(&mut self, part: &str, line: u32) {
        self.lines.entry(part.to_owned()).or_insert(line);
    }

    /// Takes in a `security_opt`: `NAME=VALUE`, or with a colon as compose writes it.
    pub fn security(&mut self, option: &str) {
        let container = &mut self.container;
        match option.split_once(['=', ':']) {
            Some(("seccomp", "unconfined")) => container.seccomp = Some("unconfined".into()),
            Some(("seccomp", "builtin")) => container.seccomp = Some("default".into()),
            Some(("seccomp", file)) => {
                container.seccomp = Some("custom".into());
                self.seccomp_file = Some(file.to_owned());
            }
            Some(("apparmor", profile)) => container.apparmor = Some(profile.to_owned()),
            Some(("no-new-privileges", value)) => {
                container.no_new_privileges =
                    Some(!matches!(value, "false" | "0" | "f" | "F" | "False" | "FALSE"));
            }
            None if option == "no-new-privileges" => container.no_new_privileges = Some(true),
            Some(("systempaths", "unconfined")) => {
                container.masked_paths = Some(Vec::new());
                container.readonly_paths = Some(Vec::new());
            }
            _ => container.security_options.push(option.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_options_come_with_both_signs() {
        let mut written = Written::default();
        for option in ["seccomp:./a.json", "apparmor=mine", "no-new-privileges", "label:disable"] {
            written.security(option);
        }
        assert_eq!(written.seccomp_file.as_deref(), Some("./a.json"));
        assert_eq!(written.container.seccomp.as_deref(), Some("custom"));
        assert_eq!(written.container.apparmor.as_deref(), Some("mine"));
        assert_eq!(written.container.no_new_privileges, Some(true));
        assert_eq!(written.container.security_options, ["label:disable"]);
        written.security("no-new-privileges:false");
        assert_eq!(written.container.no_new_privileges, Some(false));
        written.security("systempaths=unconfined");
        assert_eq!(written.container.masked_paths, Some(vec![]));
    }
}
