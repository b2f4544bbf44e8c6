//! A release pipeline, from release to release, with a real Docker engine and the script of `docs/pipeline/`: what a
//! release needs beyond what is committed is shown and stops it, until somebody approves; what none of the last runs
//! needed is taken away; what somebody changed by hand is found.
//!
//! The summaries are left in `target/pipeline/`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    agent,
    command::{self, require_path},
    docker::{Engine, IMAGE},
    product,
};
use serde_json::Value;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// A workload's folder in a pipeline, and the engine that its releases run on.
struct Pipeline {
    engine: Engine,
    dir: tempfile::TempDir,
}

impl Pipeline {
    fn start() -> Result<Self> {
        let pipeline = Self { engine: Engine::start()?, dir: tempfile::tempdir()? };
        fs::create_dir(pipeline.folder())?;
        // The example of the repository, with a shorter memory.
        let workload = fs::read_to_string(agent::source().join("workload.toml"))?;
        ensure!(workload.contains("\nlast = 5\n"), "{workload}");
        fs::write(pipeline.folder().join("workload.toml"), workload.replace("\nlast = 5\n", "\nlast = 2\n"))?;
        Ok(pipeline)
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("profiles")
    }

    /// An image with a release of the agent that does `more` once it has read its configuration.
    fn release(&self, image: &str, more: &str) -> Result<()> {
        const BEFORE: &str = "    rounds = settings[\"rounds\"] if rounds is None else rounds\n";
        let source = fs::read_to_string(agent::source().join("agent.py"))?;
        ensure!(source.matches(BEFORE).count() == 1, "the agent has changed");
        let agent = self.dir.path().join("agent.py");
        fs::write(&agent, source.replace(BEFORE, &format!("{BEFORE}{more}")))?;
        let vocabulary = self.dir.path().join("vocabulary.txt");
        fs::write(&vocabulary, "observe think act\n")?;
        let name = format!("make-{}", image.replace(':', "-"));
        self.engine.call(["create", "--network=none", "--name", &name, IMAGE, "/bin/true"])?;
        for file in [&agent, &vocabulary] {
            let file = file.to_str().context("an odd temporary folder")?;
            self.engine.call(["cp", file, &format!("{name}:{}/", agent::DIR)])?;
        }
        self.engine.call(["commit", &name, image])?;
        self.engine.call(["rm", &name]).map(drop)
    }

    /// Runs the script on a release. Returns its exit code and the summary.
    fn refresh(&self, options: &[&str], image: &str, called: &str) -> Result<(i32, String)> {
        let kept = product::target_dir().join("pipeline");
        fs::create_dir_all(&kept)?;
        let summary = kept.join(format!("{called}.md"));
        let comment = self.dir.path().join("comment.md");
        let _ = fs::remove_file(&summary);
        let _ = fs::remove_file(&comment);
        let mut script = Command::new(docs().join("pipeline/refresh.sh"));
        script
            .args(options)
            .arg(self.folder())
            .args([
                "--network=none",
                "--read-only",
                "--tmpfs=/tmp",
                "--security-opt=no-new-privileges",
                image,
            ])
            .args(agent::work())
            .env("SANDBOX_TRACE", product::binary()?)
            .env("DOCKER_HOST", self.engine.host())
            .env(
                "PATH",
                format!("/usr/sbin:/usr/bin:/sbin:/bin:{}", std::env::var("PATH").unwrap_or_default()),
            )
            .env("SUMMARY", &summary)
            .env("COMMENT", format!("cat >'{}'", comment.display()));
        let output = command::run(&mut script)?;
        let described = command::describe(&script, &output);
        let text = fs::read_to_string(&summary).with_context(|| described.clone())?;
        ensure!(fs::read_to_string(&comment)? == text, "the comment is not the summary");
        fs::write(kept.join(format!("{called}.log")), &described)?;
        Ok((output.status.code().context("killed")?, text))
    }

    /// All files, by name.
    fn files(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let entries = fs::read_dir(self.folder())?.collect::<Result<Vec<_>, _>>()?;
        entries
            .iter()
            .map(|entry| Ok((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?)))
            .collect()
    }

    /// What the folder's files are, those apart that know how many runs there were.
    fn emitted(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut files = self.files()?;
        for name in ["recording.json.zst", "sandbox-trace.lock"] {
            ensure!(files.remove(name).is_some(), "{name} was not written: {:?}", files.keys());
        }
        Ok(files)
    }
}

/// The lines of a section of a summary that are items, not what belongs to them.
fn items<'a>(summary: &'a str, section: &str) -> Vec<&'a str> {
    let title = format!("### {section}");
    let lines = summary.lines().skip_while(|line| *line != title).skip(1);
    lines.take_while(|line| !line.starts_with('#')).filter(|line| line.starts_with("- ")).collect()
}

const TWO_MORE: &str = "
    with open('/opt/agent/vocabulary.txt', encoding='utf-8') as file:
        file.read()
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()
";

