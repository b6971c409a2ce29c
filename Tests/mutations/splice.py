"""Puts many faults into one copy of the sources, of which the environment variable JOTD_MUTATION
switches one on: a function with faults gets a body for each, and its own as the last.

    func due() -> Bool {                    func due() -> Bool {
      return next <= now                      if jotdMutation == 7 {
    }                                           return next < now
                                              } else {
                                                return next <= now
                                              }
                                            }

The sources themselves know nothing of this. Swift as swift-format writes it, and C.
"""

import re

# What the body of is replaced: functions, and properties that are computed or have accessors.
SWIFT = re.compile(r"(?<![.\w])(func|init[?]?|subscript)\b|\bdeinit\b|\bvar \w+: [^=]*$"
                   r"|\b(get|set|didSet)\b")
SWIFT_TYPE = re.compile(r"\b(class|struct|enum|extension|protocol|actor)\b")
C = re.compile(r"\)\s*$")

SWIFT_SWITCH = """import Glibc

/// The number of the fault that is switched on; 0 for none.
{access}let jotdMutation: Int = unsafe getenv("JOTD_MUTATION").flatMap {{
  unsafe Int(String(cString: $0))
}} ?? 0
"""
C_SWITCH = """#define _GNU_SOURCE
#include <stdlib.h>
static int jotd_mutation(void) {
  const char *chosen = getenv("JOTD_MUTATION");
  return chosen == NULL ? 0 : atoi(chosen);
}
"""


class Misplaced(Exception):
    """A fault that does not fit the sources as they are now."""


def braces(text):
    """Pairs of the positions of braces, outside of comments and literals."""
    open_, pairs, at = [], [], 0
    # How a literal ends that is interrupted by an interpolation, with the parentheses in that.
    interrupted = []
    while at < len(text):
        if text.startswith("//", at):
            at = text.find("\n", at)
            if at < 0:
                break
        elif text.startswith("/*", at):
            at = text.index("*/", at) + 1
        elif text.startswith('#"', at):
            # A raw one, in whose interpolations nobody writes braces.
            at = text.index('"#', at + 2) + 1
        elif text.startswith("#/", at):
            at = text.index("/#", at) + 1
        elif text[at] == "'" and (end := re.compile(r"'(\\.|[^'\\])+'").match(text, at)):
            at = end.end() - 1
        elif text[at] == '"':
            end = '"""' if text.startswith('"""', at) else '"'
            at = literal(text, at + len(end), end, interrupted)
            continue
        elif text[at] == "(" and interrupted:
            interrupted[-1][1] += 1
        elif text[at] == ")" and interrupted:
            interrupted[-1][1] -= 1
            if interrupted[-1][1] == 0:
                at = literal(text, at + 1, interrupted.pop()[0], interrupted)
                continue
        elif text[at] == "{":
            open_.append(at)
        elif text[at] == "}":
            pairs.append((open_.pop(), at))
        at += 1
    return sorted(pairs)


def literal(text, at, end, interrupted):
    """The position after the literal's end, or after the beginning of an interpolation in it."""
    while not text.startswith(end, at):
        if text[at] == "\\":
            if text[at + 1] == "(":
                interrupted.append([end, 1])
                return at + 2
            at += 1
        at += 1
    return at + len(end)


def header(text, brace):
    """What stands before a body, from the end of the statement, body or comment before it."""
    lines = text[:brace].split("\n")
    found = lines.pop()
    # swift-format and clang-format continue a declaration with closing or deeper lines.
    while lines and (found.strip() == "" or re.match(r"\s*[)>]", found)
                     or found.startswith("  " * 1) and not is_beginning(found, text, brace)):
        found = lines.pop() + "\n" + found
        if is_beginning(found, text, brace):
            break
    return found


def is_beginning(found, text, brace):
    """Whether these lines begin where the line of the closing brace does: with the declaration."""
    close = next(end for start, end in braces(text) if start == brace)
    line = text[text.rfind("\n", 0, close) + 1:close]
    if line.strip():  # all on one line
        return True
    first = found.split("\n")[0]
    return first.strip() != "" and len(first) - len(first.lstrip()) == len(line) and \
        not re.match(r"\s*[)>]", first)


def body(text, start, end, is_c):
    """The innermost function body that holds text[start:end]; None outside of functions."""
    around = [(a, b) for a, b in braces(text) if a < start and end <= b]
    for a, b in reversed(around):
        before = header(text, a)
        last = before.strip()
        if is_c:
            if C.search(last) and not before.startswith(" "):
                return a, b
        elif SWIFT.search(last) and not SWIFT_TYPE.search(last.split("(")[0]):
            return a, b
    return None


def spliced(text, faults, is_c):
    """The source with these faults: (number, old, new) each. An `old` occurs once in it."""
    bodies, values = {}, []
    for number, old, new in faults:
        if text.count(old) != 1:
            raise Misplaced(f"its text occurs {text.count(old)} times:\n{old}")
        at = text.index(old)
        before, part, new_part = difference(old, new)
        start = at + len(before)
        end = start + len(part)
        place = body(text, start, end, is_c)
        if place is None:
            # An expression, or what is given to a constant.
            name = before[:before.rfind(" = ") + 3] if " = " in before else ""
            values.append((at + len(name), at + len(old), number, new[len(name):]))
        else:
            new = new_part
            a, b = place
            faulty = text[a + 1:start] + new + text[end:b]
            bodies.setdefault(place, []).append((number, faulty))
    edits = [(a + 1, b, branches(variants, text[a + 1:b], is_c))
             for (a, b), variants in bodies.items()]
    for start, end, number, new in values:
        edits.append((start, end, f"(jotdMutation == {number} ? ({new}) : ({text[start:end]}))"))
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return C_SWITCH + text if is_c else text


def difference(old, new):
    """What two texts begin alike with, and what then differs: whole words."""
    def word(text, at):
        return 0 < at < len(text) and re.match(r"\w\w", text[at - 1:at + 1])
    start, end = 0, 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    while word(old, start) or word(new, start):
        start -= 1
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    while end and (word(old, len(old) - end) or word(new, len(new) - end)):
        end -= 1
    return old[:start], old[start:len(old) - end], new[start:len(new) - end]


def branches(variants, right, is_c):
    switch = "jotd_mutation()" if is_c else "jotdMutation"
    out = " "
    for number, faulty in variants:
        condition = f"{switch} == {number}"
        out += f"if {f'({condition})' if is_c else condition} {{{faulty}\n}} else "
    return out + f"{{{right}\n}}\n"
