"""Open models: tensors, tokens, logits, text; threads, forks and closed handles."""
import os
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


def test_forked(model):
    m = halftone.Model(model)
    child = os.fork()
    if child == 0:
        try:
            m.n_layers
        except halftone.UsageError as error:
            os._exit(0 if "forked" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert m.n_layers == 8
    m.close()
