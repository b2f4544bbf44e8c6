//! Completeness on the same run: what strace saw of a program while it was recorded, calls and paths, is in the
//! recording.

use std::{ffi::OsStr, fs};

use anyhow::{Result, ensure};
use sandbox_trace_tests::{
    checks::same_run::compare,
    command,
    recorded::Recorded,
    strace::{self, Witnessed},
};

/// Runs a script by `shell -c` in a folder of its own.
fn script(shell: &str, script: &str) -> Result<(Recorded, Witnessed)> {
    let dir = tempfile::tempdir()?;
    let folder = fs::canonicalize(dir.path())?;
    let shell = command::require(shell)?;
    let mut line: Vec<&OsStr> = vec![shell.as_ref()];
    if shell.ends_with("busybox") {
        line.push("sh".as_ref());
    }
    line.extend(["-c".as_ref(), script.as_ref()] as [&OsStr; 2]);
    let (recorded, witnessed) = compare(&folder, &line)?;
    println!("{} calls and {} uses of paths, all recorded", witnessed.names.len(), witnessed.uses.len());
    Ok((recorded, witnessed))
}

/// Fails unless strace saw these, so that the comparison was about something.
fn saw(witnessed: &Witnessed, calls: &[&str]) -> Result<()> {
    for call in calls {
        ensure!(witnessed.uses.iter().any(|used| used.call == *call), "strace saw no {call} with a path");
    }
    Ok(())
}

#[test]
fn threaded_python() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let folder = fs::canonicalize(dir.path())?;
    let program = "
import os, socket, subprocess, tempfile, threading
def work(i):
    d = f'd{i}'; os.mkdir(d); f = f'{d}/\\udcff \"{i}\\n'
    with open(f, 'w') as o: o.write('x')
    os.chmod(f, 0o600); os.truncate(f, 1); os.utime(f); os.chown(f, 0, 0)
    os.link(f, f + 'l'); os.rename(f, f + 'r'); os.symlink('nowhere', f + 's')
    fd = os.open(d, os.O_RDONLY); os.mkdir('sub', dir_fd=fd); os.rmdir('sub', dir_fd=fd); os.close(fd)
    for name in 'lrs': os.unlink(f + name)
    with tempfile.TemporaryFile(dir='.') as t: t.write(b'x')
    with tempfile.NamedTemporaryFile(dir=d): pass
    s = socket.socket(socket.AF_UNIX); s.bind(f'{d}/s'); s.listen()
    c = socket.socket(socket.AF_UNIX); c.connect(f'{d}/s')
    subprocess.run(['/bin/cat', '/etc/hostname'], stdout=subprocess.DEVNULL, cwd=d, check=True)
ts = [threading.Thread(target=work, args=(i,)) for i in range(8)]
[t.start() for t in ts]; [t.join() for t in ts]
os.chdir('d0'); open('late', 'w').close(); os.unlink('late')
";
    let python = command::require("python3")?;
    let line: [&OsStr; 5] = [python.as_ref(), "-I".as_ref(), "-B".as_ref(), "-c".as_ref(), program.as_ref()];
    let (_, witnessed) = compare(&folder, &line)?;
    saw(&witnessed, &["openat", "rename", "link", "symlink", "unlink", "chmod", "bind", "connect", "execve"])
}

#[test]
fn nginx() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let folder = fs::canonicalize(dir.path())?;
    fs::create_dir(folder.join("www"))?;
    for file in ["a", "b c", "d"] {
        fs::write(folder.join("www").join(file), [b'x'; 5000])?;
    }
    // A Unix socket needs no free port, and is one more kind of name.
    let place = folder.display();
    let config = format!(
        "daemon off; master_process on; worker_processes 2; user root; pid {place}/pid; error_log {place}/err;\n\
         events {{}}\nhttp {{ access_log {place}/log; client_body_temp_path {place}/t1; proxy_temp_path {place}/t2;\n\
         fastcgi_temp_path {place}/t3; uwsgi_temp_path {place}/t4; scgi_temp_path {place}/t5;\n\
         server {{ listen unix:{place}/sock; root {place}/www; }} }}\n"
    );
    fs::write(folder.join("conf"), config)?;
    fs::write(
        folder.join("ask.py"),
        "import socket, time, os\n\
         for i in range(200):\n    if os.path.exists('pid') and os.path.exists('sock'): break\n    time.sleep(0.05)\n\
         for name in ['a', 'b%20c', 'd', 'missing'] * 3:\n    s = socket.socket(socket.AF_UNIX)\n    \
         s.connect('sock'); s.sendall(f'GET /{name} HTTP/1.0\\r\\n\\r\\n'.encode())\n    \
         answer = b''\n    while (part := s.recv(65536)): answer += part\n    \
         assert (b' 404 ' if name == 'missing' else b' 200 ') in answer, answer[:200]\n",
    )?;
    let run = format!(
        "{} -e {place}/err -p {place} -c {place}/conf & {} -I -B ask.py; r=$?; kill -QUIT $!; wait; exit $r",
        command::require("nginx")?.display(),
        command::require("python3")?.display()
    );
    let (recorded, witnessed) = compare(&folder, &["sh".as_ref(), "-c".as_ref(), run.as_ref()])?;
    saw(&witnessed, &["openat", "bind", "connect", "execve", "mkdir"])?;
    let page = folder.join("www/b c").display().to_string();
    ensure!(recorded.list("files").iter().any(|file| file["path"] == page.as_str()), "no {page}");
    Ok(())
}

