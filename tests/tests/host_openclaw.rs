//! The worked example, from the first recording to the attack on what was made of it.

use std::{ffi::OsStr, fs};

use anyhow::Result;
use sandbox_trace_tests::{
    command,
    openclaw::{NAME, OpenClaw},
    product::Recorder,
};

#[test]
fn the_agent_is_recorded() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let openclaw = OpenClaw::start()?;
    let options = ["--container", NAME, "--wait"].map(OsStr::new);
    let recorder = Recorder::start_on(&options, dir.path(), &[("DOCKER_HOST", &openclaw.engine.host())])?;
    openclaw.run_plainly()?;
    openclaw.work(3)?;
    openclaw.wait_healthy()?;
    openclaw.stop()?;
    let recording = recorder.finish()?;
    fs::copy(recording, "/tmp/openclaw.json")?;
    Ok(())
}
