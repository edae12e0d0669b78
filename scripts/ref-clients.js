#!/usr/bin/env node
/* ref-clients.js URL [OUT] - what ref-clients.py does, with the OpenAI and Anthropic clients for
 * JavaScript: sessions with a rill-serve that answers from tests/golden/clients/script.json with
 * tests/golden/clients/template.jinja.
 *
 * Needs the packages openai and @anthropic-ai/sdk, for development only; NODE_PATH says where they
 * are. With OUT (tests/golden/clients/requests-js.jsonl) what the clients send is written there,
 * byte for byte, with the status of the reply: tests/tools/test_serve_clients.c sends it again.
 */
"use strict";
const assert = require("assert"), fs = require("fs"), net = require("net");
const OpenAI = require("openai").default, Anthropic = require("@anthropic-ai/sdk").default;

const at = new URL(process.argv[2]), out = process.argv[3], log = [];
let session = "", o, a;

const words = ["get_weather", "It is sunny", "Ada", "Hello there", "friend", '"error"',
    "input_tokens", "tales"];
const text = "Hello there, friend €.";

/* Requests go to the server as they are, but that the connection ends with each. */
function relay(client) {
    let data = Buffer.alloc(0), reply = Buffer.alloc(0), sent = false;

    client.on("error", () => {});
    client.on("data", (part) => {
        data = Buffer.concat([data, part]);
        const end = data.indexOf("\r\n\r\n"), head = data.subarray(0, end).toString();
        const n = Number((/^content-length: *(\d+)/im.exec(head) || [0, 0])[1]);

        if (end < 0 || sent || data.length < end + 4 + n)
            return;
        sent = true;
        const name = session, body = data.subarray(end + 4), s = net.connect(at.port, at.hostname);

        s.write(head.replace(/^connection:.*\r\n/im, "") + "\r\nConnection: close\r\n\r\n");
        s.write(body);
        s.on("data", (p) => { reply = Buffer.concat([reply, p]); client.write(p); });
        s.on("error", () => client.destroy());
        client.on("close", () => s.destroy());
        s.on("end", () => {
            const all = reply.toString().replaceAll('\\"', '"');

            client.end();
            if (name !== "abort")
                log.push({ session: "js_" + name, status: Number(all.slice(9, 12)),
                    has: words.find((w) => all.includes(w)), request: data.toString() });
        });
    });
}

const weather = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function",
    function: { name: "get_weather", description: "Weather", parameters: weather } }];
const hi = [{ role: "user", content: "hi" }];
const rome = [{ role: "user", content: "weather in Rome" }];

