"""LangChain's chat, text and embedding classes for OpenAI and Ollama, unmodified, against our service; part of check_served.py."""
import asyncio

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

HELLO = [SystemMessage("Be brief."), HumanMessage("Tell me about the sea.")]
THING = {"title": "thing", "type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "count": {"type": "integer"}},
         "required": ["name", "count"], "additionalProperties": False}
CALL = {"type": "object", "required": ["name", "parameters"], "properties": {"name": {"const": "look"}, "parameters": {
    "type": "object", "required": ["x"], "properties": {"x": {"type": "integer"}}}}}


@tool
def look(x: int) -> str:
    """Looks at x."""
    return str(x)


def chats(check, kind, model, caller, shaped):
    """What a chat class offers: at once, streamed, in parallel, asynchronous, in a shape, with tools."""
    whole = model.invoke(HELLO)
    check(f"{kind}: invoke", isinstance(whole, AIMessage) and whole.content and whole.usage_metadata["output_tokens"] == 12, whole)
    pieces = list(model.stream(HELLO))
    check(f"{kind}: stream", len(pieces) > 2 and "".join(p.content for p in pieces) == whole.content, pieces)
    check(f"{kind}: batch", [m.content for m in model.batch([HELLO, HELLO])] == [whole.content] * 2)

    async def later():
        return (await model.ainvoke(HELLO)).content, "".join([p.content async for p in model.astream(HELLO)])
    check(f"{kind}: ainvoke, astream", asyncio.run(later()) == (whole.content, whole.content))
    made = shaped.with_structured_output(THING, method="json_schema").invoke(HELLO)
    check(f"{kind}: with_structured_output", set(made) == {"name", "count"}, made)
    called = caller.invoke(HELLO)
    check(f"{kind}: bind_tools", [c["name"] for c in called.tool_calls] == ["look"] and isinstance(called.tool_calls[0]["args"]["x"], int), called)
    if not called.tool_calls:
        return
    result = ToolMessage(look.invoke(called.tool_calls[0]["args"]), tool_call_id=called.tool_calls[0]["id"])
    check(f"{kind}: what the tool said", caller.invoke([*HELLO, called, result]).tool_calls, result)


def run(check, port):
    base = f"http://127.0.0.1:{port}"
    o = dict(base_url=base, temperature=0, seed=5)
    warm = dict(o, temperature=1)  # the likeliest tokens of a tiny model in a schema are blanks without end
    chats(check, "ChatOllama", ChatOllama(model="lines", num_predict=12, validate_model_on_init=True, **o),
          ChatOllama(model="caller", num_predict=900, format=CALL, **warm).bind_tools([look]), ChatOllama(model="lines", num_predict=900, **warm))
    v = dict(base_url=base + "/v1", api_key="any", temperature=0, seed=5, max_retries=0)
    chats(check, "ChatOpenAI", ChatOpenAI(model="lines", max_tokens=12, stream_usage=True, **v),
          ChatOpenAI(model="caller", max_tokens=900, **dict(v, temperature=1)).bind_tools([look], strict=True).bind(response_format={"type": "json_schema", "json_schema": {"name": "call", "schema": CALL}}),
          ChatOpenAI(model="lines", max_tokens=900, **dict(v, temperature=1)))
    text = OllamaLLM(model="lines", num_predict=12, **o)
    check("OllamaLLM", "".join(text.stream("Once upon")) == text.invoke("Once upon") != "")
    text = OpenAI(model="lines", max_tokens=12, **v)
    check("OpenAI", "".join(text.stream("Once upon")) == text.invoke("Once upon") != "")
    for kind, e in (("OllamaEmbeddings", OllamaEmbeddings(model="vectors", base_url=base)),
                    ("OpenAIEmbeddings", OpenAIEmbeddings(model="vectors", base_url=base + "/v1", api_key="any", check_embedding_ctx_length=False))):
        many, one = e.embed_documents(["the sea", "a king"]), e.embed_query("the sea")
        check(kind, len(many) == 2 and len(one) == 256 and max(abs(a - b) for a, b in zip(many[0], one)) < 1e-6, len(many))
