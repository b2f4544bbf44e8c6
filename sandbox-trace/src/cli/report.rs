//! `report`: recordings and verdicts as a page that a reviewer prints and signs.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::{Context, READING};
use crate::{
    error::{Error, Exit, Result},
    output,
    recording::{self, BytePath, ExecutableIndex, Recording, printable},
    report::{
        self, Document, Input, Mark, PLOTS,
        facts::{Refused, Subject},
        html, image, plot, text,
    },
    requirements::{self, Requirements},
    seccomp::{capabilities::Capabilities, runtime::Runtime},
    verify::{
        self, Verdicts,
        attacks::{self, Files, Judged},
        filters::{Container, Filters},
    },
    width::{self, Width},
};

/// How many refused accesses to files are kept of all recordings.
const REFUSED: usize = 10_000;

/// Arguments of the command.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("form").multiple(false), after_help = "\
Examples:
  sandbox-trace report run1.json run2.json --seccomp seccomp.json --apparmor agent.profile -o report.html
  sandbox-trace report run1.json --seccomp seccomp.json --text
  sandbox-trace report run1.json --png saturation -o saturation.png

Plots: verdicts, calls, executables, files, network, capabilities, resources, saturation.")]
pub struct Args {
    /// The recordings.
    #[arg(required = true, value_name = "RECORDING")]
    recordings: Vec<PathBuf>,
    /// The seccomp profile to verify and to measure. Several are in force together; the first one is measured.
    #[arg(long, value_name = "FILE")]
    seccomp: Vec<PathBuf>,
    /// The AppArmor profile to verify.
    #[arg(long, value_name = "FILE")]
    apparmor: Option<PathBuf>,
    /// The target kernel's AppArmor features: a copy of its /sys/kernel/security/apparmor/features.
    #[arg(long, value_name = "DIR", requires = "apparmor")]
    apparmor_features: Option<PathBuf>,
    /// The container's root file system: how many of its files the AppArmor profile admits is counted.
    #[arg(long, value_name = "DIR", requires = "apparmor")]
    rootfs: Option<PathBuf>,
    /// The container's capabilities (`none` for none), which are verified too.
    #[arg(long, value_name = "CAP,…", value_delimiter = ',')]
    capabilities: Option<Vec<String>>,
    /// Compile the seccomp profile as this runtime does, and check what it calls itself as well.
    #[arg(long, value_enum, default_value_t = Runtime::None)]
    runtime: Runtime,
    /// The containers run with `no-new-privileges`.
    #[arg(long)]
    no_new_privileges: bool,
    /// Where the report goes; - is standard output.
    #[arg(long, short, value_name = "FILE", required_unless_present = "text")]
    output: Option<PathBuf>,
    /// A summary for the terminal.
    #[arg(long, group = "form")]
    text: bool,
    /// One plot alone, as PNG.
    #[arg(long, value_name = "PLOT", group = "form")]
    png: Option<String>,
    /// One plot alone, as SVG that follows the reader's colour scheme.
    #[arg(long, value_name = "PLOT", group = "form")]
    svg: Option<String>,
}

/// What the files do.
#[derive(Default)]
struct Checks {
    verdicts: Option<Verdicts>,
    judged: Option<Judged>,
    filters: Option<Filters>,
    width: Width,
}

/// Runs the command. The report is written whatever it says; the exit code is the verdict's, but for a picture alone.
pub fn main(context: Context, args: &Args) -> Result<Exit> {
    let wanted = args.png.as_deref().or(args.svg.as_deref());
    if let Some(unknown) = wanted.filter(|name| PLOTS.iter().all(|(id, _)| id != name)) {
        let known: Vec<&str> = PLOTS.iter().map(|(id, _)| *id).collect();
        return Err(Error::usage(format!("there is no plot {:?}", printable(unknown)))
            .hint(format!("the plots are {}", known.join(", "))));
    }
    let progress = context.progress(READING);
    let document = make(args)?;
    drop(progress);
    let path = args.output.as_deref().unwrap_or(Path::new("-"));
    if args.text {
        let text = text::text(&document);
        if path == Path::new("-") {
            output::stdout(text)?;
        } else {
            output::write_file(path, &anstream::adapter::strip_bytes(text.as_bytes()).into_vec())?;
        }
    } else if let Some(name) = wanted {
        let plot = document.plots().find(|plot| plot.id == name).ok_or_else(|| {
            Error::incomplete(format!("the recordings have nothing for the plot {name}")).hint(
                "`verdicts` needs a profile, `saturation` a recording that is not merged; the HTML says what there is",
            )
        })?;
        let drawn = plot::draw(plot)?;
        let bytes = if args.png.is_some() { image::png(&drawn)? } else { drawn.alone().into_bytes() };
        output::write_file(path, &bytes)?;
        if path != Path::new("-") {
            context.note(format!("✓ {}: {}", path.display(), plot.title));
        }
        // A picture is no verdict.
        return Ok(Exit::Clean);
    } else {
        output::write_file(path, html::page(&document)?.as_bytes())?;
    }
    if path != Path::new("-") {
        let (mark, verdict) = &document.verdict;
        context.note(format!("{} {}: {verdict}", mark.sign(), path.display()));
        for (mark, reason) in document.reasons.iter().filter(|(mark, _)| *mark != Mark::Good) {
            context.note(format!("  {} {reason}", mark.sign()));
        }
    }
    Ok(match document.verdict.0 {
        Mark::Bad => Exit::Found,
        Mark::Warn if !document.verified && document.complete => Exit::Clean,
        Mark::Warn => Exit::Incomplete,
        Mark::Good => Exit::Clean,
    })
}

