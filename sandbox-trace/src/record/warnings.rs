//! What a reader of a recording should know about its limits.

use super::labels;
use crate::recording::Recording;

/// The warnings of a recording. Its file accesses are not in it yet: whether there is nothing at all, and how many accesses
/// were refused by a security module, is told.
pub fn warnings(recording: &Recording, empty: bool, refused_files: usize) -> Vec<String> {
    let mut out = Vec::new();
    if recording.target.ended == "checkpoint" {
        out.push("this is a checkpoint: what the target did after it is not in here".into());
    }
    if !recording.host.observed.iter().any(|kind| kind == "capabilities") {
        out.push(format!(
            "Linux {} has no cap_capable tracepoint (6.14 has): capabilities were not observed",
            recording.host.kernel
        ));
    }
    if empty {
        out.push("the target did nothing while it was recorded".into());
    }
    if recording.losses.get("io_uring_unseen").is_some_and(|n| *n > 0) {
        out.push("io_uring was used: what it did with files and sockets was not seen".into());
    }
    out.extend(confined(recording));
    let refused = recording.failed.network.iter().filter(|n| n.refused_by.is_some()).count()
        + recording.capabilities.iter().filter(|c| c.refused_by.is_some()).count()
        + refused_files;
    if refused > 0 {
        out.push(format!(
            "a security module (AppArmor) refused {refused} of what was tried, marked refused_by: a profile from this \
             recording refuses it too"
        ));
    }
    if recording.executables.iter().any(|e| e.path.is_empty()) {
        out.push("an executable has no path: it was gone, or detached, when it was seen".into());
    }
    out
}

/// What `AppArmor` refuses fails like what file modes refuse, and these hooks don't see who said no.
fn confined(recording: &Recording) -> Option<String> {
    let refuses: Vec<String> =
        recording.target.apparmor.iter().filter(|l| labels::refuses(l)).map(ToString::to_string).collect();
    let refusal = |error: Option<&String>| error.is_some_and(|e| e == "EACCES" || e == "EPERM");
    let files = recording.failed.files.iter().filter(|f| refusal(f.error.as_ref())).count();
    let network = recording.failed.network.iter().filter(|n| refusal(n.error.as_ref())).count();
    let failed = files + network;
    (!refuses.is_empty() && failed > 0).then(|| {
        format!(
            "AppArmor confined the target ({}): which of the {failed} accesses that failed with EACCES or EPERM it refused can't be \
             told. Record in complain mode, or unconfined, to learn them",
            refuses.join(", ")
        )
    })
}
