//! What is kept of the way in which a container was started: image, command, user, log, restart.

use super::{Because, Log, Options, User, containers};
use crate::{
    error::{Error, Result},
    recording::{BytePath, Container, printable},
    requirements::{Requirements, Run},
};

/// The configuration of the recorded containers: that of the first, which the others share as a rule.
pub fn container(runs: &[Run]) -> Option<Container> {
    containers(runs).next().cloned()
}

/// What to call the workload.
pub fn name(runs: &[Run], config: &Container, options: &Options) -> Result<String> {
    if let Some(name) = &options.name {
        return if is_name(name) {
            Ok(name.clone())
        } else {
            Err(Error::usage(format!("\"{}\" can't be a workload's name", printable(name)))
                .hint("use letters, digits, '.', '_' and '-', beginning with a letter or digit, at most 63"))
        };
    }
    let program = runs.iter().flat_map(|run| &run.command).chain(None::<&BytePath>).next();
    let from_program = program.map(|path| {
        let bytes = path.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    });
    let found = [Some(config.name.clone()), from_program]
        .into_iter()
        .flatten()
        .map(|text| plain(&text))
        .find(|text| is_name(text));
    Ok(found.unwrap_or_else(|| "agent".into()))
}

/// Docker's rule for names, and short enough for a Kubernetes label.
fn is_name(name: &str) -> bool {
    const LONGEST: usize = 63;
    name.len() <= LONGEST
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// The text without what a name can't have.
fn plain(text: &str) -> String {
    let kept: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
        .take(63)
        .collect();
    kept.trim_matches(['-', '.', '_']).to_owned()
}

/// The image: the one that was asked for, the recorded one by digest, or as it was named.
pub fn image(config: &Container, options: &Options, notes: &mut Vec<String>) -> Option<Because<String>> {
    if let Some(image) = &options.image {
        return Some(Because::new(image.clone(), "as asked for with --image"));
    }
    if let Some(digest) = &config.image_digest {
        let name = config.image.as_deref().unwrap_or_default();
        return Some(Because::new(digest.clone(), format!("what {name} was when it was recorded")));
    }
    let image = config.image.clone()?;
    notes.push(format!(
        "the image {} has no digest, as it came from no registry: the name may mean another image tomorrow",
        printable(&image)
    ));
    Some(Because::new(image, "as it was recorded; it has no digest"))
}

/// Entry point and the words after it, where they are not the image's own.
#[derive(Default)]
pub struct Command {
    pub entrypoint: Option<Because<Vec<String>>>,
    pub words: Option<Because<Vec<String>>>,
}

/// What is started.
pub fn command(config: &Container) -> Command {
    let split = usize::try_from(config.entrypoint_words).unwrap_or(0).min(config.command.len());
    let (entrypoint, words) = config.command.split_at(split);
    let because = |words: &[String]| Some(Because::new(words.to_vec(), "as it was started"));
    let (image_entry, image_words) = config
        .image_defaults
        .as_ref()
        .map_or((&[][..], &[][..]), |image| (image.entrypoint.as_slice(), image.command.as_slice()));
    let own_entry = entrypoint != image_entry;
    Command {
        entrypoint: if own_entry && !entrypoint.is_empty() { because(entrypoint) } else { None },
        // An entry point on the command line takes the image's command away.
        words: if (own_entry || words != image_words) && !words.is_empty() { because(words) } else { None },
    }
}

/// Whom it runs as: as asked for, else as recorded.
pub fn user(needs: &Requirements, config: &Container, options: &Options) -> Result<Because<User>> {
    let mut ids: Vec<(u32, u32)> =
        needs.runs.iter().flat_map(|run| &run.credentials).map(|one| (one.uid, one.gid)).collect();
    ids.sort_unstable();
    ids.dedup();
    if let Some(spec) = &options.user {
        let numbers = numbers(spec).ok_or_else(|| {
            Error::usage(format!("--user {} is not a user", printable(spec)))
                .hint("write numbers, UID or UID:GID: names mean something else in each image")
        })?;
        let blockers = if numbers.0 == 0 { Vec::new() } else { blockers(needs, &ids) };
        let user = User {
            spec: Some(format!("{}:{}", numbers.0, numbers.1)),
            root: numbers.0 == 0,
            ids: Some(numbers),
            blockers,
        };
        return Ok(Because::new(user, "as asked for with --user"));
    }
    let root = ids.iter().any(|(uid, _)| *uid == 0) || (ids.is_empty() && config.user.is_none());
    let image = config.image_defaults.as_ref().and_then(|image| image.user.as_ref());
    let own = config.user.clone().filter(|user| Some(user) != image);
    let one = match ids.as_slice() {
        [one] => Some(*one),
        _ => None,
    };
    // A command that was recorded outside of any container ran as somebody, too.
    let spec = own.or_else(|| {
        let (uid, gid) = one.filter(|(uid, _)| *uid != 0 && config.runtime.is_empty())?;
        Some(format!("{uid}:{gid}"))
    });
    let why = match (&spec, image, root) {
        (_, _, true) => "it ran as root when it was recorded".to_owned(),
        (Some(_), _, _) => "as it was started".to_owned(),
        (None, Some(user), _) => format!("the image's own user, {user}"),
        (None, None, _) => "nobody named a user, and it did not run as root".to_owned(),
    };
    let blockers = if root { blockers(needs, &ids) } else { Vec::new() };
    Ok(Because::new(User { spec, root, ids: one, blockers }, why))
}

fn numbers(spec: &str) -> Option<(u32, u32)> {
    let (uid, gid) = spec.split_once(':').unwrap_or((spec, spec));
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

/// What a user other than root would be denied, as far as the recordings tell.
fn blockers(needs: &Requirements, ids: &[(u32, u32)]) -> Vec<String> {
    let mut out = Vec::new();
    if !needs.capabilities.is_empty() {
        let names: Vec<&str> = needs.capabilities.keys().map(String::as_str).collect();
        out.push(format!("it used capabilities that root alone has: {}", names.join(", ")));
    }
    let owned = crate::recording::Access::CHANGE;
    let mut written = needs
        .files
        .iter()
        .filter(|need| need.access().intersects(owned) && !super::places::is_kernels(need.path()))
        .peekable();
    if let Some(first) = written.peek().map(|need| BytePath::from(need.path())) {
        let count = written.count() as u64;
        out.push(format!(
            "it writes to {} such as {first}: their folders must be the user's",
            crate::output::counted(count, "path")
        ));
    }
    if ids.len() > 1 {
        out.push("it changes its user while it runs".into());
    }
    out
}

/// Where output goes: never without a limit, which would fill the host's disk.
pub fn log(config: &Container) -> Because<Log> {
    let driver = config.log_driver.clone().unwrap_or_else(|| "json-file".into());
    let mut options = config.log_options.clone();
    let known = !options.is_empty();
    if matches!(driver.as_str(), "json-file" | "local") {
        options.entry("max-size".into()).or_insert_with(|| "10m".into());
        options.entry("max-file".into()).or_insert_with(|| "3".into());
    }
    let why =
        if known { "as it was started, with a limit" } else { "so that output can't fill the host's disk" };
    Because::new(Log { driver, options: options.into_iter().collect() }, why)
}

/// When it is started again: as it was configured.
pub fn restart(config: &Container) -> Because<String> {
    match config.restart.as_deref() {
        Some(policy) if !policy.is_empty() => Because::new(policy.to_owned(), "as it was started"),
        _ => Because::new("no".to_owned(), "no policy is known"),
    }
}