const sessions = {
    async models() {
        const all = [];

        for await (const m of o.models.list())
            all.push(m.id);
        assert.deepEqual(all, ["tales"]);
        assert.equal((await o.models.retrieve("tales")).id, "tales");
    },
    async chat() {
        const r = await o.chat.completions.create({ model: "tales", messages: hi });

        assert.equal(r.choices[0].message.content, text);
        assert.ok(r._request_id, "the request's id comes in a header");
    },
    async stream() {
        let said = "", usage = null;

        for await (const c of await o.chat.completions.create({ model: "tales", messages: hi,
            stream: true, stream_options: { include_usage: true } })) {
            said += (c.choices[0] && c.choices[0].delta.content) || "";
            usage = c.usage || usage;
        }
        assert.equal(said, text);
        assert.ok(usage.completion_tokens > 0);
    },
    async stream_helper() {
        const s = o.chat.completions.stream({ model: "tales", messages: rome, tools });
        const r = await s.finalChatCompletion();

        assert.equal(r.choices[0].message.tool_calls[0].function.arguments, '{"city": "Rome"}');
        assert.equal(r.choices[0].finish_reason, "tool_calls");
    },
    async run_tools() {
        const r = o.chat.completions.runTools({ model: "tales", messages: rome, tools: [{
            type: "function", function: { name: "get_weather", parameters: weather,
                parse: JSON.parse, function: ({ city }) => "sunny in " + city } }] });

        assert.equal(await r.finalContent(), "It is sunny in Rome.");
    },
    async responses() {
        const r = await o.responses.create({ model: "tales", input: "hi", instructions: "be kind" });

        assert.equal(r.output_text, text);
        assert.equal(r.output[0].type, "reasoning");
    },
    async responses_stream() {
        const kinds = [];
        let said = "";

        for await (const e of await o.responses.create({ model: "tales", input: "hi",
            stream: true })) {
            kinds.push(e.type);
            said += e.type === "response.output_text.delta" ? e.delta : "";
        }
        assert.equal(said, text);
        assert.equal(kinds.at(-1), "response.completed");
    },
    async responses_helper() {
        const r = await o.responses.stream({ model: "tales", input: "weather in Rome", tools: [
            { type: "function", name: "get_weather", parameters: weather, strict: true }],
        }).finalResponse();

        assert.equal(r.output.find((i) => i.type === "function_call").arguments, '{"city": "Rome"}');
    },
    async completions() {
        let said = "";
        const r = await o.completions.create({ model: "tales", prompt: ["a", "b"], max_tokens: 5 });

        assert.equal(r.choices.length, 2);
        for await (const c of await o.completions.create({ model: "tales", prompt: "a",
            stream: true }))
            said += c.choices[0].text;
        assert.ok(said.includes("Hello there"));
    },
    async errors() {
        await assert.rejects(o.chat.completions.create({ model: "tales", messages: hi,
            temperature: "x" }), (e) => e instanceof OpenAI.BadRequestError &&
            e.param === "temperature" && e.type === "invalid_request_error");
        await assert.rejects(o.responses.create({ model: "tales", input: "x",
            previous_response_id: "resp_1" }), OpenAI.BadRequestError);
        await assert.rejects(o.post("/none", {}), OpenAI.NotFoundError);
    },
    async abort() {
        const s = await o.chat.completions.create({ model: "tales", messages: hi, stream: true });
        const c = new AbortController();

        for await (const part of s) {
            assert.ok(part.id);
            s.controller.abort();
        }
        setTimeout(() => c.abort(), 1);
        await assert.rejects(o.chat.completions.create({ model: "tales", messages: hi },
            { signal: c.signal }), OpenAI.APIUserAbortError);
        const m = a.messages.stream({ model: "tales", max_tokens: 50, messages: hi });
        m.on("text", () => m.abort());
        await assert.rejects(m.finalMessage(), Anthropic.APIUserAbortError);
    },
    async messages() {
        const r = await a.messages.create({ model: "tales", max_tokens: 100, messages: hi,
            thinking: { type: "enabled", budget_tokens: 1024 } });

        assert.deepEqual(r.content.map((b) => b.type), ["thinking", "text"]);
        assert.equal(r.content[1].text, text);
        assert.equal(r.stop_reason, "end_turn");
    },
    async messages_stream() {
        const s = a.messages.stream({ model: "tales", max_tokens: 100, messages: hi });
        const kinds = [];

        s.on("streamEvent", (e) => kinds.push(e.type));
        assert.equal((await s.finalMessage()).content.at(-1).text, text);
        assert.deepEqual([kinds[0], kinds.at(-1)], ["message_start", "message_stop"]);
    },
    async messages_tools() {
        const mine = [{ name: "get_weather", description: "w", input_schema: weather }];
        const r = await a.messages.stream({ model: "tales", max_tokens: 100, messages: rome,
            tools: mine }).finalMessage();
        const use = r.content.find((b) => b.type === "tool_use");

        assert.deepEqual(use.input, { city: "Rome" });
        assert.equal(r.stop_reason, "tool_use");
        const next = await a.messages.create({ model: "tales", max_tokens: 100, tools: mine,
            messages: [...rome, { role: "assistant", content: r.content }, { role: "user",
                content: [{ type: "tool_result", tool_use_id: use.id, content: "sunny" }] }] });

        assert.equal(next.content.at(-1).text, "It is sunny in Rome.");
    },
    async count() {
        assert.ok((await a.messages.countTokens({ model: "tales", messages: hi })).input_tokens > 3);
    },
    async anthropic_models() {
        const all = [];

        for await (const m of a.models.list())
            all.push(m.id);
        assert.deepEqual(all, ["tales"]);
        assert.equal((await a.models.retrieve("tales")).id, "tales");
    },
    async anthropic_errors() {
        await assert.rejects(a.messages.create({ model: "tales", max_tokens: 0, messages: hi }),
            (e) => e instanceof Anthropic.BadRequestError &&
            e.error.error.type === "invalid_request_error");
    },
};

const relays = net.createServer(relay).listen(0, "127.0.0.1", async () => {
    const base = out ? "http://127.0.0.1:" + relays.address().port : at.origin;
    let failed = 0;

    o = new OpenAI({ baseURL: base + "/v1", apiKey: "none", maxRetries: 0 });
    a = new Anthropic({ baseURL: base, apiKey: "none", maxRetries: 0 });
    for (session in sessions)
        try {
            await sessions[session]();
            console.log("ok", session);
        } catch (e) {
            failed++;
            console.log("FAILED", session, e);
        }
    console.log("failed:", failed);
    await new Promise((done) => setTimeout(done, 200));
    if (out)
        fs.writeFileSync(out, log.map((l) => JSON.stringify(l) + "\n").join(""));
    process.exit(failed > 0 ? 1 : 0);
});
