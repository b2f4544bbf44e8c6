//! Runs the real `apparmor_parser`: text in, the binary that a kernel would load out. The compiler is never
//! imitated, and nothing is loaded into a kernel here.

use std::{
    fs::File,
    io::{Seek as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::features::Features;
use crate::{
    error::{Error, Result},
    program,
};

const PROGRAM: &str = "apparmor_parser";

/// A compiled file.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The stream of profiles.
    pub policy: Vec<u8>,
    /// What the reader of a verdict should know about how it was compiled.
    pub notes: Vec<String>,
}

/// The compiler's path, if it is installed.
pub fn installed() -> Option<PathBuf> {
    program::find(PROGRAM)
}

/// Compiles the profiles in `file` for the kernel with these features (the host's own when absent, else those
/// of Linux 6.1).
pub fn compile_file(file: &Path, features: Option<&Path>) -> Result<Compiled> {
    let text = std::fs::read(file).map_err(|e| {
        Error::usage(format!("could not read the AppArmor profile {}", file.display()))
            .because(e)
            .hint("make one with `sandbox-trace emit-apparmor -o FILE`")
    })?;
    compile(&text, &file.display().to_string(), &Features::find(features)?)
}

/// Compiles `text`; `name` is what messages call it.
pub fn compile(text: &[u8], name: &str, features: &Features) -> Result<Compiled> {
    let program = installed().ok_or_else(|| {
        Error::host(format!("{PROGRAM}, the AppArmor compiler, is not installed"))
            .hint("apt-get install apparmor (it is needed to check a profile, not to write one)")
    })?;
    // -Q loads nothing, -K reads and writes no cache, -S writes the binary to stdout, and -M makes the answer
    // depend on the named features alone: neither on this host's kernel nor on the features that its
    // parser.conf pins for profiles without an abi rule.
    let output = Command::new(&program)
        .args(["-Q", "-K", "-S", "-M"])
        .arg(features.path())
        .env("LC_ALL", "C")
        .stdin(source(text)?)
        .output()
        .map_err(|e| Error::host(format!("could not run {}", program.display())).because(e))?;
    let messages = readable(&output.stderr);
    if !output.status.success() {
        let said = if messages.is_empty() { output.status.to_string() } else { messages.join("; ") };
        let hint = if said.contains("Too many states") {
            "an automaton holds 65,535 states, which is some ten thousand paths with little in common: leave out \
             recordings, replace rules for data with one for their folder, or try --generalize broad"
        } else {
            "the message is apparmor_parser's; correct the line that it names"
        };
        return Err(Error::usage(format!("{name} does not compile: {said}")).hint(hint));
    }
    let mut notes = vec![format!("{name} was compiled for {}", features.origin)];
    if !text.split(|byte| *byte == b'\n').any(|line| line.trim_ascii_start().starts_with(b"abi ")) {
        notes.push(format!(
            "{name} has no abi rule: a host whose parser.conf pins older features enforces less of it"
        ));
    }
    if !features.not_modelled.is_empty() {
        notes.push(format!(
            "this kernel also mediates what is not replayed: {}",
            features.not_modelled.join(", ")
        ));
    }
    notes.extend(messages.into_iter().map(|message| format!("{PROGRAM}: {message}")));
    Ok(Compiled { policy: output.stdout, notes })
}

/// The text as standard input: a file and not a pipe, so that neither side can wait for the other, and not the
/// profile's own path, so that the compiler's folders of exceptions for file names have no say.
fn source(text: &[u8]) -> Result<Stdio> {
    let write = || -> std::io::Result<File> {
        let mut file = tempfile::tempfile()?;
        file.write_all(text)?;
        file.rewind()?;
        Ok(file)
    };
    write().map(Stdio::from).map_err(|e| {
        Error::host("could not write a temporary file for apparmor_parser")
            .because(e)
            .hint("TMPDIR must name a folder with room in it")
    })
}

/// The compiler's messages, one a line; it quotes the file, so control characters are shown, not sent.
fn readable(stderr: &[u8]) -> Vec<String> {
    stderr
        .split(|byte| *byte == b'\n')
        .map(|line| crate::recording::BytePath::from(line.trim_ascii()).to_string())
        .filter(|line| !line.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{apparmor::testing, error::Exit};

    #[test]
    fn an_error_has_the_line_of_the_compiler() {
        let features = Features::built_in().unwrap();
        let text = b"abi <abi/3.0>,\nprofile t {\n  /a rq,\n}\n";
        let error = testing::compile(text, &features).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        assert!(error.to_string().contains("line 3"), "{error}");
    }

    #[test]
    fn a_file_that_is_not_there_is_a_usage_error() {
        let error = compile_file(Path::new("/no/such/profile"), None).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
    }

    #[test]
    fn the_features_are_named_and_a_missing_abi_is_noted() {
        let features = Features::built_in().unwrap();
        let compiled = testing::compile(b"profile t {\n  /a r,\n}\n", &features).unwrap();
        assert!(compiled.notes.iter().any(|note| note.contains("Linux 6.1")), "{:?}", compiled.notes);
        assert!(compiled.notes.iter().any(|note| note.contains("no abi rule")), "{:?}", compiled.notes);
    }
}