fn make(args: &Args) -> Result<Document> {
    let needs = requirements::load(&args.recordings, true)?;
    let (mut refused, mut failed) = (Vec::new(), 0);
    let mut recordings = Vec::new();
    for path in &args.recordings {
        recordings.push((path.display().to_string(), without_files(path, &mut refused, &mut failed)?));
    }
    let checks = check(args, &needs)?;
    let files = args.seccomp.iter().map(|path| ("seccomp profile", path));
    let files = files.chain(args.apparmor.iter().map(|path| ("AppArmor profile", path)));
    let all = args.recordings.iter().map(|path| ("recording", path)).chain(files);
    let inputs: Result<Vec<Input>> = all.map(|(kind, path)| input(kind, path)).collect();
    let base = args.runtime.base(args.no_new_privileges)?;
    Ok(report::facts::document(&Subject {
        inputs: inputs?,
        recordings: &recordings,
        refused: &refused,
        failed,
        needs: &needs,
        verdicts: checks.verdicts.as_ref(),
        judged: checks.judged.as_ref(),
        filters: checks.filters.as_ref(),
        width: &checks.width,
        runtime: base.map(|base| (args.runtime.name(), base.syscalls)),
    }))
}

/// As `verify` does with these files, and `width`.
fn check(args: &Args, needs: &Requirements) -> Result<Checks> {
    let capabilities = args.capabilities.as_deref().map(Capabilities::parse).transpose()?;
    let mut out = Checks::default();
    if args.seccomp.is_empty() && args.apparmor.is_none() && capabilities.is_none() {
        return Ok(out);
    }
    let container = Container {
        no_new_privileges: args.no_new_privileges,
        capabilities: capabilities.clone(),
        ..Container::of(args.runtime)
    };
    let mut verdicts = Verdicts::default();
    if !args.seccomp.is_empty() {
        let filters = Filters::load(&args.seccomp, &container)?;
        verdicts.merge(verify::seccomp::against(needs, &filters, &container)?);
        out.filters = Some(filters);
    }
    let features = args.apparmor_features.as_deref();
    let apparmor = args.apparmor.as_deref().map(|file| verify::apparmor::load(file, features)).transpose()?;
    let apparmor = apparmor.map(|(profile, notes)| {
        verdicts.notes.extend(notes);
        profile
    });
    if let Some(profile) = &apparmor {
        verify::apparmor::replay(needs, profile, &mut verdicts);
    }
    if let Some(given) = &capabilities {
        verdicts.merge(verify::capabilities::verify(needs, given, |name| format!("cap_add: {name}")));
    }
    let files = Files {
        filters: out.filters.as_ref(),
        apparmor: apparmor.as_ref(),
        capabilities: capabilities.as_ref(),
    };
    out.judged = Some(attacks::judge(&attacks::built_in()?, files));
    out.verdicts = Some(verdicts);
    if !args.seccomp.is_empty() || args.rootfs.is_some() {
        out.width = width::measure(&width::Question {
            seccomp: args.seccomp.first().map(PathBuf::as_path),
            capabilities: capabilities.as_ref(),
            apparmor: args.apparmor.as_deref().zip(args.rootfs.as_deref()),
            features,
            needs: Some(needs),
        })?;
    }
    Ok(out)
}

/// A recording without its file accesses, of which there may be a million: those that a security module refused are
/// kept, and the others that failed are counted.
fn without_files(path: &Path, refused: &mut Vec<Refused>, failed: &mut u64) -> Result<Recording> {
    let mut kept: Vec<(Refused, Vec<ExecutableIndex>)> = Vec::new();
    let mut others = 0u64;
    let recording = recording::load_each(path, &mut |_, file| {
        if file.error.is_none() {
            return Ok(());
        }
        let access = file.to_access()?;
        if access.refused_by.is_none() || refused.len() + kept.len() >= REFUSED {
            others += 1;
            return Ok(());
        }
        let one = Refused {
            path: access.path,
            access: access.access.to_string(),
            error: access.error.unwrap_or_default(),
            by: String::new(),
            count: access.count,
        };
        kept.push((one, access.by));
        Ok(())
    })?;
    *failed += others;
    // Who it was is known when the list of executables is.
    refused.extend(kept.into_iter().map(|(one, by)| {
        let names: Vec<String> = by.iter().map(|index| recording.executable(*index).to_string()).collect();
        Refused { by: names.join(", "), ..one }
    }));
    Ok(recording)
}

fn input(kind: &'static str, path: &Path) -> Result<Input> {
    let fail = |e: io::Error| {
        Error::usage(format!("could not read {}", path.display()))
            .because(e)
            .hint("a report reads its files twice: name files, no pipes")
    };
    let mut file = File::open(path).map_err(fail)?;
    let (mut sum, mut block) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        let n = file.read(&mut block).map_err(fail)?;
        let Some(part) = block.get(..n).filter(|part| !part.is_empty()) else { break };
        sum.update(part);
    }
    let sha256 = sum.finalize().iter().fold(String::new(), |mut out, byte| {
        // Writing to a string does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    });
    Ok(Input { kind, name: BytePath::from(path).to_string(), sha256 })
}
