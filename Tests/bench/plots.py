"""Draws lines over the number of identities as SVG, both axes logarithmic."""

import math

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 400, 70, 50, 44, 20
COLORS = ("#06c", "#c40", "#393", "#808")


class Axis:
    """Whole powers of ten between two places of the picture."""

    def __init__(self, values, begin, end):
        self.low = math.floor(math.log10(min(values)))
        self.high = max(self.low + 1, math.ceil(math.log10(max(values)) - 1e-9))
        self.begin, self.end = begin, end

    def at(self, value):
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self.begin + share * (self.end - self.begin)

    def powers(self):
        return [10.0 ** power for power in range(self.low, self.high + 1)]


def text(x, y, words, more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{words}</text>'


def rule(x1, y1, x2, y2):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'


def plot(title, unit, lines):
    """`lines` has points (identities, value) for each name."""
    points = [point for line in lines.values() for point in line]
    x = Axis([a for a, _ in points], LEFT, WIDTH - RIGHT)
    y = Axis([b for _, b in points], HEIGHT - BOTTOM, TOP)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"\n'
             ' font-family="sans-serif" font-size="12">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
             text(LEFT, 20, title, 'font-size="14"'), text(LEFT, 36, unit, 'fill="#555"'),
             text(WIDTH - RIGHT, HEIGHT - 12, "identities", 'text-anchor="end"')]
    for value in x.powers():
        parts += [rule(x.at(value), TOP, x.at(value), HEIGHT - BOTTOM),
                  text(x.at(value), HEIGHT - BOTTOM + 18, f"{value:,.0f}",
                       'text-anchor="middle"')]
    for value in y.powers():
        parts += [rule(LEFT, y.at(value), WIDTH - RIGHT, y.at(value)),
                  text(LEFT - 6, y.at(value) + 4, f"{value:g}", 'text-anchor="end"')]
    for row, ((name, line), color) in enumerate(zip(lines.items(), COLORS)):
        places = "\n".join(f"{x.at(a):.1f},{y.at(b):.1f}" for a, b in line)
        parts.append(f'<polyline points="{places}" fill="none" stroke="{color}" '
                     'stroke-width="2"/>')
        parts += [f'<circle cx="{x.at(a):.1f}" cy="{y.at(b):.1f}" r="3" fill="{color}"/>'
                  for a, b in line]
        parts.append(text(LEFT + 12, TOP + 18 + 16 * row, name, f'fill="{color}"'))
    return "\n".join([*parts, "</svg>"]) + "\n"
