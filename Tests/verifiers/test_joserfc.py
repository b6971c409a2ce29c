"""What jotd signs joserfc accepts, by the keys that jotd shows, and the other way round."""

import json
import pathlib
import sys

import pytest
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "binary"))
from conftest import jotd  # noqa: E402

MAKE = {
    "HS256": lambda: OctKey.generate_key(256), "HS384": lambda: OctKey.generate_key(384),
    "HS512": lambda: OctKey.generate_key(512),
    "ES256": lambda: ECKey.generate_key("P-256"), "ES384": lambda: ECKey.generate_key("P-384"),
    "RS256": lambda: RSAKey.generate_key(2048), "PS256": lambda: RSAKey.generate_key(3072),
    "EdDSA": lambda: OKPKey.generate_key("Ed25519"),
    "Ed25519": lambda: OKPKey.generate_key("Ed25519"),
}
# Of RFC 9864, which the library warns of.
pytestmark = pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")


@pytest.mark.parametrize("name", MAKE)
def test_each_accepts_what_the_other_signs(tmp_path, name):
    key = MAKE[name]()
    path = tmp_path / "key"
    path.touch(0o600)
    if name.startswith("HS"):
        path.write_bytes(key.raw_value)
        options = ["--secret-file", path, "--algorithm", name]
        theirs = key
    else:
        path.write_text(json.dumps(key.as_dict(private=True)))
        options = ["--private-key-file", path, "--algorithm", name]
        # By what jotd publishes alone.
        theirs = KeySet.import_key_set(json.loads(jotd("key", "jwks", *options).stdout))
        assert [each.kid for each in theirs.keys] == [key.thumbprint()]
    minted = jotd("mint", *options, "--user-id", "caf\u00e9", "--role", "viewer").stdout.strip()
    token = jwt.decode(minted, theirs, algorithms=[name])
    assert token.claims["user_id"] == "caf\u00e9" and token.header["alg"] == name
    signed = jwt.encode({"alg": name}, token.claims, key, algorithms=[name])
    assert jotd("verify", *options, signed).stdout.startswith("valid: ")
    # Neither accepts another's.
    other = MAKE[name]()
    forged = jwt.encode({"alg": name}, token.claims, other, algorithms=[name])
    said = jotd("verify", *options, forged, expect=65).stderr
    # A random secret may end with a newline, which is warned of.
    assert "jotd: not valid: signature" in said
    with pytest.raises(BadSignatureError):
        jwt.decode(minted, other, algorithms=[name])
