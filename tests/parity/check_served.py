#!/usr/bin/env python3
"""The official clients of OpenAI and Ollama in Python and JavaScript and LangChain's classes for both, unmodified, against our
service: every method that we serve, whole and streamed, and their own kinds of errors. And the probabilities that the endpoint
tells are those that `halftone eval` sums up.

Environment: HT_CLI, HT_CLIENTS_PYTHON, HT_CLIENTS_NODE. Exit status: 0 passed, 1 failed, 77 skipped.
"""
import asyncio
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from typing import Literal

python = os.environ.get("HT_CLIENTS_PYTHON")
if python and pathlib.Path(python).parent != pathlib.Path(sys.executable).parent:
    os.execv(python, [python, *sys.argv])
try:
    import langchain_served
    import ollama
    import openai
    import pydantic
except ImportError as missing:
    print(f"SKIPPED check_served: the Python package {missing.name} is not here")
    sys.exit(77)

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CLI = os.environ.get("HT_CLI", str(ROOT / "build" / "halftone"))
MODEL = ROOT / "examples" / "model"
SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "count": {"type": "integer"}},
          "required": ["name", "count"], "additionalProperties": False}
LOOK = {"type": "function", "function": {"name": "look", "description": "Looks at x.", "parameters": {"type": "object"}}}
failures = 0
HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tell me about the sea."}]


def check(what, holds, *seen):
    global failures
    if not holds:
        failures += 1
        print("FAILED", what, *(repr(s)[:300] for s in seen))


def raises(what, kind, call, **members):
    try:
        result = call()
    except kind as error:
        for name, value in members.items():
            check(f"{what}: {name}", getattr(error, name) == value, getattr(error, name))
        return
    check(f"{what}: an error", False, result)


class Thing(pydantic.BaseModel):
    name: Literal["sea", "land"]
    count: int


class Served:
    def __init__(self, models, *arguments):
        self.data = tempfile.mkdtemp(prefix="halftone-served-")
        command = [CLI, "serve", "--port", "0", "--data", self.data, "--models", str(models), *arguments]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("HALFTONE_", "HF_", "OPENAI_", "OLLAMA_"))}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        self.port = json.loads(self.process.stdout.readline())["port"]
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def close(self):
        self.process.terminate()
        check("the service ends well", self.process.wait(60) == 0)
        shutil.rmtree(self.data)


