#!/usr/bin/env python3
"""ref-clients.py URL [OUT] - sessions of the OpenAI and Anthropic Python clients with a rill-serve that
answers from tests/golden/clients/script.json with tests/golden/clients/template.jinja:

    rill-serve -m tales=share/rill-tales.gguf --script tests/golden/clients/script.json \\
        --template tests/golden/clients/template.jinja --port 8080

Needs the packages openai and anthropic, for development only. With OUT (tests/golden/clients/
requests.jsonl) what the clients send is written there, byte for byte, with the status of the
reply: tests/tools/test_serve_clients.c sends it again without them.

With "embed" for OUT, URL is a rill-serve -m bert=tests/golden/arch/bert.gguf.
"""

import json
import socket
import sys
import threading

from pydantic import BaseModel

import anthropic
import openai

log, session = [], None


def relay(client, to):
    """One request of a client to the server, and the reply back: the connection ends with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += client.recv(65536)
    head, rest = data.split(b"\r\n\r\n", 1)
    n = [
        int(l.split(b":")[1])
        for l in head.split(b"\r\n")
        if l.lower().startswith(b"content-length:")
    ]
    while n and len(rest) < n[0]:
        rest += client.recv(65536)
    s = socket.create_connection(to)
    lines = [l for l in head.split(b"\r\n") if not l.lower().startswith(b"connection:")]
    s.sendall(b"\r\n".join(lines) + b"\r\nConnection: close\r\n\r\n" + rest)
    reply = b""
    while True:
        part = s.recv(65536)
        if not part:
            break
        reply += part
        client.sendall(part)
    client.close()
    words = (
        "get_weather",
        "It is sunny",
        "Ada",
        "Hello there",
        "friend",
        '"error"',
        "input_tokens",
        "tales",
    )
    if session != "many_async":
        log.append(
            {
                "session": session,
                "status": int(reply[9:12]),
                "has": [w for w in words if w in reply.decode().replace('\\"', '"')][0],
                "request": (head + b"\r\n\r\n" + rest).decode(),
            }
        )


def listen(to):
    at = socket.create_server(("127.0.0.1", 0))

    def loop():
        while True:
            threading.Thread(target=relay, args=(at.accept()[0], to), daemon=True).start()

    threading.Thread(target=loop, daemon=True).start()
    return "http://127.0.0.1:%d" % at.getsockname()[1]


base = sys.argv[1]
if len(sys.argv) > 2 and sys.argv[2] != "embed":
    host, port = base.split("//")[1].split(":")
    base = listen((host, int(port)))

c = openai.OpenAI(base_url=base + "/v1", api_key="none", max_retries=0)
failed = 0


def part(f):
    global failed, session
    session = f.__name__
    try:
        f()
        print("ok", f.__name__)
    except Exception as x:
        failed += 1
        print("FAILED", f.__name__, type(x).__name__, str(x)[:600])


tools = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]


def models():
    m = c.models.list()
    assert m.data[0].id == "tales", m
    assert c.models.retrieve("tales").id == "tales"


def chat():
    r = c.chat.completions.create(model="tales", messages=[{"role": "user", "content": "hi"}])
    assert r.choices[0].message.content == "Hello there, friend €.", r
    assert r.choices[0].finish_reason == "stop" and r.usage.total_tokens > 0
    assert r.choices[0].message.model_extra.get("reasoning_content"), r


def stream():
    text = ""
    usage = None
    n = 0
    reason = ""
    for ch in c.chat.completions.create(
        model="tales",
        messages=[{"role": "user", "content": "hi"}],
        stream=True,
        stream_options={"include_usage": True},
    ):
        if n == 0:
            assert ch.choices[0].delta.role == "assistant"
        n += 1
        if ch.choices:
            text += ch.choices[0].delta.content or ""
            reason += (ch.choices[0].delta.model_extra or {}).get("reasoning_content") or ""
        if ch.usage:
            usage = ch.usage
            assert not ch.choices
    assert text == "Hello there, friend €.", text
    assert usage and usage.completion_tokens > 0 and reason


def stream_helper():
    with c.chat.completions.stream(
        model="tales", messages=[{"role": "user", "content": "weather in Rome"}], tools=tools
    ) as s:
        kinds = [e.type for e in s]
        f = s.get_final_completion()
    assert f.choices[0].message.tool_calls[0].function.arguments == '{"city": "Rome"}', f
    assert "tool_calls.function.arguments.done" in kinds, kinds


def tools_two_turns():
    ms = [{"role": "user", "content": "weather in Rome"}]
    r = c.chat.completions.create(model="tales", messages=ms, tools=tools, tool_choice="auto")
    m = r.choices[0].message
    assert r.choices[0].finish_reason == "tool_calls" and json.loads(
        m.tool_calls[0].function.arguments
    ) == {"city": "Rome"}
    ms += [
        m.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": m.tool_calls[0].id, "content": "sunny"},
    ]
    r = c.chat.completions.create(model="tales", messages=ms, tools=tools)
    assert r.choices[0].message.content == "It is sunny in Rome.", r


def parallel_tools_stream():
    calls = {}
    for ch in c.chat.completions.create(
        model="tales",
        messages=[{"role": "user", "content": "two cities"}],
        tools=tools,
        stream=True,
    ):
        for t in ch.choices[0].delta.tool_calls or []:
            d = calls.setdefault(t.index, {"id": None, "args": ""})
            if t.id:
                assert d["id"] is None
                d["id"] = t.id
            d["args"] += t.function.arguments or ""
    assert [json.loads(v["args"]) for v in calls.values()] == [
        {"city": "Rome"},
        {"city": "Oslo"},
    ], calls
    assert len({v["id"] for v in calls.values()}) == 2


class Person(BaseModel):
    name: str
    age: int


def structured():
    r = c.chat.completions.parse(
        model="tales", messages=[{"role": "user", "content": "as JSON"}], response_format=Person
    )
    assert r.choices[0].message.parsed == Person(name="Ada", age=36), r


def completions():
    r = c.completions.create(model="tales", prompt=["a", "b"], logprobs=1, echo=False, max_tokens=5)
    assert len(r.choices) == 2 and r.choices[1].index == 1
    t = "".join(
        x.choices[0].text for x in c.completions.create(model="tales", prompt="a", stream=True)
    )
    assert "Hello there" in t, t


def responses():
    r = c.responses.create(model="tales", input="hi", instructions="be kind")
    assert r.output_text == "Hello there, friend €.", r
    assert r.output[0].type == "reasoning" and r.usage.total_tokens > 0


def responses_stream():
    kinds = []
    text = ""
    for e in c.responses.create(
        model="tales", input=[{"role": "user", "content": "hi"}], stream=True
    ):
        kinds.append(e.type)
        if e.type == "response.output_text.delta":
            text += e.delta
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds
    assert text == "Hello there, friend €."


def responses_helper():
    with c.responses.stream(model="tales", input="hi") as s:
        for e in s:
            pass
        assert s.get_final_response().output_text == "Hello there, friend €."


def responses_tools():
    t = [
        {
            "type": "function",
            "name": "get_weather",
            "parameters": tools[0]["function"]["parameters"],
            "strict": True,
        }
    ]
    i = [{"role": "user", "content": "weather in Rome"}]
    r = c.responses.create(model="tales", input=i, tools=t)
    call = [o for o in r.output if o.type == "function_call"][0]
    assert json.loads(call.arguments) == {"city": "Rome"}
    i += r.output + [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
    r = c.responses.create(model="tales", input=i, tools=t)
    assert r.output_text == "It is sunny in Rome.", r


def responses_parse():
    r = c.responses.parse(model="tales", input="as JSON", text_format=Person)
    assert r.output_parsed == Person(name="Ada", age=36), r


def errors():
    for f, want in (
        (
            lambda: c.chat.completions.create(
                model="tales", messages=[{"role": "user", "content": "hi"}], temperature="x"
            ),
            openai.BadRequestError,
        ),
        (
            lambda: c.responses.create(model="tales", input="x", previous_response_id="resp_1"),
            openai.BadRequestError,
        ),
        (lambda: c.post("/none", cast_to=object), openai.NotFoundError),
    ):
        try:
            f()
            raise AssertionError("no error")
        except want as e:
            assert e.body and e.body.get("message"), e.body


def embeddings():
    e = openai.OpenAI(base_url=base + "/v1", api_key="none")
    r = e.embeddings.create(model="bert", input=["the fox", "a bear"])  # base64 inside the SDK
    assert (
        len(r.data) == 2
        and len(r.data[0].embedding) == 32
        and abs(sum(x * x for x in r.data[0].embedding) - 1) < 1e-4
    )
    f = e.embeddings.create(model="bert", input="the fox", encoding_format="float")
    assert all(abs(a - b) < 1e-6 for a, b in zip(f.data[0].embedding, r.data[0].embedding))


a = anthropic.Anthropic(base_url=base, api_key="none", max_retries=0)
at = [
    {
        "name": "get_weather",
        "description": "w",
        "input_schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    }
]


def messages():
    r = a.messages.create(
        model="tales",
        max_tokens=100,
        messages=[{"role": "user", "content": "hi"}],
        thinking={"type": "enabled", "budget_tokens": 1024},
    )
    assert [b.type for b in r.content] == ["thinking", "text"], r
    assert r.content[1].text == "Hello there, friend €." and r.stop_reason == "end_turn", r
    assert r.usage.output_tokens > 0


def messages_stream():
    with a.messages.stream(
        model="tales",
        max_tokens=100,
        messages=[{"role": "user", "content": "hi"}],
        thinking={"type": "enabled", "budget_tokens": 1024},
    ) as s:
        kinds = [e.type for e in s]
        f = s.get_final_message()
    assert f.content[-1].text == "Hello there, friend €.", f
    assert f.content[0].thinking.startswith("They greet"), f
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop", kinds


def messages_tools():
    ms = [{"role": "user", "content": "weather in Rome"}]
    with a.messages.stream(model="tales", max_tokens=100, messages=ms, tools=at) as s:
        r = s.get_final_message()
    assert r.stop_reason == "tool_use", r
    u = [b for b in r.content if b.type == "tool_use"][0]
    assert u.input == {"city": "Rome"}, u
    ms += [
        {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in r.content]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": u.id, "content": "sunny"}],
        },
    ]
    r = a.messages.create(model="tales", max_tokens=100, messages=ms, tools=at)
    assert r.content[-1].text == "It is sunny in Rome.", r


def count():
    r = a.messages.count_tokens(model="tales", messages=[{"role": "user", "content": "hi"}])
    assert r.input_tokens > 3


def anthropic_models():
    assert a.models.list().data[0].id == "tales"
    assert a.models.retrieve("tales").id == "tales"


def anthropic_errors():
    try:
        a.messages.create(model="tales", max_tokens=0, messages=[{"role": "user", "content": "hi"}])
        raise AssertionError("none")
    except anthropic.BadRequestError as e:
        assert (
            e.body["type"] == "error" and e.body["error"]["type"] == "invalid_request_error"
        ), e.body


def many_async():
    import asyncio

    async def go():
        ac = openai.AsyncOpenAI(base_url=base + "/v1", api_key="none", max_retries=0)

        async def one():
            t = ""
            async for ch in await ac.chat.completions.create(
                model="tales", messages=[{"role": "user", "content": "hi"}], stream=True
            ):
                t += ch.choices[0].delta.content or ""
            return t

        r = await asyncio.gather(*[one() for _ in range(30)])
        assert all(x == "Hello there, friend €." for x in r), r

    asyncio.run(go())


which = (
    [embeddings]
    if sys.argv[2:] == ["embed"]
    else [
        models,
        chat,
        stream,
        stream_helper,
        tools_two_turns,
        parallel_tools_stream,
        structured,
        completions,
        responses,
        responses_stream,
        responses_helper,
        responses_tools,
        responses_parse,
        errors,
        messages,
        messages_stream,
        messages_tools,
        count,
        anthropic_models,
        anthropic_errors,
        many_async,
    ]
)
for f in which:
    part(f)
print("failed:", failed)
if len(sys.argv) > 2 and sys.argv[2] != "embed":
    with open(sys.argv[2], "w") as f:
        for line in log:
            f.write(json.dumps(line, ensure_ascii=False) + "\n")
sys.exit(failed > 0)
