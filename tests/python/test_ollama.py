"""halftone.ollama against our own server with the example model, and against a server that answers as Ollama's source defines.

The guide's 23 tests, of the real thing: 18 of the client, 3 of the selector, 2 of both together; then what goes wrong.
"""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading

import halftone
import pytest
from conftest import SOURCE
from halftone.ollama import AISelector, OllamaClient, read_config, write_config

sys.path.insert(0, str(SOURCE / "tests" / "lib"))
from fake_ollama import FakeOllama  # noqa: E402

PROGRAM = os.environ["HT_HALFTONE"]
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
JUDGED = {"focus": 80, "exposure": 70, "composition": 60, "score": 75, "keep": True, "reason": " Sharp and well lit. "}
BASE = "llama3.1:8b-instruct"


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """halftone serve with the example model, and its 4 and 8 bits beside it under names that say nothing."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(SOURCE / "examples/model", folder / "lines")
    halftone.quantize(SOURCE / "examples/model", ["Q4_K_M", "Q8_0"], folder / "out")
    (folder / "out" / "model-Q4_K_M.gguf").rename(folder / "other.gguf")
    (folder / "out" / "model-Q8_0.gguf").rename(folder / "other-Q4_K_M.gguf")  # a lie
    (folder / "out").rmdir()
    data = tmp_path_factory.mktemp("data")
    process = subprocess.Popen([PROGRAM, "serve", "--port", "0", "--data", data, "--models", folder, "--run-texts", "2"], stdout=subprocess.PIPE, text=True)
    first = json.loads(process.stdout.readline())
    threading.Thread(target=process.stdout.read, daemon=True).start()
    yield f"127.0.0.1:{first['port']}"
    process.terminate()
    assert process.wait(60) == 0


@pytest.fixture
def theirs():
    with FakeOllama() as server:
        server.add(BASE, level="F16", size=16_068_890_912)
        server.add(BASE + "-q8_0", level="Q8_0", size=8_540_770_720, eval_duration=3_000_000_000)
        server.add(BASE + "-q4_K_M", level="Q4_K_M", size=4_920_734_272, eval_duration=2_000_000_000)
        yield server


def client(server, **settings):
    return OllamaClient(getattr(server, "address", server), **settings)


def sent(server, path):
    return [json.loads(body) for method, at, _, body in server.requests if at == path]


class TestClient:
    def test_made_without_quantization(self, theirs):
        settings = client(theirs).get_quantization_settings()
        assert settings == {"enabled": False, "bits": None, "gpu_memory_limit_mb": None, "host": "http://" + theirs.address}

    def test_made_with_quantization(self, theirs):
        settings = client(theirs, enable_quantization=True, quantization_bits=4).get_quantization_settings()
        assert (settings["enabled"], settings["bits"]) == (True, 4)

    def test_name_at_8_bits(self, theirs):
        assert client(theirs, enable_quantization=True, quantization_bits=8)._get_quantized_model_name(BASE) == "llama3.1:q8_8b-instruct"

    def test_name_at_4_bits(self, theirs):
        assert client(theirs, enable_quantization=True, quantization_bits=4)._get_quantized_model_name(BASE) == "llama3.1:q4_8b-instruct"

    def test_name_without_tag(self, ours):
        c = client(ours, enable_quantization=True, quantization_bits=8)
        assert c._get_quantized_model_name("other") == "other:q8_latest"
        assert c._wire.ask("POST", "/api/generate", {"model": "other:q8_latest", "stream": False})["model"] == "other:q4_K_M"  # our server knows it

    def test_name_that_says_a_level(self, theirs):
        c = client(theirs, enable_quantization=True, quantization_bits=8)
        for name in ("llama3.1:q4_8b-instruct", "llama3.1:8b-instruct-q4_K_M", "x:q8_0", "x:fp16", "a/b:7b-IQ3_XXS"):
            assert c._get_quantized_model_name(name) == name
        assert c._get_quantized_model_name("host:80/x") == "host:80/x:q8_latest"

    def test_name_when_off(self, theirs):
        assert client(theirs)._get_quantized_model_name(BASE) == BASE

    def test_switched_on(self, ours):
        c = client(ours)
        c.set_quantization(True, 4)
        assert c.resolve("other").name == "other:latest"  # by its tensors
        assert (c.resolve("other").bits, c.resolve("other").type) == (4, "q4_k")
        c.set_quantization(True, 8)
        assert c.resolve("other").name == "other:q4_K_M"

    def test_switched_off(self, ours):
        c = client(ours, enable_quantization=True, quantization_bits=4)
        c.set_quantization(False)
        assert c.get_quantization_settings()["enabled"] is False
        assert c.resolve("lines").bits == 16

    @pytest.mark.parametrize("bits", [0, 3, 16, 4.0, "8", True, -8])
    def test_wrong_bits(self, theirs, bits):
        c = client(theirs, enable_quantization=True, quantization_bits=8)
        with pytest.raises(ValueError, match="4 or 8"):
            c.set_quantization(True, bits)
        with pytest.raises(halftone.UsageError):
            client(theirs, quantization_bits=bits)
        assert c.get_quantization_settings()["bits"] == 8

    def test_bits_stay(self, theirs):
        c = client(theirs, enable_quantization=True, quantization_bits=4)
        c.set_quantization(False)
        c.set_quantization(True)
        assert c.get_quantization_settings()["bits"] == 4

    def test_figures_of_calls_that_succeed(self, ours):
        c = client(ours, enable_quantization=True, quantization_bits=4)
        for _ in range(3):
            assert c.generate("other", "Once", max_tokens=5)
        stats = c.get_performance_stats("other")
        assert (stats["total_calls"], stats["successful_calls"], stats["failed_calls"], stats["success_rate"], stats["tokens"]) == (3, 3, 0, 1, 15)
        assert 0 < stats["min_time"] <= stats["average_time"] <= stats["max_time"]
        assert stats["tokens_per_second"] > 0 and stats["memory_bytes"] > 5 << 20

    def test_figures_of_calls_that_fail(self, ours):
        c = client(ours)
        c.generate("lines", "Once", max_tokens=2)
        with pytest.raises(halftone.UnsupportedError, match="context|longer"):
            c.generate("lines", "word " * 3000)
        stats = c.get_performance_stats("lines")
        assert (stats["successful_calls"], stats["failed_calls"], stats["success_rate"]) == (1, 1, 0.5)

    def test_figures_of_nothing(self, theirs):
        stats = client(theirs).get_performance_stats("unknown")
        assert (stats["total_calls"], stats["average_time"], stats["success_rate"]) == (0, None, None)
        assert client(theirs).get_performance_stats() == {}

    def test_figures_of_levels(self, theirs):
        c = client(theirs, enable_quantization=True, quantization_bits=8)
        c.generate(BASE, "x")
        c.set_quantization(True, 4)
        c.generate(BASE, "x")
        assert {name: f["tokens_per_second"] for name, f in c.get_performance_stats().items()} == {BASE + "-q8_0": 290 / 3, BASE + "-q4_K_M": 290 / 2}
        assert c.get_performance_stats(BASE)["total_calls"] == 2

    def test_generate_takes_the_level(self, theirs):
        c = client(theirs, enable_quantization=True, quantization_bits=4)
        assert c.generate(BASE, "Why?", temperature=0.3, max_tokens=77).startswith("A short answer")
        body = sent(theirs, "/api/generate")[0]
        assert body == {"model": BASE + "-q4_K_M", "prompt": "Why?", "stream": False, "options": {"temperature": 0.3, "num_predict": 77}}
        c.set_quantization(True, 8)
        c.generate(BASE, "Why?")
        assert sent(theirs, "/api/generate")[-1] == {"model": BASE + "-q4_K_M", "keep_alive": 0, "stream": False}  # the old level goes
        assert theirs.resident == {BASE + "-q8_0"}

    def test_list(self, ours, theirs):
        assert {"lines:latest", "other:latest", "other:q4_K_M"} <= set(client(ours).list_available_models())
        assert client(theirs).list_available_models() == [BASE, BASE + "-q8_0", BASE + "-q4_K_M"]

    def test_exists(self, ours, theirs):
        c = client(theirs, enable_quantization=True, quantization_bits=4)
        assert c.check_model_exists(BASE) and c.check_model_exists(BASE + "-q8_0")
        assert not c.check_model_exists("llama3.1:70b") and not c.check_model_exists("llama3.1:8b-instruct-q2_K")
        assert client(ours).check_model_exists("lines") and not client(ours, enable_quantization=True, quantization_bits=8).check_model_exists("lines")


@pytest.fixture
def vision():
    with FakeOllama() as server:
        server.add("llava:7b", level="F16", capabilities=("completion", "vision"), size=14_000_000_000)
        server.add("llava:7b-q8_0", level="Q8_0", capabilities=("completion", "vision"), size=7_500_000_000, eval_duration=2_354_606_500)
        server.add("llava:7b-q4_K_M", level="Q4_K_M", capabilities=("completion", "vision"), size=4_700_000_000, eval_duration=1_177_303_250)
        server.answers = [json.dumps(JUDGED)] * 9
        yield server


class TestSelector:
    def test_made_with_quantization(self, vision):
        a = AISelector(enable_llm=True, enable_quantization=True, quantization_bits=8, host=vision.address, model="llava:7b")
        assert a.get_quantization_settings() == {"enabled": True, "bits": 8, "gpu_memory_limit_mb": None, "host": "http://" + vision.address,
                                                 "enable_llm": True, "model": "llava:7b"}

    def test_control(self, vision, tmp_path):
        a = AISelector(enable_quantization=True, quantization_bits=8, host=vision.address, model="llava:7b")
        photo = tmp_path / "photo.png"
        photo.write_bytes(PNG)
        for bits in (8, 4):
            a.set_quantization(True, bits)
            result = a.evaluate(photo)
            assert result.model == {8: "llava:7b-q8_0", 4: "llava:7b-q4_K_M"}[bits]
            assert dict(result) == {**JUDGED, "reason": "Sharp and well lit.", "model": result.model, "seconds": result["seconds"]}
        body = sent(vision, "/api/generate")[0]
        assert body["format"]["required"] == ["focus", "exposure", "composition", "score", "keep", "reason"] and len(body["images"]) == 1

    def test_figures(self, vision):
        a = AISelector(host=vision.address, model="llava:7b", enable_quantization=True, quantization_bits=4)
        a.evaluate(PNG)
        assert a.get_performance_stats()["successful_calls"] == 1
        results = a.compare_quantization_performance(PNG, 2)
        assert results["quantized_4bit"]["speedup"] == pytest.approx(4) and results["quantized_8bit"]["speedup"] == pytest.approx(2)
        assert results["quantized_4bit"]["memory_reduction"] == pytest.approx(1 - 4.7 / 14)


class TestTogether:
    def test_memory_from_real_sizes(self, ours, theirs):
        c = client(theirs, enable_quantization=True, quantization_bits=4)
        assert c._estimate_memory_reduction(BASE) == pytest.approx(1 - 4_920_734_272 / 16_068_890_912)  # 69 %, not 75
        c.set_quantization(True, 8)
        assert c.get_quantization_settings(BASE)["memory_reduction"] == pytest.approx(1 - 8_540_770_720 / 16_068_890_912)  # 47 %, not 50
        assert c._estimate_memory_reduction("llama3.1:70b") is None  # nothing is known of it
        real = client(ours, enable_quantization=True, quantization_bits=4).estimate_memory("other")
        assert real["full_precision"] == 2 * 8_130_816 and real["quantized_4bit"] < 5.5e6 < real["quantized_8bit"] < 9e6

    def test_from_start_to_end(self, ours):
        c = client(ours, enable_quantization=True, quantization_bits=8)
        with pytest.raises(halftone.NotFoundError, match="prepare.*ollama pull lines:q8_0.*set_quantization"):
            c.generate("lines", "Once")
        assert (c.prepare("lines").name, c.prepare("lines").bits) == ("lines:q8_0", 8)  # made by the server, once
        assert c.generate("lines", "Once upon", max_tokens=4, seed=1)
        c.set_quantization(True, 4)
        c.make_missing = True
        assert c.generate("lines", "Once upon", max_tokens=4, seed=1)
        results = c.compare_quantization_performance("lines", "Once upon a time", 2, max_tokens=8)
        assert [r["available"] for r in results.values()] == [True] * 3
        assert results["full_precision"]["speedup"] == 1 and results["full_precision"]["agreement"] == 1
        assert 0 <= results["quantized_4bit"]["agreement"] <= 1 and results["quantized_4bit"]["memory_reduction"] > 0.6
        assert results["quantized_8bit"]["average_time"] > 0 and results["quantized_8bit"]["memory_bytes"] > 5 << 20
        for name in ("lines:q8_0", "lines:q4_K_M"):
            c._wire.call("DELETE", "/api/delete", {"model": name})
        assert not c.check_model_exists("lines:q8_0")


class TestConfig:
    def test_kept(self, theirs, tmp_path):
        path = tmp_path / "config.json"
        given = {"ai": {"llm_provider": "ollama", "llm_model": BASE, "ollama_host": "http://" + theirs.address, "enable_quantization": True,
                        "quantization_bits": 8, "gpu_memory_limit_mb": 6144, "mine": [1]}, "theirs": {"x": 1.5}}
        path.write_text(json.dumps(given))
        c = OllamaClient(config=path)
        with pytest.raises(halftone.MemoryBudgetError, match="gpu_memory_limit_mb"):
            c.generate(c.default_model, "x")
        c.set_quantization(True, 4)
        assert c.generate(c.default_model, "x")
        given["ai"]["quantization_bits"] = 4
        assert json.loads(path.read_text()) == given
        assert OllamaClient(config=path).get_quantization_settings()["bits"] == 4
        assert AISelector(config=path).model == BASE

    @pytest.mark.parametrize("text", ["{", "[]", '{"ai": 5}', '{"ai": {"quantization_bits": 5}}', '{"ai": {"quantization_bits": "8"}}', '{"ai": {"enable_quantization": 1}}',
                                      '{"ai": {"gpu_memory_limit_mb": 0}}', '{"ai": {"gpu_memory_limit_mb": true}}', '{"ai": {"llm_model": 5}}', "\0", "[" * 100000])
    def test_damaged(self, tmp_path, text):
        path = tmp_path / "config.json"
        path.write_text(text)
        with pytest.raises(halftone.FormatError, match=re.escape(str(path))):
            OllamaClient("127.0.0.1:1", config=path)
        with pytest.raises(halftone.FormatError):
            write_config(path, llm_provider="ollama")
        assert path.read_text() == text

    def test_read_only(self, tmp_path):
        path = tmp_path / "config.json"
        write_config(path, llm_model="x")
        assert read_config(path) == {"llm_model": "x"} and path.stat().st_mode & 0o777 == 0o600
        path.chmod(0o400)
        c = OllamaClient("127.0.0.1:1", config=path)
        with pytest.raises(PermissionError, match="read-only"):
            c.set_quantization(True, 4)
        assert c.get_quantization_settings()["enabled"] is False and read_config(path) == {"llm_model": "x"}
        with pytest.raises(halftone.NotFoundError):
            OllamaClient(config=tmp_path / "nowhere.json")
        assert [p.name for p in tmp_path.iterdir()] == ["config.json"]

    def test_other_provider(self, tmp_path):
        path = tmp_path / "config.json"
        path.write_text('{"ai": {"llm_provider": "other"}}')
        with pytest.raises(halftone.UnsupportedError, match="other"):
            OllamaClient(config=path)


class TestWrong:
    def test_addresses(self, monkeypatch):
        for host, url in (("h", "http://h:11434"), ("http://h", "http://h:80"), ("https://h/x/", "https://h:443/x"), ("0.0.0.0:5", "http://127.0.0.1:5"), ("[::1]:5", "http://[::1]:5"),
                          ("", "http://127.0.0.1:11434")):
            assert OllamaClient(host)._wire.url == url
        monkeypatch.setenv("OLLAMA_HOST", "elsewhere:99")
        assert OllamaClient()._wire.url == "http://elsewhere:99"
        for host in ("ftp://h", "h:99999", "h:x"):
            with pytest.raises(halftone.UsageError):
                OllamaClient(host)

    def test_nobody_is_there(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            with pytest.raises(halftone.InputOutputError, match="cannot be reached"):
                OllamaClient("127.0.0.1:%d" % free.getsockname()[1], timeout=5).list_available_models()

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"models": null}', b'{"models": [5]}', b'{"models": [{"name": 5}]}', b"[" * 100000])
    def test_answers_that_are_none(self, theirs, body):
        theirs.script["/api/tags"] = lambda h: h.send(200, body)
        with pytest.raises(halftone.HalftoneError, match="Ollama server"):
            client(theirs).list_available_models()

    def test_generate_that_breaks(self, theirs):
        c = client(theirs)
        for status, body, kind in ((500, {"error": "model runner has unexpectedly stopped"}, OSError), (503, {"error": "server busy"}, OSError),
                                   (400, {"error": "wrong"}, ValueError), (200, {"response": "x", "done": False}, ValueError), (200, {"response": 5, "done": True}, ValueError),
                                   (200, {"error": "late"}, ValueError), (403, {}, PermissionError)):
            theirs.script["/api/generate"] = lambda h, status=status, body=body: h.send(status, body or b"{}")
            with pytest.raises(kind):
                c.generate(BASE, "x")
        assert c.get_performance_stats(BASE)["failed_calls"] == 7

    def test_arguments(self, theirs):
        c = client(theirs)
        for call in (lambda: c.generate("", "x"), lambda: c.generate(BASE, ""), lambda: c.generate(BASE, 5), lambda: c.set_quantization("yes"),
                     lambda: c.compare_quantization_performance(BASE, "x", 0), lambda: c.compare_quantization_performance(BASE, "x", True),
                     lambda: c.get_quantization_settings and OllamaClient(theirs.address, enable_quantization="yes")):
            with pytest.raises(halftone.UsageError):
                call()
        with pytest.raises(halftone.UsageError, match="which model"):
            c._estimate_memory_reduction()

    def test_pulled_where_there_is_nothing_to_make_it_of(self, theirs):
        c = client(theirs, enable_quantization=True, quantization_bits=8)
        assert c.prepare("phi3:mini").name == "phi3:mini-q8_0"
        assert sent(theirs, "/api/pull") == [{"model": "phi3:mini-q8_0", "stream": False}]
        with pytest.raises(halftone.InputOutputError, match="file does not exist"):
            c.prepare("missing:1b")

    def test_deleted_meanwhile(self, theirs):
        c = client(theirs, enable_quantization=True, quantization_bits=8)
        c.generate(BASE, "x")
        del theirs.models[BASE + "-q8_0"]
        with pytest.raises(halftone.NotFoundError, match="set_quantization"):
            c.generate(BASE, "x")
        c.set_quantization(True, 4)
        assert c.generate(BASE, "x")  # that the old one cannot be unloaded is no fault

    def test_levels_are_compared_where_there_are_some(self, theirs):
        del theirs.models[BASE]
        results = client(theirs).compare_quantization_performance(BASE, "x", 1)
        assert not results["full_precision"]["available"] and results["quantized_8bit"]["speedup"] == 1
        assert not results["full_precision"]["speedup"] > 1.5  # nan: the guide's question has an answer
        with pytest.raises(halftone.NotFoundError):
            client(theirs).compare_quantization_performance("nothing", "x", 1)

    def test_photos(self, vision, ours, tmp_path):
        a = AISelector(host=vision.address, model="llava:7b")
        for wrong, kind in ((tmp_path / "none.jpg", FileNotFoundError), (tmp_path, OSError), (b"GIF89a", ValueError), (b"", ValueError)):
            with pytest.raises(kind):
                a.evaluate(wrong)
        assert not sent(vision, "/api/generate")
        with pytest.raises(halftone.UnsupportedError, match="image"):
            AISelector(host=ours, model="lines").evaluate(PNG)  # our server says what it cannot do
        with pytest.raises(halftone.UsageError, match="enable_llm"):
            AISelector(enable_llm=False, host=vision.address).evaluate(PNG)

    @pytest.mark.parametrize("answer", ["no JSON", "[]", "{}", json.dumps({**JUDGED, "score": 101}), json.dumps({**JUDGED, "focus": "80"}), json.dumps({**JUDGED, "keep": 1}),
                                        json.dumps({**JUDGED, "exposure": True}), json.dumps({**JUDGED, "reason": None}), json.dumps({**JUDGED, "composition": 1.5}), "[" * 100000])
    def test_answers_of_the_model(self, vision, answer):
        a = AISelector(host=vision.address, model="llava:7b")
        vision.answers = [answer, json.dumps(JUDGED)]
        assert a.evaluate(PNG).score == 75  # asked again
        vision.answers = [answer, answer]
        with pytest.raises(halftone.FormatError, match="the model's answer"):
            a.evaluate(PNG)
