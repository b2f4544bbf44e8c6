//! Reading compose files for commands: the text, and what its variables stand for.

use std::{
    env, fs,
    io::{self, Read as _},
    path::Path,
};

use crate::{
    compose::read::{self as compose, Variables},
    error::{Error, Result},
    recording::printable,
};

/// The text of a file, or of standard input for `-`.
pub fn text_of(file: &Path) -> Result<String> {
    const LONGEST: u64 = 8 << 20;
    let name = printable(&file.display().to_string());
    let failed = |e: io::Error| {
        Error::usage(format!("could not read {name}")).because(e).hint("name a file that can be read")
    };
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        io::stdin().lock().take(LONGEST).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        fs::File::open(file).map_err(failed)?.take(LONGEST).read_to_end(&mut bytes).map_err(failed)?;
    }
    String::from_utf8(bytes).map_err(|e| {
        let before = e.as_bytes().get(..e.utf8_error().valid_up_to()).unwrap_or_default();
        let line = before.split(|byte| *byte == b'\n').count();
        Error::usage(format!("{name} is not text: line {line} is not UTF-8")).hint("save it as UTF-8")
    })
}

/// What variables stand for: the environment, and then the `.env` file beside the compose file.
pub fn variables(file: &Path) -> Result<Variables> {
    let mut variables: Variables = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let env_file = file.with_file_name(".env");
    if file != Path::new("-") && env_file.is_file() {
        let shown = printable(&env_file.display().to_string());
        compose::env_file(&text_of(&env_file)?, &mut variables)
            .map_err(|what| Error::usage(format!("{shown}: {what}")).hint("each line is NAME=VALUE"))?;
    }
    Ok(variables)
}
