#!/usr/bin/env python3
"""What bench/ makes of measured losses: the picture and the table from a small file of results, the means of several seeds, and that
what is asked wrongly is refused in words."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as xml

BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))
import loss_plot
import seeds

SVG = "{http://www.w3.org/2000/svg}"


def row(type, program, who, size, loss, **more):
    return {"row": type, "who": f"{program} {who}", "program": program, "kind": "gguf", "bytes": size, "losses": [loss],
            "errors": [loss / 100], "processor_seconds": 12.3, **more}


ROWS = [row("Q4_K_M", "halftone", "Q4_K_M", 3558688, .0011), row("Q4_K_M", "llama.cpp", "Q4_K_M", 3558688, .0032),
        row("Q2_K_S", "halftone", "Q2_K_S", 2211616, .0227), row("nf4", "halftone", "nf4@best", 4786168, .0015, kind="folder"),
        row("nf4", "<rival> & son", "NF4", 4784656, .0050, kind="folder"),
        {"row": "hqq", "who": "hqq 4 bits g64", "program": "hqq", "not_made": "ModuleNotFoundError: No module named 'hqq'"}]


class Results(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def file(self, text, name="results.json"):
        path = pathlib.Path(self.folder.name) / name
        path.write_text(text if isinstance(text, str) else json.dumps({"bench": "peers", "machine": {}, "rows": text}))
        return str(path)

    def run_program(self, name, *arguments):
        return subprocess.run([sys.executable, str(BENCH / name), *arguments], capture_output=True, text=True)

    def test_picture(self):
        out = self.file("", "plot.svg")
        done = self.run_program("loss_plot.py", self.file(ROWS), "--plot", out)
        self.assertEqual(done.returncode, 0, done.stderr)
        root = xml.parse(out).getroot()
        self.assertEqual(root.get("role"), "img")
        self.assertEqual(root.find(SVG + "title").get("id"), root.get("aria-labelledby").split()[0])
        self.assertIn("Of 2 types that several made, halftone's loses least in 2", root.find(SVG + "desc").text)
        self.assertIn("prefers-color-scheme:dark", root.find(SVG + "style").text)
        points = {p.find(SVG + "title").text: p for p in root.iter() if p.find(SVG + "title") is not None and p is not root}
        self.assertEqual(len(points), 5)
        self.assertEqual(points["<rival> & son NF4: 4.78 MB, divergence 0.00500"].tag, SVG + "rect")
        ours, theirs = points["halftone Q4_K_M: 3.56 MB, divergence 0.00110"], points["llama.cpp Q4_K_M: 3.56 MB, divergence 0.00320"]
        self.assertEqual(ours.get("cx"), theirs.get("cx"))
        self.assertGreater(float(ours.get("cy")), float(theirs.get("cy")), "less loss is further down")
        self.assertGreater(float(ours.get("cx")), float(points["halftone Q2_K_S: 2.21 MB, divergence 0.02270"].get("cx")))
        self.assertEqual(len([p for p in root.iter(SVG + "path") if p.get("class", "").startswith("l")]), 1, "one program has two files")

    def test_picture_of_one(self):
        root = xml.fromstring(loss_plot.picture(ROWS[:1]))
        self.assertEqual(len(list(root.iter(SVG + "circle"))), 1)

    def test_labels_lie_apart(self):
        points = [row("t", "halftone", f"name{i}", 3000000, .001 + .00001 * i) for i in range(4)]
        boxes = [(x, y - 10, x + 6.1 * len(loss_plot.label(p)), y + 3)
                 for p, (x, y) in zip(points, loss_plot.placed(points, loss_plot.Scales(points)))]
        self.assertEqual(sum(loss_plot.overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i]), 0)

    def test_table(self):
        done = self.run_program("loss_plot.py", self.file(ROWS), "--table")
        self.assertIn("| `Q4_K_M` | halftone Q4_K_M | 3,558,688 | 0.001100 ± 0.000011 | 12 |", done.stdout)
        self.assertIn("| `hqq` | hqq 4 bits g64 | | not made: ModuleNotFoundError: No module named 'hqq' | |", done.stdout)

    def test_later_files_count(self):
        first, second = self.file(ROWS), self.file([row("Q4_K_M", "halftone", "Q4_K_M", 3558688, .0010)], "second.json")
        rows = loss_plot.results([first, second])
        self.assertEqual(len(rows), len(ROWS))
        self.assertEqual(rows[0]["losses"], [.0010])

    def test_refused_results(self):
        for text, words in (("{", "Expecting"), ('{"bench": "speed", "rows": []}', "not what bench/peers.py"), ("[1]", "not what bench/peers.py"),
                            ([{**ROWS[0], "bytes": "many"}], "row 0 has no bytes"), ([3], "row 0 is no object"),
                            ([{**ROWS[0], "losses": [0]}], "above 0"), (ROWS[-1:], "no file was made")):
            done = self.run_program("loss_plot.py", self.file(text), "--table")
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(words, done.stderr)
            self.assertNotIn("Traceback", done.stderr)
        self.assertIn("No such file", self.run_program("loss_plot.py", "/nonexistent.json", "--table").stderr)

    def test_refused_arguments(self):
        here = self.file("text", "text.txt")
        for name, arguments, words in (
                ("loss_plot.py", [here], "nothing to do"),
                ("peers.py", [here, "--calibration", here, "--text", here, "--rows", "Q9"], "there is no Q9; there are gptq"),
                ("peers.py", [here, "--calibration", here, "--text", here, "--rivals", "nobody"], "there is no nobody; there are AutoRound"),
                ("peers.py", [here, "--calibration", here], "--text is missing"),
                ("peers.py", [here, "--calibration", "/nonexistent", "--text", here], "/nonexistent does not exist"),
                ("seeds.py", [here, "--calibration", here, "--text", here, "--pieces", "1"], "--pieces must be at least 2"),
                ("seeds.py", ["/nonexistent", "--calibration", here, "--text", here], "/nonexistent does not exist"),
                ("train_model.py", ["qwen2", self.folder.name + "/new", "--corpora", self.folder.name], "lacks GrimmsFairyTales.txt")):
            done = self.run_program(name, *arguments)
            self.assertEqual(done.returncode, 2, f"{name} {arguments}: {done.stderr}")
            self.assertIn(words, done.stderr)


class Seeds(unittest.TestCase):
    def test_compared(self):
        losses = {("1", "fast", "t"): [4., 6.], ("2", "fast", "t"): [6., 8.], ("1", "best", "t"): [2., 3.], ("2", "best", "t"): [2., 3.]}
        r = seeds.compared(["1", "2"], losses, "t")
        self.assertAlmostEqual(r["fast"], 6)
        self.assertAlmostEqual(r["best"], 2.5)
        self.assertAlmostEqual(r["gain"], 3.5)
        self.assertAlmostEqual(r["gain_error"], .5)  # the pieces' differences are 3 and 4
        self.assertAlmostEqual(r["least_share"], 2.5 / 7)
        self.assertAlmostEqual(r["most_share"], .5)

    def test_cut(self):
        with tempfile.TemporaryDirectory() as folder:
            files = seeds.cut("one two three four five six seven", 3, pathlib.Path(folder))
            self.assertEqual([f.read_text() for f in files], ["one two", "three four", "five six seven"])


if __name__ == "__main__":
    unittest.main()
