//! The object with the programs: embedded in the binary, or a rebuilt one for tests.

use std::borrow::Cow;

use crate::error::{Error, Result};

/// Names a rebuilt object to use instead of the embedded one; for `cargo xtask test`.
pub const OBJECT_VARIABLE: &str = "SANDBOX_TRACE_BPF_OBJECT";

/// aya reads the object in place, and ELF wants its headers aligned.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static EMBEDDED: &Aligned<[u8]> = &Aligned(*include_bytes!("../../bpf/sandbox-trace.bpf.o"));

/// The bytes of the object.
pub fn object() -> Result<Cow<'static, [u8]>> {
    match std::env::var_os(OBJECT_VARIABLE) {
        None => Ok(Cow::Borrowed(&EMBEDDED.0)),
        Some(path) => std::fs::read(&path).map(Cow::Owned).map_err(|e| {
            Error::usage(format!(
                "could not read the object that {OBJECT_VARIABLE} names: {}",
                path.display()
            ))
            .because(e)
        }),
    }
}
