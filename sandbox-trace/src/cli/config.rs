//! Defaults of options from a file, so that a workload's options are written once: `sandbox-trace.toml` in the current
//! folder, or the file of `--config`. What the command line says wins. Only options that say how, never what: no
//! target, input or output, and nothing that accepts a loss, comes from a file. `docs/config.md` is for people.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs::File,
    io::{self, Read as _},
    ops::Range,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, ArgMatches, Command, parser::ValueSource};
use nix::fcntl::OFlag;
use toml::de::{DeTable, DeValue};

use super::Context;
use crate::{
    error::{Error, Result},
    recording::printable,
};

/// The file that is looked for in the current folder.
const FOUND: &str = "sandbox-trace.toml";

/// Longer than any such file.
const MOST_BYTES: u64 = 1 << 20;

/// The options that a file may give.
const SETTABLE: [&str; 21] = [
    "allow",
    "apparmor-features",
    "args",
    "boundary",
    "capabilities",
    "checkpoint",
    "deny-baseline",
    "fail-on",
    "generalize",
    "headroom",
    "hooks",
    "image",
    "kernel",
    "name",
    "namespace",
    "no-new-privileges",
    "portable",
    "profiles",
    "ring",
    "runtime",
    "user",
];

/// The one of them that gives privileges: it is told even to those who asked for quiet.
const WIDENS: &str = "allow";

/// The defaults of a file.
#[derive(Debug)]
pub struct Defaults {
    /// The file, for people.
    name: String,
    /// For every command that has the option.
    general: Settings,
    /// For one command; wins.
    of: BTreeMap<String, Settings>,
}

/// Options by their long name.
type Settings = BTreeMap<String, Vec<String>>;

impl Defaults {
    /// Those that are in force for this command line, if any. `command` is the command line's definition.
    pub fn find(args: &[OsString], command: &Command) -> Result<Option<Self>> {
        // Help, the version: nothing will be done, and no file is needed to say so.
        let Ok(matches) = command.clone().ignore_errors(true).try_get_matches_from(args) else {
            return Ok(None);
        };
        let given = matches.get_one::<PathBuf>("config").cloned();
        let path = given.clone().unwrap_or_else(|| FOUND.into());
        let name = printable(&path.display().to_string());
        match read(&path, given.is_some()) {
            Ok(text) => Self::parse(&name, &text, command).map(Some),
            Err(Unread::Io(error)) if given.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(Unread::Io(error)) => Err(Error::usage(format!("could not read {name}"))
                .because(error)
                .hint("name another file with --config, or none with --config /dev/null")),
            Err(Unread::Foreign(why)) => {
                Err(Error::usage(format!("{name} of this folder is not used: {why}")).hint(format!(
                    "if you trust it, name it: --config ./{FOUND}; to do without, --config /dev/null"
                )))
            }
        }
    }

    fn parse(name: &str, text: &str, command: &Command) -> Result<Self> {
        let wrong = |span: Option<Range<usize>>, what: &str| {
            let before = text.get(..span.map_or(0, |span| span.start)).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            Error::usage(format!("{name}:{line}: {}", printable(what)))
                .hint("docs/config.md says what such a file may hold")
        };
        let table = DeTable::parse(text).map_err(|error| wrong(error.span(), error.message()))?;
        let mut defaults = Self { name: name.to_owned(), general: Settings::new(), of: BTreeMap::new() };
        for (key, value) in table.get_ref() {
            let at = |what: &str| wrong(Some(key.span()), what);
            let (key, value) = (key.get_ref().as_ref(), value.get_ref());
            if let DeValue::Table(options) = value {
                let command = command.find_subcommand(key);
                let command = command.ok_or_else(|| at(&format!("there is no command \"{key}\"")))?;
                let settings = defaults.of.entry(key.to_owned()).or_default();
                for (option, value) in options {
                    let at = |what: &str| wrong(Some(option.span()), what);
                    let option = option.get_ref().as_ref();
                    let argument = settable(command, option).ok_or_else(|| {
                        at(&format!("\"{option}\" is no option of {key} that a file may give"))
                    })?;
                    settings
                        .insert(option.to_owned(), values(argument, value.get_ref()).map_err(|e| at(&e))?);
                }
            } else {
                let mut arguments = command.get_subcommands().filter_map(|c| settable(c, key)).peekable();
                if arguments.peek().is_none() {
                    return Err(at(&format!(
                        "\"{key}\" is neither a command nor an option that a file may give"
                    )));
                }
                for argument in arguments {
                    defaults.general.insert(key.to_owned(), values(argument, value).map_err(|e| at(&e))?);
                }
            }
        }
        Ok(defaults)
    }

