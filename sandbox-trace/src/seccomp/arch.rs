//! The architectures whose system calls are recorded: their names in recordings, in profiles, in the kernel.

use libseccomp::ScmpArch;

/// Set in every x32 system call number (`__X32_SYSCALL_BIT`, arch/x86/include/uapi/asm/unistd.h).
pub const X32_BIT: u32 = 0x4000_0000;

/// `AUDIT_ARCH_X86_64`; x32 shares it and differs by [`X32_BIT`].
const AUDIT_X86_64: u32 = 0xc000_003e;

/// `AUDIT_ARCH_I386`.
const AUDIT_I386: u32 = 0x4000_0003;

/// An architecture that one x86-64 kernel serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arch {
    /// 64-bit x86.
    X8664,
    /// 32-bit x86.
    I386,
    /// 32-bit pointers on 64-bit x86.
    X32,
}

impl Arch {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::X8664, Self::I386, Self::X32];

    /// By the name that recordings use.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|arch| arch.name() == name)
    }

    /// By libseccomp's token.
    pub fn from_scmp(arch: ScmpArch) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.scmp() == arch)
    }

    /// The name that recordings use.
    pub fn name(self) -> &'static str {
        match self {
            Self::X8664 => "x86_64",
            Self::I386 => "i386",
            Self::X32 => "x32",
        }
    }

    /// The name that OCI profiles use.
    pub fn oci(self) -> &'static str {
        match self {
            Self::X8664 => "SCMP_ARCH_X86_64",
            Self::I386 => "SCMP_ARCH_X86",
            Self::X32 => "SCMP_ARCH_X32",
        }
    }

    /// libseccomp's token.
    pub fn scmp(self) -> ScmpArch {
        match self {
            Self::X8664 => ScmpArch::X8664,
            Self::I386 => ScmpArch::X86,
            Self::X32 => ScmpArch::X32,
        }
    }

    /// `seccomp_data.arch`.
    pub fn audit(self) -> u32 {
        match self {
            Self::X8664 | Self::X32 => AUDIT_X86_64,
            Self::I386 => AUDIT_I386,
        }
    }

    /// `seccomp_data.nr` of a recorded number: recordings leave the x32 bit out.
    pub fn number(self, nr: u32) -> u32 {
        if self == Self::X32 { nr | X32_BIT } else { nr }
    }
}
