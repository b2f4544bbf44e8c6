//! `emit-k8s`: writes Kubernetes objects.

use super::{Context, sandbox};
use crate::{
    emit::k8s::{Parts, Profiles, namespace, objects},
    error::{Error, Exit, Result},
    output::NamedFile,
    seccomp::runtime::Runtime,
};

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    sandbox: sandbox::Args,
    /// The objects' namespace [default: the one that they are applied in].
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Who brings the profiles to the nodes: `operator` writes the Security Profiles Operator's objects too.
    #[arg(long, value_enum, default_value_t = Profiles::Operator)]
    profiles: Profiles,
    /// The nodes' container runtime: what it calls itself before the workload starts is in the filter.
    #[arg(long, value_enum, default_value_t = Runtime::Runc)]
    runtime: Runtime,
}

/// Runs the command. Nothing is written when something is refused.
pub fn main(context: Context, args: &Args) -> Result<Exit> {
    let namespace = args.namespace.as_deref().map(namespace).transpose()?;
    let common = &args.sandbox;
    let made = common.make(context, args.runtime)?;
    let objects = objects(&Parts {
        needs: &made.needs,
        sandbox: &made.sandbox,
        syscalls: &made.syscalls,
        apparmor: &made.apparmor,
        namespace,
        profiles: args.profiles,
        profile: made.profile.as_str(),
    })?;
    if made.sandbox.image.is_none() {
        return Err(
            Error::usage("no recording tells of an image, and a Pod has one").hint("name it with --image")
        );
    }
    let files = if common.is_folder() {
        objects.files.iter().map(|(name, text)| NamedFile::text(name, text.as_str())).collect()
    } else {
        vec![NamedFile::text("objects.yaml", objects.stream())]
    };
    common.write(context, Some(&made), files)?;
    for note in objects.notes.iter().chain(&objects.gaps) {
        context.note(format!("  note: {note}"));
    }
    sandbox::Args::notes(context, &made);
    if common.is_folder() {
        let (folder, at) =
            (common.output.display(), |name: &str| common.output.join(name).display().to_string());
        context.note(match args.profiles {
            Profiles::Operator => format!("  next: kubectl apply of {folder}, the profiles before the Pod"),
            Profiles::Node => format!(
                "  next: {} to /var/lib/kubelet/seccomp/profiles/ and {} \
                 to apparmor_parser -r on each node, then kubectl apply of the objects",
                at("seccomp.json"),
                at("apparmor.profile"),
            ),
        });
    }
    Ok(Exit::Clean)
}
