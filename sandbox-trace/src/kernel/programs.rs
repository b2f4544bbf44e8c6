//! The object with the programs: embedded in the binary, or a rebuilt one for tests.

use std::borrow::Cow;

use sandbox_trace_ebpf::program;

use crate::error::{Error, Result};

/// Names a rebuilt object to use instead of the embedded one; for `cargo xtask test`.
pub const OBJECT_VARIABLE: &str = "SANDBOX_TRACE_BPF_OBJECT";

/// aya reads the object in place, and ELF wants its headers aligned.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static EMBEDDED: &Aligned<[u8]> = &Aligned(*include_bytes!("../../bpf/sandbox-trace.bpf.o"));

/// The bytes of the object. With the BTF id of the kernel's function for it, the programs that cast call that.
pub fn object(cast: Option<u32>) -> Result<Cow<'static, [u8]>> {
    let object = match std::env::var_os(OBJECT_VARIABLE) {
        None => Cow::Borrowed(&EMBEDDED.0),
        Some(path) => std::fs::read(&path).map(Cow::Owned).map_err(|e| {
            Error::usage(format!(
                "could not read the object that {OBJECT_VARIABLE} names: {}",
                path.display()
            ))
            .because(e)
        })?,
    };
    Ok(match cast {
        None => object,
        Some(function) => Cow::Owned(link_cast(object.into_owned(), function)),
    })
}

/// Makes the calls of [`program::CAST_CALL`] calls of a kernel function. aya has no relocation for these, and the object
/// can't hold the number, which each kernel build has anew.
fn link_cast(mut object: Vec<u8>, function: u32) -> Vec<u8> {
    /// `BPF_JMP | BPF_CALL`, and no registers: a helper by its number.
    const CALL_HELPER: [u8; 4] = [0x85, 0, 0, 0];
    /// The same with `BPF_PSEUDO_KFUNC_CALL` for a source: a function by its BTF id.
    const CALL_FUNCTION: [u8; 4] = [0x85, 0x20, 0, 0];
    let instruction = |call: [u8; 4], number: u32| {
        let mut bytes = [0; 8];
        let (kind, operand) = bytes.split_at_mut(4);
        kind.copy_from_slice(&call);
        operand.copy_from_slice(&number.to_ne_bytes());
        bytes
    };
    let wanted = instruction(CALL_HELPER, program::CAST_CALL);
    // Sections with code begin at whole instructions.
    for word in object.as_chunks_mut::<8>().0.iter_mut().filter(|word| **word == wanted) {
        *word = instruction(CALL_FUNCTION, function);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_calls_that_cast_are_changed() {
        let (plain, linked) = (object(None).unwrap(), object(Some(77)).unwrap());
        assert_eq!(plain.len(), linked.len());
        let changed: Vec<_> =
            plain.chunks(8).zip(linked.chunks(8)).filter(|(before, after)| before != after).collect();
        assert!(changed.len() > 20, "{}", changed.len());
        for (before, after) in changed {
            assert_eq!((&before[..4], &after[..4]), (&[0x85, 0, 0, 0][..], &[0x85, 0x20, 0, 0][..]));
            assert_eq!(after[4..], 77u32.to_ne_bytes());
        }
    }
}