def openai_client(port):
    c = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="any", max_retries=0)
    names = [m.id for m in c.models.list()]
    check("models", sorted(names) == ["caller", "lines", "vectors"], names)
    check("a model", c.models.retrieve("lines").id == "lines")
    say = dict(model="lines", messages=HELLO, max_tokens=20, seed=4, temperature=0.8)
    whole = c.chat.completions.create(**say, logprobs=True, top_logprobs=2)
    check("chat", whole.choices[0].finish_reason == "length" and whole.usage.completion_tokens == 20, whole)
    check("chat: probabilities", len(whole.choices[0].logprobs.content) == 20)
    pieces = list(c.chat.completions.create(**say, stream=True, stream_options={"include_usage": True}))
    check("chat: streamed", "".join(p.choices[0].delta.content or "" for p in pieces if p.choices) == whole.choices[0].message.content)
    check("chat: usage", pieces[-1].usage.completion_tokens == 20 and pieces[-1].choices == [])
    check("chat: several", len(c.chat.completions.create(**say, n=3).choices) == 3)
    kind = {"type": "json_schema", "json_schema": {"name": "thing", "strict": True, "schema": SCHEMA}}
    made = c.chat.completions.create(**dict(say, max_tokens=200), response_format=kind).choices[0]
    check("chat: a schema", made.finish_reason == "stop" and set(json.loads(made.message.content)) == {"name", "count"}, made)
    parsed = c.chat.completions.parse(**dict(say, max_tokens=200), response_format=Thing).choices[0].message.parsed
    check("chat: a class", isinstance(parsed, Thing), parsed)
    with c.chat.completions.stream(**say) as events:
        deltas = [e.delta for e in events if e.type == "content.delta"]
        check("chat: the stream helper", "".join(deltas) == whole.choices[0].message.content, deltas)
    raw = c.chat.completions.with_raw_response.create(**say)
    check("chat: the raw answer", raw.status_code == 200 and raw.parse().choices[0].message.content == whole.choices[0].message.content)
    call = {"type": "json_schema", "json_schema": {"name": "call", "schema": langchain_served.CALL}}
    called = c.chat.completions.create(model="caller", messages=HELLO, max_tokens=900, seed=7, response_format=call, tools=[LOOK]).choices[0]
    check("chat: a call of a tool", called.finish_reason == "tool_calls" and "x" in json.loads(called.message.tool_calls[0].function.arguments), called)
    text = c.completions.create(model="lines", prompt="Once upon", max_tokens=8, logprobs=2, echo=True, stop=["zzz"])
    check("completion", text.choices[0].text.startswith("Once upon"), text)
    pieces = list(c.completions.create(model="lines", prompt="Once upon", max_tokens=8, seed=1, stream=True))
    whole = c.completions.create(model="lines", prompt="Once upon", max_tokens=8, seed=1)
    check("completion: streamed", "".join(p.choices[0].text for p in pieces) == whole.choices[0].text)
    vectors = c.embeddings.create(model="vectors", input=["the sea", "a king", "the sea"])
    v = [d.embedding for d in vectors.data]
    check("embeddings", len(v) == 3 and len(v[0]) == 256 and v[0] == v[2] != v[1], v and len(v[0]))
    check("embeddings: length 1", abs(sum(x * x for x in v[0]) - 1) < 1e-5)
    plain = c.embeddings.create(model="vectors", input="the sea", encoding_format="float").data[0].embedding
    check("embeddings: as numbers", max(abs(a - b) for a, b in zip(plain, v[0])) < 1e-6)
    check("embeddings: fewer", len(c.embeddings.create(model="vectors", input="the sea", dimensions=16).data[0].embedding) == 16)
    raises("no such model", openai.NotFoundError, lambda: c.chat.completions.create(model="nothing", messages=HELLO), code="model-not-found")
    raises("too long", openai.BadRequestError, lambda: c.completions.create(model="lines", prompt="word " * 3000), code="context-full")
    raises("a wrong number", openai.BadRequestError, lambda: c.completions.create(model="lines", prompt="x", temperature=5), param="temperature")
    raises("no embeddings", openai.BadRequestError, lambda: c.embeddings.create(model="lines", input="x"), code="unsupported")
    raises("no tools", openai.BadRequestError, lambda: c.chat.completions.create(
        model="lines", messages=HELLO, tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}]), code="unsupported")
    with c.chat.completions.create(model="lines", messages=HELLO, max_tokens=900, stream=True) as stream:
        next(iter(stream))  # and leaves


async def both_at_once(port):
    """The asynchronous clients."""
    async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="any", max_retries=0) as c:
        say = dict(model="lines", messages=HELLO, max_tokens=12, temperature=0)
        one, other, stream = await asyncio.gather(c.chat.completions.create(**say), c.chat.completions.create(**say), c.chat.completions.create(**say, stream=True))
        streamed = "".join([p.choices[0].delta.content or "" async for p in stream])
        check("AsyncOpenAI", one.choices[0].message.content == other.choices[0].message.content == streamed, streamed)
        check("AsyncOpenAI: models", len([m async for m in c.models.list()]) == 3)
    c = ollama.AsyncClient(host=f"http://127.0.0.1:{port}")
    say = dict(model="lines", messages=HELLO, options={"num_predict": 12, "temperature": 0})
    whole, stream = await asyncio.gather(c.chat(**say), c.chat(**say, stream=True))
    check("AsyncClient", "".join([p.message.content async for p in stream]) == whole.message.content)
    check("AsyncClient: embed", len((await c.embed(model="vectors", input="a")).embeddings) == 1)


def javascript(port):
    modules = os.environ.get("HT_CLIENTS_NODE")
    if not modules or not shutil.which("node"):
        return print("SKIPPED check_served: the JavaScript clients are not here (node, npm)")
    done = subprocess.run(["node", str(ROOT / "tests/parity/served.mjs"), str(port)], capture_output=True, text=True, timeout=300)
    print(done.stdout, end="")
    check("the JavaScript clients", done.returncode == 0, done.stderr[-1500:])


