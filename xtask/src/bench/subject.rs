//! A workload that is started and waits for the word to go: a program, or a server with its load.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use super::{
    lab::Lab,
    running::{LIMIT, Listen, Running},
    workloads::Kind,
};
use crate::process;

/// How long a server gets to finish what it does behind its client's back.
const SETTLE: Duration = Duration::from_millis(30);

/// A workload that waits.
#[derive(Debug)]
pub enum Subject {
    Program(Running),
    Server { server: Running, load: Command },
}

impl Subject {
    /// Starts it in the cgroup for work.
    pub fn start(lab: &Lab, kind: &Kind, size: u64) -> Result<Self> {
        match kind {
            Kind::Program(words) => program(lab, words, size),
            Kind::Redis => redis(lab, size),
            Kind::Nginx => nginx(lab, size),
        }
    }

    /// The process to attach to.
    pub fn pid(&self) -> u32 {
        match self {
            Self::Program(running) | Self::Server { server: running, .. } => running.pid(),
        }
    }

    /// Lets it do its work. It is still there afterwards, and idle.
    pub fn work(&mut self) -> Result<()> {
        match self {
            Self::Program(program) => {
                program.tell("go")?;
                program.expect("`done`", |line| line == "done")
            }
            Self::Server { load, .. } => {
                let said = process::output(load)?;
                // ab succeeds whatever the server says.
                ensure!(!said.contains("Non-2xx") && !said.contains("ERR"), "the server refused:\n{said}");
                thread::sleep(SETTLE);
                Ok(())
            }
        }
    }

    pub fn end(self) -> Result<()> {
        match self {
            Self::Program(mut program) => {
                program.hang_up();
                program.succeed().map(drop)
            }
            Self::Server { server, .. } => {
                server.signal(Signal::SIGTERM)?;
                server.succeed().map(drop)
            }
        }
    }
}

fn program(lab: &Lab, words: &[&str], size: u64) -> Result<Subject> {
    let [dir, tree, links] = [lab.path(""), lab.tree(), lab.links()].map(|path| path.display().to_string());
    let (dir, size) = (dir.trim_end_matches('/'), size.to_string());
    let words = words.iter().map(|word| match *word {
        "SIZE" => size.clone(),
        "LINKS" => links.clone(),
        word => word.replace("TREE", &tree).replace("DIR", dir),
    });
    let mut command = Command::new(&lab.workload);
    command.arg("held").args(words);
    let mut program = Running::spawn(&mut command, &lab.cgroups.work, Listen::Stdout)?;
    program.expect("`ready`", |line| line == "ready")?;
    Ok(Subject::Program(program))
}

fn redis(lab: &Lab, size: u64) -> Result<Subject> {
    let port = free_port()?;
    let mut command = Command::new(find("redis-server")?);
    command.args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"]);
    command.args(["--daemonize", "no", "--loglevel", "warning", "--dir"]).arg(lab.path(""));
    let server = Running::spawn(&mut command, &lab.cgroups.work, Listen::Stdout)?;
    // The key that redis-benchmark asks for.
    connect(&port, b"SET key:__rand_int__ xxx\r\n", b"+OK")?;
    let mut load = Command::new(find("redis-benchmark")?);
    load.args(["-h", "127.0.0.1", "-p", &port, "-t", "get", "-c", "20", "-q", "-n", &size.to_string()]);
    thread::sleep(SETTLE);
    Ok(Subject::Server { server, load })
}

fn nginx(lab: &Lab, size: u64) -> Result<Subject> {
    let port = free_port()?;
    let dir = lab.path("nginx");
    fs::create_dir_all(dir.join("www"))?;
    fs::write(dir.join("www/file"), [b'x'; 1024])?;
    let configuration = dir.join("nginx.conf");
    // One process, which strace can be attached to, and none of the package's own folders.
    fs::write(
        &configuration,
        format!(
            "daemon off; master_process off; pid nginx.pid; error_log error.log;
events {{ worker_connections 256; }}
http {{
    access_log off; sendfile on; keepalive_requests 1000000000;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{ listen 127.0.0.1:{port}; root www; }}
}}\n"
        ),
    )?;
    let mut command = Command::new(find("nginx")?);
    command.arg("-p").arg(&dir).arg("-e").arg(dir.join("error.log")).arg("-c").arg(&configuration);
    let server = Running::spawn(&mut command, &lab.cgroups.work, Listen::Stdout)?;
    connect(&port, b"GET /file HTTP/1.0\r\n\r\n", b"HTTP/1.1 200")?;
    let mut load = Command::new(find("ab")?);
    load.args(["-q", "-k", "-c", "8", "-n", &size.to_string()]).arg(format!("http://127.0.0.1:{port}/file"));
    thread::sleep(SETTLE);
    Ok(Subject::Server { server, load })
}

fn find(name: &str) -> Result<std::path::PathBuf> {
    process::find(name).with_context(|| format!("{name} is not installed: cargo xtask setup --for bench"))
}

/// A port of the loopback that nobody listens on.
fn free_port() -> Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.port().to_string())
}

/// Says something to a server that is just starting, until it answers.
fn connect(port: &str, request: &[u8], answer: &[u8]) -> Result<()> {
    let start = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(format!("127.0.0.1:{port}")) {
            Ok(stream) => break stream,
            Err(error) if start.elapsed() > Duration::from_secs(30) => {
                return Err(error).context("a server does not come up");
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    };
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(request)?;
    let mut said = vec![0; answer.len()];
    stream.read_exact(&mut said)?;
    if said != answer {
        bail!("a server says {:?}", String::from_utf8_lossy(&said));
    }
    Ok(())
}
