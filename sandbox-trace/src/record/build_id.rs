//! The build id of an ELF file: a note that the linker puts there, the same for the same inputs.
//!
//! The file is the target's, and every number in it is checked. Source: elf(5), and the layout of notes in it.

use std::{fs::File, os::unix::fs::FileExt as _};

const PT_NOTE: u32 = 4;
const NT_GNU_BUILD_ID: u32 = 3;
/// More program headers than any linker makes.
const MAX_HEADERS: u64 = 128;
/// A segment of notes has some hundred bytes.
const MAX_NOTES: usize = 64 << 10;
/// SHA-512 would have 64.
const MAX_ID: usize = 64;

/// The build id of a file; `None` if it has none, or is no ELF file of this byte order.
pub fn of(file: &File) -> Option<Vec<u8>> {
    let header: [u8; 64] = read(file, 0)?;
    let [0x7f, b'E', b'L', b'F', class, 1, ..] = header else { return None };
    let wide = match class {
        1 => false,
        2 => true,
        _ => return None,
    };
    let (table, size, count) = if wide {
        (u64_at(&header, 32)?, u16_at(&header, 54)?, u16_at(&header, 56)?)
    } else {
        (u64::from(u32_at(&header, 28)?), u16_at(&header, 42)?, u16_at(&header, 44)?)
    };
    (0..u64::from(count).min(MAX_HEADERS)).find_map(|index| {
        let at = table.checked_add(index * u64::from(size))?;
        let (kind, offset, length, align) = if wide {
            let entry: [u8; 56] = read(file, at)?;
            (u32_at(&entry, 0)?, u64_at(&entry, 8)?, u64_at(&entry, 32)?, u64_at(&entry, 48)?)
        } else {
            let entry: [u8; 32] = read(file, at)?;
            let word = |at| u32_at(&entry, at).map(u64::from);
            (u32_at(&entry, 0)?, word(4)?, word(16)?, word(28)?)
        };
        if kind != PT_NOTE {
            return None;
        }
        let mut notes = vec![0; usize::try_from(length).ok()?.min(MAX_NOTES)];
        file.read_exact_at(&mut notes, offset).ok()?;
        in_notes(&notes, if align == 8 { 8 } else { 4 })
    })
}

/// Looks through a segment of notes: lengths of name and contents, kind, then those two, each padded.
fn in_notes(mut notes: &[u8], align: usize) -> Option<Vec<u8>> {
    loop {
        let (name, length) = (u32_at(notes, 0)?, u32_at(notes, 4)?);
        let kind = u32_at(notes, 8)?;
        let (name, length) = (usize::try_from(name).ok()?, usize::try_from(length).ok()?);
        let start = 12usize.checked_add(name)?.checked_next_multiple_of(align)?;
        let end = start.checked_add(length)?;
        let contents = notes.get(start..end)?;
        if kind == NT_GNU_BUILD_ID && notes.get(12..16) == Some(b"GNU\0") && name == 4 {
            return (1..=MAX_ID).contains(&length).then(|| contents.to_vec());
        }
        notes = notes.get(end.checked_next_multiple_of(align)?..)?;
    }
}

fn read<const N: usize>(file: &File, at: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes)
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    part(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    part(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    part(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn note(name: &[u8], kind: u32, contents: &[u8]) -> Vec<u8> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
        let mut out = [length(name), length(contents), kind.to_le_bytes()].concat();
        for part in [name, contents] {
            out.extend_from_slice(part);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out
    }

    /// A 64-bit ELF file with one segment of notes.
    fn elf(notes: &[u8]) -> Vec<u8> {
        let mut header = vec![0; 64];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        header[32..40].copy_from_slice(&64u64.to_le_bytes());
        header[54..56].copy_from_slice(&56u16.to_le_bytes());
        header[56..58].copy_from_slice(&1u16.to_le_bytes());
        let mut segment = vec![0; 56];
        segment[..4].copy_from_slice(&PT_NOTE.to_le_bytes());
        segment[8..16].copy_from_slice(&120u64.to_le_bytes());
        segment[32..40].copy_from_slice(&(notes.len() as u64).to_le_bytes());
        segment[48..56].copy_from_slice(&4u64.to_le_bytes());
        [header, segment, notes.to_vec()].concat()
    }

    #[test]
    fn the_note_is_found_among_others() {
        let notes = [note(b"GNU\0", 1, &[0; 16]), note(b"GNU\0", NT_GNU_BUILD_ID, &[7; 20])].concat();
        assert_eq!(of(&file(&elf(&notes))), Some(vec![7; 20]));
        assert_eq!(of(&file(&elf(&note(b"Xen\0", NT_GNU_BUILD_ID, &[7; 20])))), None);
        assert_eq!(of(&file(&elf(&note(b"GNU\0", NT_GNU_BUILD_ID, &[7; 65])))), None);
        assert_eq!(of(&file(b"#!/bin/sh\n")), None);
    }

    #[test]
    fn readelf_says_the_same() {
        let output = std::process::Command::new("readelf").args(["-n", "/bin/sh"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = text.lines().find_map(|line| line.trim().strip_prefix("Build ID: ")).unwrap().to_owned();
        let found = of(&File::open("/bin/sh").unwrap()).unwrap();
        assert_eq!(crate::record::identity::hexadecimal(&found), said);
    }

    proptest! {
        #[test]
        fn damage_anywhere_never_panics(at in 0usize..160, value: u8, notes: Vec<u8>) {
            let mut bytes = elf(&[note(b"GNU\0", NT_GNU_BUILD_ID, &[7; 20]), notes].concat());
            let at = at % bytes.len();
            bytes[at] = value;
            let _ = of(&file(&bytes));
        }
    }
}
