//! Every file operation, by every kind of name: the exact path, letters and operations of each are in the recording,
//! and nothing else is.

use std::path::Path;

use anyhow::Result;
use sandbox_trace_tests::{
    checks::files::{self, Prepared},
    recorded::{record, record_with_output},
};

const FILEOPS: &str = env!("CARGO_BIN_EXE_fileops");

#[test]
fn every_operation_is_recorded_exactly() -> Result<()> {
    let place = Prepared::new(Path::new(FILEOPS))?;
    let line = [FILEOPS.as_ref(), "run".as_ref(), place.work().as_os_str()];
    let (recorded, output) = record_with_output(place.outside(), line)?;
    files::operations(&recorded, place.work(), &String::from_utf8(output.stdout)?)
}

#[test]
fn mounts_of_an_own_namespace_are_seen_as_the_namespace_sees_them() -> Result<()> {
    let place = Prepared::new(Path::new(FILEOPS))?;
    let line = files::mounts_command(Path::new(FILEOPS), place.work())?;
    files::mounts(&record(place.outside(), line)?, place.work())
}

#[test]
fn every_access_names_the_executable_that_made_it() -> Result<()> {
    let place = Prepared::new(Path::new(FILEOPS))?;
    let recorded = record(place.outside(), [FILEOPS.as_ref(), "run".as_ref(), place.work().as_os_str()])?;
    files::executables(&recorded, place.work(), Path::new(FILEOPS))
}

/// The harness's own reading of the documented encoding.
#[test]
fn paths_are_decoded() -> Result<()> {
    use sandbox_trace_tests::recorded::decode;
    anyhow::ensure!(decode(r"/a\\b\x0a\xff")? == b"/a\\b\n\xff");
    anyhow::ensure!(decode(r"\q").is_err() && decode(r"\x1").is_err());
    Ok(())
}
