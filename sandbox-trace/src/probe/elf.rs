//! The smallest program: what is executed to see whether executing is possible. It exits with [`CODE`].

/// Its exit code: one that no failure of a program or a loader has.
pub const CODE: i32 = 42;

/// `exit_group(42)`, then `exit(42)` should a filter refuse that, then an illegal instruction.
#[cfg(target_arch = "x86_64")]
const CODE_BYTES: &[u8] = &[
    0xbf, 42, 0, 0, 0, // mov edi, 42
    0xb8, 231, 0, 0, 0, // mov eax, exit_group
    0x0f, 0x05, // syscall
    0xb8, 60, 0, 0, 0, // mov eax, exit
    0x0f, 0x05, // syscall
    0x0f, 0x0b, // ud2
];
#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;

#[cfg(target_arch = "aarch64")]
const CODE_BYTES: &[u8] = &[
    0x40, 0x05, 0x80, 0xd2, // mov x0, 42
    0xc8, 0x0b, 0x80, 0xd2, // mov x8, exit_group
    0x01, 0x00, 0x00, 0xd4, // svc 0
    0xa8, 0x0b, 0x80, 0xd2, // mov x8, exit
    0x01, 0x00, 0x00, 0xd4, // svc 0
    0x00, 0x00, 0x00, 0x00, // udf 0
];
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

/// Where it is loaded.
const BASE: u64 = 0x40_0000;
/// The ELF header and one program header.
const HEADERS: u16 = 64 + 56;

/// The program's file: one segment, static, without sections (the ELF specification's figures 1-3 and 2-1).
pub fn program() -> Vec<u8> {
    let size = u64::from(HEADERS) + CODE_BYTES.len() as u64;
    let mut out = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0];
    out.extend([0; 8]);
    for half in [2, MACHINE] {
        out.extend(half.to_le_bytes());
    }
    out.extend(1u32.to_le_bytes());
    for word in [BASE + u64::from(HEADERS), 64, 0] {
        out.extend(word.to_le_bytes());
    }
    out.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 64, 0, 0] {
        out.extend(half.to_le_bytes());
    }
    // PT_LOAD, readable and executable.
    for word in [1u32, 5] {
        out.extend(word.to_le_bytes());
    }
    for word in [0, BASE, BASE, size, size, 0x1000] {
        out.extend(word.to_le_bytes());
    }
    out.extend(CODE_BYTES);
    out
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

    use super::*;

    #[test]
    fn it_runs_and_exits_with_its_code() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("program");
        fs::write(&file, program()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(Command::new(&file).status().unwrap().code(), Some(CODE));
    }
}
