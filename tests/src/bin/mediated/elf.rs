//! The smallest program: it needs no library and no interpreter, so that executing it asks for nothing else.

/// `exit(0)` as a 64-bit ELF file with one segment.
pub fn exits() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    // mov eax, 60; xor edi, edi; syscall
    let code = [0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05];
    let size = HEADERS + code.len() as u64;
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |out: &mut Vec<u8>, value: u16| out.extend(value.to_le_bytes());
    let word = |out: &mut Vec<u8>, value: u32| out.extend(value.to_le_bytes());
    let long = |out: &mut Vec<u8>, value: u64| out.extend(value.to_le_bytes());
    half(&mut out, 2); // ET_EXEC
    half(&mut out, 62); // EM_X86_64
    word(&mut out, 1);
    long(&mut out, BASE + HEADERS);
    long(&mut out, 64);
    long(&mut out, 0);
    word(&mut out, 0);
    for value in [64, 56, 1, 0, 0, 0] {
        half(&mut out, value);
    }
    word(&mut out, 1); // PT_LOAD
    word(&mut out, 5); // readable, executable
    for value in [0, BASE, BASE, size, size, 0x1000] {
        long(&mut out, value);
    }
    out.extend(code);
    out
}
