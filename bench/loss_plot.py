#!/usr/bin/env python3
"""Draws what bench/peers.py measured, size against loss, as an SVG file, and prints the same as a table.

    bench/loss_plot.py RESULTS.json [RESULTS.json …] [--plot FILE.svg] [--table]

RESULTS are what `bench/peers.py --json RESULTS.json` writes; several are put together. Of a file that was measured twice the later one
counts. The picture is legible on light and on dark pages, and its text is text: title, description, and a title for each point.
"""
import argparse
import html
import json
import math
import pathlib
import sys

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 560, 70, 20, 62, 50
# Colours that people with colour blindness can tell apart, on a light page and on a dark one; ours first, others as they come.
COLOURS = [("#0062a3", "#6cc3f7"), ("#c2510a", "#ff9a5c"), ("#007a5a", "#3fd0a4"), ("#a8467e", "#ec9cc9"), ("#7a5f00", "#e8c33c"),
           ("#555555", "#bbbbbb"), ("#7040b0", "#c3a5f2")]
NEEDED = {"row": str, "who": str, "program": str, "kind": str, "bytes": (int, float), "losses": list}


def refuse(file, reason):
    sys.exit(f"{file}: {reason}")


def results(files):
    """The rows of all files, those that could not be made too: by (row, who), in the order in which they first came."""
    found = {}
    for file in files:
        try:
            read = json.loads(pathlib.Path(file).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            refuse(file, error)
        if not isinstance(read, dict) or read.get("bench") != "peers" or not isinstance(read.get("rows"), list):
            refuse(file, "not what bench/peers.py --json writes")
        for number, row in enumerate(read["rows"]):
            check(file, number, row)
            found[row["row"], row["who"]] = row
    return list(found.values())


def check(file, number, row):
    if not isinstance(row, dict):
        refuse(file, f"row {number} is no object")
    for name, kind in NEEDED.items() if "not_made" not in row else [("row", str), ("who", str)]:
        if not isinstance(row.get(name), kind):
            refuse(file, f"row {number} has no {name}")
    if "not_made" not in row:
        numbers = [row["bytes"], *row["losses"]]
        if not row["losses"] or not all(isinstance(x, (int, float)) and math.isfinite(x) and x > 0 for x in numbers):
            refuse(file, f"row {number}: size and losses must be above 0")


# ---- scales ----


class Scales:
    """Megabytes across, as they are; divergence up, as logarithms."""

    def __init__(self, points):
        sizes, losses = [p["bytes"] / 1e6 for p in points], [math.log10(p["losses"][0]) for p in points]
        room = max(max(sizes) - min(sizes), max(sizes) / 20) * .06
        self.x0, self.x1 = min(sizes) - room, max(sizes) + room * 1.6
        self.y0, self.y1 = min(losses) - .08, max(losses) + .08

    def x(self, megabytes):
        return LEFT + (megabytes - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def y(self, loss):
        return TOP + (self.y1 - math.log10(loss)) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)

    def across(self):
        step = next(s for s in (.01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 20, 50, 100, 1e3, 1e4, 1e9) if (self.x1 - self.x0) / s < 9)
        return [i * step for i in range(math.ceil(self.x0 / step), math.floor(self.x1 / step) + 1)]

    def up(self):
        marks = [m * 10.0 ** e for e in range(math.floor(self.y0), math.ceil(self.y1) + 1) for m in (1, 2, 5)]
        return [m for m in marks if self.y0 <= math.log10(m) <= self.y1]


# ---- labels: each beside its point where it covers least ----


def overlap(a, b):
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def placed(points, scales):
    """By point: where its label begins (x, y of its baseline)."""
    taken = [(scales.x(p["bytes"] / 1e6) - 5, scales.y(p["losses"][0]) - 5, scales.x(p["bytes"] / 1e6) + 5,
              scales.y(p["losses"][0]) + 5) for p in points]
    out = []
    for p in points:
        x, y, wide = scales.x(p["bytes"] / 1e6), scales.y(p["losses"][0]), 6.1 * len(label(p))
        choices = [(x + 8, y + 4), (x - 8 - wide, y + 4), (x + 6, y - 7), (x + 6, y + 15), (x - 6 - wide, y - 7), (x - 6 - wide, y + 15),
                   (x - wide / 2, y - 9), (x - wide / 2, y + 18)]
        boxes = [(cx, cy - 10, cx + wide, cy + 3) for cx, cy in choices]
        cost = [sum(overlap(box, other) for other in taken) + 1e4 * (box[0] < LEFT or box[2] > WIDTH - 4) for box in boxes]
        best = cost.index(min(cost))
        taken.append(boxes[best])
        out.append(choices[best])
    return out


def label(point):
    return point["who"].removeprefix(point["program"]).strip(" ,").split(",")[0]


# ---- the picture ----


def style(programs):
    rules = ["text{font:11px sans-serif;fill:#222}.page{fill:#fff}.grid{stroke:#ddd;fill:none}.axis{stroke:#666;fill:none}"]
    dark = ["text{fill:#e6e6e6}.page{fill:#15181c}.grid{stroke:#333a42}.axis{stroke:#9aa4af}"]
    for i in range(len(programs)):
        for out, colour in zip((rules, dark), COLOURS[i % len(COLOURS)]):
            out.append(f".p{i}{{fill:{colour};stroke:{colour}}}.l{i}{{fill:none;stroke:{colour};stroke-width:1.5;stroke-opacity:.6}}")
    return "<style>" + "".join(rules) + "@media(prefers-color-scheme:dark){" + "".join(dark) + "}</style>"


def marker(point, i, x, y):
    shape = (f'<circle class="p{i}" cx="{x:.1f}" cy="{y:.1f}" r="4.5">' if point["kind"] == "gguf" else
             f'<rect class="p{i}" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8">')
    said = f'{point["who"]}: {point["bytes"] / 1e6:.2f} MB, divergence {point["losses"][0]:.5f}'
    return f'{shape}<title>{html.escape(said)}</title></{"circle" if point["kind"] == "gguf" else "rect"}>'


def axes(scales):
    out = []
    for m in scales.across():
        out.append(f'<path class="grid" d="M{scales.x(m):.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
                   f'<text x="{scales.x(m):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{m:.6g}</text>')
    for loss in scales.up():
        out.append(f'<path class="grid" d="M{LEFT} {scales.y(loss):.1f}H{WIDTH - RIGHT}"/>'
                   f'<text x="{LEFT - 6}" y="{scales.y(loss) + 4:.1f}" text-anchor="end">{loss:.6g}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    out.append(f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>'
               f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">size of the weights, megabytes</text>'
               f'<text x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">mean divergence from the source, '
               'nats a token (logarithmic)</text>')
    return out


def legend(programs):
    out, x = [], LEFT
    for i, name in enumerate(programs):
        out.append(f'<rect class="p{i}" x="{x}" y="14" width="9" height="9"/><text x="{x + 14}" y="23">{html.escape(name)}</text>')
        x += 34 + 6.5 * len(name)
    out.append(f'<text x="{LEFT}" y="46">circles: GGUF files, those of a program joined; squares: folders, head and embedding left as they '
               'were; lower and further left is better</text>')
    return out


def picture(points):
    programs = sorted(dict.fromkeys(p["program"] for p in points), key=lambda name: name != "halftone")
    scales = Scales(points)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="t d">',
           '<title id="t">Size against loss</title>',
           f'<desc id="d">{html.escape(described(points, programs))}</desc>', style(programs),
           f'<rect class="page" width="{WIDTH}" height="{HEIGHT}"/>', *axes(scales), *legend(programs)]
    for i, name in enumerate(programs):
        files = sorted((p for p in points if p["program"] == name and p["kind"] == "gguf"), key=lambda p: p["bytes"])
        if len(files) > 1:
            way = "L".join(f'{scales.x(p["bytes"] / 1e6):.1f} {scales.y(p["losses"][0]):.1f}' for p in files)
            out.append(f'<path class="l{i}" d="M{way}"/>')
    for p, (lx, ly) in zip(points, placed(points, scales)):
        out.append(marker(p, programs.index(p["program"]), scales.x(p["bytes"] / 1e6), scales.y(p["losses"][0])))
        out.append(f'<text x="{lx:.1f}" y="{ly:.1f}">{html.escape(label(p))}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def described(points, programs):
    least = {}
    for p in points:
        least.setdefault(p["row"], []).append((p["losses"][0], p["who"]))
    pairs = [who for losses in least.values() if len(losses) > 1 for _, who in [min(losses)]]
    mine = sum(who.startswith("halftone") for who in pairs)
    return (f"{len(points)} files of one model by {', '.join(programs)}. Of {len(pairs)} types that several made, halftone's loses least "
            f"in {mine}.")


# ---- the table ----


def table(rows):
    """A line for each file, as Markdown; what could not be made with its reason."""
    out = ["| type | made by | bytes | divergence | processor seconds |", "|---|---|--:|--:|--:|"]
    for row in rows:
        if "not_made" in row:
            out.append(f"| `{row['row']}` | {row['who']} | | not made: {row['not_made']} | |")
            continue
        errors = row.get("errors") or [None]
        loss = f"{row['losses'][0]:.6f}" + (f" ± {errors[0]:.6f}" if errors[0] is not None else "")
        seconds = f"{row['processor_seconds']:.0f}" if "processor_seconds" in row else ""
        out.append(f"| `{row['row']}` | {row['who']} | {row['bytes']:,} | {loss} | {seconds} |")
    return "\n".join(out)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("results", nargs="+")
    p.add_argument("--plot", metavar="FILE.svg")
    p.add_argument("--table", action="store_true")
    a = p.parse_args()
    if not a.plot and not a.table:
        p.error("nothing to do: give --plot FILE.svg or --table")
    rows = results(a.results)
    points = [row for row in rows if "not_made" not in row]
    if not points:
        refuse(a.results[0], "no file was made, there is nothing to show")
    if a.plot:
        pathlib.Path(a.plot).write_text(picture(points), encoding="utf-8")
    if a.table:
        print(table(rows))


if __name__ == "__main__":
    main()
