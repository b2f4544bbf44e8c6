#!/usr/bin/env python3
"""An agent of the shape that the runtime sandboxing guide is about: it reads a configuration and skills, serves an
API on a port, runs skills on request, and keeps a log. Standard library only.

    openclaw.py              serve until SIGTERM
    openclaw.py --health     exit 0 if the served agent is well: the container's health check

GET /health answers {"status": "ok"}; POST /task takes {"skill": NAME, "input": TEXT} and answers {"output": TEXT}.
"""

import http.client
import http.server
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading

HOME = os.environ.get("OPENCLAW_HOME", "/app")
PID_FILE = os.environ.get("OPENCLAW_PID_FILE", "/var/run/openclaw/openclaw.pid")


def load_config():
    with open(os.path.join(HOME, "config", "openclaw.json"), encoding="utf-8") as file:
        return json.load(file)


def load_skills(allowed):
    """The skills by name: programs in the skills folder, of which the configuration allows some."""
    folder = os.path.join(HOME, "skills")
    found = {name.removesuffix(".py"): os.path.join(folder, name) for name in sorted(os.listdir(folder))}
    return {name: path for name, path in found.items() if name in allowed}


class Log:
    """One line of JSON an event, from any thread."""

    def __init__(self, path):
        self.file = open(path, "a", encoding="utf-8", buffering=1)
        self.lock = threading.Lock()

    def write(self, **event):
        with self.lock:
            self.file.write(json.dumps(event, sort_keys=True) + "\n")


def run_skill(path, text, seconds):
    """A skill is a program of its own: it reads a scratch file and writes its answer."""
    with tempfile.NamedTemporaryFile("w", prefix="task-", suffix=".txt", encoding="utf-8") as scratch:
        scratch.write(text)
        scratch.flush()
        done = subprocess.run(
            [sys.executable, path, scratch.name], capture_output=True, text=True, timeout=seconds, check=True
        )
    return done.stdout


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/health":
            self.answer(200, {"status": "ok", "skills": sorted(self.server.skills)})
        else:
            self.answer(404, {"error": "there is GET /health and POST /task"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            task = json.loads(body)
            path = self.server.skills[task["skill"]]
            output = run_skill(path, str(task["input"]), self.server.seconds)
        except (KeyError, TypeError, ValueError) as error:
            self.answer(400, {"error": f"not a task: {error!r}"})
        except (OSError, subprocess.SubprocessError) as error:
            self.server.log.write(event="failed", error=repr(error))
            self.answer(500, {"error": repr(error)})
        else:
            self.server.log.write(event="task", skill=task["skill"], bytes=len(output))
            self.answer(200, {"output": output})

    def answer(self, status, value):
        body = json.dumps(value, sort_keys=True).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass  # what matters is in the log file


def serve(config):
    log = Log(os.path.join(HOME, "logs", "openclaw.log"))
    server = http.server.ThreadingHTTPServer((config["listen"], config["port"]), Api)
    server.daemon_threads = True
    server.log, server.seconds = log, config["skill_seconds"]
    server.skills = load_skills(config["skills"])
    os.makedirs(os.path.dirname(PID_FILE), exist_ok=True)
    with open(PID_FILE, "w", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    # shutdown() waits for the loop that the signal interrupted: it must come from another thread.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    log.write(event="started", skills=sorted(server.skills))
    print(f"openclaw listens on port {config['port']}", flush=True)
    server.serve_forever()
    server.server_close()
    os.unlink(PID_FILE)
    log.write(event="stopped")


def healthy(config):
    connection = http.client.HTTPConnection("127.0.0.1", config["port"], timeout=5)
    connection.request("GET", "/health")
    response = connection.getresponse()
    return response.status == 200 and json.loads(response.read())["status"] == "ok"


def main():
    config = load_config()
    if sys.argv[1:] == ["--health"]:
        return 0 if healthy(config) else 1
    serve(config)
    return 0


if __name__ == "__main__":
    sys.exit(main())
