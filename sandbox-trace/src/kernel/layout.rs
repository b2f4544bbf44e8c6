//! Struct offsets of the running kernel, from its BTF.

use std::path::Path;

use btf_rs::{Btf, Struct, Type};
use sandbox_trace_ebpf::{
    KernelLayout,
    layout::{ABSENT, OPTIONAL},
};

use crate::error::{Error, Result};

/// Where the kernel shows its type information.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Reads the kernel's type information from the BTF file at `path`.
pub fn types(path: &Path) -> Result<Btf> {
    let unreadable = |cause: Box<dyn std::error::Error + Send + Sync>| {
        Error::host(format!("the kernel's type information {} can't be read", path.display()))
            .because(cause)
            .hint("use a kernel built with CONFIG_DEBUG_INFO_BTF=y (Debian, Ubuntu and Fedora kernels are)")
    };
    // Read at once: from a file, btf-rs makes a system call for each of some 200,000 items.
    let bytes = std::fs::read(path).map_err(|e| unreadable(e.into()))?;
    Btf::from_bytes(&bytes).map_err(|e| unreadable(e.into()))
}

/// Reads the offsets of every member that the programs use from the BTF file at `path`.
pub fn read(path: &Path) -> Result<KernelLayout> {
    let btf = types(path)?;
    let mut layout = KernelLayout::ZERO;
    for (member, offset) in layout.offsets() {
        let found = member_offset(&btf, member);
        *offset = found.or(OPTIONAL.contains(&member).then_some(ABSENT)).ok_or_else(|| {
            Error::host(format!("this kernel has no `{member}`, which the tracer reads"))
                .hint("report the kernel version; sandbox-trace is tested on Linux 5.10 to 6.18")
        })?;
    }
    // The walk reads parent, hash and name in one go.
    if layout.dentry_hash_len != layout.dentry_parent + 8 || layout.dentry_name != layout.dentry_parent + 16 {
        return Err(Error::host("this kernel's struct dentry has its name elsewhere than behind its parent")
            .hint("report the kernel version; sandbox-trace is tested on Linux 5.10 to 6.18"));
    }
    // The registers of a call lie at the end of the kernel stack; where a kernel leaves room behind them, it is new
    // enough to have a helper that knows.
    layout.stack_regs = KERNEL_STACK_BYTES - REGISTERS_BYTES;
    Ok(layout)
}

/// `THREAD_SIZE` of `x86_64` (not of a kernel with KASAN, which is no kernel to record on).
const KERNEL_STACK_BYTES: u32 = 16 << 10;
/// `sizeof(struct pt_regs)` on `x86_64`.
const REGISTERS_BYTES: u32 = 21 * 8;

/// The byte offset of `struct.member.member`, looking through anonymous structs and unions.
fn member_offset(btf: &Btf, path: &str) -> Option<u32> {
    let mut names = path.split('.');
    let of = names.next()?;
    let mut current = btf.resolve_types_by_name(of).ok()?.into_iter().find_map(|t| match t {
        Type::Struct(s) if s.size() > 0 => Some(s),
        _ => None,
    })?;
    let mut bits = 0;
    let mut names = names.peekable();
    while let Some(name) = names.next() {
        let (offset, found) = find(btf, &current, name)?;
        bits += offset;
        if names.peek().is_some() {
            current = found?;
        }
    }
    (bits % 8 == 0).then_some(bits / 8)
}

/// The bit offset of a member, and its type if that is a struct or union itself.
fn find(btf: &Btf, of: &Struct, name: &str) -> Option<(u32, Option<Struct>)> {
    for member in &of.members {
        let member_name = btf.resolve_name(member).unwrap_or_default();
        if member_name == name {
            return Some((member.bit_offset(), as_struct(btf, member)));
        }
        if member_name.is_empty()
            && let Some(inner) = as_struct(btf, member)
            && let Some((offset, found)) = find(btf, &inner, name)
        {
            return Some((member.bit_offset() + offset, found));
        }
    }
    None
}

/// The struct or union behind a member, through typedefs and qualifiers.
fn as_struct(btf: &Btf, member: &btf_rs::Member) -> Option<Struct> {
    let mut current = btf.resolve_chained_type(member).ok()?;
    // A chain of qualifiers and typedefs is short; the bound guards against a cycle in a damaged file.
    for _ in 0..16 {
        current = match current {
            Type::Struct(s) | Type::Union(s) => return Some(s),
            Type::Typedef(t) => btf.resolve_chained_type(&t).ok()?,
            Type::Const(t) | Type::Volatile(t) => btf.resolve_chained_type(&t).ok()?,
            _ => return None,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_btf_is_a_host_error_that_says_what_to_do() {
        let error = read(Path::new("/nonexistent/btf")).unwrap_err();
        assert_eq!(error.exit(), crate::error::Exit::Host);
        assert!(error.hint_text().unwrap().contains("CONFIG_DEBUG_INFO_BTF"));
    }

    #[test]
    fn the_running_kernels_offsets_are_plausible() {
        let layout = read(Path::new(KERNEL_BTF)).unwrap();
        assert_eq!(layout.regs_orig_ax, 120, "struct pt_regs is ABI on x86_64");
        assert_eq!(layout.regs_di, 112);
        assert_ne!(layout.file_mnt, layout.file_dentry);
        assert_eq!(layout.file_dentry, layout.file_mnt + 8);
        assert!(layout.mount_mnt > 0 && layout.mount_ns > layout.mount_mnt);
    }
}
