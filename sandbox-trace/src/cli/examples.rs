//! The examples that `--help` and the man pages show, for each command. A test parses every one of them, so that none
//! shows an option that is not there. `$ ` and what is before `sandbox-trace` in a line is the shell's.

use clap::Command;

/// A command line, and what it is for.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// What it is for, in a few words.
    pub why: &'static str,
    /// The line, as one types it.
    pub line: &'static str,
}

const fn example(why: &'static str, line: &'static str) -> Example {
    Example { why, line }
}

/// The examples of every command, by its name.
const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "record",
        &[
            example(
                "A container, from its first program on; start it once `armed` is said",
                "sudo sandbox-trace record --container my-agent --wait -o run1.json",
            ),
            example("A command", "sudo sandbox-trace record -o run1.json -- python3 agent.py --task demo"),
            example(
                "All below a cgroup for an hour, kept every 10 seconds, compressed",
                "sudo sandbox-trace record --cgroup /agents --duration 1h --checkpoint 10s -o run1.json.zst",
            ),
        ],
    ),
    (
        "emit-seccomp",
        &[
            example(
                "One profile for Docker, from two runs",
                "sandbox-trace emit-seccomp run1.json run2.json --runtime docker -o seccomp.json",
            ),
            example(
                "Arguments as recorded, and one dangerous call given by name",
                "sandbox-trace emit-seccomp run1.json --args strict --allow keyctl -o seccomp.json",
            ),
        ],
    ),
    (
        "emit-apparmor",
        &[
            example(
                "A profile, then load it",
                "sandbox-trace emit-apparmor run1.json run2.json --name my-agent -o my-agent.profile",
            ),
            example(
                "The recorded paths and no others, with explicit denies",
                "sandbox-trace emit-apparmor run1.json --name my-agent --generalize exact --deny-baseline -o my-agent.profile",
            ),
        ],
    ),
    (
        "emit-docker",
        &[
            example(
                "The docker run line with both profiles beside it",
                "sandbox-trace emit-docker run1.json run2.json -o sandbox/",
            ),
            example("To look at", "sandbox-trace emit-docker run1.json --image my-agent:1.4 --headroom 50"),
        ],
    ),
    (
        "emit-compose",
        &[
            example(
                "A compose file with both profiles beside it",
                "sandbox-trace emit-compose run1.json run2.json -o sandbox/",
            ),
            example(
                "Harden the one that is there, and keep its comments",
                "sandbox-trace emit-compose run1.json --in compose.yaml --service agent --in-place",
            ),
        ],
    ),
    (
        "emit-k8s",
        &[
            example(
                "A Pod, its NetworkPolicy and the Security Profiles Operator's objects",
                "sandbox-trace emit-k8s run1.json --namespace agents -o k8s/",
            ),
            example(
                "With profiles that you bring to the nodes yourself",
                "sandbox-trace emit-k8s run1.json --profiles node --runtime crun -o k8s/",
            ),
        ],
    ),
    (
        "emit-oci",
        &[
            example("To look at first", "sandbox-trace emit-oci run1.json --bundle ./bundle -o config.json"),
            example("In the bundle itself", "sandbox-trace emit-oci run1.json --bundle ./bundle --in-place"),
        ],
    ),
    (
        "emit-systemd",
        &[example(
            "A drop-in for agent.service, with its AppArmor profile",
            "sandbox-trace emit-systemd run1.json --unit agent -o units/",
        )],
    ),
    (
        "verify",
        &[
            example(
                "Would the profiles block anything that was needed? Are known attacks denied?",
                "sandbox-trace verify run1.json run2.json --seccomp seccomp.json --apparmor my-agent.profile --must-deny",
            ),
            example(
                "Against what the kernel holds for a running container",
                "sudo sandbox-trace verify run1.json --container my-agent",
            ),
            example(
                "Once more, under the profile",
                "sudo sandbox-trace verify run1.json --seccomp seccomp.json --live -- python3 agent.py --task demo",
            ),
        ],
    ),
    (
        "width",
        &[
            example(
                "System calls, beside those that were used",
                "sandbox-trace width run1.json --seccomp seccomp.json",
            ),
            example(
                "Files too",
                "sandbox-trace width run1.json --apparmor my-agent.profile --rootfs ./bundle/rootfs --json",
            ),
        ],
    ),
    (
        "diff",
        &[
            example("What does the new release need more?", "sandbox-trace diff old.json.zst new.json"),
            example(
                "What does the new profile let through, and who needs it? For a pull request",
                "sandbox-trace diff old/seccomp.json seccomp.json --recording run1.json --markdown",
            ),
        ],
    ),
    (
        "report",
        &[
            example(
                "A page to print and sign",
                "sandbox-trace report run1.json --seccomp seccomp.json --apparmor my-agent.profile -o report.html",
            ),
            example("The same here and now", "sandbox-trace report run1.json --text"),
        ],
    ),
    (
        "merge",
        &[
            example("The runs of a week", "sandbox-trace merge mon.json tue.json wed.json -o week.json.zst"),
            example(
                "A folder of recordings; what the last ten runs no longer needed is listed",
                "sandbox-trace merge recordings/ --stale 10 -o agent.json.zst",
            ),
        ],
    ),
    (
        "refresh",
        &[
            example(
                "What would this release change?",
                "sandbox-trace refresh profiles/my-agent --recording run1.json --check",
            ),
            example(
                "Write it, if it is no wider or what is wider is approved",
                "sandbox-trace refresh profiles/my-agent --recording run1.json run2.json",
            ),
        ],
    ),
    (
        "probe",
        &[
            example("All checks", "sudo sandbox-trace probe --container my-agent"),
            example("Some of them", "sudo sandbox-trace probe --container my-agent --only write,exec"),
            example("What is tried, and nothing tried", "sandbox-trace probe --list"),
        ],
    ),
    (
        "run",
        &[
            example(
                "What does the profile deny?",
                "sandbox-trace run --seccomp seccomp.json --no-new-privileges --explain -- node server.js",
            ),
            example(
                "Under both profiles; the AppArmor one must be loaded",
                "sudo sandbox-trace run --seccomp seccomp.json --apparmor my-agent -- node server.js",
            ),
        ],
    ),
    (
        "audit",
        &[
            example("A running container", "sudo sandbox-trace audit --container my-agent"),
            example(
                "One service of a compose file, for a code-scanning service",
                "sandbox-trace audit --compose compose.yaml --service agent --sarif",
            ),
            example(
                "A line that you are about to type",
                "sandbox-trace audit -- docker run --privileged my-agent",
            ),
        ],
    ),
    (
        "doctor",
        &[
            example("For people", "sandbox-trace doctor"),
            example("For scripts; exits with 5 where record does not work", "sandbox-trace doctor --json"),
        ],
    ),
];

