"""The cache of layers: what comes back, what is counted, what is evicted, damaged files, several threads and processes."""
import json
import multiprocessing
import os
import threading
import warnings

import halftone
import pytest

torch = pytest.importorskip("torch", reason="this environment is one without PyTorch")
from torch import nn  # noqa: E402

from halftone.sli import layer_cache, quantization as q  # noqa: E402
from halftone.sli.layer_cache import LayerCache  # noqa: E402

MODES = [m.value for m in q.QuantizationMode]


def linear(seed=0, n_in=256, n_out=128):
    torch.manual_seed(seed)
    return nn.Linear(n_in, n_out)


def quantized(mode, seed=0):
    return linear(seed) if mode == "none" else q.quantize_layer(linear(seed), mode)


def same(a, b):
    """The same classes, the same numbers and the same outputs, bit by bit."""
    assert [type(m) for m in a.modules()] == [type(m) for m in b.modules()]
    ours, theirs = a.state_dict(), b.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) and ours[k].dtype is theirs[k].dtype for k in ours)


class Block(nn.Module):
    """A layer as models have them, whose class no file can make."""

    def __init__(self, device=None):
        super().__init__()
        self.self_attn = nn.ModuleDict({n: nn.Linear(64, 64, bias=False, device=device) for n in ("q_proj", "o_proj")})
        self.mlp = nn.Sequential(nn.Linear(64, 128, device=device), nn.GELU(), nn.Linear(128, 64, device=device))
        self.norm = nn.LayerNorm(64, device=device)
        self.register_buffer("scale", torch.ones(1, device=device))

    def forward(self, x):
        return x + self.mlp(self.norm(x) * self.scale) + self.self_attn["o_proj"](self.self_attn["q_proj"](x))


@pytest.mark.parametrize("mode", MODES)
def test_round_trip(mode, tmp_path):
    layer = quantized(mode)
    file = LayerCache(tmp_path).cache_layer(model_id="org/model", layer_index=0, layer=layer, quantization_mode=mode)
    assert file.is_file() and file.parent.parent == tmp_path
    cache = LayerCache(cache_dir=tmp_path)
    again = cache.get_layer("org/model", 0)
    same(layer, again)
    x = torch.randn(3, 256)
    assert torch.equal(layer(x), again(x))
    assert not any(p.requires_grad for p in again.parameters()) and not again.training
    if mode != "none":
        assert again.mode == mode and again.original_bytes() == layer.original_bytes()
        assert torch.equal(again.dequantized(), layer.dequantized())


def test_the_file_is_safetensors(tmp_path):
    """Another program reads it, and nothing in it is pickled."""
    safetensors = pytest.importorskip("safetensors.torch")
    layer = quantized("nf4")
    file = LayerCache(tmp_path).cache_layer("m", 3, layer)
    found = safetensors.load_file(file)
    assert found.keys() == {s.lstrip(".") for s in layer.parts} | {"bias"}
    assert all(torch.equal(found[s.lstrip(".")], part) for s, part in layer.parts.items())


def test_counts(tmp_path):
    cache = LayerCache(tmp_path)
    assert cache.get_layer("m", 0) is None and cache.stats().misses == 1 and cache.stats().hit_rate == 0
    cache.cache_layer("m", 0, quantized("nf4"))
    for _ in range(3):
        assert cache.get_layer("m", 0) is not None
    for other in (("m", 1), ("n", 0), ("m", 0, "int8")):
        assert cache.get_layer(*other) is None
    s = cache.stats()
    assert (s.disk_hits, s.memory_hits, s.misses, s.hits) == (1, 2, 4, 3) and s.hit_rate == 3 / 7
    assert s.memory_bytes == sum(p.numel() * p.element_size() for p in quantized("nf4").parameters())
    assert s.disk_bytes == cache.path("m", 0, "nf4").stat().st_size and cache.layers("m") == [(0, "nf4")]
    cache.clear("n")
    assert cache.get_layer("m", 0) is not None
    cache.clear()
    assert cache.get_layer("m", 0) is None and cache.stats().memory_bytes == cache.stats().disk_bytes == 0


def test_from_memory_are_modules_of_their_own(tmp_path):
    cache = LayerCache(tmp_path)
    cache.cache_layer("m", 0, quantized("int8"))
    a = cache.get_layer("m", 0)
    a.to(torch.float64)
    a.bias = None
    same(quantized("int8"), cache.get_layer("m", 0))


