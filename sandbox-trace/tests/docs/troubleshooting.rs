//! Each message that the troubleshooting page explains is one of the program's.

use std::{fs, path::Path};

use crate::pages;

#[test]
fn every_message_is_in_the_source() {
    let page = fs::read_to_string(pages::root().join("docs/troubleshooting.md")).unwrap();
    let mut source = String::new();
    read(&pages::root().join("sandbox-trace/src"), &mut source);
    // A string of several lines goes on after a backslash.
    let source = source.split('\\').map(|part| part.strip_prefix('\n').map_or(part, str::trim_start));
    let source = source.collect::<String>();
    let messages: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert!(messages.len() > 10, "only {} messages", messages.len());
    for message in messages {
        // `…` stands for what the message is about.
        for part in message.trim_matches('`').split('…').map(str::trim).filter(|part| !part.is_empty()) {
            assert!(source.contains(part), "no message of the program has {part:?}");
        }
    }
}

fn read(folder: &Path, out: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, out);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            out.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}
