//! Struct offsets of the running kernel, from its BTF.

use std::{collections::HashSet, path::Path};

use sandbox_trace_ebpf::{
    KernelLayout,
    layout::{ABSENT, BYTES_TYPE, OPTIONAL},
    program,
};

use super::btf::Btf;
use crate::error::{Error, Result};

/// Where the kernel shows its type information.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Reads the type information at `path`, as far as programs need it to be loaded and attached.
pub fn open(path: &Path) -> Result<Btf> {
    let unreadable = |cause: Box<dyn std::error::Error + Send + Sync>| {
        Error::host(format!("the kernel's type information {} can't be read", path.display()))
            .because(cause)
            .hint("use a kernel built with CONFIG_DEBUG_INFO_BTF=y (Debian, Ubuntu and Fedora kernels are)")
    };
    let bytes = std::fs::read(path).map_err(|e| unreadable(e.into()))?;
    let mut members = KernelLayout::ZERO;
    let structs: HashSet<&[u8]> = members
        .offsets()
        .into_iter()
        .filter_map(|(path, _)| path.split('.').next().map(str::as_bytes))
        .chain([BYTES_TYPE.as_bytes()])
        .collect();
    // What programs attach by, tracepoints and the functions that ask the security modules, and what one edition calls.
    let is_anchor = |name: &[u8]| {
        name.starts_with(b"btf_trace_")
            || name.starts_with(b"security_")
            || name == program::CAST_FUNCTION.as_bytes()
    };
    Btf::parse(bytes, |name| structs.contains(name), is_anchor).map_err(|e| unreadable(e.into()))
}

/// The offsets of every member that the programs use.
pub fn read(btf: &Btf) -> Result<KernelLayout> {
    let mut layout = KernelLayout::ZERO;
    for (member, offset) in layout.offsets() {
        let found = btf.offset(member);
        *offset = found.or(OPTIONAL.contains(&member).then_some(ABSENT)).ok_or_else(|| {
            Error::host(format!("this kernel has no `{member}`, which the tracer reads"))
                .hint("report the kernel version; sandbox-trace is tested on Linux 5.10 to 6.18")
        })?;
    }
    // Only the edition that needs it looks at it.
    layout.bytes_type = btf.struct_id(BYTES_TYPE).unwrap_or(0);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_btf_is_a_host_error_that_says_what_to_do() {
        let error = open(Path::new("/nonexistent/btf")).err().unwrap();
        assert_eq!(error.exit(), crate::error::Exit::Host);
        assert!(error.hint_text().unwrap().contains("CONFIG_DEBUG_INFO_BTF"));
    }

    #[test]
    fn the_running_kernels_offsets_are_plausible() {
        let layout = read(&open(Path::new(KERNEL_BTF)).unwrap()).unwrap();
        assert_eq!(layout.regs_orig_ax, 120, "struct pt_regs is ABI on x86_64");
        assert_eq!(layout.regs_di, 112);
        assert_ne!(layout.file_mnt, layout.file_dentry);
        assert_eq!(layout.file_dentry, layout.file_mnt + 8);
        assert!(layout.mount_mnt > 0 && layout.mount_ns > layout.mount_mnt);
    }
}
