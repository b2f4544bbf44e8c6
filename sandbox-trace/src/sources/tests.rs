use super::*;
use crate::{
    error::Exit,
    recording::{self, Recording, samples},
};

fn write(path: &Path, second: u32) -> Recording {
    let mut recording = samples::calls(&["read"]);
    recording.started = format!("2025-01-01T00:00:{second:02}Z");
    recording::save(&recording, path).unwrap();
    recording
}

fn names(places: &[&Path]) -> Vec<String> {
    let places: Vec<OsString> = places.iter().map(|place| place.as_os_str().to_owned()).collect();
    find(&places).unwrap().iter().map(|source| source.name().to_owned()).collect()
}

#[test]
fn folders_are_looked_through_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("b/c")).unwrap();
    fs::create_dir_all(at(".hidden")).unwrap();
    for (second, name) in
        (0..).zip(["z.json", "b/a.json.zst", "b/c/x.json", ".part.json", ".hidden/a.json", "notes.txt"])
    {
        write(&at(name), second);
    }
    std::os::unix::fs::symlink(at("z.json"), at("a.json")).unwrap();
    std::os::unix::fs::symlink(dir.path(), at("b/loop")).unwrap();
    let expected: Vec<String> =
        ["a.json", "b/a.json.zst", "b/c/x.json", "z.json"].map(|name| at(name).display().to_string()).into();
    assert_eq!(names(&[dir.path()]), expected);
    assert_eq!(names(&[Path::new(&format!("file://{}", dir.path().display()))]), expected);
    // A file that is named is read, whatever it is called.
    assert_eq!(names(&[&at("notes.txt")]), [at("notes.txt").display().to_string()]);
    let merged = merge(&find(&[dir.path().into()]).unwrap(), false).unwrap();
    assert_eq!(merged.recording.runs.len(), 3, "a link to a run is the run");
}

#[test]
fn places_that_hold_nothing_say_so() {
    let dir = tempfile::tempdir().unwrap();
    for (place, says) in [
        (dir.path().as_os_str().to_owned(), "no recording in"),
        ("https://example.org/x\u{1b}".into(), "can't be read from https"),
    ] {
        let error = find(&[place]).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        assert!(error.to_string().contains(says) && !error.to_string().contains('\u{1b}'), "{error}");
        assert!(error.hint_text().is_some());
    }
    #[cfg(not(feature = "s3"))]
    assert_eq!(find(&["s3://bucket/x".into()]).unwrap_err().exit(), Exit::Host);
}

#[test]
fn threads_make_no_difference_and_the_first_fault_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for second in 0..20 {
        let path = dir.path().join(format!("{second:02}.json"));
        all.push((second.to_string(), write(&path, second)));
    }
    let found = || find(&[dir.path().into()]).unwrap();
    assert_eq!(merge(&found(), false).unwrap().recording, recording::merge(all).unwrap());
    for second in [7, 13] {
        let path = dir.path().join(format!("{second:02}.json"));
        let mut broken = write(&path, second);
        broken.complete = false;
        broken.losses.insert("ring_full".into(), 3);
        recording::save(&broken, &path).unwrap();
    }
    for _ in 0..20 {
        let error = merge(&found(), false).unwrap_err();
        assert_eq!(error.exit(), Exit::Incomplete);
        assert!(error.to_string().contains("07.json is incomplete (ring_full 3)"), "{error}");
    }
    let merged = merge(&found(), true).unwrap();
    assert!(!merged.recording.complete && merged.incomplete.len() == 2, "{:?}", merged.incomplete);
    assert_eq!(merged.recording.losses["ring_full"], 6);
    fs::write(dir.path().join("03.json"), "{}").unwrap();
    let error = merge(&found(), true).unwrap_err();
    assert!(error.exit() == Exit::Usage && error.to_string().contains("03.json"), "{error}");
}
