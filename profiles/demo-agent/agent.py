#!/usr/bin/env python3
"""A small agent that does what training agents do: read a configuration, call tools over HTTP, run
subprocesses, keep a database, checkpoint, lock and log. Standard library only, so that it runs in any image.

With `--attack NAME` it does one forbidden thing instead, and says whether that was denied.
"""

import argparse
import ctypes
import errno
import fcntl
import hashlib
import http.client
import http.server
import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading


class Tool(http.server.BaseHTTPRequestHandler):
    """The tool server: tells its version, and hashes what is posted to it."""

    def do_GET(self):
        self.answer({"tool": "hash", "version": 1})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer({"digest": hashlib.sha256(body).hexdigest()})

    def answer(self, value):
        body = json.dumps(value, sort_keys=True).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass  # standard error is for failures


def call_tool(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"the tool answered {response.status}")
        return json.loads(response.read())
    finally:
        connection.close()


def write_checkpoint(workdir, state):
    """Writes a file that is whole or absent, whatever happens: temporary name, fsync, rename, fsync."""
    temporary = os.path.join(workdir, "checkpoint.json.tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(state, file, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, os.path.join(workdir, "checkpoint.json"))
    folder = os.open(workdir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def one_round(number, port, prompt, workdir, database, command):
    digest = call_tool(port, "POST", "/hash", f"{prompt} {number}".encode())["digest"]

    done = subprocess.run(
        ["/bin/sh", "-c", command], input=digest, capture_output=True, text=True, cwd=workdir, check=True
    )
    echoed = done.stdout.strip()
    if echoed != digest:
        raise RuntimeError(f"the subprocess returned {echoed!r}")

    with tempfile.NamedTemporaryFile("w+", dir=workdir, prefix="scratch-") as scratch:
        scratch.write(digest)
        scratch.seek(0)
        if scratch.read() != digest:
            raise RuntimeError("the scratch file changed")

    step = os.path.join(workdir, f"step-{number}")
    os.mkdir(step)
    with open(os.path.join(step, "observation"), "w", encoding="utf-8") as file:
        file.write(digest)
    if os.listdir(step) != ["observation"]:
        raise RuntimeError("the step folder holds something else")
    os.unlink(os.path.join(step, "observation"))
    os.rmdir(step)

    with database:
        database.execute("INSERT INTO steps VALUES (?, ?)", (number, digest))
    with open(os.path.join(workdir, "agent.log"), "a", encoding="utf-8") as log:
        log.write(f"round {number} {digest}\n")
    return digest


def work(workdir, config, rounds):
    """The whole run; returns what it computed, which depends on the configuration and the rounds alone."""
    os.makedirs(workdir, exist_ok=True)
    with open(config, encoding="utf-8") as file:
        settings = json.load(file)
    rounds = settings["rounds"] if rounds is None else rounds

    with open(os.path.join(workdir, "agent.lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tool)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        database = sqlite3.connect(os.path.join(workdir, "agent.db"))
        try:
            port = server.server_address[1]
            tool = call_tool(port, "GET", "/")
            database.execute("DROP TABLE IF EXISTS steps")
            database.execute("CREATE TABLE steps (number INTEGER PRIMARY KEY, digest TEXT)")
            state = {"tool": tool, "digests": []}
            for number in range(rounds):
                digest = one_round(
                    number, port, settings["prompt"], workdir, database, settings["command"]
                )
                state["digests"].append(digest)
                write_checkpoint(workdir, state)
            (stored,) = database.execute("SELECT count(*) FROM steps").fetchone()
        finally:
            database.close()
            server.shutdown()
            thread.join()
            server.server_close()

    with open(os.path.join(workdir, "checkpoint.json"), encoding="utf-8") as file:
        if json.load(file) != state:
            raise RuntimeError("the checkpoint differs from the state")
    summary = hashlib.sha256("".join(state["digests"]).encode()).hexdigest()
    return {"status": "ok", "rounds": rounds, "stored": stored, "digest": summary}


LIBC = ctypes.CDLL(None, use_errno=True)


def checked(result):
    """Turns a C function's -1 into the OSError that it stands for."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def attack_unshare():
    clone_newuser, clone_newns = 0x10000000, 0x00020000
    checked(LIBC.unshare(clone_newuser | clone_newns))


def attack_mount():
    checked(LIBC.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None))


def attack_ptrace():
    # Started and ended as the agent does with its subprocesses, so that the attach is all that is new.
    child = subprocess.Popen(["/bin/sh", "-c", "read -r line"], stdin=subprocess.PIPE)
    try:
        # Seizing leaves the child running: PTRACE_ATTACH would stop it, and then there is its end to wait for.
        ptrace_seize = 0x4206
        checked(LIBC.ptrace(ptrace_seize, child.pid, None, None))
    finally:
        child.communicate()


def attack_raw_socket():
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()


def attack_read_shadow():
    with open("/etc/shadow", "rb") as file:
        file.read(1)


def attack_write_usr_bin():
    path = "/usr/bin/sandbox-trace-attack"
    with open(path, "wb"):
        pass
    os.unlink(path)


def attack_exec_tmp():
    # Python reports an execve that fails in the child as the OSError of the call.
    path = os.environ.get("ATTACK_PROGRAM", "/tmp/attack-program")
    subprocess.run([path], check=True)


ATTACKS = {
    "unshare": attack_unshare,
    "mount": attack_mount,
    "ptrace": attack_ptrace,
    "raw-socket": attack_raw_socket,
    "read-shadow": attack_read_shadow,
    "write-usr-bin": attack_write_usr_bin,
    "exec-tmp": attack_exec_tmp,
}

# What a sandbox answers: EPERM a seccomp filter or a missing capability, EACCES AppArmor, ENOSYS a filter that
# plays an old kernel. Anything else (ENOENT, EINVAL) would be an attack that was never tried.
DENIALS = {errno.EPERM, errno.EACCES, errno.ENOSYS}


def attack(name):
    """Exit code 0: denied. 1: it worked, or failed for a reason that is not the sandbox's."""
    try:
        ATTACKS[name]()
    except OSError as error:
        denied = error.errno in DENIALS
        answer = errno.errorcode.get(error.errno, str(error.errno))
    else:
        denied, answer = False, None
    print(json.dumps({"attack": name, "denied": denied, "errno": answer}), flush=True)
    return 0 if denied else 1


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description="the demo agent")
    parser.add_argument("--workdir", default="/tmp/demo-agent", help="where it keeps its files")
    parser.add_argument("--config", default=os.path.join(here, "config.json"))
    parser.add_argument("--rounds", type=int, help="how many rounds, instead of the configuration's")
    parser.add_argument("--attack", choices=sorted(ATTACKS), help="try this instead, and say if it was denied")
    args = parser.parse_args()
    if args.attack:
        return attack(args.attack)
    print(json.dumps(work(args.workdir, args.config, args.rounds), sort_keys=True), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