    fn value(&self, command: &str, option: &str) -> Option<&Vec<String>> {
        self.of.get(command).and_then(|settings| settings.get(option)).or_else(|| self.general.get(option))
    }

    /// The command line's definition with these defaults in place of its own.
    pub fn apply(&self, mut command: Command) -> Command {
        let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
        for name in names {
            command = command.mut_subcommand(&name, |subcommand| {
                subcommand.mut_args(|argument| {
                    let value = argument.get_long().and_then(|option| self.value(&name, option)).cloned();
                    match value {
                        Some(values) => argument.required(false).default_values(values),
                        None => argument,
                    }
                })
            });
        }
        command
    }

    /// Says which of them are in force for this command: what a file adds is never done in silence.
    pub fn tell(&self, context: Context, matches: &ArgMatches, command: &Command) {
        let Some((name, matches)) = matches.subcommand() else { return };
        let Some(subcommand) = command.find_subcommand(name) else { return };
        let mut widens = false;
        let mut words = Vec::new();
        for argument in subcommand.get_arguments() {
            let Some(option) = argument.get_long() else { continue };
            let Some(values) = self.value(name, option) else { continue };
            if matches.value_source(argument.get_id().as_str()) != Some(ValueSource::DefaultValue) {
                continue;
            }
            widens |= option == WIDENS && !values.is_empty();
            let flag = matches!(argument.get_action(), ArgAction::SetTrue);
            for value in values.iter().filter(|value| !flag || *value == "true") {
                words.push(if flag {
                    format!("--{option}")
                } else {
                    format!("--{option} {}", printable(value))
                });
            }
        }
        if words.is_empty() {
            return;
        }
        let context = Context { quiet: context.quiet && !widens };
        context.note(format!("config: {} gives {}", self.name, words.join(" ")));
    }
}

/// The option of this name, if a file may give it.
fn settable<'a>(command: &'a Command, option: &str) -> Option<&'a Arg> {
    let known = SETTABLE.contains(&option);
    command.get_arguments().find(|argument| known && argument.get_long() == Some(option))
}

/// What a file says for an option, as its words on a command line, if the option takes them.
fn values(argument: &Arg, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let one = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        _ => Err("write a text, a number, or a list of them".to_owned()),
    };
    let many = matches!(argument.get_action(), ArgAction::Append);
    let words = match (argument.get_action(), value) {
        (ArgAction::SetTrue, DeValue::Boolean(on)) => vec![on.to_string()],
        (ArgAction::SetTrue, _) => return Err("write true or false".into()),
        (_, DeValue::Array(list)) if many => {
            list.iter().map(|item| one(item.get_ref())).collect::<Result<_, _>>()?
        }
        (_, value) => vec![one(value)?],
    };
    let words: Vec<String> = match argument.get_value_delimiter() {
        Some(delimiter) => words.iter().flat_map(|word| word.split(delimiter)).map(str::to_owned).collect(),
        None => words,
    };
    // The option's own parser judges, here and not later, when nobody knows the line any more.
    let trial = Arg::new("value").value_parser(argument.get_value_parser().clone()).action(ArgAction::Append);
    let trial = Command::new("trial").no_binary_name(true).arg(trial.last(true).num_args(0..));
    let judged = std::iter::once("--").chain(words.iter().map(String::as_str));
    match trial.try_get_matches_from(judged) {
        Ok(_) => Ok(words),
        Err(error) => {
            let text = error.to_string();
            let why = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            let option = argument.get_long().unwrap_or_default();
            Err(why.replace("[value]...", option).replace("[-- <value>...]", option))
        }
    }
}

/// Why a file is not read.
enum Unread {
    Io(io::Error),
    /// It may be somebody else's.
    Foreign(&'static str),
}

/// Reads a file. One that was only found must be the user's own: a folder that others can write to (`/tmp`, an
/// unpacked archive) must not decide how profiles are made.
fn read(path: &Path, given: bool) -> Result<String, Unread> {
    let mut options = File::options();
    options.read(true);
    if !given {
        options.custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits());
    }
    let file = options.open(path).map_err(Unread::Io)?;
    if !given {
        let meta = file.metadata().map_err(Unread::Io)?;
        let sudo = env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
        let own = [Some(0), Some(nix::unistd::geteuid().as_raw()), sudo].contains(&Some(meta.uid()));
        if !meta.is_file() {
            return Err(Unread::Foreign("it is no regular file"));
        } else if !own {
            return Err(Unread::Foreign("it belongs to another user"));
        } else if meta.mode() & 0o002 != 0 {
            return Err(Unread::Foreign("everybody may write to it"));
        }
    }
    let mut text = String::new();
    file.take(MOST_BYTES).read_to_string(&mut text).map_err(Unread::Io)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::{super::command, *};

