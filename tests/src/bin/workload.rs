//! Workloads with known counts, for tests and benchmarks of the recorder.
//!
//! `workload getppid N` makes N getppid calls; `workload opens DIR N` opens N distinct files that it makes in DIR
//! first when they are missing; `workload reopen DIR N` opens the one file DIR/0 N times; `workload missing DIR N` tries
//! N distinct files that are not there, a thousand a folder; `workload idle SECONDS` sleeps.

use std::{fs, io::Read as _, path::Path, process::ExitCode, time::Duration};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["getppid", n] => {
            for _ in 0..number(n) {
                std::hint::black_box(nix::unistd::getppid());
            }
        }
        ["files", dir, n] => make(Path::new(dir), number(n)),
        ["opens", dir, n] => (0..number(n)).for_each(|i| open(&Path::new(dir).join(i.to_string()))),
        ["reopen", dir, n] => (0..number(n)).for_each(|_| open(&Path::new(dir).join("0"))),
        ["missing", dir, n] => (0..number(n)).for_each(|i| {
            let path = format!("{dir}/{}/file-{i}", i / 1000);
            fs::File::open(path).expect_err("no such file");
        }),
        ["idle", seconds] => std::thread::sleep(Duration::from_secs(number(seconds))),
        _ => {
            eprintln!(
                "usage: workload getppid N | files DIR N | opens DIR N | reopen DIR N | missing DIR N | idle SECONDS"
            );
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

fn make(dir: &Path, n: u64) {
    fs::create_dir_all(dir).expect("the folder");
    for i in 0..n {
        fs::write(dir.join(i.to_string()), b"x").expect("a file");
    }
}

fn open(path: &Path) {
    let mut byte = [0];
    fs::File::open(path).and_then(|mut file| file.read(&mut byte)).expect("the file");
}
