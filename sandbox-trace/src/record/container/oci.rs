//! Finding the OCI configuration of a bundle that a runtime keeps.

use std::{fs, path::Path};

use serde_json::Value;

use crate::oci;
pub use crate::oci::{annotation, describe};

/// Reads the configuration in `bundle`; `None` if there is none.
pub fn read(bundle: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(bundle.join(oci::CONFIG)).ok()?).ok()
}