#[test]
fn profiles_follow_the_releases() -> Result<()> {
    command::require_root()?;
    let pipeline = Pipeline::start()?;
    pipeline.release("agent:1", "")?;
    pipeline.release("agent:2", TWO_MORE)?;

    // Nothing is there: --check says what would be written, and writes nothing.
    let (code, summary) = pipeline.refresh(&["--check"], "agent:1", "1-check")?;
    ensure!(code == 0 && summary.contains("Nothing was written"), "{code}: {summary}");
    ensure!(pipeline.files()?.len() == 1, "--check wrote {:?}", pipeline.files()?.keys());
    let (code, summary) = pipeline.refresh(&[], "agent:1", "1")?;
    ensure!(code == 0 && summary.contains("The first profiles"), "{code}: {summary}");
    for what in [
        "- kernel: `",
        "- container runtime: `docker with runc-here (Engine ",
        "- C library: `libc.so.6`",
        "- image: `sha256:",
    ] {
        ensure!(summary.contains(what), "no {what} in:\n{summary}");
    }
    let first = pipeline.emitted()?;
    for name in ["seccomp.json", "apparmor.profile", "docker-run.sh", "compose.yaml", "SUMMARY.md"] {
        ensure!(first.contains_key(name), "no {name} in {:?}", first.keys());
    }

    // Another run of the same release changes nothing.
    let (code, summary) = pipeline.refresh(&[], "agent:1", "1-again")?;
    ensure!(code == 0 && summary.contains("The same privileges as before"), "{code}: {summary}");
    for (name, bytes) in pipeline.emitted()? {
        let before = first.get(&name);
        ensure!(before == Some(&bytes), "{name} changed:\n{}", String::from_utf8_lossy(&bytes));
    }

    // A release that opens a new file and a new family of sockets: exactly those two, with their evidence.
    let before = pipeline.files()?;
    let (code, summary) = pipeline.refresh(&[], "agent:2", "2")?;
    ensure!(code == 1, "{code}: {summary}");
    let added = items(&summary, "New privileges");
    ensure!(added.len() == 2, "{summary}");
    for (what, access) in [("file `/opt/agent/vocabulary.txt`", " `owner r`"), ("network `netlink raw`", "")]
    {
        let found = added.iter().any(|line| line.starts_with(&format!("- ✗ {what}{access}")));
        ensure!(found, "{what} is not in:\n{summary}");
    }
    let evidence = "needed by `/usr/bin/python3";
    ensure!(
        summary.matches(evidence).count() == 2 && summary.matches("run-1.json`, 1 time, first ").count() == 2,
        "{summary}"
    );
    ensure!(pipeline.files()? == before, "a refused release changed the folder");

    // What the summary says is pasted, with who and why, and the release goes through.
    let entries = summary.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let entries = entries.context("no entries to paste")?;
    let filled = entries
        .replace("reason = \"\"", "reason = \"it speaks to the kernel since 2\"")
        .replace("by = \"\"", "by = \"ada\"");
    let file = pipeline.folder().join("workload.toml");
    let workload = fs::read_to_string(&file)?;
    fs::write(&file, format!("{workload}\n{}", filled.replace("expires = 2", "expires = 1")))?;
    let (code, summary) = pipeline.refresh(&["--check"], "agent:2", "2-expired")?;
    ensure!(code == 1 && summary.contains("expired on"), "an expired approval counts: {code}: {summary}");
    fs::write(&file, format!("{workload}\n{filled}"))?;
    let (code, summary) = pipeline.refresh(&[], "agent:2", "2-approved")?;
    ensure!(code == 0 && summary.contains("2 privileges more, all of them approved"), "{code}: {summary}");
    let wider = pipeline.emitted()?;
    let profile = String::from_utf8_lossy(wider.get("apparmor.profile").context("no profile")?).into_owned();
    ensure!(
        profile.contains("owner /opt/agent/vocabulary.txt r,") && profile.contains("network netlink raw,"),
        "{profile}"
    );

    // The next release has neither. Once no recent run needed them, the profile has neither.
    let (code, summary) = pipeline.refresh(&[], "agent:1", "3")?;
    ensure!(code == 0 && summary.contains("The same privileges as before"), "{code}: {summary}");
    let (code, summary) = pipeline.refresh(&[], "agent:1", "3-narrower")?;
    ensure!(code == 0 && summary.contains("Narrower"), "{code}: {summary}");
    let gone = items(&summary, "Privileges that are gone");
    ensure!(gone.iter().any(|line| line.contains("`/opt/agent/vocabulary.txt`")), "{summary}");
    ensure!(gone.iter().any(|line| line.contains("`netlink raw`")), "{summary}");
    let narrow = pipeline.emitted()?;
    let profile = String::from_utf8_lossy(narrow.get("apparmor.profile").context("no profile")?).into_owned();
    ensure!(!profile.contains("vocabulary") && !profile.contains("netlink"), "{profile}");

    // Somebody lets the agent do more, by hand.
    let tampered =
        profile.replacen("network unix stream,", "network unix stream,\n  network netlink raw,", 1);
    ensure!(tampered != profile, "{profile}");
    fs::write(pipeline.folder().join("apparmor.profile"), tampered)?;
    let before = pipeline.files()?;
    let (code, summary) = pipeline.refresh(&[], "agent:1", "4-tampered")?;
    ensure!(code == 1, "{code}: {summary}");
    ensure!(
        items(&summary, "Changed by others")
            .iter()
            .any(|line| line.contains("`apparmor.profile` was changed")),
        "{summary}"
    );
    ensure!(pipeline.files()? == before, "a tampered folder was changed");
    Ok(())
}

