"""The programs that the benchmark compares, each run for a while: jotd, nginx, OpenBao Agent."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).parents[2]
JOTD = os.environ.get("JOTD") or str(ROOT / ".build/release/jotd")
BENCH = pathlib.Path(os.environ.get("BENCH") or ROOT / ".build-bench/bin")
SECRETS = ["a secret of the benchmark that is long enough",
           "another secret of the benchmark, long enough"]
# A file of the configuration has 16 MiB at most.
MOST_IN_A_FILE = 100_000
# A million identities take seconds; a minute and a half says that something is broken.
PATIENCE = 90


def folder(parent=None):
    return tempfile.TemporaryDirectory(prefix="jotd-bench-", dir=parent)


def until(true, what):
    """Waits for another program, which says nothing of its own."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.005)


def memory(pid):
    """RssAnon, Pss and VmRSS in KiB (proc(5))."""
    process = pathlib.Path(f"/proc/{pid}")
    status = (process / "status").read_text()
    shared = re.search(r"Pss:\s+(\d+)", (process / "smaps_rollup").read_text())
    return {"RssAnon": int(re.search(r"RssAnon:\s+(\d+)", status)[1]), "Pss": int(shared[1]),
            "VmRSS": int(re.search(r"VmRSS:\s+(\d+)", status)[1])}


def system_calls(pid, seconds):
    """How many system calls a program makes while it has nothing to do."""
    # Ended by SIGINT, as strace(1) says: it lets the program go and prints what it counted.
    counted = subprocess.run(["timeout", "-s", "INT", str(seconds), "strace", "-f", "-c", "-p",
                              str(pid)], capture_output=True, text=True).stderr
    total = re.search(r"^100\.00\s.*?(\d+)(?:\s+\d+)? total$", counted, re.M)
    return int(total[1]) if total else 0


class Program:
    """Ends with the block that it is used in."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(PATIENCE)


class Jotd(Program):
    """jotd with `count` identities, whose tokens live as `life` says, each with a file in `out`,
    if that is given."""

    def __init__(self, at, count, out=None, prefix=(), life="lifetime: 12h"):
        self.at, self.count, self.out, self.life = at, count, out, life
        self.tokens, self.moments = 0, {}
        self.changed = threading.Condition()
        self.secret(0)
        self.configure()
        began = time.monotonic()
        self.process = subprocess.Popen([*prefix, JOTD, "run", "--config", at / "jotd.yaml"],
                                        stderr=subprocess.PIPE, bufsize=1 << 20)
        self.pid = self.process.pid
        threading.Thread(target=self.listen, daemon=True).start()
        self.ready_after = self.moment("ready") - began

    def configure(self, changed=None):
        """Writes the configuration; the identity `changed` gets another role."""
        place = f", deliver: [ {{ file: {self.out}/%06d }} ]" if self.out else ""
        main, folder = self.at / "jotd.yaml", self.at / "jotd.d"
        folder.mkdir(mode=0o700, exist_ok=True)
        for first in range(0, self.count, MOST_IN_A_FILE):
            path = folder / f"{first:07}.yaml" if first else main
            with open(path, "w") as text:
                if not first:
                    text.write(f"signing: {{ secret: {{ file: {self.at}/secret }} }}\n"
                               f"socket: {{ path: {self.at}/s }}\n")
                text.write("identities:\n")
                for n in range(first, min(self.count, first + MOST_IN_A_FILE)):
                    text.write(f"  identity-{n:06}: {{ user_id: user-{n:06}, "
                               f"role: {'operator' if n == changed else 'viewer'}, {self.life}"
                               f"{place % n if place else ''} }}\n")
            path.chmod(0o600)

    def listen(self):
        for line in self.process.stderr:
            now = time.monotonic()
            with self.changed:
                if b": new token for " in line:
                    self.tokens += 1
                    self.moments["token"] = now
                elif b" ready: " in line:
                    self.moments["ready"] = now
                elif b"configuration reloaded:" in line:
                    self.moments["reload"] = now
                self.changed.notify_all()

    def moment(self, name):
        self.wait(lambda: name in self.moments)
        return self.moments[name]

    def wait(self, true):
        with self.changed:
            assert self.changed.wait_for(true, PATIENCE), "jotd did not come"

    def secret(self, number):
        new = self.at / "secret.new"
        new.write_text(SECRETS[number])
        new.chmod(0o600)
        new.rename(self.at / "secret")

    def cpu(self):
        """Seconds of the processor so far."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")")[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


