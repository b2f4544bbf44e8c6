//! Which edition of the programs a kernel takes: see `sandbox-trace-ebpf/src/programs/kernel.rs`.

use sandbox_trace_ebpf::program;

/// Set to `old`, makes the newest kernel run the edition for the oldest; for trying that out.
pub const EDITION_VARIABLE: &str = "SANDBOX_TRACE_EDITION";

/// The first kernel that has every helper of the newer edition.
const NEW_SINCE: (u32, u32) = (5, 17);

/// An edition of the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    /// Linux 5.17 and later.
    New,
    /// Linux 5.10 to 5.16.
    Old,
}

impl Edition {
    /// The edition for the running kernel.
    pub fn of_this_kernel() -> Self {
        if std::env::var_os(EDITION_VARIABLE).is_some_and(|wanted| wanted == "old") {
            return Self::Old;
        }
        let release = nix::sys::utsname::uname().map(|u| u.release().to_string_lossy().into_owned());
        Self::of(&release.unwrap_or_default())
    }

    /// The edition for a kernel release, such as `6.1.0-50-amd64`. One that does not say its version is taken for new.
    fn of(release: &str) -> Self {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < NEW_SINCE => Self::Old,
            _ => Self::New,
        }
    }

    /// The name of a program in this edition. Raw tracepoint programs have one edition only.
    pub fn program(self, name: &str) -> String {
        match self {
            Self::New => name.to_owned(),
            Self::Old => format!("{name}{}", program::OLD),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_before_5_17_get_the_old_one() {
        for (release, edition) in [
            ("5.10.0-33-cloud-amd64", Edition::Old),
            ("5.16.20", Edition::Old),
            ("5.17.0", Edition::New),
            ("6.1.0-50-amd64", Edition::New),
            ("6.18.44", Edition::New),
            ("nonsense", Edition::New),
        ] {
            assert_eq!(Edition::of(release), edition, "{release}");
        }
    }
}
