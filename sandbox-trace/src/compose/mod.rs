//! Compose files: written, and edited as text. What a compose file says about a sandbox is decided in `emit::compose` and
//! here in [`harden`]; this module knows nothing of recordings.

pub mod edit;

mod tree;
pub mod yaml;
