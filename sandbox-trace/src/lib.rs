//! Records what a container does and turns it into a least-privilege sandbox, with proof.
//!
//! The flow is `record` → [`recording::Recording`] → [`requirements::Requirements`] → policy → `emit` →
//! files → `verify`. Only `record`, `kernel` and `doctor` know aya, root or `/proc`; everything after the recording is
//! pure and runs unprivileged on any machine. `ARCHITECTURE.md` has the map.

pub mod apparmor;
pub mod audit;
pub mod cli;
pub mod compose;
pub mod diff;
pub mod docker_run;
pub mod docker_syntax;
pub mod doctor;
pub mod emit;
pub mod error;
pub mod explain;
pub mod kernel;
pub mod linux;
pub mod oci;
pub mod output;
pub mod policy;
pub mod probe;
pub mod program;
pub mod record;
pub mod recording;
pub mod refresh;
pub mod report;
pub mod requirements;
pub mod sarif;
pub mod schemas;
pub mod seccomp;
pub mod sources;
pub mod start;
pub mod verify;
pub mod width;

pub use error::{Error, Result};
