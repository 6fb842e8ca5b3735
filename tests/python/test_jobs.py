"""Jobs: results, refusals, interruption, progress and the log."""
import hashlib
import json
import logging
import os
import signal
import subprocess
import threading

import halftone
import pytest


def sha256(path):
    return hashlib.sha256(open(path, "rb").read()).hexdigest()


def test_quantize_is_the_program(model, tmp_path):
    """The same report and the same bytes as the command line's."""
    report = halftone.quantize(model, ["Q4_K_M", "nf4"], tmp_path / "a")
    subprocess.run([os.environ["HT_HALFTONE"], "quantize", model, "-t", "Q4_K_M,nf4", "-o", tmp_path / "b"], check=True,
                   capture_output=True)
    ours, theirs = tmp_path / "a/model-Q4_K_M.gguf", tmp_path / "b/model-Q4_K_M.gguf"
    assert report["outputs"][0]["path"] == str(ours) and report["outputs"][0]["sha256"] == sha256(ours) == sha256(theirs)
    assert [o["type"] for o in report["outputs"]] == ["Q4_K_M", "nf4"]
    folder = "model-nf4/model.safetensors"
    assert sha256(tmp_path / "a" / folder) == sha256(tmp_path / "b" / folder)


def test_verbs(model, prose, tmp_path):
    q = halftone.convert(model, tmp_path / "f16.gguf", "F16")["outputs"][0]
    assert q["size_bytes"] == os.path.getsize(tmp_path / "f16.gguf")
    e = halftone.estimate(model, ["Q4_K_M", "Q8_0"])
    assert [o["type"] for o in e["outputs"]] == ["Q4_K_M", "Q8_0"] and e["fits"]
    assert halftone.recommend(model, memory="1G")["recommended"]
    assert halftone.recommend(model, program="vLLM", memory="8G")["recommended"]
    assert halftone.inspect(tmp_path / "f16.gguf", tensors=True, verify=True)
    halftone.quantize(model, "Q4_0", tmp_path / "q4.gguf")
    r = halftone.evaluate(tmp_path / "q4.gguf", text=prose, against=model, ctx=128, chunks=4)
    assert r["perplexity"] > 1 and r["kld"]["mean"] > 0
    c = halftone.compare([tmp_path / "q4.gguf", tmp_path / "f16.gguf"], text=prose, ctx=128, chunks=4)
    assert len(c["models"]) == 2
    halftone.imatrix(model, tmp_path / "imatrix.gguf", text=prose, ctx=128, chunks=2)
    halftone.quantize(model, "IQ2_XS", tmp_path / "iq2.gguf", imatrix=tmp_path / "imatrix.gguf")


def test_progress_and_log(model, tmp_path, caplog):
    told = []
    with caplog.at_level(logging.INFO, logger="halftone"):
        halftone.quantize(model, "gptq", tmp_path, progress=told.append, threads=1)
    assert told and all(isinstance(p, halftone.Progress) and p.done <= p.total for p in told)
    assert {"quantize", "verify"} & {p.step for p in told}


def test_progress_raises(model, tmp_path):
    def tell(p):
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        halftone.quantize(model, ["Q4_K_M", "Q3_K_M", "IQ4_XS"], tmp_path, progress=tell)
    assert not list(tmp_path.glob("*.gguf"))


def test_interrupted(model, tmp_path):
    """Ctrl-C while the library works: nothing is left, and the next call works."""
    def tell(p):
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(1)

    with pytest.raises(KeyboardInterrupt):
        halftone.quantize(model, ["Q4_K_M", "Q3_K_M", "IQ4_XS"], tmp_path, progress=tell)
    assert not list(tmp_path.glob("*.gguf"))
    halftone.quantize(model, "Q8_0", tmp_path)


def test_cancelled_from_a_thread(model, tmp_path):
    job = halftone.Job("quantize")
    job.set("source", model)
    job.set("type", "IQ3_S,Q4_K_M")
    job.set("output", tmp_path)
    with pytest.raises(halftone.CancelledError):
        job.run(halftone._library.lib.ht_job_run, progress=lambda p: job.cancel())
    job.close()
    with pytest.raises(halftone.UsageError, match="closed"):
        job.set("type", "Q8_0")


def test_interpreter_goes_on(model, tmp_path):
    """Other threads run while the library works: their count grows within one call."""
    counts, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            counts[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    seen = []
    halftone.quantize(model, ["IQ3_S", "IQ4_XS"], tmp_path, progress=lambda p: seen.append(counts[0]))
    stop.set()
    thread.join()
    assert len(set(seen)) > 1


def test_mistyped_option(model, tmp_path):
    with pytest.raises(halftone.UsageError, match="did you mean tensor-type"):
        halftone.quantize(model, "Q4_K_M", tmp_path, tensor_typ="a=b")


@pytest.mark.parametrize("kind, call", [
    (halftone.NotFoundError, lambda m, t: halftone.quantize(t / "nothing", "Q4_K_M", t)),
    (FileNotFoundError, lambda m, t: halftone.quantize(t / "nothing", "Q4_K_M", t)),
    (halftone.UsageError, lambda m, t: halftone.quantize(m, "Q4_K_N", t)),
    (halftone.UsageError, lambda m, t: halftone.quantize(m, "Q4_K_M", t, tensor_typ="a=b")),
    (halftone.UsageError, lambda m, t: halftone.quantize(m, "Q4_K_M", t, threads="many")),
    (halftone.UsageError, lambda m, t: halftone.quantize("a\0b", "Q4_K_M", t)),
    (halftone.UsageError, lambda m, t: halftone.quantize(b"bytes", "Q4_K_M", t)),
    (halftone.UsageError, lambda m, t: halftone.convert(m, t, "Q4_K_M")),
    (halftone.MemoryBudgetError, lambda m, t: halftone.quantize(m, "Q4_K_M", t, memory="1M")),
    (halftone.NotFoundError, lambda m, t: halftone.Model(t / "nothing")),
    (halftone.HalftoneError, lambda m, t: halftone.inspect(__file__)),
])
def test_refused(kind, call, model, tmp_path):
    with pytest.raises(kind) as caught:
        call(model, tmp_path)
    error = caught.value
    assert error.message and isinstance(error.where, str) and error.code.startswith("HT_ERR_")
    assert error.message in str(error)


def test_exists(model, tmp_path):
    halftone.quantize(model, "Q8_0", tmp_path)
    with pytest.raises(FileExistsError):
        halftone.quantize(model, "Q8_0", tmp_path)
    halftone.quantize(model, "Q8_0", tmp_path, overwrite=True)


def test_recipe(model, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps({"model": str(model), "type": ["Q4_0"], "output": str(tmp_path / "q.gguf")}))
    with halftone.Job("quantize") as job:
        job.config(recipe)
        job.run(halftone._library.lib.ht_job_run)
    assert (tmp_path / "q.gguf").exists()
