//! Writes the published JSON schemas into a folder. `cargo xtask schemas` runs it.

use std::{env, fs, io, path::Path};

use sandbox_trace::schemas;

fn main() -> io::Result<()> {
    let folder = env::args_os().nth(1).ok_or_else(|| io::Error::other("usage: schemas FOLDER"))?;
    let folder = Path::new(&folder);
    fs::create_dir_all(folder)?;
    for schema in &schemas::ALL {
        fs::write(folder.join(schema.file_name()), schema.text())?;
    }
    Ok(())
}
