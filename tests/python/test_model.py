"""Open models: tensors, tokens, logits, text; threads, forks and closed handles."""
import array
import os
import signal
import threading

import halftone
import pytest

TEXT = "Once upon a time"


def test_tensors(model):
    with halftone.Model(model) as m:
        assert m.architecture == "llama" and m.n_layers == 8 and m.packed_as is None
        t = m.tensors["model.layers.0.self_attn.q_proj.weight"]
        assert t.linear and t.layer == 0 and t.role == "attn_q" and t.dtype == "bf16"
        assert "blk.0.attn_q.weight" in m.view("gguf") and len(m.view("gguf")) == len(m.tensors)
        rows = t.read(3, 2, kind="buffer")
        assert rows.shape == (2, t.shape[1]) and rows.format == "f"
        with pytest.raises(halftone.UsageError, match="rows"):
            t.read(t.shape[0], 1)
        with pytest.raises(halftone.UsageError):
            t.read(-1)
        with pytest.raises(KeyError):
            m.tensors["nothing"]
        with pytest.raises(halftone.UsageError):
            m.view("other")


def test_tokens(model):
    with halftone.Tokenizer(model) as alone, halftone.Model(model) as m:
        ids = alone.encode(TEXT, around=True)
        assert ids == m.tokenizer.encode(TEXT, around=True) and alone.decode(ids).strip() == TEXT
        assert len(alone) == m.vocabulary and alone.is_end(alone.eos)
        assert alone.encode("") == [] and alone.decode([]) == ""
        with pytest.raises(halftone.UsageError):
            alone.decode([1 << 40])
        with pytest.raises(halftone.HalftoneError):
            alone.decode([len(alone) + 5])


def test_logits_go_on(model):
    with halftone.Model(model) as m:
        ids = m.tokenizer.encode(TEXT, around=True)
        whole = m.logits(ids, kind="buffer")
        assert whole.shape == (len(ids), m.vocabulary)
        m.logits(ids[:2])
        rest = m.logits(ids[2:], at=2, n=1, kind="buffer")
        row = m.vocabulary * 4
        assert max(abs(a - b) for a, b in zip(rest.cast("B").cast("f"), whole.cast("B")[-row:].cast("f"))) < 1e-4
        for tokens in ([], [1 << 33], "text"):
            with pytest.raises(halftone.UsageError):
                m.logits(tokens)
        with pytest.raises(halftone.HalftoneError):
            m.logits([m.vocabulary + 1])


def test_long_logits(model):
    """More tokens than the engine takes at once: the same as in two calls, whichever rows are asked for."""
    with halftone.Model(model) as m:
        ids = (m.tokenizer.encode(TEXT, around=True) * 300)[:700]
        whole = bytes(m.logits(ids, kind="buffer"))
        row = m.vocabulary * 4
        assert whole[: 512 * row] == bytes(m.logits(ids[:512], kind="buffer"))
        assert whole[512 * row :] == bytes(m.logits(ids[512:], at=512, kind="buffer"))
        for n in (1, 189):
            assert whole[-n * row :] == bytes(m.logits(ids, n=n, kind="buffer"))
        with pytest.raises(halftone.HalftoneError, match="context"):
            m.logits(ids * 2)


def test_generate(model):
    with halftone.Model(model) as m:
        text = m.generate(TEXT, 8)
        pieces = list(text)
        assert len(pieces) > 3 and "".join(pieces).strip()
        assert text.stats["new_tokens"] == 8 and text.stats["reason"] == "length"
        assert "".join(m.generate(TEXT, 8)) == "".join(pieces)
        with pytest.raises(halftone.UsageError):
            m.generate(TEXT, temperatur=1)
        early = m.generate(TEXT, 50, seed=3, temperature=0.8)
        next(early)
        early.close()
        assert list(early) == []
        with pytest.raises(halftone.UsageError):
            m.chat([{"role": "assistant", "content": "no"}])