/// The examples of a command.
pub fn of(name: &str) -> &'static [Example] {
    EXAMPLES.iter().find(|(command, _)| *command == name).map_or(&[], |(_, examples)| examples)
}

/// The command line with each command's examples at the end of its `--help`.
pub fn add(mut command: Command) -> Command {
    for (name, examples) in EXAMPLES {
        let lines: Vec<String> =
            examples.iter().map(|example| format!("  # {}\n  {}", example.why, example.line)).collect();
        let text = format!("Examples:\n{}", lines.join("\n\n"));
        command = command.mut_subcommand(name, |command| command.after_long_help(text));
    }
    command
}

#[cfg(test)]
mod tests {
    use super::{super::command, *};

    #[test]
    fn every_command_has_examples_and_its_help_shows_them() {
        for subcommand in command().get_subcommands_mut() {
            let name = subcommand.get_name().to_owned();
            // Long lines are wrapped to the terminal's width.
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let help = words(&subcommand.render_long_help().to_string());
            assert!(!of(&name).is_empty(), "{name} has no example in cli/examples.rs");
            for example in of(&name) {
                assert!(help.contains(&words(example.line)), "{help}");
            }
        }
    }

    #[test]
    fn every_example_is_taken_by_its_command() {
        for (name, examples) in EXAMPLES {
            for example in *examples {
                let words = shell_words::split(example.line).unwrap();
                let words = words.into_iter().skip_while(|word| word == "sudo");
                let matches = command().try_get_matches_from(words);
                let matches = matches.unwrap_or_else(|error| panic!("{}\n{error}", example.line));
                assert_eq!(matches.subcommand_name(), Some(*name), "{}", example.line);
            }
        }
    }
}
