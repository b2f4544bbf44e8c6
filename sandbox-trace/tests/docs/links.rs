//! Relative links lead to files, and to headings, that are there.

use std::{collections::BTreeSet, fs};

use crate::pages;

#[test]
fn every_relative_link_leads_somewhere() {
    let (mut tried, mut wrong) = (0, Vec::new());
    for page in pages::all().unwrap() {
        for target in targets(&page.text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            tried += 1;
            let (file, heading) =
                target.split_once('#').map_or((target.as_str(), None), |(f, h)| (f, Some(h)));
            let path = if file.is_empty() { page.path.clone() } else { page.path.with_file_name(file) };
            let there = path.exists()
                && heading.is_none_or(|heading| {
                    fs::read_to_string(&path).is_ok_and(|text| headings(&text).contains(heading))
                });
            if !there {
                wrong.push(format!("{}: {target}", page.name));
            }
        }
    }
    assert!(tried > 50, "only {tried} links were found");
    assert!(wrong.is_empty(), "links to nothing:\n{}", wrong.join("\n"));
}

/// What stands between `](` and `)` outside of blocks.
fn targets(text: &str) -> Vec<String> {
    let mut in_block = false;
    let mut out = Vec::new();
    for line in text.lines() {
        in_block ^= line.trim_start().starts_with("```");
        if in_block {
            continue;
        }
        for part in line.split("](").skip(1) {
            out.extend(part.split_once(')').map(|(target, _)| target.to_owned()));
        }
    }
    out
}

/// The names that GitHub gives to a page's headings.
fn headings(text: &str) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for heading in text.lines().filter(|line| line.starts_with('#')) {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        out.insert(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
    }
    out
}

#[test]
fn headings_are_named_as_on_github() {
    let names = headings("# `emit-k8s`: a Pod and its walls\n\n## What is proven, and what is not\n");
    assert!(names.contains("emit-k8s-a-pod-and-its-walls"), "{names:?}");
    assert!(names.contains("what-is-proven-and-what-is-not"), "{names:?}");
}