def test_closed(model):
    m = halftone.Model(model)
    text, tensor, tokenizer = m.generate(TEXT, 8), m.tensors["lm_head.weight"], m.tokenizer
    m.close()
    m.close()
    for use in (lambda: m.n_layers, lambda: m.logits([1]), lambda: tensor.read(), lambda: tokenizer.encode("a"),
                lambda: m.generate(TEXT)):
        with pytest.raises(halftone.UsageError, match="closed"):
            use()
    assert list(text) == []


def test_two_threads(model):
    """What belongs to one thread at a time is refused to a second one, and not crashed by it."""
    with halftone.Model(model) as m:
        ids, refused, done = m.tokenizer.encode(TEXT) * 100, [], []

        def work():
            for _ in range(4):
                try:
                    m.logits(ids, n=1)
                    done.append(1)
                except halftone.UsageError as error:
                    assert "another thread" in str(error)
                    refused.append(1)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert len(done) + len(refused) == 12 and done


def test_interrupted(model):
    """Ctrl-C during a call: it ends at once, and the model can be used again."""
    with halftone.Model(model) as m:
        ids = (m.tokenizer.encode(TEXT, around=True) * 400)[:1000]
        expected = m.logits(ids[:5], kind="buffer")
        # again and again: a text may come to its end before
        for call in (lambda: [m.logits(ids, n=1) for _ in range(1000)], lambda: [list(m.generate(TEXT, 100000, ctx=100000)) for _ in range(1000)]):
            timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                call()
            timer.join()
        assert bytes(m.logits(ids[:5], kind="buffer")) == bytes(expected)


@pytest.mark.parametrize("begun", [True, False])
def test_interrupted_at_once(model, monkeypatch, begun):
    """Ctrl-C just as the call's thread is started: it does not go on behind the caller, who may close what it uses."""
    start, raised = threading.Thread.start, []

    def interrupted(thread):
        if thread.name != "halftone" or raised:
            return start(thread)
        raised.append(thread)
        if begun:
            start(thread)
        raise KeyboardInterrupt

    for call in (lambda m: m.logits(list(range(3, 259)) * 3), lambda m: list(m.generate(TEXT * 20, 1000)), lambda m: next(m.generate(TEXT * 20, 9))):
        with halftone.Model(model) as m:
            expected = bytes(m.logits([1, 2], kind="buffer"))
            raised.clear()
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", interrupted)
                with pytest.raises(KeyboardInterrupt):
                    call(m)
            assert len(raised) == 1 and m._use._users == 0
            assert not any(thread.name == "halftone" and thread.is_alive() for thread in threading.enumerate() if thread not in raised)
            assert bytes(m.logits([1, 2], kind="buffer")) == expected


def in_a_child(work):
    """Is what work() gives true in a forked process?"""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if work() else 2)
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def refused_as_forked(call):
    try:
        call()
    except halftone.UsageError as error:
        return "forked" in str(error)
    return False


def test_forked(model, tmp_path):
    """Handles of the parent are refused in a child; what the child opens works, and the parent's still work."""
    m, alone, job = halftone.Model(model), halftone.Tokenizer(model), halftone.Job("quantize")
    text, tokenizer, ids = m.generate(TEXT, 4), m.tokenizer, m.tokenizer.encode(TEXT)
    m.logits(ids, n=1)  # threads have run
    for call in (lambda: m.n_layers, lambda: m.logits(ids), lambda: next(text), lambda: tokenizer.encode("a"), lambda: alone.encode("a"),
                 lambda: m.generate(TEXT), lambda: job.set("type", "Q4_0"), lambda: m.tensors["lm_head.weight"].read(0, 1)):
        assert in_a_child(lambda call=call: refused_as_forked(call))

    def own():
        m.close()
        with halftone.Model(model) as new:
            new.logits(ids, n=1)
            packed = halftone.encode("q4_k", memoryview(array.array("f", [0.5] * 4096)).cast("B").cast("f", (16, 256)))
            return halftone.quantize(model, "Q4_0", tmp_path) and memoryview(packed).nbytes == 16 * 144

    assert in_a_child(own)
    assert m.n_layers == 8 and "".join(text) and alone.encode("a")
    job.close()
    alone.close()
    m.close()
