"""What is there for MediaMTX works as it is: its configuration, its unit, and the hook to that."""

from conftest import ROOT, eventually

# MediaMTX's API. It believes whatever has the form of a token: Tests/verifiers looks closer.
API = r"""
import http.server, json, re
class API(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        said = self.headers["Authorization"]
        isToken = re.fullmatch(r"Bearer eyJ[\w-]+\.[\w-]+\.[\w-]{86}", said)
        keys = json.load(open("/run/jotd/streams.jwks.json"))["keys"]
        print("asked:", self.path, bool(isToken), len(keys), flush=True)
        self.send_response(200 if isToken else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", 9997), API).serve_forever()
"""


def test_mediamtx_is_told_of_another_key(configured):
    text = (ROOT / "Config/mediamtx.yaml").read_text()
    container = configured(text.replace("# on_rotate:", "on_rotate:"))
    container.write("/usr/local/lib/api.py", API)
    container.write(
        "/etc/systemd/system/mediamtx.service",
        "[Service]\nDynamicUser=yes\nExecStart=/usr/bin/python3 /usr/local/lib/api.py\n")
    container.write("/etc/systemd/system/recorder.service",
                    "[Service]\nExecStart=/bin/sleep infinity\n")
    try:
        container.sh("cp /opt/jotd/systemd/mediamtx-keys.service /etc/systemd/system/; "
                     "systemctl daemon-reload; systemctl start mediamtx recorder; "
                     "systemctl enable -q --now mediamtx-keys")
        assert "all is well" in container.sh("jotd check").stdout
        assert container.sh("stat -c %a:%G /run/jotd/mediamtx-api.header").stdout == "640:jotd\n"
        container.sh("jotd key add streams")
        eventually(lambda: "asked: /v3/auth/jwks/refresh True 2" in container.sh(
            "journalctl --sync; journalctl -u mediamtx -o cat --no-pager").stdout)
        # Its clients start anew with a new token.
        first = container.sh("systemctl show -P MainPID recorder").stdout
        container.sh("jotd rotate recorder")
        eventually(lambda: container.sh("systemctl show -P MainPID recorder").stdout != first)
        assert container.sh("jotd health").returncode == 0
        assert container.sh("grep -c \"^file 'rtsp://127.0.0.1:8554/front?jwt=eyJ\" "
                            "/run/jotd/recorder.ffconcat").stdout == "1\n"
    finally:
        container.sh("systemctl disable -q --now mediamtx-keys; systemctl stop mediamtx recorder; "
                     "systemctl reset-failed; rm -r /etc/systemd/system/mediamtx*.service "
                     "/etc/systemd/system/recorder.service /usr/local/lib/api.py; "
                     "systemctl stop jotd; rm -rf /var/lib/jotd/streams; systemctl daemon-reload")
