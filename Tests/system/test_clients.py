"""Clients as units, each by another way to its token, log in to a camera service."""

import pytest

from conftest import eventually

# The camera service: it has the same secret, and tells whom it let in.
CAMERA = """
import http.server, jwt, os, pathlib
SECRET = pathlib.Path(os.environ["CREDENTIALS_DIRECTORY"], "secret").read_bytes()
class Camera(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            claims = jwt.decode(token, SECRET, algorithms=["HS256"])
            status, text = 200, "{user_id} {role} {iat}".format(**claims)
        except jwt.InvalidTokenError as error:
            status, text = 401, str(error)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode() + b"\\n")
http.server.HTTPServer(("127.0.0.1", 8002), Camera).serve_forever()
"""
SERVICE = """
[Service]
DynamicUser=yes
LoadCredential=secret:/etc/jotd/secret
ExecStart=/usr/bin/python3 /usr/local/lib/camera.py
"""
# A client of any kind: it takes its token once, logs in, and stays.
CLIENT = """#!/bin/sh
set -e
case $1 in
  --token-file) header="Authorization: Bearer $(cat "$2")" ;;
  --header-file) header=$(cat "$2") ;;
  --socket) header="Authorization: Bearer $(curl -sS --http0.9 --unix-socket "$2" http://jotd/)" ;;
  --query) header="Authorization: Bearer $(curl -sSf --unix-socket "$2" "$3")" ;;
  *) header="Authorization: Bearer $CAMERA_TOKEN" ;;
esac
echo "logged in: $(echo "$header" | curl -sS -H @- http://127.0.0.1:8002/)"
exec sleep infinity
"""
CONFIG = """
signing: { secret: { credential: jwt-secret } }
socket: { path: /run/jotd/jotd.sock, mode: "0666", credentials: /run/jotd/credentials.sock }
identities:
  by-credential: { user_id: by-credential, role: admin, allow: [ { unit: by-credential.service } ] }
  by-environment: { user_id: by-environment, role: viewer, deliver: [
    { file: /run/jotd/client.env, format: env, variable: CAMERA_TOKEN } ] }
  by-file: { user_id: by-file, role: operator, deliver: [ { file: /run/jotd/t, owner: camera } ] }
  by-header: { user_id: by-header, role: viewer, deliver: [
    { file: /run/jotd/client.header, format: header, group: camera } ] }
  by-socket: { user_id: by-socket, role: viewer, deliver: [
    { socket: /run/jotd/client.sock, group: camera } ] }
  by-query: { user_id: by-query, role: viewer, allow: [ { unit: by-query.service } ] }
"""
START = "ExecStart=/usr/bin/camera-client "
UNITS = {
    "by-credential": "DynamicUser=yes\nLoadCredential=by-credential:/run/jotd/credentials.sock\n"
                     f"{START}--token-file ${{CREDENTIALS_DIRECTORY}}/by-credential",
    "by-environment": f"DynamicUser=yes\nEnvironmentFile=/run/jotd/client.env\n{START}",
    "by-file": f"User=camera\n{START}--token-file /run/jotd/t",
    "by-header": f"DynamicUser=yes\nSupplementaryGroups=camera\n{START}"
                 "--header-file /run/jotd/client.header",
    "by-socket": f"DynamicUser=yes\nSupplementaryGroups=camera\n{START}"
                 "--socket /run/jotd/client.sock",
    "by-query": f"DynamicUser=yes\n{START}--query /run/jotd/jotd.sock "
                "http://jotd/v1/identities/by-query/token",
}


@pytest.fixture
def camera(configured):
    container = configured(CONFIG)
    container.write("/usr/local/lib/camera.py", CAMERA)
    container.write("/usr/bin/camera-client", CLIENT, 0o755)
    units = {"camera": SERVICE}
    units |= {name: f"[Unit]\nWants=jotd.service\nAfter=jotd.service\n[Service]\n{lines}\n"
              for name, lines in UNITS.items()}
    for name, text in units.items():
        container.write(f"/etc/systemd/system/{name}.service", text)
    container.sh("systemctl daemon-reload; systemctl start camera")
    eventually(lambda: "401" in container.sh("curl -sSI -X GET http://127.0.0.1:8002/",
                                             check=False).stdout)
    yield container
    container.sh(f"systemctl stop {' '.join(units)}; systemctl reset-failed; rm -r "
                 + " ".join(f"/etc/systemd/system/{name}.service*" for name in units)
                 + " /usr/bin/camera-client /usr/local/lib/camera.py; systemctl daemon-reload")


def logins(container, unit):
    """Whom the service let in for this unit: user, role and time of issue, from first to last."""
    text = container.sh(f"journalctl --sync; journalctl -u {unit} -o cat --no-pager").stdout
    return [line.split()[2:] for line in text.splitlines() if line.startswith("logged in:")]


def test_each_way_to_a_token_leads_into_the_service(camera):
    camera.sh(f"systemctl start {' '.join(UNITS)}")
    roles = {"by-credential": "admin", "by-file": "operator"}
    for name in UNITS:
        found = eventually(lambda: logins(camera, name))
        assert [login[:2] for login in found] == [[name, roles.get(name, "viewer")]]
    # A rotation reaches a client at its next look: here, when it starts anew.
    issued = logins(camera, "by-file")[-1][2]
    eventually(lambda: camera.sh("date +%s").stdout.strip() > issued)
    camera.sh(f"jotd rotate --all; systemctl restart {' '.join(UNITS)}")
    for name in UNITS:
        found = eventually(lambda: (
            lambda found: found if len(found) == 2 else None)(logins(camera, name)))
        assert found[1][:2] == found[0][:2] and int(found[1][2]) > int(found[0][2])
    # A dynamic user, too, sees nothing of what is not its own.
    for name in ("t", "client.env", "client.header", "client.sock", "credentials.sock"):
        done = camera.sh("systemd-run -q --wait --pipe -p DynamicUser=yes "
                         f"/usr/bin/camera-client --token-file /run/jotd/{name}", check=False)
        assert done.returncode and "Permission denied" in done.stderr, (name, done)


def test_a_token_of_another_secret_is_not_let_in(camera):
    """So that the other tests show something."""
    camera.sh("echo CAMERA_TOKEN=$(jotd mint --secret-file <(jotd secret) "
              "--user-id x --role admin) > /run/jotd/client.env; systemctl start by-environment")
    eventually(lambda: ["Signature", "verification", "failed"] in logins(camera, "by-environment"))
