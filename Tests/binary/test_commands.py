"""What commands take from the configuration, and how they end."""

import os
import subprocess
import time

import pytest

from conftest import JOTD, SECRET, claims_of, jotd
from test_tokens import HEADER, good, sign


@pytest.fixture
def config(home):
    home.configure("  a: { user_id: u, role: viewer }\n", signing="  algorithm: HS384\n",
                   defaults="{ lifetime: 3h, refresh_before: 2h }")
    home.write_secret(SECRET * 2)
    return ["--config", home.config]


def life_of(token):
    claims = claims_of(token.strip())
    return claims["exp"] - claims["iat"]


def test_mint_takes_defaults_and_algorithm_from_the_configuration(config):
    token = jotd("mint", *config, "--user-id", "u", "--role", "admin").stdout
    assert life_of(token) == 3 * 3600
    assert token.startswith("eyJhbGciOiJIUzM4NCIs")
    assert life_of(jotd("mint", *config, "--user-id", "u", "--role", "admin", "--lifetime", "1min")
                .stdout) == 60
    assert jotd("verify", *config, token.strip()).stdout.startswith('valid: "u", admin')


def test_refresh_takes_threshold_and_lifetime_from_the_configuration(config):
    def token(left):
        return sign({**HEADER, "alg": "HS384"}, good(exp=int(time.time()) + left), SECRET * 2,
                    "sha384")
    fresh, stale = token(7200 + 1800), token(7200 - 1800)
    assert jotd("refresh", *config, fresh).stdout.strip() == fresh
    new = jotd("refresh", *config, stale).stdout
    assert life_of(new) == 3 * 3600
    assert life_of(jotd("refresh", *config, "--lifetime", "5h", stale).stdout) == 5 * 3600
    assert jotd("refresh", *config, "--refresh-before", "1h", stale).stdout.strip() == stale


def test_refresh_takes_a_share_of_the_tokens_own_life(home):
    home.configure("  a: { user_id: u, role: viewer }\n",
                   defaults="{ lifetime: 3h, refresh_before: 20% }")
    now = int(time.time())
    for life, left, more, is_due in [
            (1000, 190, [], True), (1000, 210, [], False),
            (1000, 210, ["--refresh-before", "25%"], True),
            (100_000, 19_000, [], True), (100_000, 21_000, [], False),
            (1000, 190, ["--refresh-before", "3min"], False)]:
        old = sign(HEADER, good(iat=now + left - life, exp=now + left), SECRET)
        new = jotd("refresh", "--config", home.config, *more, old).stdout.strip()
        assert (new != old) == is_due, (life, left, more)
        assert life_of(new) == (3 * 3600 if is_due else life)
    for end in (1e300, 9e15, 1e13):
        old = sign(HEADER, good(iat=-end, exp=end), SECRET)
        done = jotd("refresh", "--config", home.config, old)
        assert done.stdout.strip() == old and "not due" in done.stderr
    for share in ("100%", "-1%", "20 %", "%"):
        done = jotd("refresh", "--config", home.config, f"--refresh-before={share}", old, expect=64)
        assert "below 100%" in done.stderr and done.stdout == ""


@pytest.mark.parametrize("arguments", [
    ["--config", "CONFIG", "--secret-env", "S"], ["--secret-file", "x", "--secret-env", "S"],
    ["--config", "CONFIG", "--algorithm", "HS256"], ["--config", "CONFIG", "--allow-weak-secret"],
    ["--secret-encoding", "hex"], ["--secret-env", "S", "--lifetime", "1h", "--expiry-hours", "1"],
    ["--secret-env", "S", "--lifetime", "1s"], ["--secret-env", "S", "--expiry-hours", "87661"]])
def test_options_that_do_not_go_together(home, config, arguments):
    words = [str(home.config) if word == "CONFIG" else word for word in arguments]
    done = jotd("mint", "--user-id", "u", "--role", "viewer", *words, env={"S": SECRET}, expect=64)
    assert done.stdout == ""


def test_an_empty_secret_signs_nothing(tmp_path):
    for options, env in (["--secret-env", "S"], {"S": ""}), (["--secret-file", tmp_path / "s"], {}):
        (tmp_path / "s").touch(mode=0o600)
        done = jotd("mint", *options, "--allow-weak-secret", "--user-id", "u", "--role", "admin",
                    env=env, expect=78)
        assert "the secret is empty" in done.stderr and done.stdout == ""


@pytest.mark.parametrize("command", [
    ["secret"], ["mint", "--user-id", "u", "--role", "admin", "--secret-env", "S"],
    ["decode", "eyJhbGciOiJIUzI1NiJ9.e30."], ["--version"]])
def test_output_that_cannot_be_written_is_an_error(command):
    with open("/dev/full", "w") as full:
        done = subprocess.run([JOTD, *command], stdout=full, stderr=subprocess.PIPE, text=True,
                              env={**os.environ, "S": SECRET})
    assert done.returncode == 74 and "No space left" in done.stderr


def test_refresh_makes_no_token_that_is_due_at_once(tmp_path):
    token = jotd("mint", "--secret-env", "S", "--user-id", "u", "--role", "admin", "--lifetime",
                 "100s", env={"S": SECRET}).stdout.strip()
    for more in (["--lifetime", "2s"], ["--lifetime", "1h"], ["--refresh-before", "25h"]):
        done = jotd("refresh", "--secret-env", "S", *more, token, env={"S": SECRET}, expect=64)
        assert done.stdout == "" and "below the lifetime" in done.stderr


def test_verify_answers_in_json_whatever_comes(tmp_path):
    for stdin in ("a" * 5_000_000, "", "\n" * 100_000):
        done = jotd("verify", "--json", "--secret-env", "S", stdin=stdin, env={"S": SECRET},
                    expect=65)
        assert '"reason":"malformed"' in done.stdout


def test_a_closed_standard_output_is_an_error():
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", JOTD, "secret"], capture_output=True, text=True)
    assert done.returncode == 74 and "standard output cannot be written" in done.stderr
