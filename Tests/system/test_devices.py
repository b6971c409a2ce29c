"""A key in a device, with the drop-in that jotd.yaml(5) shows."""

from conftest import eventually

CONFIG = """
socket: { path: /run/jotd/jotd.sock }
keys:
  vault:
    algorithm: ES256
    private_key: { uri: "pkcs11:token=jotd;object=vault", passphrase: { file: /etc/jotd/pin } }
identities:
  a:
    user_id: a
    role: viewer
    key: vault
    deliver: [ { file: /run/jotd/a.jwt } ]
"""
# The service's user owns the token, as SoftHSM wants it.
TOKEN = r"""
set -e
as="setpriv --reuid jotd --regid softhsm --clear-groups"
$as softhsm2-util --init-token --free --label jotd --pin 739251 --so-pin 5555
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out /tmp/key.pem
chown jotd /tmp/key.pem
$as softhsm2-util --import /tmp/key.pem --token jotd --label vault --id 01 --pin 739251
rm /tmp/key.pem
printf 739251 > /etc/jotd/pin; chown root:jotd /etc/jotd/pin; chmod 640 /etc/jotd/pin
mkdir -p /etc/systemd/system/jotd.service.d
cat > /etc/systemd/system/jotd.service.d/device.conf <<END
[Service]
ReadWritePaths=/var/lib/softhsm/tokens
SupplementaryGroups=softhsm
END
systemctl daemon-reload
"""


def test_the_service_signs_with_it(installed, configured):
    installed.sh(TOKEN)
    try:
        container = configured(CONFIG)
        assert container.sh("cat /run/jotd/a.jwt").stdout.count(".") == 2
        assert "all is well" in container.sh("jotd check").stdout
        # It is taken away, and given back.
        container.sh("cd /var/lib/softhsm; mkdir gone; mv tokens/* gone")

        def fails():
            container.sh("jotd rotate a", check=False)
            return "it cannot be opened" in container.said()
        eventually(fails, every=1)
        assert container.show("ActiveState") == "active"
        container.sh("cd /var/lib/softhsm; mv gone/* tokens; rmdir gone")
        eventually(lambda: "answers again" in container.said(), within=60)
        container.sh("jotd rotate a && jotd health")
    finally:
        installed.sh("rm -rf /etc/systemd/system/jotd.service.d /etc/jotd/pin "
                     "/var/lib/softhsm/tokens/*; systemctl daemon-reload")
