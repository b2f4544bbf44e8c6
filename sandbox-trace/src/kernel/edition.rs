//! Which edition of the programs a kernel takes: see `sandbox-trace-ebpf/src/programs/kernel.rs`.

use sandbox_trace_ebpf::program;

use super::btf::Btf;

/// Set to `old` or `loops`, makes a newer kernel run an edition for older ones, and set to `cast`, no other than that; for
/// trying these out.
pub const EDITION_VARIABLE: &str = "SANDBOX_TRACE_EDITION";

/// The first kernel that has every helper of the edition with loops.
const LOOPS_SINCE: (u32, u32) = (5, 17);

/// An edition of the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    /// Linux 5.10 to 5.16.
    Old,
    /// Linux 5.17 and later.
    Loops,
    /// The same, and the programs that read much call a function of the kernel's, by its BTF id: Linux 6.2 and later.
    Cast(u32),
}

impl Edition {
    /// The edition for the running kernel, whose type information this is.
    pub fn of_this_kernel(btf: &Btf) -> Self {
        let wanted = std::env::var(EDITION_VARIABLE).unwrap_or_default();
        match (Self::of(version()), wanted.as_str()) {
            (Self::Old, _) | (_, "old") => Self::Old,
            (own, "loops") => own,
            (own, _) => btf.function_id(program::CAST_FUNCTION).map_or(own, Self::Cast),
        }
    }

    /// The edition for a kernel version, as far as that tells. One that is not known is taken for new.
    fn of(version: Option<(u32, u32)>) -> Self {
        if version.is_some_and(|version| version < LOOPS_SINCE) { Self::Old } else { Self::Loops }
    }

    /// What to try where the kernel does not take this edition.
    pub fn older(self) -> Option<Self> {
        let fixed = std::env::var(EDITION_VARIABLE).is_ok_and(|wanted| wanted == "cast");
        (matches!(self, Self::Cast(_)) && !fixed).then_some(Self::Loops)
    }

    /// The name of a program in this edition. Raw tracepoint programs have one edition only.
    pub fn program(self, name: &str) -> String {
        match self {
            Self::Old => format!("{name}{}", program::OLD),
            Self::Cast(_) if program::READERS.contains(&name) => format!("{name}{}", program::CAST),
            Self::Loops | Self::Cast(_) => name.to_owned(),
        }
    }
}

/// The running kernel's version.
pub fn version() -> Option<(u32, u32)> {
    nix::sys::utsname::uname().ok().and_then(|uname| version_of(uname.release().to_str()?))
}

/// The version in a release such as `6.1.0-50-amd64`.
fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_before_5_17_get_the_old_one() {
        for (release, edition) in [
            ("5.10.0-33-cloud-amd64", Edition::Old),
            ("5.16.20", Edition::Old),
            ("5.17.0", Edition::Loops),
            ("6.1.0-50-amd64", Edition::Loops),
            ("6.18.44", Edition::Loops),
            ("nonsense", Edition::Loops),
        ] {
            assert_eq!(Edition::of(version_of(release)), edition, "{release}");
        }
    }
}
