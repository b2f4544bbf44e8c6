//! Blocks marked `run`, by trycmd, on the recordings in `docs/examples/demo-agent` and the example in `profiles/openclaw`.

use std::{fs, path::Path, process::Command};

use crate::{overwrite, pages};

/// What may stand after the language of a block, and how each is tested.
const MARKERS: [&str; 4] = ["run", "host", "docker", "parse"];

/// Languages of blocks that are no commands.
const OTHERS: [&str; 9] = ["", "ini", "json", "rust", "sh", "text", "toml", "yaml", "apparmor"];

#[test]
fn every_block_says_how_it_is_tested() {
    let mut wrong = Vec::new();
    for page in pages::all().unwrap() {
        for block in pages::blocks(&page.text) {
            let known = match block.language() {
                "console" => block.marker().is_some_and(|marker| MARKERS.contains(&marker)),
                language => OTHERS.contains(&language) && block.marker().is_none(),
            };
            // Output without its command has nothing that it could be held against.
            let begins =
                block.language() != "console" || block.lines.iter().any(|line| line.starts_with("$ "));
            if !known || !begins {
                wrong.push(format!("{}:{}: ```{}", page.name, block.line, block.info));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "not console with one of {MARKERS:?}, nor one of {OTHERS:?}:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn commands_print_what_the_pages_show() {
    let dir = tempfile::tempdir().unwrap();
    let cases = trycmd::TestCases::new();
    cases.register_bin("sandbox-trace", Path::new(env!("CARGO_BIN_EXE_sandbox-trace")));
    let mut run = Vec::new();
    for page in pages::all().unwrap() {
        let blocks = pages::blocks(&page.text);
        if !blocks.iter().any(|block| block.marker() == Some("run")) {
            continue;
        }
        let case = dir.path().join(page.name.replace('/', "-"));
        fs::write(&case, for_trycmd(&page.text)).unwrap();
        work_folder(&case.with_extension("in"));
        cases.case(&case);
        run.push((page, case));
    }
    assert!(run.len() > 5, "{} pages with commands to run", run.len());
    // It panics for what differs, also when it writes that.
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cases.run()));
    if overwrite() {
        for (page, case) in run {
            let text = from_trycmd(&page.text, &fs::read_to_string(case).unwrap());
            fs::write(&page.path, text).unwrap();
        }
    }
    if let Err(differences) = outcome {
        std::panic::resume_unwind(differences);
    }
}

/// The page as trycmd reads it. It runs every block that has no language or is `console`, and takes an empty line for the
/// newline that ends the output before it.
fn for_trycmd(text: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for block in pages::blocks(text) {
        let is_run = block.marker() == Some("run");
        if is_run { "```console" } else { "```text" }.clone_into(&mut lines[block.line - 1]);
        if is_run {
            lines[block.line + block.lines.len() - 1].push('\n');
        }
    }
    lines.join("\n") + "\n"
}

/// The page again, of what trycmd made of it.
fn from_trycmd(original: &str, text: &str) -> String {
    let mut lines: Vec<Option<String>> = text.lines().map(|line| Some(line.to_owned())).collect();
    for (block, was) in pages::blocks(text).iter().zip(pages::blocks(original)) {
        lines[block.line - 1] = Some(format!("```{}", was.info));
        if was.marker() == Some("run") && block.lines.last().is_some_and(String::is_empty) {
            lines[block.line + block.lines.len() - 1] = None;
        }
    }
    lines.into_iter().flatten().map(|line| line + "\n").collect()
}

#[test]
fn a_page_survives_what_is_done_for_trycmd() {
    for page in pages::all().unwrap() {
        assert!(from_trycmd(&page.text, &for_trycmd(&page.text)) == page.text, "{}", page.name);
    }
}

/// Where the commands of a page run: `run1.json` and `run2.json`, two runs of the demo agent, the folder `profiles` of the
/// repository, and a bundle.
fn work_folder(folder: &Path) {
    let docs = pages::root().join("docs/examples/demo-agent");
    fs::create_dir_all(folder.join("bundle")).unwrap();
    for name in ["run1.json", "run2.json"] {
        let compressed = fs::read(docs.join(format!("{name}.zst"))).unwrap();
        fs::write(folder.join(name), zstd::decode_all(compressed.as_slice()).unwrap()).unwrap();
    }
    let profiles = pages::root().join("profiles");
    let copied = Command::new("cp").arg("-r").arg(&profiles).arg(folder).status().unwrap();
    assert!(copied.success());
    fs::copy(profiles.join("openclaw/oci/config.json"), folder.join("bundle/config.json")).unwrap();
}
