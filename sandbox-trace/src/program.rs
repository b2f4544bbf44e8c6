//! Programs of this host: where they are and what they say about themselves, within a time limit.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Folders of system programs that an unprivileged user's PATH often leaves out.
const SYSTEM_FOLDERS: [&str; 3] = ["/sbin", "/usr/sbin", "/usr/local/sbin"];
/// How often a running program is looked at.
const TICK: Duration = Duration::from_millis(10);
/// More than any program says about its version.
const MOST_BYTES: u64 = 64 << 10;

/// The path of the program `name`, if it is installed.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SYSTEM_FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// What `program` writes to its standard output when it is run with these arguments. A program that fails, or that
/// is not done after `limit` (it is killed then), is an error in words.
pub fn output(program: &Path, args: &[&str], limit: Duration) -> Result<String, String> {
    let mut child = Command::new(program)
        .args(args)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("it does not start: {e}"))?;
    let end = Instant::now() + limit;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => std::thread::sleep(TICK),
            outcome => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(match outcome {
                    Err(e) => e.to_string(),
                    Ok(_) => format!("it was not done after {} s", limit.as_secs()),
                });
            }
        }
    };
    if !status.success() {
        return Err(format!("it failed: {status}"));
    }
    // The program has ended, and what it wrote fits into a pipe: one that writes more waits until it is killed.
    let mut said = Vec::new();
    if let Some(pipe) = child.stdout.take() {
        pipe.take(MOST_BYTES).read_to_end(&mut said).map_err(|e| e.to_string())?;
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_killed_and_one_that_fails_is_told_apart() {
        let shell = find("sh").unwrap();
        let run = |text| output(&shell, &["-c", text], Duration::from_secs(1));
        assert_eq!(run("echo 1.2.3").unwrap(), "1.2.3\n");
        assert!(run("exit 3").unwrap_err().contains('3'));
        let start = Instant::now();
        assert!(run("exec sleep 60").unwrap_err().contains("not done"));
        assert!(start.elapsed() < Duration::from_secs(20));
        assert!(output(Path::new("/no/such/program"), &[], TICK).is_err());
    }

    #[test]
    fn what_is_not_installed_is_not_found() {
        assert_eq!(find("no-such-program-anywhere"), None);
    }
}
