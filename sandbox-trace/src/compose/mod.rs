//! Compose files: read as the containers that they ask for, and edited as text. What a sandbox is in a compose file is
//! decided in `emit::compose`; this module knows nothing of recordings.

pub mod edit;
pub mod read;

mod tree;
pub mod yaml;