def test_least_recently_used_in_memory(tmp_path):
    size = sum(p.numel() * p.element_size() for p in quantized("nf4").parameters())
    cache = LayerCache(tmp_path, max_memory_cache_size_gb=2.5 * size / 1e9)
    for i in range(3):
        cache.cache_layer("m", i, quantized("nf4", i))
    for i in (0, 1, 0, 2):  # 2 takes the place of 1
        cache.get_layer("m", i)
    before = cache.stats()
    both = sum(p.numel() * p.element_size() for i in (0, 2) for p in quantized("nf4", i).parameters())
    assert before.evicted_memory == 1 and before.memory_bytes == both
    cache.get_layer("m", 0)
    assert cache.stats().memory_hits == before.memory_hits + 1
    cache.get_layer("m", 1)
    assert cache.stats().disk_hits == before.disk_hits + 1
    none = LayerCache(tmp_path, max_memory_cache_size_gb=0)
    assert none.get_layer("m", 0) is not None and none.get_layer("m", 0) is not None
    assert none.stats().disk_hits == 2 and none.stats().memory_bytes == 0


def test_least_recently_used_on_the_disk(tmp_path):
    size = LayerCache(tmp_path / "a").cache_layer("m", 0, quantized("nf4")).stat().st_size
    cache = LayerCache(tmp_path / "b", max_cache_size_gb=3.5 * size / 1e9, max_memory_cache_size_gb=0)
    for i in range(3):
        os.utime(cache.cache_layer("m", i, quantized("nf4", i)), ns=(i, i))
    assert cache.get_layer("m", 0) is not None  # 1 is now the one that was used longest ago
    cache.cache_layer("m", 3, quantized("nf4", 3))
    assert [i for i, _ in cache.layers("m")] == [0, 2, 3] and cache.stats().evicted_disk == 1
    assert cache.stats().disk_bytes <= cache.max_cache_bytes
    cache.cache_layer("m", 3, quantized("nf4", 4))  # in its own place: nothing has to go
    assert len(cache.layers("m")) == 3
    small = LayerCache(tmp_path / "c", max_cache_size_gb=100 / 1e9)
    with pytest.raises(halftone.LimitError, match="max_cache_size_gb"):
        small.cache_layer("m", 0, quantized("nf4"))
    assert not list((tmp_path / "c").rglob("*.safetensors"))


def test_modes_beside_each_other(tmp_path):
    cache = LayerCache(tmp_path)
    cache.cache_layer("m", 0, quantized("nf4"), q.QuantizationMode.NF4)
    cache.cache_layer("m", 0, quantized("int8"), "int8")
    os.utime(cache.path("m", 0, "nf4"), ns=(1, 1))
    assert cache.get_layer("m", 0).mode == "int8", "the one that was used last"
    assert cache.get_layer("m", 0, "nf4").mode == "nf4"
    with pytest.raises(halftone.UsageError, match="the layer is int8, and not nf4"):
        cache.cache_layer("m", 0, quantized("int8"), "nf4")
    mixed = nn.ModuleList([quantized("nf4"), quantized("int8"), nn.Linear(2, 2)])
    assert cache.cache_layer("mixed", 0, mixed).name == "0.mixed.safetensors"
    same(mixed, cache.get_layer("mixed", 0))


def test_a_layer_of_another_class(tmp_path):
    """Its class comes from a template, which stays as it was."""
    torch.manual_seed(0)
    block = Block().eval()
    made = q.quantize_layer(block, "nf4")
    cache = LayerCache(tmp_path)
    cache.cache_layer("m", 0, made)
    with pytest.raises(halftone.UsageError, match="Block.*template="):
        cache.get_layer("m", 0)
    template = Block(device="meta")
    again = cache.get_layer("m", 0, template=template)
    x = torch.randn(2, 64)
    assert torch.equal(again(x), made(x)) and type(again) is Block and type(template.mlp[0]) is nn.Linear
    same(made, again)
    assert all(p.is_meta for p in template.parameters())

    class Wider(Block):
        def __init__(self):
            super().__init__(device="meta")
            self.more = nn.Linear(2, 2)

    shaped = Block(device="meta")
    shaped.norm = nn.LayerNorm(32)
    for wrong in (nn.Linear(2, 2), Wider(), shaped, nn.Sequential(nn.Linear(2, 2))):
        with pytest.raises(halftone.UsageError):
            cache.get_layer("m", 0, template=wrong)


