"""Cost per step over the number of steps, both axes logarithmic, as an SVG that needs no library."""

from __future__ import annotations

import math
from collections.abc import Mapping

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 40, 50
LABEL = 16
"""Height of a curve's name."""
COLOURS = ("#1f6feb", "#8250df", "#cf222e")

Curve = Mapping[int, float]


def svg(curves: Mapping[str, Curve]) -> str:
    """CPU µs per step by N, for each system."""
    steps = [n for curve in curves.values() for n in curve]
    costs = [cost for curve in curves.values() for cost in curve.values()]
    low, high = 10 ** math.floor(math.log10(min(costs))), 10 ** math.ceil(math.log10(max(costs)))

    def x(n: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(n / min(steps)) / math.log(max(steps) / min(steps))

    def y(cost: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log(cost / low) / math.log(high / low)

    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="15">CPU per step, µs, over the number of steps of a chain of reads</text>',
    ]
    ticks = [factor * 10**power for power in range(int(math.log10(low)), int(math.log10(high)) + 1) for factor in (1, 2, 5)]
    for tick in (tick for tick in ticks if low <= tick <= high):
        drawn.append(f'<path d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        drawn.append(f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:,.0f}</text>')
    for n in sorted(set(steps)):
        drawn.append(f'<path d="M{x(n):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        drawn.append(f'<text x="{x(n):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{n:,}</text>')
    labels: list[tuple[float, float, str, str]] = []
    for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
        points = [(x(n), y(cost)) for n, cost in sorted(curve.items())]
        drawn.append(
            f'<path d="M{"L".join(f"{across:.1f} {down:.1f}" for across, down in points)}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        drawn += [f'<circle cx="{across:.1f}" cy="{down:.1f}" r="3.5" fill="{colour}"/>' for across, down in points]
        labels.append((points[-1][1], points[-1][0], name, colour))
    lowest = 0.0
    for down, across, name, colour in sorted(labels):
        lowest = max(down, lowest + LABEL)  # curves may end side by side
        drawn.append(f'<text x="{across + 10:.1f}" y="{lowest + 4:.1f}" fill="{colour}">{name}</text>')
    return "\n".join([*drawn, "</svg>"]) + "\n"
