//! `examples`: the worked examples in `profiles/`, made anew by the tool itself.

use anyhow::Result;
use sandbox_trace_tests::openclaw;

use crate::setup::{self, Purpose};

/// Records the example's agent in a Docker engine of its own, and writes every format of what was recorded.
pub fn main() -> Result<()> {
    setup::ensure(&[Purpose::Test])?;
    openclaw::write_example()
}