    fn parse(text: &str) -> Result<Defaults> {
        Defaults::parse("f.toml", text, &command())
    }

    fn matches(text: &str, args: &[&str]) -> ArgMatches {
        parse(text)
            .unwrap()
            .apply(command())
            .try_get_matches_from(args)
            .unwrap()
            .remove_subcommand()
            .unwrap()
            .1
    }

    #[test]
    fn every_option_that_a_file_may_give_exists() {
        let command = command();
        for option in SETTABLE {
            assert!(command.get_subcommands().any(|c| settable(c, option).is_some()), "{option}");
        }
    }

    #[test]
    fn a_command_s_table_wins_over_the_general_and_the_command_line_over_both() {
        let text = "args = \"off\"\nallow = [\"keyctl\", \"bpf\"]\nname = \"agent\"\n[emit-seccomp]\nargs = \"strict\"\nportable = true\n";
        let words = |matches: &ArgMatches, id: &str| -> Vec<String> {
            let raw = matches.get_raw(id).into_iter().flatten();
            raw.map(|word| word.to_string_lossy().into_owned()).collect()
        };
        let of_table = matches(text, &["sandbox-trace", "emit-seccomp", "r"]);
        assert_eq!(words(&of_table, "mode"), ["strict"]);
        assert_eq!(words(&of_table, "allow"), ["keyctl", "bpf"]);
        assert!(of_table.get_flag("portable") && !of_table.get_flag("no_new_privileges"));
        let line =
            matches(text, &["sandbox-trace", "emit-seccomp", "r", "--args", "safe", "--allow", "mount"]);
        assert_eq!(words(&line, "mode"), ["safe"]);
        assert_eq!(words(&line, "allow"), ["mount"]);
        // The general ones are also what else is required is taken from.
        assert_eq!(words(&matches(text, &["sandbox-trace", "emit-apparmor", "r"]), "name"), ["agent"]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, line, what) in [
            ("x = 1", 1, "\"x\" is neither a command nor an option"),
            ("\n[emit-secomp]\n", 2, "there is no command \"emit-secomp\""),
            ("[emit-seccomp]\n\nargs = \"tight\"", 3, "invalid value 'tight' for 'args'"),
            ("[emit-seccomp]\nargs = [\"safe\"]", 2, "write a text, a number"),
            ("[emit-seccomp]\nportable = \"yes\"", 2, "write true or false"),
            ("[record]\nruntime = \"runc\"", 2, "\"runtime\" is no option of record"),
            ("[record]\ncontainer = \"a\"", 2, "\"container\" is no option of record that a file may give"),
            ("allow-incomplete = true", 1, "\"allow-incomplete\" is neither"),
            ("[emit-docker]\nheadroom = -1", 2, "invalid value '-1' for 'headroom'"),
            ("a = \u{1b}", 1, ""),
            ("[run\n", 1, ""),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("f.toml:{line}: ")) && error.contains(what),
                "{text:?}: {error}"
            );
            assert!(!error.contains('\u{1b}'), "{error:?}");
        }
    }

    #[test]
    fn the_file_is_named_before_or_after_the_command_but_not_in_what_it_runs() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        fs::write(&file, "runtime = \"crun\"").unwrap();
        let file = file.to_str().unwrap();
        let found = |args: &[&str]| {
            let args: Vec<OsString> = args.iter().map(Into::into).collect();
            Defaults::find(&args, &command())
        };
        for args in [
            ["sandbox-trace", "--config", file, "run", "true"],
            ["sandbox-trace", "emit-apparmor", "r", "--config", file],
        ] {
            assert_eq!(found(&args).unwrap().unwrap().name, file);
        }
        for args in
            [&["sandbox-trace", "run", "--", "true", "--config", file][..], &["sandbox-trace", "--help"]]
        {
            assert!(found(args).unwrap().is_none());
        }
        assert!(found(&["sandbox-trace", "--config", "/missing", "doctor"]).is_err());
        assert!(
            found(&["sandbox-trace", "--config", "/dev/null", "doctor"]).unwrap().unwrap().general.is_empty()
        );
    }

    #[test]
    fn a_file_that_was_only_found_must_be_nobody_else_s() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FOUND);
        fs::write(&file, "").unwrap();
        assert!(read(&file, false).is_ok());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(read(&file, false), Err(Unread::Foreign(_))));
        assert!(read(&file, true).is_ok());
        std::os::unix::fs::symlink(&file, dir.path().join("link")).unwrap();
        assert!(read(&dir.path().join("link"), false).is_err());
    }
}
