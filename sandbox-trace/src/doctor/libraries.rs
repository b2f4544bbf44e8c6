//! What compiles profiles and what enforces them: libseccomp, `apparmor_parser`, AppArmor in the kernel.

use std::{path::Path, time::Duration};

use libseccomp::{ScmpVersion, get_api};

use super::{Check, Subject};
use crate::{
    apparmor::{compiler, features},
    program,
};

pub(super) const LIBSECCOMP: Subject = Subject {
    id: "libseccomp",
    title: "libseccomp",
    why: "Profiles are compiled and replayed with the library that container runtimes compile them with.",
    needed: false,
};
pub(super) const PARSER: Subject = Subject {
    id: "apparmor_parser",
    title: "apparmor_parser",
    why: "The real compiler checks every AppArmor profile that is written, and `verify --apparmor` replays what it \
          makes.",
    needed: false,
};
pub(super) const APPARMOR: Subject = Subject {
    id: "apparmor",
    title: "AppArmor in the kernel",
    why: "The kernel enforces AppArmor profiles and says which of its rules it knows.",
    needed: false,
};

/// Before it, filters answer unknown calls differently and miss the calls of current kernels.
const OLDEST_LIBSECCOMP: (u32, u32) = (2, 5);
const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";
const LIMIT: Duration = Duration::from_secs(5);

pub(super) fn libseccomp(of: Subject) -> Check {
    match ScmpVersion::current() {
        Ok(version) => judge_libseccomp(of, &version, get_api()),
        Err(error) => of.warning(format!("its version is not known: {error}"), "apt-get install libseccomp2"),
    }
}

fn judge_libseccomp(of: Subject, version: &ScmpVersion, level: u32) -> Check {
    let found = format!("{}.{}.{}, API level {level}", version.major, version.minor, version.micro);
    if (version.major, version.minor) < OLDEST_LIBSECCOMP {
        of.warning(format!("{found}, older than 2.5"), "apt-get install libseccomp2, 2.5 or later")
    } else {
        of.ok(found)
    }
}

pub(super) fn parser(of: Subject) -> Check {
    let Some(path) = compiler::installed() else {
        return of.warning(
            "not installed",
            "apt-get install apparmor; until then profiles are written without a check, and `verify --apparmor` \
             does not work",
        );
    };
    match program::output(&path, &["--version"], LIMIT) {
        Ok(said) => {
            let version =
                said.lines().next().unwrap_or_default().trim_start_matches("AppArmor parser version ");
            of.ok(format!("{} at {}", version.trim(), path.display()))
        }
        Err(error) => {
            of.warning(format!("{}: {error}", path.display()), "apt-get install --reinstall apparmor")
        }
    }
}

pub(super) fn apparmor(of: Subject) -> Check {
    let enabled = std::fs::read_to_string(ENABLED).ok();
    let features = Path::new(features::HOST).join("file").is_dir();
    judge_apparmor(of, enabled.as_deref().map(str::trim), features)
}

fn judge_apparmor(of: Subject, enabled: Option<&str>, features: bool) -> Check {
    let meanwhile = "; until then profiles are compiled for the built-in features of Linux 6.1, or those that \
                     --apparmor-features names";
    match (enabled, features) {
        (Some("Y"), true) => of.ok(format!("enabled; its features are at {}", features::HOST)),
        (Some("Y"), false) => of.warning(
            format!("enabled, but {} is not to be seen", features::HOST),
            format!("mount -t securityfs none /sys/kernel/security{meanwhile}"),
        ),
        (Some(_), _) => of.warning(
            "in the kernel, but not enabled",
            format!("boot with apparmor=1 security=apparmor{meanwhile}"),
        ),
        (None, _) => of.warning(
            "not in the running kernel",
            format!("boot a kernel with CONFIG_SECURITY_APPARMOR=y and apparmor in lsm={meanwhile}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Status, *};

    #[test]
    fn an_old_libseccomp_is_a_warning() {
        let judge = |minor| judge_libseccomp(LIBSECCOMP, &ScmpVersion { major: 2, minor, micro: 4 }, 6);
        assert_eq!(judge(5).found, "2.5.4, API level 6");
        assert_eq!((judge(5).status, judge(4).status), (Status::Ok, Status::Warning));
    }

    #[test]
    fn without_apparmor_the_built_in_features_are_named() {
        assert_eq!(judge_apparmor(APPARMOR, Some("Y"), true).status, Status::Ok);
        for (enabled, features) in [(Some("Y"), false), (Some("N"), false), (None, false)] {
            let check = judge_apparmor(APPARMOR, enabled, features);
            assert_eq!(check.status, Status::Warning);
            assert!(check.fix.unwrap().contains("built-in features of Linux 6.1"));
        }
    }
}