NGINX = """daemon off; worker_processes 1; pid {at}/pid; error_log {at}/log;
events {{ worker_connections 64; }}
http {{ access_log off; keepalive_requests 100000000; default_type application/jwt;
  client_body_temp_path {at}/1; proxy_temp_path {at}/2; fastcgi_temp_path {at}/3;
  uwsgi_temp_path {at}/4; scgi_temp_path {at}/5;
  server {{ listen unix:{at}/n; root {at}/www; }} }}
"""


class Nginx(Program):
    """nginx with one static file, `/token`, on the Unix socket `n`."""

    def __init__(self, at, size):
        # Its worker is another user.
        at.chmod(0o755)
        (at / "www").mkdir()
        (at / "www/token").write_text("x" * size)
        (at / "nginx").write_text(NGINX.format(at=at))
        self.process = subprocess.Popen([BENCH / "nginx", "-p", at, "-c", at / "nginx"])
        until((at / "n").exists, "nginx")


AGENT = """vault {{ address = "http://127.0.0.1:{port}" }}
auto_auth {{ method "approle" {{ config = {{
  role_id_file_path = "{at}/role" secret_id_file_path = "{at}/id"
  remove_secret_id_file_after_reading = false }} }} }}
"""
TEMPLATE = """template {{ perms = "0600" destination = "{out}/{n:06}" contents =
  "{{{{ with secret \\"identity/oidc/token/r{n:06}\\" }}}}{{{{ .Data.token }}}}{{{{ end }}}}" }}
"""


class OpenBao(Program):
    """A development server of OpenBao on the loopback, whose agent keeps files of its tokens."""

    PORT = 18_247

    def __init__(self, at, most):
        self.at = at
        self.environment = {"HOME": str(at), "PATH": os.environ["PATH"]}
        self.process = self.start("server", "-dev", "-dev-root-token-id=root",
                                  f"-dev-listen-address=127.0.0.1:{self.PORT}",
                                  "-dev-no-store-token")
        until(self.answers, "OpenBao")
        self.ask("sys/auth/approle", type="approle")
        self.ask("sys/policies/acl/agent",
                 policy='path "identity/oidc/token/*" { capabilities = ["read"] }')
        self.ask("auth/approle/role/agent", token_policies=["agent"])
        self.ask("identity/oidc/key/k", allowed_client_ids=["*"], algorithm="ES256")
        for n in range(most):
            self.ask(f"identity/oidc/role/r{n:06}", key="k", ttl="12h")
        role = self.ask("auth/approle/role/agent/role-id", "GET")["data"]["role_id"]
        secret = self.ask("auth/approle/role/agent/secret-id")["data"]["secret_id"]
        (at / "role").write_text(role)
        (at / "id").write_text(secret)

    def start(self, *words):
        with open(self.at / "log", "a") as log:
            return subprocess.Popen([BENCH / "bao", *map(str, words)], env=self.environment,
                                    stdout=log, stderr=log)

    def answers(self):
        with contextlib.suppress(OSError):
            return self.ask("sys/health", "GET")

    def ask(self, path, method="POST", **values):
        connection = http.client.HTTPConnection("127.0.0.1", self.PORT, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, f"/v1/{path}", json.dumps(values),
                               {"X-Vault-Token": "root"})
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status < 300, (path, text)
            return json.loads(text) if text else {}

    @contextlib.contextmanager
    def agent(self, count, out):
        """An agent that writes `count` tokens into `out`: its process, and the time it took."""
        config = self.at / "agent.hcl"
        config.write_text(AGENT.format(port=self.PORT, at=self.at) + "".join(
            TEMPLATE.format(out=out, n=n) for n in range(count)))
        began = time.monotonic()
        process = self.start("agent", "-config", config)
        try:
            until(lambda: len(os.listdir(out)) == count, "OpenBao Agent")
            yield process.pid, time.monotonic() - began
        finally:
            process.terminate()
            process.wait()
