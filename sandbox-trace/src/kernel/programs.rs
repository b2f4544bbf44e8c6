//! The object with the programs: embedded in the binary, or a rebuilt one for tests.

use std::borrow::Cow;

use sandbox_trace_ebpf::{layout::FIRST_OFFSET, program};

use crate::error::{Error, Result};

/// Names a rebuilt object to use instead of the embedded one; for `cargo xtask test`.
pub const OBJECT_VARIABLE: &str = "SANDBOX_TRACE_BPF_OBJECT";

/// aya reads the object in place, and ELF wants its headers aligned.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static EMBEDDED: &Aligned<[u8]> = &Aligned(*include_bytes!("../../bpf/sandbox-trace.bpf.o"));

/// What only the running kernel's type information tells, and stands in the programs' instructions.
#[derive(Debug, Clone, Copy)]
pub struct Numbers<'a> {
    /// The offsets of [`KernelLayout::offsets`], in their order.
    ///
    /// [`KernelLayout::offsets`]: sandbox_trace_ebpf::KernelLayout::offsets
    pub offsets: &'a [u32],
    /// The BTF id of the function that casts, for the programs that call it.
    pub cast: Option<u32>,
}

/// The bytes of the object, linked to the running kernel.
pub fn object(numbers: Numbers<'_>) -> Result<Vec<u8>> {
    let mut object = unlinked()?.into_owned();
    // Sections with code begin at whole instructions.
    for instruction in object.as_chunks_mut::<8>().0 {
        link(instruction, numbers);
    }
    Ok(object)
}

/// The bytes of the object as it was built.
fn unlinked() -> Result<Cow<'static, [u8]>> {
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

/// Puts the kernel's number into an instruction that has one that stands for it: an offset, or the function that casts.
/// aya has no relocation for either.
fn link(instruction: &mut [u8; 8], numbers: Numbers<'_>) {
    /// `BPF_ALU64 | BPF_MOV | BPF_K`
    const MOVE: u8 = 0xb7;
    /// `BPF_JMP | BPF_CALL`
    const CALL: u8 = 0x85;
    /// `BPF_PSEUDO_KFUNC_CALL`, in place of the source register: the operand is a function's BTF id.
    const KERNEL_FUNCTION: u8 = 0x20;
    let [code, registers, 0, 0, operand @ ..] = *instruction else { return };
    let operand = u32::from_le_bytes(operand);
    let (registers, operand) = match (code, registers) {
        (MOVE, target) if target >> 4 == 0 => {
            let index = operand.wrapping_sub(FIRST_OFFSET) as usize;
            let Some(offset) = numbers.offsets.get(index) else { return };
            (target, *offset)
        }
        (CALL, 0) if operand == program::CAST_CALL => match numbers.cast {
            Some(function) => (KERNEL_FUNCTION, function),
            None => return,
        },
        _ => return,
    };
    let [a, b, c, d] = operand.to_le_bytes();
    *instruction = [code, registers, 0, 0, a, b, c, d];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_and_casts_are_all_that_linking_changes() {
        let offsets: Vec<u32> = (0..100).map(|n| n * 8).collect();
        let plain = unlinked().unwrap();
        let linked = object(Numbers { offsets: &offsets, cast: Some(77) }).unwrap();
        assert_eq!(plain.len(), linked.len());
        let (mut moves, mut calls) = (0, 0);
        for (before, after) in plain.chunks(8).zip(linked.chunks(8)).filter(|(a, b)| a != b) {
            let number = |bytes: &[u8]| u32::from_le_bytes(bytes[4..].try_into().unwrap());
            match before[0] {
                0xb7 => {
                    assert_eq!(before[..4], after[..4]);
                    assert_eq!(number(after), (number(before) - FIRST_OFFSET) * 8);
                    moves += 1;
                }
                0x85 => {
                    assert_eq!((&before[..4], &after[..4]), (&[0x85, 0, 0, 0][..], &[0x85, 0x20, 0, 0][..]));
                    assert_eq!((number(before), number(after)), (program::CAST_CALL, 77));
                    calls += 1;
                }
                other => panic!("{other:#x} was changed"),
            }
        }
        assert!(moves > 200 && calls > 20, "{moves} {calls}");
    }

    #[test]
    fn without_the_function_its_calls_stay() {
        let linked = object(Numbers { offsets: &[], cast: None }).unwrap();
        assert_eq!(&linked, unlinked().unwrap().as_ref());
    }
}
