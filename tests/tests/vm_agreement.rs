//! The verifier's answers against an enforcing kernel's, over generated AppArmor profiles and operations.
//!
//! In a guest, operations that each have a folder to themselves are recorded once with each hook set, and then made under
//! every profile. What `verify` says of the recording and a profile's file must be what the kernel did, operation by
//! operation: the recorder's vocabulary, the compiler, the reading of its output and the replay are all in between.

#[path = "vm_agreement/generate.rs"]
mod generate;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use sandbox_trace_tests::{
    command,
    product::binary,
    vm::{Guest, Kernel, Outcome, TESTS},
};
use serde_json::Value;

use self::generate::{DIR, Operation};

const MEDIATED: &str = env!("CARGO_BIN_EXE_mediated");
const PROFILES: usize = 40;
const PAIRS: usize = 2_000;

/// Recorded unconfined, then refused or not. AppArmor's log is of no use here and would cost most of the time.
const SCRIPT: &str = "
set -e
printf quiet > /sys/module/apparmor/parameters/audit
for hooks in lsm syscalls; do
    TESTS/mediated prepare DIR /opt/operations
    sandbox-trace record --hooks $hooks -o /out/$hooks.json -- TESTS/mediated run DIR /opt/operations > /out/$hooks.free
done
apparmor_parser -r /opt/profiles
for profile in $(seq 0 LAST); do
    TESTS/mediated prepare DIR /opt/operations
    TESTS/mediated enforce DIR /opt/operations p$profile | cat > /out/p$profile
done
";

