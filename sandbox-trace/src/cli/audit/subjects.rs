//! What the command line names → what is audited. All that the audit itself may not look at is looked at here: files,
//! the environment, the running container.

use std::{
    env, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::Args;
use crate::{
    audit::{Filter, Source, Subject, checks},
    cli::compose_file::{text_of, variables},
    compose::read as compose,
    docker_run,
    docker_syntax::{Places, Written},
    error::{Error, Result},
    oci,
    record::{self, Confinement},
    recording::{Container, printable},
    seccomp::{capabilities::Capabilities, profile},
};

/// What is audited, and what a reader should know about how it was read.
pub struct Subjects {
    pub subjects: Vec<Subject>,
    pub notes: Vec<String>,
}

/// Reads what the command line names.
pub fn read(args: &Args) -> Result<Subjects> {
    let mut notes = Vec::new();
    let subjects = if let Some(name) = &args.container {
        vec![running(record::confinement(name)?)]
    } else if let Some(file) = &args.compose {
        services(file, &args.service, &mut notes)?
    } else if let Some(path) = &args.oci {
        vec![bundle(path)?]
    } else if let Some(file) = &args.docker_run {
        script(file)?
    } else {
        let places = places(None)?;
        let written = docker_run::from_words(&args.words, &places)?;
        vec![from_written("docker-run", Source::DockerRun, None, written, &places)]
    };
    Ok(Subjects { subjects, notes })
}

fn running(found: Confinement) -> Subject {
    let Confinement { container, filters, held } = found;
    // The words of plain OCI runtimes are their configuration's.
    let source = match container.runtime.as_str() {
        "docker" | "podman" => Source::DockerRun,
        _ => Source::Oci,
    };
    let (filter, filter_unread) = match filters {
        Ok(chain) => (Filter::of_chain(&chain), None),
        Err(why) => (None, Some(why)),
    };
    Subject {
        name: printable(if container.name.is_empty() { &container.id } else { &container.name }),
        kind: "container",
        source,
        file: None,
        written: Written { container, ..Written::default() },
        held: Some(held),
        filter,
        filter_unread,
    }
}

/// The folder of relative paths (the file's own, or the current one) and the home folder.
fn places(file: Option<&Path>) -> Result<Places> {
    let unknown = |e: io::Error| {
        Error::usage("the current folder can't be told").because(e).hint("cd to one that exists")
    };
    let here = match file.and_then(Path::parent).filter(|folder| *folder != Path::new("")) {
        Some(folder) => std::path::absolute(folder).map_err(unknown)?,
        None => env::current_dir().map_err(unknown)?,
    };
    Ok(Places { here: Some(here), home: env::var_os("HOME").map(PathBuf::from) })
}

fn services(file: &Path, wanted: &[String], notes: &mut Vec<String>) -> Result<Vec<Subject>> {
    let name = printable(&file.display().to_string());
    let text = text_of(file)?;
    let places = places(Some(file))?;
    let variables = variables(file)?;
    let read =
        compose::read(compose::Source { name: &name, text: &text, variables: &variables, places: &places })?;
    notes.extend(read.notes);
    if let Some(missing) = wanted.iter().find(|service| !read.services.contains_key(*service)) {
        let there: Vec<String> = read.services.keys().map(|name| printable(name)).collect();
        return Err(Error::usage(format!("{name} has no service {}", printable(missing)))
            .hint(format!("there are {}", there.join(", "))));
    }
    let services =
        read.services.into_iter().filter(|(service, _)| wanted.is_empty() || wanted.contains(service));
    Ok(services
        .map(|(service, mut written)| {
            written.container.name = service;
            from_written("compose", Source::Compose, Some(name.clone()), written, &places)
        })
        .collect())
}

fn script(file: &Path) -> Result<Vec<Subject>> {
    let is_stdin = file == Path::new("-");
    let name = if is_stdin { "standard input".to_owned() } else { printable(&file.display().to_string()) };
    let places = places(Some(file).filter(|_| !is_stdin))?;
    // A shell runs a script where it is called, not where it is kept.
    let places = Places { here: env::current_dir().ok().or(places.here), home: places.home };
    let all = docker_run::read(&name, &text_of(file)?, &places)?;
    let file = (!is_stdin).then_some(name);
    Ok(all
        .into_iter()
        .map(|written| from_written("docker-run", Source::DockerRun, file.clone(), written, &places))
        .collect())
}

fn bundle(path: &Path) -> Result<Subject> {
    let config = oci::read_bundle(path)?;
    let file = printable(&oci::config_file(path).display().to_string());
    let mut container = Container { runtime: "runc".into(), ..Container::default() };
    oci::describe(&config, &mut container);
    let mut subject = Subject {
        name: config
            .get("hostname")
            .and_then(Value::as_str)
            .filter(|name| !name.is_empty())
            .map_or_else(|| file.clone(), printable),
        kind: "oci",
        source: Source::Oci,
        file: Some(file),
        written: Written { container, ..Written::default() },
        held: None,
        filter: None,
        filter_unread: None,
    };
    if let Some(seccomp) = config.pointer("/linux/seccomp").filter(|seccomp| seccomp.is_object()) {
        let text = serde_json::to_vec(seccomp).unwrap_or_default();
        filter(&mut subject, profile::from_json(&text, "linux.seccomp"));
    }
    Ok(subject)
}

fn from_written(
    kind: &'static str,
    source: Source,
    file: Option<String>,
    written: Written,
    places: &Places,
) -> Subject {
    let profile = written.seccomp_file.clone();
    let mut subject = Subject {
        name: printable(&written.container.name),
        kind,
        source,
        file,
        written,
        held: None,
        filter: None,
        filter_unread: None,
    };
    if let Some(profile) = profile {
        use std::os::unix::ffi::OsStringExt as _;
        let path = PathBuf::from(std::ffi::OsString::from_vec(places.path(&profile)));
        filter(&mut subject, profile::load(&path));
    }
    subject
}

/// Compiles a profile and remembers what it admits, or why that can't be told.
fn filter(subject: &mut Subject, profile: Result<profile::Profile>) {
    let names: Vec<String> = checks::granted(subject).into_iter().collect();
    let counted = profile.and_then(|mut profile| {
        // Docker's profiles have rules that depend on capabilities; a name that is none has none.
        profile.resolve(&Capabilities::parse(&names).unwrap_or_default(), None);
        Filter::of_profile(&profile)
    });
    match counted {
        Ok(filter) => subject.filter = filter,
        Err(e) => subject.filter_unread = Some(e.in_one_line()),
    }
}
