//! `run --explain`: a command under its profiles, and what they deny it, told as it happens.
//!
//! [`filter`] makes the filter that asks instead of refusing, [`child`] starts the command under it, [`supervisor`]
//! answers every question with the profile's own errno and knows when all is over. [`call`] says what a call asks for,
//! with [`names`] and [`memory`]; [`hint`] what the profile allows instead; [`kernel_log`] reads what `AppArmor` denied;
//! [`report`] tells a person. Nothing here lets a call through that the profile refuses.

mod call;
mod child;
mod filter;
mod hint;
mod kernel_log;
mod memory;
mod names;
mod notify;
mod report;
mod supervisor;

pub use self::supervisor::{Explained, run};
