//! Recordings in an object store that speaks S3. Keys, region and endpoint come from the environment, by the names that
//! AWS's own tools use (`AWS_ACCESS_KEY_ID`, `AWS_REGION`, `AWS_ENDPOINT_URL`, …), or from the node's role.

use std::{
    fmt,
    io::Read,
    sync::{Arc, OnceLock},
};

use futures_util::TryStreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _, aws::AmazonS3Builder, path::Path};
use tokio::runtime::Runtime;

use super::is_recording;
use crate::{
    error::{Error, Result},
    recording::printable,
};

/// Larger than any packed recording of a sane run; an object is held in memory while it is read.
const MAX_BYTES: u64 = 1 << 30;

/// A recording in a store.
#[derive(Clone)]
pub struct Object {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Object").field(&self.path).finish()
    }
}

impl Object {
    /// Its bytes; `name` is what messages call it.
    pub fn open(&self, name: &str) -> Result<Box<dyn Read>> {
        if self.size > MAX_BYTES {
            return Err(Error::usage(format!("{name} is too large for a recording ({} bytes)", self.size)));
        }
        let got = async { self.store.get(&self.path).await?.bytes().await };
        let bytes = runtime()?.block_on(got).map_err(|e| failed(&format!("could not read {name}"), &e))?;
        Ok(Box::new(std::io::Cursor::new(bytes)))
    }
}

/// The recordings whose names begin with the prefix, with the names that messages use; in the order of their keys.
pub fn list(url: &str) -> Result<Vec<(String, Object)>> {
    let name = printable(url);
    let rest = url.strip_prefix("s3://").unwrap_or_default();
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(Error::usage(format!("{name} names no bucket")).hint("write s3://BUCKET/PREFIX"));
    }
    let what = format!("could not list {name}");
    let store: Arc<dyn ObjectStore> = Arc::new(
        AmazonS3Builder::from_env().with_bucket_name(bucket).build().map_err(|e| failed(&what, &e))?,
    );
    let prefix = Path::parse(prefix.trim_end_matches('/')).map_err(|e| failed(&what, &e.into()))?;
    let mut out = Vec::new();
    // A prefix is whole folders; one that names an object is that one.
    let listed = async {
        let found: Vec<_> = store.list(Some(&prefix)).try_collect().await?;
        if found.is_empty() && !prefix.as_ref().is_empty() {
            return match store.head(&prefix).await {
                Ok(one) => Ok(vec![one]),
                Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
                Err(e) => Err(e),
            };
        }
        Ok(found)
    };
    for object in runtime()?.block_on(listed).map_err(|e| failed(&what, &e))? {
        let one = object.location == prefix;
        if one || object.location.filename().is_some_and(|name| is_recording(name.as_bytes())) {
            let name = printable(&format!("s3://{bucket}/{}", object.location));
            out.push((name, Object { store: Arc::clone(&store), path: object.location, size: object.size }));
        }
    }
    out.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(out)
}

/// The one that all requests share, so that connections are used again.
fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Result<Runtime, std::io::Error>> = OnceLock::new();
    RUNTIME
        .get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build())
        .as_ref()
        .map_err(|e| Error::host("could not start what talks to the object store").because(e.to_string()))
}

fn failed(what: &str, error: &object_store::Error) -> Error {
    Error::usage(what).because(printable(&error.to_string())).hint(
        "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION; for another store than AWS's, AWS_ENDPOINT_URL",
    )
}
