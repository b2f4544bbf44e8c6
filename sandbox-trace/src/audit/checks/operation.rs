//! Logs, restarts, the image, the environment.

use super::{Fix, one, passed, unknown};
use crate::{
    audit::{Outcome, Severity, Source, Subject},
    recording::printable,
};

pub fn logs(subject: &Subject) -> Outcome {
    let fix = Fix {
        run: "--log-driver json-file --log-opt max-size=10m --log-opt max-file=3",
        compose: "logging: {driver: json-file, options: {max-size: 10m, max-file: \"3\"}}",
        oci: "",
    };
    let container = subject.container();
    if subject.source == Source::Oci {
        return Outcome::NotApplicable;
    }
    let size = container.log_options.get("max-size").map(|size| printable(size));
    let limited = size.is_some();
    match container.log_driver.as_deref() {
        Some("json-file" | "k8s-file") if !limited => {
            one(subject, Severity::Low, "the log file has no max-size", &fix)
        }
        Some(driver) => passed(match size {
            Some(size) => format!("{}, at most {size}", printable(driver)),
            None => format!("{} limits or keeps no file of its own", printable(driver)),
        }),
        None if limited => passed("a max-size is set"),
        None if subject.held.is_some() => unknown("the runtime does not tell"),
        None => unknown("no log driver is named: the engine's own default may have a limit or not"),
    }
}

pub fn restart(subject: &Subject) -> Outcome {
    if subject.source == Source::Oci {
        return Outcome::NotApplicable;
    }
    match subject.container().restart.as_deref() {
        Some(policy @ ("always" | "unless-stopped" | "on-failure" | "on-failure:0")) => one(
            subject,
            Severity::Info,
            format!("it is started again without end: {policy}"),
            &Fix { run: "--restart on-failure:3", compose: "restart: on-failure:3", oci: "" },
        ),
        Some(policy) => passed(printable(policy)),
        None => passed("it is not started again"),
    }
}

pub fn image(subject: &Subject) -> Outcome {
    if subject.source == Source::Oci {
        return Outcome::NotApplicable;
    }
    let container = subject.container();
    let Some(image) = container.image.as_deref() else {
        return unknown("it is built, and gets its name then");
    };
    if image.contains("@sha256:") || image.starts_with("sha256:") {
        return passed(printable(image));
    }
    let digest = container.image_digest.as_deref().map(printable);
    let evidence = format!("{} is a name that can be moved", printable(image));
    let pinned = digest.unwrap_or_else(|| "NAME@sha256:DIGEST".to_owned());
    one(
        subject,
        Severity::Low,
        evidence,
        &Fix {
            run: &format!("name it by its digest: {pinned}"),
            compose: &format!("image: {pinned}"),
            oci: "",
        },
    )
}

/// Whether a variable's name promises a secret.
fn is_secret(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    // A path of a file is no secret; the file is, and it is mounted.
    if upper.ends_with("_FILE") || upper.ends_with("_PATH") {
        return false;
    }
    ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "API_KEY", "APIKEY", "PRIVATE_KEY", "ACCESS_KEY", "CREDENTIAL"]
        .iter()
        .any(|word| upper.contains(word))
}

pub fn secrets(subject: &Subject) -> Outcome {
    let names: Vec<String> = subject
        .container()
        .environment
        .iter()
        .filter(|name| is_secret(name))
        .map(|name| printable(name))
        .collect();
    if names.is_empty() {
        return passed("no variable's name promises a secret");
    }
    one(
        subject,
        Severity::Low,
        names.join(", "),
        &Fix {
            run: "give it as a file that only its user may read, mounted :ro, and name that in NAME_FILE",
            compose: "secrets: instead of environment:",
            oci: "give it as a file that only its user may read",
        },
    )
}

pub fn health(subject: &Subject) -> Outcome {
    let container = subject.container();
    let own = container.healthcheck.as_ref();
    let of_image = container.image_defaults.as_ref().and_then(|image| image.healthcheck.as_ref());
    let fix = Fix {
        run: "--health-cmd COMMAND --health-interval 30s",
        compose: "healthcheck: {test: [CMD, …], interval: 30s}",
        oci: "",
    };
    match own.or(of_image) {
        Some(check) if check.test.first().is_none_or(|first| first != "NONE") => passed("there is one"),
        Some(_) => one(subject, Severity::Info, "it is switched off", &fix),
        None if subject.source == Source::Oci => Outcome::NotApplicable,
        None if container.image_defaults.is_some() => one(subject, Severity::Info, "there is none", &fix),
        None => unknown("none is named; the image may have one"),
    }
}

pub fn init(subject: &Subject) -> Outcome {
    if subject.source == Source::Oci {
        return Outcome::NotApplicable;
    }
    if subject.container().init == Some(true) {
        return passed("the engine's init process");
    }
    one(
        subject,
        Severity::Info,
        "its first process must wait for all others that end",
        &Fix {
            run: "--init, unless the program does it",
            compose: "init: true, unless the program does it",
            oci: "",
        },
    )
}
