//! Record → emit-k8s → the schemas of Kubernetes and of the Security Profiles Operator, and the AppArmor compiler.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    agent,
    cgroup::Cgroup,
    command::{self, require, require_path},
    product::{Recorder, binary, sandbox_trace, target_dir},
    runc::{Bundle, Options},
};
use serde_json::Value;

/// The first version with `appArmorProfile`, and one that is current.
const VERSIONS: [&str; 2] = ["1.30", "1.35"];

fn record(dir: &Path) -> Result<PathBuf> {
    let bundle = Bundle::create(&dir.join("bundle"))?;
    let cgroup = Cgroup::create()?;
    let recorder = Recorder::start(cgroup.path(), dir)?;
    let options = Options { seccomp: None, no_new_privileges: true };
    let output = bundle.run(&cgroup, &options, &agent::work())?;
    agent::expect_worked(&String::from_utf8_lossy(&output.stdout))?;
    recorder.finish()
}

fn emit(recording: &Path, output: &str, more: &[&str]) -> Result<String> {
    let mut args = vec!["emit-k8s".as_ref(), recording.as_os_str(), "-o".as_ref(), output.as_ref()];
    args.extend(["--name", "agent", "--image", "example/agent:1"].map(std::ffi::OsStr::new));
    args.extend(more.iter().map(std::ffi::OsStr::new));
    sandbox_trace(args)
}

/// The validator with Kubernetes's own schemas, which refuses properties that they don't have.
fn validate(file: &Path, version: &str) -> Result<std::process::Output> {
    let program = target_dir().join("tools/kubernetes-validate/bin/kubernetes-validate");
    let mut command = Command::new(require_path(&program)?);
    command::run(command.args(["--strict", "-k", version]).arg(file))
}

/// A file's objects as JSON, read by another reader of YAML than the product's.
fn as_json(file: &Path) -> Result<Vec<Value>> {
    let python = target_dir().join("tools/kubernetes-validate/bin/python3");
    let read = "import json, sys, yaml\nprint(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let output = command::succeed(Command::new(require_path(&python)?).args(["-c", read]).arg(file))?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[test]
fn the_manifests_of_a_fleet_are_valid() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/fleet");
    let dir = tempfile::tempdir()?;
    for name in ["daemonset.yaml", "job.yaml"] {
        let file = folder.join(name);
        for version in VERSIONS {
            let output = validate(&file, version)?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{version} {name}: {said}");
        }
        let objects = as_json(&file)?;
        let container = &objects.first().context("no object")?["spec"]["template"]["spec"]["containers"][0];
        // What `doctor` asks for, and the one to write a folder of the node's.
        let wanted = ["BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH", "DAC_OVERRIDE"];
        ensure!(
            container["securityContext"]["capabilities"]["add"] == serde_json::json!(wanted),
            "{container}"
        );
        // The command line is one that the product takes.
        let line = container["args"][0].as_str().context("no command")?.replace("\\\n", " ");
        let words = line.split_whitespace().skip_while(|word| *word != "sandbox-trace").skip(1);
        let words: Vec<&str> = words.take_while(|word| *word != "||" && *word != "-o").collect();
        let output = command::run(Command::new(binary()?).args(&words).arg("--no-such-option"))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(said.contains("unexpected argument '--no-such-option'"), "{words:?}: {said}");
        let bad = dir.path().join(name);
        fs::write(&bad, fs::read_to_string(&file)?.replace("hostPID:", "hostPIDs:"))?;
        ensure!(!validate(&bad, VERSIONS[1])?.status.success(), "the validator takes what is no property");
    }
    Ok(())
}