def test_transformers_layer(tmp_path):
    """A decoder layer of a real architecture: quantized once, cached, and run in the place of its original."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
                                      num_key_value_heads=2, vocab_size=100)
    model = transformers.LlamaForCausalLM(config).eval()
    made, cache = q.get_mixed_precision_config().quantize_model(model), LayerCache(tmp_path)
    for i, layer in enumerate(made.model.layers):
        cache.cache_layer("llama", i, layer, "mixed")
    ids = torch.arange(12)[None]
    with torch.no_grad():
        expected = made(ids).logits
        for i, layer in enumerate(model.model.layers):
            model.model.layers[i] = LayerCache(tmp_path).get_layer("llama", i, template=layer)
        assert torch.equal(model(ids).logits, expected)


def damage(file, at, value=b"\xff"):
    with open(file, "r+b") as f:
        f.seek(at, os.SEEK_SET if at >= 0 else os.SEEK_END)
        f.write(value)


@pytest.mark.parametrize("how", [
    lambda f: damage(f, -1), lambda f: damage(f, 0, bytes([255] * 8)), lambda f: damage(f, 8, b"["), lambda f: damage(f, 40),
    lambda f: os.truncate(f, 5), lambda f: os.truncate(f, f.stat().st_size - 1), lambda f: f.write_bytes(b""),
    lambda f: f.write_bytes(f.read_bytes() + b"more"),
    lambda f: f.write_bytes((5).to_bytes(8, "little") + b"[[[[["), lambda f: f.write_bytes((2).to_bytes(8, "little") + b"{}"),
])
def test_damaged_files(how, tmp_path, caplog):
    """A miss, a warning, and a layer that can be cached anew."""
    cache = LayerCache(tmp_path)
    file = cache.cache_layer("m", 0, quantized("nf4"))
    how(file)
    assert cache.get_layer("m", 0) is None and not file.exists()
    assert cache.stats().damaged == cache.stats().misses == 1 and str(file) in caplog.text
    cache.cache_layer("m", 0, quantized("nf4"))
    assert cache.get_layer("m", 0) is not None


def rewritten(file, change):
    """The file with another description, and the hash of that."""
    import hashlib
    data = file.read_bytes()
    n = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n])
    told = json.loads(header["__metadata__"]["halftone.layer"])
    change(header, told)
    header["__metadata__"]["halftone.layer"] = json.dumps(told)
    del header["__metadata__"]["sha256"]
    canonical = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    header["__metadata__"]["sha256"] = hashlib.sha256(canonical + data[8 + n :]).hexdigest()
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + n :])


@pytest.mark.parametrize("change", [
    lambda h, t: t.update(version=2), lambda h, t: t.update(model_id="n"), lambda h, t: t.update(layer_index=1),
    lambda h, t: t.update(modules=None), lambda h, t: t.update(prefix=4), lambda h, t: t["modules"].clear(),
    lambda h, t: t["modules"][0].update(scheme="nf5"), lambda h, t: t["modules"][0].update(n_out=1 << 31),
    lambda h, t: t["modules"][0].update(n_in="a"), lambda h, t: t["modules"][0].update({"class": "os.system"}),
    lambda h, t: t["modules"][0].update(path="a.b.c"), lambda h, t: t["modules"][0].update(compute_dtype="F12"),
    lambda h, t: t["modules"][0]["parts"].popitem(), lambda h, t: t["modules"].append(5),
    lambda h, t: h["bias"].update(shape=[2, 64]), lambda h, t: h["bias"].update(dtype="F16"),
    lambda h, t: h["bias"].update(data_offsets=[0, 1 << 60]), lambda h, t: h["bias"].update(shape=[-128]),
    lambda h, t: h.update(bias=None), lambda h, t: h.update(more=h["bias"]),
])
def test_wrong_descriptions(change, tmp_path):
    """Files that somebody made, with a hash that is right: refused, whatever they say."""
    cache = LayerCache(tmp_path)
    file = cache.cache_layer("m", 0, quantized("nf4"))
    rewritten(file, lambda h, t: None)
    assert cache.get_layer("m", 0) is not None
    rewritten(file, change)
    try:
        assert LayerCache(tmp_path).get_layer("m", 0) is None
    except halftone.UsageError as error:
        assert "template" in str(error)


@pytest.mark.parametrize("call", [
    lambda c: c.cache_layer("", 0, linear()), lambda c: c.cache_layer(None, 0, linear()),
    lambda c: c.cache_layer("m", -3, linear()), lambda c: c.cache_layer("m", True, linear()),
    lambda c: c.cache_layer("m", 0, linear(), "../x"), lambda c: c.cache_layer("m", 0, linear(), "nf4"),
    lambda c: c.cache_layer("m", 0, nn.Linear(4, 4, device="meta")), lambda c: c.get_layer("m", "0"),
    lambda c: c.cache_layer("m", 0, nn.Linear(4, 4).to(torch.complex64)),
    lambda c: LayerCache(c.cache_dir, max_cache_size_gb=-1), lambda c: LayerCache(c.cache_dir, 1, float("nan")),
])
def test_refused(call, tmp_path):
    with warnings.catch_warnings(), pytest.raises(halftone.HalftoneError):
        warnings.simplefilter("ignore")
        call(LayerCache(tmp_path))
    assert not list(tmp_path.rglob("*.safetensors")) and not list(tmp_path.rglob(".unfinished*"))


def test_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert LayerCache(max_memory_cache_size_gb=4.0).cache_dir == tmp_path / "halftone/layers"
    (tmp_path / "file").write_text("")
    with pytest.raises(halftone.HalftoneError, match="file"):
        LayerCache(tmp_path / "file")
    if os.getuid():
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(halftone.DeniedError):
            LayerCache(tmp_path / "closed").cache_layer("m", 0, linear())


def test_what_a_killed_writer_left(tmp_path):
    cache = LayerCache(tmp_path)
    folder = cache.cache_layer("m", 0, linear()).parent
    left = folder / f"{layer_cache._UNFINISHED}1-a"
    left.write_bytes(b"half")
    with open(folder / f"{layer_cache._UNFINISHED}2-b", "wb") as used:
        layer_cache.fcntl.flock(used, layer_cache.fcntl.LOCK_EX)
        cache.cache_layer("m", 1, linear())
        assert not left.exists() and os.path.exists(used.name)


def test_threads(tmp_path):
    size = sum(p.numel() * p.element_size() for p in quantized("nf4").parameters())
    cache, failures = LayerCache(tmp_path, max_memory_cache_size_gb=2 * size / 1e9), []
    expected = [quantized("nf4", i) for i in range(4)]

    def work(k):
        try:
            for i in range(24):
                j = (i + k) % 4
                cache.cache_layer("m", j, expected[j])
                same(expected[j], cache.get_layer("m", j))
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures and cache.stats().hits == 96 and cache.stats().memory_bytes <= 2 * size


def _hammer(folder, k, gb, out):
    cache = LayerCache(folder, max_cache_size_gb=gb, max_memory_cache_size_gb=0)
    for i in range(30):
        j = (i * 7 + k) % 5
        layer = cache.get_layer("m", j)
        if layer is None:
            cache.cache_layer("m", j, quantized("nf4", j))
        elif not torch.equal(layer.dequantized(), quantized("nf4", j).dequantized()):
            out.put("another layer")
    s = cache.stats()
    out.put((s.hits, s.misses, s.damaged))


def test_processes(tmp_path):
    """Four processes that read, write and evict in one folder: each layer is whole and its own, and the limit holds."""
    size = LayerCache(tmp_path / "a").cache_layer("m", 0, quantized("nf4")).stat().st_size
    context = multiprocessing.get_context("fork")
    out, gb = context.SimpleQueue(), 3.5 * size / 1e9
    torch.set_num_threads(1)
    processes = [context.Process(target=_hammer, args=(tmp_path / "b", k, gb, out)) for k in range(4)]
    for p in processes:
        p.start()
    results = [out.get() for _ in processes]
    for p in processes:
        p.join()
        assert p.exitcode == 0
    assert all(hits + misses == 30 and damaged == 0 for hits, misses, damaged in results), results
    files = list((tmp_path / "b").rglob("*.safetensors"))
    assert sum(f.stat().st_size for f in files) <= 3.5 * size and not list((tmp_path / "b").rglob(".unfinished*"))


def test_replaced_by_another_process(tmp_path):
    """What is in memory gives way to what another process wrote since."""
    cache = LayerCache(tmp_path)
    cache.cache_layer("m", 0, quantized("nf4", 0))
    cache.get_layer("m", 0)
    LayerCache(tmp_path).cache_layer("m", 0, quantized("nf4", 1))
    same(quantized("nf4", 1), cache.get_layer("m", 0))
    LayerCache(tmp_path).clear()
    same(quantized("nf4", 1), cache.get_layer("m", 0))
    assert cache.stats().memory_hits == 1 and cache.stats().disk_hits == 2


def test_forked(tmp_path):
    cache = LayerCache(tmp_path)
    cache.cache_layer("m", 0, quantized("nf4"))
    cache.get_layer("m", 0)
    with cache._guard:  # as if another thread had it
        child = os.fork()
        if child == 0:
            os._exit(0 if cache.get_layer("m", 0) is not None and cache.stats().memory_hits == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