#[test]
fn a_shell_pipeline() -> Result<()> {
    let (_, witnessed) = script(
        "sh",
        "mkdir a && cd a && ls / | sort -r | head -2 >out; cat /etc/passwd | wc -l >>out; ln -s out l; cat l | tee m; \
         (cd .. && mv a/m n && chmod 600 n && touch n); mkfifo p; rm p l; cd ..; rm -r a; (exit 3) || true",
    )?;
    saw(&witnessed, &["openat", "execve", "mkdir", "unlinkat"])
}

#[test]
fn git() -> Result<()> {
    let (_, witnessed) = script(
        "sh",
        "export HOME=$PWD && git init -q r && cd r && mkdir s && echo x >f && echo y >s/g && git add . && \
         git -c user.name=t -c user.email=t@t -c gc.auto=0 commit -qm t && git mv f h && git log --stat | cat && \
         git status",
    )?;
    saw(&witnessed, &["openat", "execve", "mkdir", "rename"])
}

#[test]
fn a_fork_storm() -> Result<()> {
    let (recorded, _) = script(
        "sh",
        "i=0; while [ $i -lt 150 ]; do cat /etc/hostname >$i & /bin/true; (cd / && : </etc/passwd); i=$((i+1)); done; wait",
    )?;
    let count = recorded.call("x86_64", "execve").and_then(|call| call["count"].as_u64());
    ensure!(count >= Some(301), "{count:?} executions");
    Ok(())
}

#[test]
fn a_static_binary() -> Result<()> {
    let (_, witnessed) = script(
        "busybox",
        "busybox mkdir d; echo x >d/f; busybox cp d/f d/g; busybox ln d/g d/h; busybox mv d/g d/i; \
         busybox ls / | busybox wc -l; busybox touch d/f; busybox chmod 700 d/f; busybox rm -r d",
    )?;
    saw(&witnessed, &["execve", "mkdir", "link", "rename", "unlink", "rmdir", "chmod"])
}

#[test]
fn an_archive_and_a_compiler() -> Result<()> {
    let (_, witnessed) = script(
        "sh",
        "mkdir -p t/u && echo 'int main(void) { return 0; }' >t/u/m.c && ln -s m.c t/u/l && tar cf t.tar t && \
         mkdir x && tar xf t.tar -C x && cc -o m x/t/u/m.c && ./m",
    )?;
    saw(&witnessed, &["execve", "mkdirat", "symlinkat", "utimensat", "unlink"])
}

/// The harness's own reading of a log.
#[test]
fn a_log_is_understood() -> Result<()> {
    let log = r#"10  openat(AT_FDCWD<\x2f\x74>, "\x61", O_WRONLY|O_CREAT <unfinished ...>
11  chdir("\x2f\x75" <unfinished ...>
10  <... openat resumed>, 0666) = 3<\x2f\x74\x2f\x61\x3e>
11  <... chdir resumed>)              = 0
11  unlink("\x2c\x22")                  = 0
11  vfork( <unfinished ...>
12  rmdir("\x2e\x2f\x64\x2f")           = 0
11  <... vfork resumed>)                = 12
12  mkdir("\x65", 0777)                 = -1 EEXIST (File exists)
12  --- SIGCHLD {} ---
12  futex(0x1, FUTEX_WAIT <unfinished ...>
12  +++ exited with 0 +++
"#;
    let witnessed = strace::read(log, b"/t");
    let uses: Vec<(&str, &[u8], &str)> =
        witnessed.uses.iter().map(|used| (&*used.call, &*used.path, used.letters)).collect();
    let expected: [(&str, &[u8], &str); 3] =
        [("openat", b"/t/a>", "wc"), ("rmdir", b"/u/d", "d"), ("unlink", b"/u/,\"", "d")];
    ensure!(uses == expected && witnessed.unclear.is_empty(), "{witnessed:?}");
    let names: Vec<&str> = witnessed.names.iter().map(String::as_str).collect();
    ensure!(names == ["chdir", "futex", "mkdir", "openat", "rmdir", "unlink", "vfork"], "{names:?}");
    Ok(())
}
