//! Mounts: `SOURCE:TARGET:OPTIONS`, `type=bind,source=…`, and file systems in memory.

use std::path::{Component, Path, PathBuf};

use crate::recording::Mount;

/// What relative sources are relative to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// The folder of `.`; with none, a relative path stays as it is written.
    pub here: Option<PathBuf>,
    /// The folder of `~`.
    pub home: Option<PathBuf>,
}

impl Places {
    /// The path that `text` means, without `.` and `..` (by the names alone: no file is looked at).
    pub fn path(&self, text: &str) -> Vec<u8> {
        use std::os::unix::ffi::OsStrExt as _;
        let path = match text.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => match &self.home {
                Some(home) => home.join(rest.trim_start_matches('/')),
                None => PathBuf::from(text),
            },
            _ => match &self.here {
                Some(here) => here.join(text),
                None => PathBuf::from(text),
            },
        };
        let mut out = PathBuf::new();
        for part in path.components() {
            match part {
                Component::CurDir => {}
                Component::ParentDir if out.is_absolute() => {
                    out.pop();
                }
                part => out.push(part),
            }
        }
        out.as_os_str().as_bytes().to_vec()
    }
}

/// Whether a short form's source is a path of the host, and no volume's name.
fn is_path(source: &str) -> bool {
    source.starts_with(['/', '.', '~'])
}

fn checked_target(target: &str, whole: &str) -> Result<(), String> {
    if Path::new(target).is_absolute() {
        Ok(())
    } else {
        Err(format!("{whole:?}: where it is mounted must be an absolute path of the container"))
    }
}

/// `[SOURCE:]TARGET[:OPTIONS]`, as `-v` and compose's `volumes` have it.
pub fn volume(text: &str, places: &Places) -> Result<Mount, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => return Err(format!("{text:?} is no volume: write [SOURCE:]TARGET[:OPTIONS]")),
    };
    if source == Some("") {
        return Err(format!("{text:?} has no source before the colon"));
    }
    checked_target(target, text)?;
    let options: Vec<String> = words(options);
    let path = source.filter(|source| is_path(source));
    Ok(Mount {
        target: target.as_bytes().to_vec().into(),
        source: path.map(|source| places.path(source).into()),
        kind: if path.is_some() { "bind" } else { "volume" }.into(),
        mode: mode(&options).into(),
        volume: source.filter(|source| !is_path(source)).map(str::to_owned),
        options: options.into_iter().filter(|option| !matches!(option.as_str(), "ro" | "rw")).collect(),
    })
}

/// `type=bind,source=/a,target=/b,readonly`, as `--mount` has it.
pub fn in_csv(text: &str, places: &Places) -> Result<Mount, String> {
    let mut out = Mount { kind: "volume".into(), mode: "rw".into(), ..Mount::default() };
    let mut source = None;
    for field in fields(text)? {
        let (key, value) = field.split_once('=').unwrap_or((&field, ""));
        let on = !matches!(value, "false" | "0");
        match key.to_ascii_lowercase().as_str() {
            "type" => value.clone_into(&mut out.kind),
            "source" | "src" => source = Some(value.to_owned()),
            "target" | "destination" | "dst" => out.target = value.as_bytes().to_vec().into(),
            "readonly" | "ro" => out.mode = if on { "ro" } else { "rw" }.into(),
            "tmpfs-size" => out.options.push(format!("size={value}")),
            "tmpfs-mode" => out.options.push(format!("mode={value}")),
            "tmpfs-options" => out.options.extend(words(value)),
            "bind-propagation" => out.options.push(value.to_owned()),
            // Where a volume is kept, and what of it, changes nothing that the container may do.
            _ => {}
        }
    }
    if !matches!(out.kind.as_str(), "bind" | "volume" | "tmpfs" | "npipe" | "cluster" | "image") {
        return Err(format!("{text:?}: {:?} is no type of a mount", out.kind));
    }
    checked_target(&String::from_utf8_lossy(out.target.as_bytes()), text)?;
    match (out.kind.as_str(), source) {
        ("bind", Some(source)) => out.source = Some(places.path(&source).into()),
        ("bind", None) => return Err(format!("{text:?}: a bind mount needs a source")),
        (_, source) => out.volume = source.filter(|source| !source.is_empty()),
    }
    if out.kind == "tmpfs" {
        out.volume = None;
        // What Docker mounts them with where nothing else is said.
        let own: Vec<String> = ["noexec", "nosuid", "nodev"].map(str::to_owned).into();
        out.options = with_defaults(own, out.options);
    }
    Ok(out)
}

