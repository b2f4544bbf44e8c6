//! Finding the OCI configuration of a bundle that a runtime keeps.

use std::path::Path;

use serde_json::Value;

use super::users;
use crate::oci;
pub use crate::oci::{annotation, describe};

/// Reads the configuration in `bundle`, which is `owner`'s where one is given; `None` if there is none.
pub fn read(bundle: &Path, owner: Option<u32>) -> Option<Value> {
    serde_json::from_slice(&users::read(&bundle.join(oci::CONFIG), owner)?).ok()
}
