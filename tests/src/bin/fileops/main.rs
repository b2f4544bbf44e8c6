//! Every file operation that the recorder knows, each once and on names of its own.
//!
//! `fileops prepare DIR` makes what the operations need and is not recorded; `fileops run DIR` does them, in DIR;
//! `fileops mounts DIR` does those that go through a bind mount (`bind`) and a tmpfs (`tmpfs`) in DIR. The calls are
//! made directly, so that no library adds or changes any.

mod attributes;
mod execution;
mod mounts;
mod names;
mod open;
mod sys;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [verb, dir] = args.as_slice() else { return usage() };
    std::env::set_current_dir(dir).expect("the folder");
    match verb.as_str() {
        "prepare" => {
            open::prepare();
            names::prepare();
            attributes::prepare();
            execution::prepare();
            mounts::prepare();
        }
        "run" => {
            open::run();
            names::run();
            attributes::run();
            execution::run();
        }
        "mounts" => mounts::run(),
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: fileops prepare|run|mounts DIR");
    ExitCode::from(2)
}
