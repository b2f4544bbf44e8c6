//! `record`: facts from the kernel to a recording.
//!
//! [`decode`] reads the ring's bytes and trusts none of them, [`resolve`] turns names into
//! paths from the directories that [`roots`] holds, [`filters`] tells what seccomp refused, [`collect`] keeps
//! each fact once, [`target`] finds what to record, [`awaited`] waits for it, [`session`] runs it all until the target
//! ends.

pub mod address;
mod awaited;
pub mod build_id;
mod checkpoint;
mod clock;
mod collect;
mod command;
mod confinement;
mod container;
mod counts;
pub mod decode;
mod facts;
mod files;
mod filters;
mod identity;
mod in_force;
mod labels;
mod live;
mod meaning;
mod memory;
mod print;
mod priority;
pub mod privileges;
mod progress;
mod ready;
mod resolve;
mod roots;
mod saturation;
mod scope;
mod seen;
mod session;
mod storage;
mod store;
mod strings;
mod target;
mod warnings;

pub use self::clock::rfc3339;
pub use self::collect::Boundary;
pub use self::confinement::{Confinement, confinement};
pub use self::in_force::{InForce, Status, filter as filter_of, in_force, in_force_of, locate};
pub use self::labels::{label_of, refuses};
pub use self::session::{BTF_VARIABLE, Options, Outcome, record};
pub use self::target::TargetChoice;
pub use crate::kernel::tracer::HookSet;
