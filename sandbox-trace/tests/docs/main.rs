//! The pages of the repository against the program: what they show is what it prints, no page has an option that there is
//! not, and every link leads somewhere.
//!
//! What a fence says decides how its block is tested; docs/README.md lists it, and a block that says nothing fails.
//! Blocks with `host` and `docker` are run by `tests/tests/host_docs.rs`. `TRYCMD=overwrite` writes what is printed into the pages.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod commands;
mod lines;
mod links;
#[allow(dead_code, missing_docs, unreachable_pub, reason = "the end-to-end tests use the rest")]
#[path = "../../../tests/src/pages.rs"]
mod pages;
mod run;
mod troubleshooting;

/// Whether what differs is to be written into the pages.
fn overwrite() -> bool {
    std::env::var_os("TRYCMD").is_some_and(|value| value == "overwrite")
}