#[test]
fn verify_answers_as_the_kernel_does() -> Result<()> {
    // Its own way to fail with other inputs; printed, so that a failure can be had again.
    let seed = std::env::var("SANDBOX_TRACE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    println!("SANDBOX_TRACE_SEED={seed}");
    let mut random = generate::Random::new(seed);
    let operations = generate::operations(&mut random);
    let profiles: Vec<String> = (0..PROFILES).map(|number| generate::profile(&mut random, number)).collect();
    let lines: Vec<String> = operations.iter().map(Operation::line).collect();
    let outcome = Guest::new(Kernel::V6_1)?
        .with_test_program(Path::new(MEDIATED))?
        .with_file("/opt/operations", &lines.join("\n"))?
        .with_file("/opt/profiles", &(generate::PREAMBLE.to_owned() + &profiles.concat()))?
        .run(
            &SCRIPT.replace("TESTS", TESTS).replace("DIR", DIR).replace("LAST", &(PROFILES - 1).to_string()),
        )?;
    ensure!(outcome.status == 0, "the script stopped early:\n{}", outcome.console);
    let mut compared = Compared::default();
    for hooks in ["lsm", "syscalls"] {
        let recording = recorded(&outcome, hooks, &operations)?;
        for (number, profile) in profiles.iter().enumerate() {
            let answers = answers(&outcome.file(&format!("p{number}"))?, &operations)?;
            let said = verdicts(&recording, profile)?;
            for operation in &operations {
                // Before Linux 6.14 system calls do not show capabilities.
                if hooks == "lsm" || operation.capability().is_none() {
                    compared.compare(operation, &said, answers[&operation.number], profile, hooks);
                }
            }
        }
    }
    compared.judge()
}

/// The recording, in which everything succeeded.
fn recorded(outcome: &Outcome, hooks: &str, operations: &[Operation]) -> Result<Value> {
    let failed: Vec<String> = answers(&outcome.file(&format!("{hooks}.free"))?, operations)?
        .into_iter()
        .filter(|(_, error)| *error != 0)
        .map(|(number, error)| format!("{error}: {:?}", operations.iter().find(|o| o.number == number)))
        .collect();
    ensure!(failed.is_empty(), "failed without a profile: {failed:#?}");
    let recording: Value = serde_json::from_str(&outcome.file(&format!("{hooks}.json"))?)?;
    ensure!(recording["complete"] == true, "{}", recording["losses"]);
    if hooks == "lsm" {
        let names: BTreeSet<&str> = recording["capabilities"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|capability| capability["name"].as_str())
            .collect();
        for name in operations.iter().filter_map(Operation::capability) {
            ensure!(names.contains(name), "{name} was not recorded: {names:?}");
        }
    }
    Ok(recording)
}

/// Number of the operation → its error.
fn answers(text: &str, operations: &[Operation]) -> Result<BTreeMap<u32, i32>> {
    let answers: BTreeMap<u32, i32> = text
        .lines()
        .map(|line| {
            let (number, error) = line.split_once(' ').context("two numbers")?;
            Ok((number.parse()?, error.parse()?))
        })
        .collect::<Result<_>>()?;
    ensure!(answers.len() == operations.len(), "{} answers of {}", answers.len(), operations.len());
    Ok(answers)
}

/// What `verify` says is blocked: operations by their folder; sockets and capabilities by their description.
#[derive(Debug, Default)]
struct Said {
    folders: BTreeMap<u32, Vec<String>>,
    others: BTreeSet<String>,
    /// What the recording does not say enough about: no answer, so none to compare.
    open: BTreeSet<u32>,
}

fn verdicts(recording: &Value, profile: &str) -> Result<Said> {
    let dir = tempfile::tempdir()?;
    let (json, text) = (dir.path().join("recording.json"), dir.path().join("profile"));
    fs::write(&json, serde_json::to_vec(recording)?)?;
    fs::write(&text, generate::PREAMBLE.to_owned() + profile)?;
    let mut command = Command::new(binary()?);
    command.arg("verify").arg(&json).arg("--json").arg("--apparmor").arg(&text);
    let output = command::run(&mut command)?;
    let verdicts: Value =
        serde_json::from_slice(&output.stdout).with_context(|| command::describe(&command, &output))?;
    let list = |name: &str| verdicts[name].as_array().cloned().with_context(|| format!("no {name}"));
    let mut said = Said::default();
    for unproven in list("unproven")? {
        said.open.extend(folder_of(unproven["what"].as_str().context("no what")?)?);
    }
    for blocked in list("blocked")? {
        let what = blocked["what"].as_str().context("no what")?.to_owned();
        match folder_of(&what)? {
            Some(number) => said.folders.entry(number).or_default().push(what),
            None => drop(said.others.insert(what)),
        }
    }
    Ok(said)
}

/// The number of the operation whose folder a verdict is about.
fn folder_of(what: &str) -> Result<Option<u32>> {
    let Some(rest) = what.strip_prefix(DIR).and_then(|rest| rest.strip_prefix('/')) else { return Ok(None) };
    Ok(Some(rest.split('/').next().context("no folder")?.parse()?))
}

#[derive(Debug, Default)]
struct Compared {
    allowed: usize,
    denied: usize,
    /// Which kinds were left open, and how often.
    open: BTreeMap<String, usize>,
    kinds: BTreeMap<String, [usize; 2]>,
    disagreements: Vec<String>,
}

impl Compared {
    fn compare(&mut self, operation: &Operation, said: &Said, error: i32, profile: &str, hooks: &str) {
        let folder = said.folders.get(&operation.number);
        let other = operation.needs().into_iter().any(|need| said.others.contains(&need));
        let blocked = folder.is_some() || other;
        if !blocked && said.open.contains(&operation.number) {
            *self.open.entry(format!("{} ({hooks})", operation.kind)).or_default() += 1;
            return;
        }
        // EPERM for capabilities, EACCES for all else: any other error is an operation that does not do what it should.
        let refused = match error {
            0 => Some(false),
            nix::libc::EACCES | nix::libc::EPERM => Some(true),
            _ => None,
        };
        let kind = self.kinds.entry(operation.kind.clone()).or_default();
        kind[usize::from(blocked)] += 1;
        if refused == Some(blocked) {
            *(if blocked { &mut self.denied } else { &mut self.allowed }) += 1;
        } else {
            self.disagreements.push(format!(
                "{hooks}: {} gave {error}, and verify says {folder:?} {:?} under\n{profile}",
                operation.line(),
                said.others
            ));
        }
    }

    fn judge(&self) -> Result<()> {
        let Self { allowed, denied, open, kinds, disagreements } = self;
        let agreed = allowed + denied;
        println!("{agreed} pairs agree ({allowed} allowed, {denied} denied), {} do not", disagreements.len());
        println!("allowed and denied by kind: {kinds:?}");
        println!("left open: {open:?}");
        if let Some(first) = disagreements.first() {
            let heads: Vec<&str> = disagreements.iter().filter_map(|text| text.lines().next()).collect();
            bail!("{} disagreements: {heads:#?}\nthe first: {first}", heads.len());
        }
        ensure!(agreed >= PAIRS && allowed.min(denied) * 4 >= agreed, "{agreed} pairs, {allowed} allowed");
        ensure!(open.values().sum::<usize>() * 20 <= agreed, "too much is left open: {open:?}");
        // Nothing that no profile stops, but what AppArmor does not ask about; nothing that none allows.
        for (kind, [allowed, denied]) in kinds {
            ensure!(*allowed > 0, "{kind} was never allowed");
            ensure!((*denied > 0) != generate::UNASKED.contains(&kind.as_str()), "{kind}: {denied} denied");
        }
        Ok(())
    }
}