def ollama_client(port):
    c = ollama.Client(host=f"http://127.0.0.1:{port}")
    check("list", sorted(m.model for m in c.list().models) == ["caller:latest", "lines:latest", "vectors:latest"])
    options = {"num_predict": 12, "seed": 5}
    whole = c.generate(model="lines", prompt="Once", options=options)
    check("generate", whole.done and whole.eval_count == 12 and whole.total_duration > 0, whole)
    pieces = list(c.generate(model="lines", prompt="Once", options=options, stream=True))
    check("generate: streamed", "".join(p.response for p in pieces) == whole.response and pieces[-1].done)
    whole = c.chat(model="lines", messages=HELLO, options=options)
    pieces = list(c.chat(model="lines", messages=HELLO, options=options, stream=True))
    check("chat", "".join(p.message.content for p in pieces) == whole.message.content and pieces[-1].done_reason == "length")
    made = c.chat(model="lines", messages=HELLO, format=SCHEMA, options={"num_predict": 200, "temperature": 1})
    check("chat: a schema", set(json.loads(made.message.content)) == {"name", "count"}, made)
    check("embed", len(c.embed(model="vectors", input=["a", "b"]).embeddings) == 2)
    check("embeddings", len(c.embeddings(model="vectors", prompt="a").embedding) == 256)
    check("show", c.show("lines").modelinfo["general.architecture"] == "llama")
    check("ps", "lines:latest" in [m.model for m in c.ps().models])
    c.copy("lines", "mine:1")
    check("copy", "mine:1" in [m.model for m in c.list().models])
    states = [p.status for p in c.create(model="small", from_="lines", quantize="iq4_xs", system="Be brief.", stream=True)]
    check("create", states[-1] == "success" and any("quantizing" in s for s in states), states)
    check("create: the level", c.show("small").details.quantization_level.upper() == "IQ4_XS", c.show("small").details)
    check("create: it answers", c.chat(model="small", messages=HELLO[1:], options=options).eval_count == 12)
    quantized = subprocess.run([CLI, "quantize", str(MODEL), "-t", "Q8_0", "-o", f"{work}/q8"], capture_output=True)
    digest = c.create_blob(f"{work}/q8/model-Q8_0.gguf") if quantized.returncode == 0 else ""
    check("create_blob", digest.startswith("sha256:"), quantized)
    c.create(model="brought", files={"model.gguf": digest})
    check("create of a file", c.generate(model="brought", prompt="Once", options=options).eval_count == 12)
    for name in ("mine:1", "small", "brought"):
        c.delete(name)
    check("delete", sorted(m.model for m in c.list().models) == ["caller:latest", "lines:latest", "vectors:latest"])
    check("pull: it is here", c.pull("lines").status == "success")
    check("unload", c.generate(model="lines", prompt="", keep_alive=0).done_reason == "unload")
    for what, call, status in (("chat", lambda: c.chat(model="nothing", messages=HELLO), 404), ("delete", lambda: c.delete("nothing"), 404),
                               ("pull", lambda: c.pull("nothing"), 404), ("embed", lambda: c.embed(model="lines", input="x"), 400)):
        raises(f"{what} of no such model", ollama.ResponseError, call, status_code=status)


def same_as_eval(port):
    """The second half of a context, as perplexity is counted: the mean of the endpoint's own probabilities is eval's."""
    text = (MODEL / "README.md").read_text()
    (work / "text.txt").write_text(text)
    out = subprocess.run([CLI, "eval", str(MODEL), "--text", str(work / "text.txt"), "--ctx", "256", "--chunks", "1", "--json"],
                         capture_output=True, text=True)
    if out.returncode != 0:
        return check("eval", False, out.stderr)
    ours = json.loads(out.stdout.splitlines()[-1])["perplexity"]
    c = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="any")
    words = subprocess.run([CLI, "tokenize", str(MODEL), "--text", str(work / "text.txt")], capture_output=True, text=True).stdout
    ids = [int(i) for i in words.split()][:256]
    told = c.completions.create(model="lines", prompt=ids, max_tokens=0, echo=True, logprobs=0).choices[0].logprobs.token_logprobs
    theirs = math.exp(-sum(told[129:256]) / len(told[129:256]))
    check("the endpoint's probabilities are eval's", abs(ours - theirs) < 1e-5 * ours, ours, theirs)


work = pathlib.Path(tempfile.mkdtemp(prefix="halftone-served-"))
models = work / "models"
shutil.copytree(MODEL, models / "lines")
shutil.copytree(MODEL, models / "vectors")
shutil.copytree(MODEL, models / "caller")
(models / "caller" / "chat_template.jinja").write_text(
    "{% for t in tools or [] %}{{ t | tojson }}\n{% endfor %}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}({{ c.function.arguments.x }}){% endfor %}\n{% endfor %}assistant:")
(models / "vectors" / "1_Pooling").mkdir()
(models / "vectors" / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
served = Served(models, "--run-exact", "1")
start = time.monotonic()
try:
    openai_client(served.port)
    ollama_client(served.port)
    asyncio.run(both_at_once(served.port))
    javascript(served.port)
    langchain_served.run(check, served.port)
    same_as_eval(served.port)
finally:
    served.close()
    shutil.rmtree(work)
print(f"check_served: {failures} failures, {time.monotonic() - start:.1f} s")
sys.exit(1 if failures else 0)
