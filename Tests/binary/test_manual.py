"""The manual pages on a small terminal, as man(1) shows them."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

PAGES = sorted((pathlib.Path(__file__).parents[2] / "doc").glob("*.[58]"))


def rendered(page, width):
    """The lines of a page, without the marks for bold and underlined; and what the formatter
    says."""
    if shutil.which("man") and "man " in subprocess.run(
            ["man", "--version"], capture_output=True, text=True).stdout:
        done = subprocess.run(
            ["man", "--warnings=w", "-l", page], capture_output=True, text=True, check=True,
            env={**os.environ, "MANWIDTH": str(width), "LC_ALL": "C.UTF-8"})
    elif shutil.which("groff"):
        done = subprocess.run(
            ["groff", "-t", "-man", "-Tutf8", "-P-cbou", "-ww", f"-rLL={width}n", page],
            capture_output=True, text=True, check=True)
    else:
        pytest.skip("needs man-db or groff")
    return re.sub(".\b", "", done.stdout).splitlines(), done.stderr


def examples(page):
    """The lines that a page shows as they are, as a reader should see them."""
    blocks = re.findall(r"^\.EX\n(.*?)^\.EE$", page.read_text(), re.S | re.M)
    for line in "".join(blocks).splitlines():
        for written, meant in [("\\-", "-"), ("\\(aq", "'"), ("\\(dq", '"'), ("\\(ti", "~"),
                               ("\\e", "\\"), ("\\&", "")]:
            line = line.replace(written, meant)
        assert not re.search(r"\\[(f*&]", line), f"a mark that this test does not know: {line}"
        if line.strip():
            yield line.rstrip()


@pytest.mark.parametrize("width", [58, 80, 132])
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_fits_the_terminal(page, width):
    lines, said = rendered(page, width)
    assert said == "" and len(lines) > 300
    too_long = [line for line in lines if len(line.rstrip()) > width]
    assert not too_long
    # No line of an example is broken, or lost.
    shown = {line.strip() for line in lines}
    missing = [line for line in examples(page) if line.strip() not in shown]
    assert not missing


def test_there_are_pages_and_examples():
    assert [page.name for page in PAGES] == ["jotd.8", "jotd.yaml.5"]
    assert all(len(list(examples(page))) > 30 for page in PAGES)
