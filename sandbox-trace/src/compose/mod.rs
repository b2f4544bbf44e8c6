//! Compose files. Knows nothing of recordings.

pub mod read;