/// `PATH[:OPTIONS]`, as `--tmpfs` and compose's `tmpfs` have it. Docker's own options come first: `noexec`, `nosuid`,
/// `nodev`, unless the opposite is asked for.
pub fn tmpfs(text: &str) -> Result<Mount, String> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    checked_target(target, text)?;
    let asked = words(options);
    let mode = mode(&asked).into();
    let asked = asked.into_iter().filter(|option| !matches!(option.as_str(), "ro" | "rw")).collect();
    let own: Vec<String> = ["noexec", "nosuid", "nodev"].map(str::to_owned).into();
    Ok(Mount {
        target: target.as_bytes().to_vec().into(),
        source: None,
        kind: "tmpfs".into(),
        mode,
        volume: None,
        options: with_defaults(own, asked),
    })
}

fn with_defaults(own: Vec<String>, asked: Vec<String>) -> Vec<String> {
    let undone = |option: &String| {
        option.strip_prefix("no").is_some_and(|without| asked.iter().any(|a| a == without))
            || asked.contains(option)
    };
    let mut out: Vec<String> = own.into_iter().filter(|option| !undone(option)).collect();
    out.extend(asked);
    out
}

fn mode(options: &[String]) -> &'static str {
    if options.iter().any(|option| option == "ro") { "ro" } else { "rw" }
}

fn words(options: &str) -> Vec<String> {
    options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect()
}

/// The fields of a line of comma-separated values; a field in double quotes may hold commas.
fn fields(text: &str) -> Result<Vec<String>, String> {
    let (mut out, mut field, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => out.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    if quoted {
        return Err(format!("{text:?}: a quote is not closed"));
    }
    out.push(field);
    Ok(out.into_iter().filter(|field| !field.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        Places { here: Some("/project".into()), home: Some("/home/u".into()) }
    }

    fn shown(mount: &Mount) -> String {
        let source = mount.source.as_ref().map(ToString::to_string).or_else(|| mount.volume.clone());
        let source = source.unwrap_or_else(|| "-".into());
        format!("{} {source} {} {} {}", mount.kind, mount.target, mount.mode, mount.options.join(","))
    }

    #[test]
    fn every_form_of_a_mount() {
        for (text, expected) in [
            ("./logs:/app/logs:rw,nosuid", "bind /project/logs /app/logs rw nosuid"),
            ("../x/./y:/y:ro", "bind /x/y /y ro "),
            ("~/.ssh:/keys", "bind /home/u/.ssh /keys rw "),
            ("~:/h", "bind /home/u /h rw "),
            ("/:/host", "bind / /host rw "),
            ("/../..:/host", "bind / /host rw "),
            ("data:/data:ro", "volume data /data ro "),
            ("/data", "volume - /data rw "),
        ] {
            assert_eq!(shown(&volume(text, &places()).unwrap()), expected, "{text}");
        }
        for text in ["", "a:b", "a:/b:c:d", ":/b", "relative"] {
            assert!(volume(text, &places()).is_err(), "{text}");
        }
        for (text, expected) in [
            ("type=bind,src=.,dst=/app,readonly", "bind /project /app ro "),
            ("type=volume,source=d,target=/d", "volume d /d rw "),
            ("type=tmpfs,target=/t,tmpfs-size=1m", "tmpfs - /t rw noexec,nosuid,nodev,size=1m"),
            ("type=bind,\"src=/a,b\",dst=/c", "bind /a,b /c rw "),
        ] {
            assert_eq!(shown(&in_csv(text, &places()).unwrap()), expected, "{text}");
        }
        for text in ["type=bind,target=/x", "type=odd,target=/x", "type=volume", "\"type=bind"] {
            assert!(in_csv(text, &places()).is_err(), "{text}");
        }
        for (text, expected) in [
            ("/tmp", "tmpfs - /tmp rw noexec,nosuid,nodev"),
            ("/tmp:rw,exec,size=1g", "tmpfs - /tmp rw nosuid,nodev,exec,size=1g"),
            ("/run:ro,noexec", "tmpfs - /run ro nosuid,nodev,noexec"),
        ] {
            assert_eq!(shown(&tmpfs(text).unwrap()), expected, "{text}");
        }
        assert!(tmpfs("tmp").is_err());
    }
}
