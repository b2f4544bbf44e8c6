//! What a process is confined by: read from outside, taken on by a child, and compared.

pub mod cgroups;
mod join;
mod prove;
mod read;

pub use self::{
    join::{How, Step, enter_files, take_on},
    prove::{differences, filters_differ, rlimits_that_differ},
    read::{NAMESPACES, Plan, Process},
};