/// What the folder's files are good for: the release runs under them.
#[test]
fn a_release_runs_as_its_files_say() -> Result<()> {
    command::require_root()?;
    let pipeline = Pipeline::start()?;
    pipeline.release("agent:1", "")?;
    let (code, summary) = pipeline.refresh(&[], "agent:1", "run")?;
    ensure!(code == 0, "{code}: {summary}");
    let mut script = Command::new("sh");
    script
        .arg(pipeline.folder().join("docker-run.sh"))
        .env("DOCKER_HOST", pipeline.engine.host())
        .env("PATH", format!("/usr/sbin:/usr/bin:/sbin:/bin:{}", std::env::var("PATH").unwrap_or_default()));
    let output = command::succeed(&mut script)?;
    let id = String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned();
    let status = pipeline.engine.call(["wait", &id])?;
    let log = pipeline.engine.call(["logs", &id])?;
    ensure!(status == "0", "it ended with {status}:\n{log}");
    agent::expect_worked(&log)
}

/// The jobs are what their services take.
#[test]
fn the_pipelines_are_valid() -> Result<()> {
    let program = product::target_dir().join("tools/check-jsonschema/bin/check-jsonschema");
    for (file, schema) in [("github.yml", "vendor.github-workflows"), ("gitlab.yml", "vendor.gitlab-ci")] {
        let mut command = Command::new(require_path(&program)?);
        command.args(["--builtin-schema", schema]).arg(docs().join("pipeline").join(file));
        if schema.ends_with("gitlab-ci") {
            command.args(["--data-transform", "gitlab-ci"]);
        }
        command::succeed(&mut command)?;
        let (page, job) = (docs().join("pipeline.md"), docs().join("pipeline").join(file));
        let shown =
            fs::read_to_string(page)?.contains(&format!("```yaml\n{}```\n", fs::read_to_string(job)?));
        ensure!(shown, "docs/pipeline.md does not show {file} as it is");
    }
    Ok(())
}

/// `--json` says the same as the summary, and holds to its schema.
#[test]
fn the_outcome_as_json_is_as_its_schema_says() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    fs::create_dir(path("profiles"))?;
    fs::write(path("profiles/workload.toml"), "name = \"agent\"\n[options]\nimage = \"a\"\n")?;
    let record = |name: &str, script: &str| {
        product::sandbox_trace(["record", "-q", "-o", &path(name), "--", "/bin/sh", "-c", script]).map(drop)
    };
    record("1.json", "cat /etc/passwd >/dev/null")?;
    record("2.json", "cat /etc/passwd /etc/group >/dev/null")?;
    let schema: Value = serde_json::from_slice(&fs::read(docs().join("schemas/refresh-v1.json"))?)?;
    let schema = jsonschema::draft202012::new(&schema).map_err(|e| anyhow::anyhow!("{e}"))?;
    let refresh = |recording: &str, code: i32| -> Result<Value> {
        let mut command = Command::new(product::binary()?);
        command.args(["refresh", &path("profiles"), "--json", "--recording", &path(recording)]);
        let output = command::run(&mut command)?;
        ensure!(output.status.code() == Some(code), "{}", command::describe(&command, &output));
        let value: Value = serde_json::from_slice(&output.stdout)?;
        let errors: Vec<String> =
            schema.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path)).collect();
        ensure!(errors.is_empty(), "{errors:?}\n{value:#}");
        Ok(value)
    };
    let first = refresh("1.json", 0)?;
    ensure!(first["verdict"] == "new" && first["written"] == true, "{first:#}");
    let wider = refresh("2.json", 1)?;
    ensure!(wider["verdict"] == "widened" && wider["written"] == false, "{wider:#}");
    let names: Vec<&str> =
        wider["added"].as_array().into_iter().flatten().filter_map(|one| one["what"].as_str()).collect();
    ensure!(names == ["/etc/group"], "{names:?}");
    fs::remove_file(path("profiles/seccomp.json"))?;
    let tampered = refresh("1.json", 1)?;
    ensure!(tampered["tampered"][0]["gone"] == true, "{tampered:#}");
    Ok(())
}
