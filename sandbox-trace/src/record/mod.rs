//! `record`: facts from the kernel to a recording.
//!
//! [`decode`] reads the ring's bytes and trusts none of them, [`resolve`] turns names into
//! paths from the directories that [`roots`] holds, [`collect`] keeps
//! each fact once, [`session`] runs it all until the target ends.

mod address;
mod collect;
mod command;
pub mod decode;
mod live;
mod meaning;
mod progress;
mod resolve;
mod roots;
mod session;

pub use self::collect::Boundary;
pub use self::session::{BTF_VARIABLE, Options, Outcome, TargetChoice, record};
pub use crate::kernel::tracer::HookSet;