#[test]
fn every_object_is_valid_to_its_schema() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let recording = record(dir.path())?;
    let out = dir.path().join("objects");
    emit(&recording, &format!("{}/", out.display()), &["--namespace", "agents"])?;
    for version in VERSIONS {
        for file in ["pod.yaml", "networkpolicy.yaml"] {
            let output = validate(&out.join(file), version)?;
            ensure!(
                output.status.success(),
                "{version} {file}: {}{}\n{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
                fs::read_to_string(out.join(file))?
            );
        }
    }
    // The validator does look: a property that is none is refused.
    let bad = dir.path().join("bad.yaml");
    let text = fs::read_to_string(out.join("pod.yaml"))?;
    fs::write(&bad, text.replace("allowPrivilegeEscalation:", "allowPrivilegesEscalation:"))?;
    ensure!(!validate(&bad, VERSIONS[1])?.status.success(), "the validator takes what is no property");

    let schemas: Value = serde_json::from_str(include_str!("operator-schemas.json"))?;
    for (file, kind) in
        [("seccompprofile.yaml", "SeccompProfile"), ("apparmorprofile.yaml", "AppArmorProfile")]
    {
        let objects = as_json(&out.join(file))?;
        let object = objects.first().context("no object")?;
        ensure!(object["kind"] == kind, "{object}");
        let validator = jsonschema::validator_for(&schemas[kind])?;
        let errors: Vec<String> = validator.iter_errors(object).map(|e| e.to_string()).collect();
        ensure!(errors.is_empty(), "{file}: {errors:?}\n{object}");
        let mut wrong = object.clone();
        wrong["spec"]["surprise"] = 1.into();
        ensure!(!validator.is_valid(&wrong), "the schema takes what is no property");
    }
    Ok(())
}

#[test]
fn the_operator_s_objects_are_the_profiles() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let recording = record(dir.path())?;
    let out = dir.path().join("objects");
    emit(&recording, &format!("{}/", out.display()), &[])?;

    // What the operator writes for the runtime is the object's rules: they must block nothing needed.
    let object = as_json(&out.join("seccompprofile.yaml"))?.remove(0);
    let profile = dir.path().join("from-object.json");
    fs::write(&profile, serde_json::to_vec(&object["spec"])?)?;
    sandbox_trace(["verify".as_ref(), recording.as_os_str(), "--seccomp".as_ref(), profile.as_os_str()])?;
    let file: Value = serde_json::from_slice(&fs::read(out.join("seccomp.json"))?)?;
    ensure!(object["spec"]["syscalls"] == file["syscalls"], "the object has other rules than the file");

    // And for AppArmor, in the form that the operator gives them: the compiler takes each.
    let object = as_json(&out.join("apparmorprofile.yaml"))?.remove(0);
    let text = apparmor_text(&object["spec"]["abstract"]);
    let profile = dir.path().join("from-object.profile");
    fs::write(&profile, &text)?;
    command::succeed(
        Command::new(require("apparmor_parser")?).args(["-QTK", "--abi=/dev/null"]).arg(&profile),
    )
    .or_else(|_| command::succeed(Command::new(require("apparmor_parser")?).args(["-QTK"]).arg(&profile)))
    .with_context(|| text)?;
    Ok(())
}

/// The rules that the operator makes of an object: `ix` for programs, `mr` for libraries, and denials beside what is
/// only read or only written.
fn apparmor_text(rules: &Value) -> String {
    let mut out =
        String::from("#include <tunables/global>\nprofile agent {\n  #include <abstractions/base>\n");
    let mut add = |part: &str, list: &str, access: &[&str]| {
        for path in rules[part][list].as_array().into_iter().flatten().filter_map(Value::as_str) {
            for access in access {
                let (deny, access) =
                    access.strip_prefix("deny ").map_or(("", *access), |access| ("deny ", access));
                out.push_str(&format!("  {deny}{path} {access},\n"));
            }
        }
    };
    add("executable", "allowedExecutables", &["ix"]);
    add("executable", "allowedLibraries", &["mr"]);
    add("filesystem", "readOnlyPaths", &["r", "deny wl"]);
    add("filesystem", "writeOnlyPaths", &["wl", "deny r"]);
    add("filesystem", "readWritePaths", &["rwl"]);
    out.push_str("}\n");
    out
}

#[test]
fn one_stream_holds_all_and_no_image_is_an_error() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let recording = record(dir.path())?;
    let file = dir.path().join("all.yaml");
    fs::write(&file, emit(&recording, "-", &["--profiles", "operator"])?)?;
    let kinds: Vec<Value> = as_json(&file)?.iter().map(|object| object["kind"].clone()).collect();
    ensure!(kinds == ["SeccompProfile", "AppArmorProfile", "NetworkPolicy", "Pod"], "{kinds:?}");
    fs::write(&file, emit(&recording, "-", &["--profiles", "node"])?)?;
    for version in VERSIONS {
        let output = validate(&file, version)?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    for (args, part) in [
        (vec!["--namespace", "Not A Name", "--image", "x"], "can't be a namespace"),
        (vec![], "no recording tells of an image"),
    ] {
        let output = command::run(Command::new(binary()?).arg("emit-k8s").arg(&recording).args(args))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(2) && said.contains(part) && said.contains("try:"), "{said}");
    }
    Ok(())
}
