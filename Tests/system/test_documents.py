"""What SECURITY.md says is shown by the tests that it names."""

import re

from conftest import ROOT


def test_the_tests_that_security_md_names_are_there():
    named = re.findall(r"`([\w/]+\.(?:py|swift))::(\w+)`", (ROOT / "SECURITY.md").read_text())
    assert len(named) >= 30
    for file, test in named:
        text = (ROOT / "Tests" / file).read_text()
        assert re.search(rf"\b(def|func) {test}\(", text), f"{file} has no {test}"
