//! The pages' blocks marked `host`, and with a Docker engine those marked `docker`, on the real thing: a page's commands run in
//! order, in one shell, as a reader would type them. What is shown must be among what they say; numbers may differ, and `…` stands for anything.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    mem::take,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use sandbox_trace_tests::{
    command::{require, require_root},
    docker::Engine,
    pages::{self, Step},
    product::binary,
};

/// A line that no command prints: the command before it ended, with this status.
const END: &str = "-- sandbox-trace-tests: ended with ";

/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn commands_on_the_real_thing_say_what_the_pages_show() -> Result<()> {
    require_root()?;
    require("python3")?;
    require("apparmor_parser")?;
    let ran = run_pages("host", None)?;
    for page in ["README.md", "docs/tutorial.md"] {
        ensure!(ran.iter().any(|name| name == page), "{page} has no commands for this machine");
    }
    Ok(())
}

#[test]
fn commands_with_docker_say_what_the_pages_show() -> Result<()> {
    require_root()?;
    require("apparmor_parser")?;
    let engine = Engine::start()?;
    let agent = "CMD [\"/usr/bin/python3\", \"/opt/agent/agent.py\", \"--workdir\", \"/tmp/agent\"]";
    engine.import(&engine.dir().join("image"), &[agent], "my-image")?;
    let ran = run_pages("docker", Some(&engine))?;
    for page in ["README.md", "docs/guides/docker.md"] {
        ensure!(ran.iter().any(|name| name == page), "{page} has no commands with Docker");
    }
    Ok(())
}

/// Runs the blocks of all pages with this marker. Returns the pages that have some.
fn run_pages(marker: &str, engine: Option<&Engine>) -> Result<Vec<String>> {
    let mut ran = Vec::new();
    for page in pages::all()? {
        let blocks = pages::blocks(&page.text);
        let steps: Vec<Step> = blocks
            .iter()
            .filter(|block| block.marker() == Some(marker))
            .flat_map(pages::Block::steps)
            .collect();
        if steps.is_empty() {
            continue;
        }
        let dir = tempfile::tempdir()?;
        let _agent = engine.is_none().then(|| Agent);
        let mut shell = Shell::start(dir.path(), engine)?;
        for step in steps {
            shell.step(&step).with_context(|| format!("{}:{}: {}", page.name, step.line, step.command))?;
        }
        if let Some(engine) = engine {
            // The next page's containers have the same names.
            for id in engine.call(["ps", "--all", "--quiet"])?.split_whitespace() {
                engine.call(["rm", "--force", "--volumes", id])?;
            }
        }
        ran.push(page.name);
    }
    Ok(ran)
}

/// The agent where the pages put it; what they put there goes away.
struct Agent;

impl Drop for Agent {
    fn drop(&mut self) {
        let folder = Path::new("/opt/demo-agent");
        for name in ["agent.py", "config.json"] {
            drop(fs::remove_file(folder.join(name)));
        }
        drop(fs::remove_dir(folder));
    }
}

/// A shell in a folder from which the repository looks like a clone's top.
struct Shell {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    /// What the last command said.
    before: Vec<String>,
}

impl Shell {
    fn start(dir: &Path, engine: Option<&Engine>) -> Result<Self> {
        std::os::unix::fs::symlink(pages::root().canonicalize()?.join("profiles"), dir.join("profiles"))?;
        let binaries = binary()?;
        let binaries = binaries.parent().context("the binary is in no folder")?.canonicalize()?;
        let path = std::env::var("PATH").unwrap_or_default();
        let mut bash = Command::new("bash");
        // Else Python writes a line in parts, and another program's line may come in between.
        bash.env_remove("PYTHONUNBUFFERED");
        if let Some(engine) = engine {
            bash.env("DOCKER_HOST", engine.host());
        }
        let mut child = bash
            .args(["--norc", "--noprofile"])
            .current_dir(dir)
            // Debian's folders first: a docker without an engine may come first in PATH.
            .env("PATH", format!("{}:/usr/sbin:/usr/bin:{path}", binaries.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("can't start bash")?;
        let mut input = child.stdin.take().context("bash has no input")?;
        let output = child.stdout.take().context("bash has no output")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        // The test is root already, and sudo need not be there. Commands must not read what follows them.
        writeln!(input, "exec 2>&1\nsudo() {{ \"$@\"; }}")?;
        Ok(Self { child, input, lines, before: Vec::new() })
    }

    /// Runs a command to its end; one in the background until it has said what is shown.
    fn step(&mut self, step: &Step) -> Result<()> {
        writeln!(self.input, "{{ {}\n}} < /dev/null; echo \"{END}$?\"", step.command)?;
        // What is waited for may have been said by then.
        let mut said = if step.command == "wait" { take(&mut self.before) } else { Vec::new() };
        let mut status = None;
        let in_background = step.command.trim_end().ends_with('&');
        while status.is_none() || (in_background && missing(step, &said).is_some()) {
            let Ok(line) = self.lines.recv_timeout(LIMIT) else {
                bail!("it did not come to its end, or say what is shown:\n{}", said.join("\n"));
            };
            match line.split_once(END) {
                // What has no newline at its end is before it.
                Some((before, code)) => {
                    said.push(before.to_owned());
                    status = Some(code.parse::<i32>()?);
                }
                None => said.push(line),
            }
        }
        let said_all = said.join("\n");
        ensure!(status == Some(step.status), "it ended with {status:?}, not {}:\n{said_all}", step.status);
        if let Some(line) = missing(step, &said) {
            bail!("it did not say\n{line}\nbut\n{said_all}");
        }
        self.before = said;
        Ok(())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // It ends at the end of its input, which closes with it; if it hangs, it is ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The first line that is shown and was not said.
fn missing<'a>(step: &'a Step, said: &[String]) -> Option<&'a String> {
    let shown = step.shown.iter().filter(|line| !line.trim().is_empty());
    shown.into_iter().find(|line| !said.iter().any(|said| matches(line, said)))
}

/// Whether a line was said, but for its numbers and what `…` stands for.
fn matches(shown: &str, said: &str) -> bool {
    let said = without_numbers(said);
    let mut rest = said.as_str();
    let shown = without_numbers(shown);
    let mut parts = shown.split('…');
    let Some(first) = parts.next() else { return false };
    let Some(after) = rest.strip_prefix(first) else { return false };
    rest = after;
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Each number, with its separators and its unit of time, as one sign.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_ascii_digit() {
            while chars.peek().is_some_and(|c| c.is_ascii_digit() || [',', '.'].contains(c)) {
                chars.next();
            }
            out.push('#');
        } else {
            out.push(c);
        }
    }
    // A run of a second or more is told in seconds.
    out.replace("# ms", "# s")
}

#[test]
fn another_line_is_not_taken_for_the_one_that_is_shown() {
    assert!(matches("✓ run1.json: 978 ms, 68 syscalls", "✓ run1.json: 2.2 s, 70 syscalls"));
    assert!(matches("✓ a … by hand…", "✓ a 1,234 things by hand, twice"));
    assert!(!matches("✓ nothing needed is blocked", "✗ 2 needed things would be blocked"));
    assert!(!matches("✓ a …, nothing lost", "✓ a 1, something lost"));
    assert!(!matches("armed", "armed for nothing"));
}
