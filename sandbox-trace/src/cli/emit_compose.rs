//! `emit-compose`: writes a compose file, or hardens one that is there.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Context, compose_file, sandbox};
use crate::{
    compose::{
        edit::File,
        read::{Variables, expanded},
    },
    emit::compose::{self, Origin, Reserved},
    error::{Error, Exit, Result},
    output::NamedFile,
    recording::{Container, printable},
    seccomp::runtime::Runtime,
};

/// What a folder's compose file is called.
const COMPOSE: &str = "compose.yaml";

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    sandbox: sandbox::Args,
    /// Harden this compose file: comments, order, its image and what is not too wide stay. - is standard input.
    #[arg(long = "in", value_name = "FILE", conflicts_with = "image")]
    input: Option<PathBuf>,
    /// The service to harden [default: the only one, or the one that was recorded].
    #[arg(long, value_name = "NAME", requires = "input")]
    service: Option<String>,
    /// Write the result over the compose file.
    #[arg(long, requires = "input", conflicts_with = "output")]
    in_place: bool,
    /// Leave AppArmor out, for engines without: with a profile they start no container.
    #[arg(long, conflicts_with = "apparmor")]
    no_apparmor: bool,
}

/// Runs the command. Nothing is written when something is refused.
pub fn main(context: Context, args: Args) -> Result<Exit> {
    let Args { mut sandbox, input, service, in_place, no_apparmor } = args;
    // What can't be read is said before the recordings are.
    let source = input.as_deref().map(read).transpose()?;
    let made = sandbox.make(Runtime::Docker)?;
    let recordings: Vec<String> = sandbox.recordings.iter().map(|path| path.display().to_string()).collect();
    let origin = Origin {
        recordings: &recordings,
        seccomp: &made.seccomp,
        apparmor: (!no_apparmor).then_some(&made.profile),
        reserved: Reserved::of(&made.needs.runs),
    };
    let mut report = Vec::new();
    let text = match &source {
        None => compose::file(&made.sandbox, origin)?,
        Some(Source { file, variables }) => {
            let recorded: Vec<&Container> =
                made.needs.runs.iter().filter_map(|run| run.container.as_ref()).collect();
            let service = match service {
                Some(service) => service,
                None => chosen(file, &recorded, variables)?,
            };
            let hardened = compose::harden(file, &service, &made.sandbox, origin, variables)?;
            report.push(match hardened.changes.len() {
                0 => format!("  the service {} is no wider than what was recorded", printable(&service)),
                n => format!(
                    "  the service {}: {}",
                    printable(&service),
                    crate::output::counted(n as u64, "change")
                ),
            });
            report.extend(hardened.changes.iter().map(|change| format!("  {change}")));
            report.extend(hardened.notes.iter().map(|note| format!("  note: {note}")));
            hardened.text
        }
    };
    let mut name = COMPOSE.to_owned();
    if let Some(input) = input.filter(|input| input != Path::new("-")) {
        if let Some(own) = input.file_name().and_then(|name| name.to_str()) {
            own.clone_into(&mut name);
        }
        if in_place {
            sandbox.output = input;
        }
    } else if in_place {
        return Err(Error::usage("standard input can't be written over").hint("name a file with --in FILE"));
    }
    sandbox.write(context, Some(&made), vec![NamedFile::text(&name, text)])?;
    for line in report {
        context.note(line);
    }
    sandbox.notes(context, &made);
    if sandbox.is_folder() {
        let file = sandbox.output.join(&name);
        context.note(format!("  next: docker compose -f {} up --detach", file.display()));
    } else if sandbox.output != Path::new("-") {
        context.note(format!(
            "  next: put {} beside it and load the AppArmor profile (-o FOLDER/ writes all three)",
            made.seccomp
        ));
    }
    Ok(Exit::Clean)
}

/// A compose file, and what its variables stand for.
struct Source {
    file: File,
    variables: Variables,
}

fn read(path: &Path) -> Result<Source> {
    let name = printable(&path.display().to_string());
    let file = File::read(&name, compose_file::text_of(path)?)?;
    Ok(Source { file, variables: compose_file::variables(path)? })
}

/// The only service, or the one that was recorded: by the container's name, else by its image.
fn chosen(file: &File, recorded: &[&Container], variables: &Variables) -> Result<String> {
    let services = file.services();
    if let [only] = services.as_slice() {
        return Ok((*only).to_owned());
    }
    let text = |service: &str, key: &str| {
        let value = file.service(service).ok()?.get(key).and_then(Value::as_str)?;
        expanded(value, variables).ok()
    };
    let named = |service: &str| {
        let own = text(service, "container_name");
        recorded.iter().any(|container| {
            let name = container.name.trim_start_matches('/');
            own.as_deref() == Some(name) || (own.is_none() && is_container_of(name, service))
        })
    };
    let of_image = |service: &str| {
        let image = text(service, "image");
        image.is_some() && recorded.iter().any(|container| container.image == image)
    };
    let matching = |test: &dyn Fn(&str) -> bool| -> Vec<&str> {
        services.iter().copied().filter(|service| test(service)).collect()
    };
    let by_name = matching(&named);
    let found = if by_name.is_empty() { matching(&of_image) } else { by_name };
    if let [one] = found.as_slice() {
        return Ok((*one).to_owned());
    }
    let shown: Vec<String> = services.iter().map(|service| printable(service)).collect();
    if shown.is_empty() {
        return Err(file.fault("there are no services").hint("leave --in out to write a new file"));
    }
    let what =
        if found.is_empty() { "none of its services is" } else { "more than one of its services may be" };
    Err(file
        .fault(&format!("{what} the one that was recorded"))
        .hint(format!("name one with --service NAME: {}", shown.join(", "))))
}

/// Whether compose gives a container of the service this name, or somebody does by hand: `web`, `PROJECT-web-1`.
fn is_container_of(name: &str, service: &str) -> bool {
    let numbered = name.rsplit_once(['-', '_']).filter(|(_, number)| number.parse::<u32>().is_ok());
    let of_project = numbered.and_then(|(rest, _)| rest.strip_suffix(service));
    name == service || of_project.is_some_and(|project| project.ends_with(['-', '_']))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "services:\n  a: {image: 'x:${T:-1}'}\n  b: {image: y, container_name: 'web-${N}'}\n  c: {image: z}\n  d: {image: z}\n";

    fn choose(name: &str, image: &str) -> Result<String, String> {
        let file = File::read("f", FILE.to_owned()).unwrap();
        let container = Container { name: name.into(), image: Some(image.into()), ..Container::default() };
        let variables: Variables = [("N".to_owned(), "7".to_owned())].into();
        chosen(&file, &[&container], &variables)
            .map_err(|error| format!("{error}; {}", error.hint_text().unwrap_or_default()))
    }

    #[test]
    fn the_service_that_was_recorded() {
        assert_eq!(choose("web-7", "q").as_deref(), Ok("b"));
        assert_eq!(choose("project-c-1", "q").as_deref(), Ok("c"));
        assert_eq!(choose("p", "x:1").as_deref(), Ok("a"));
        let several = choose("p", "z").unwrap_err();
        assert!(several.contains("more than one") && several.contains("a, b, c, d"), "{several}");
        assert!(choose("p", "q").unwrap_err().contains("none of its services"));
    }
}
