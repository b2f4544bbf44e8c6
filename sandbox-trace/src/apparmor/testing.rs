//! What the tests of several modules share: compiling with the real compiler, which must be there.

use super::{
    compiler::{self, Compiled},
    features::Features,
    policy::{self, Profile},
};
use crate::error::Result;

/// Compiles, and fails the test with what to do when there is no compiler.
pub fn compile(text: &[u8], features: &Features) -> Result<Compiled> {
    assert!(
        compiler::installed().is_some(),
        "these tests need the real AppArmor compiler: apt-get install apparmor"
    );
    compiler::compile(text, "the profile", features)
}

/// The only profile of `text`, compiled for Linux 6.1.
pub fn profile(text: impl AsRef<[u8]>) -> Profile {
    let compiled = compile(text.as_ref(), &Features::built_in().unwrap())
        .unwrap_or_else(|error| panic!("{error}\n{}", String::from_utf8_lossy(text.as_ref())));
    let mut profiles = policy::unpack(&compiled.policy).unwrap();
    assert_eq!(profiles.len(), 1);
    profiles.remove(0)
}

/// The binary for these features, with an optimisation of the compiler that changes how tables are written.
pub fn compile_optimized(text: &str, features: &str, optimisation: &str) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), features).unwrap();
    let profile = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(profile.path(), text).unwrap();
    let output = std::process::Command::new(compiler::installed().expect("apt-get install apparmor"))
        .args(["-O", optimisation, "-Q", "-K", "-S", "-M"])
        .args([file.path(), profile.path()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// A profile `t` with these rules.
pub fn rules(rules: impl AsRef<[u8]>) -> Profile {
    let mut text = b"abi <abi/3.0>,\n#include <tunables/global>\nprofile t {\n".to_vec();
    text.extend_from_slice(rules.as_ref());
    text.extend_from_slice(b"}\n");
    profile(text)
}
