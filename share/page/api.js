/* api.js - what the page asks of the server: its models, and answers as they come. */
"use strict";

window.rill = window.rill || {};

rill.api = (function () {
    let key = sessionStorage.getItem("rill.key") || "";

    function set_key(text) {
        key = text;
        sessionStorage.setItem("rill.key", text);
    }

    async function ask(path, body, signal) {
        const headers = key ? {Authorization: "Bearer " + key} : {};
        if (body)
            headers["Content-Type"] = "application/json";
        let r;
        try {
            r = await fetch(path, {method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal});
        } catch (e) {
            if (e.name === "AbortError")
                throw e;
            throw new Error("the server cannot be reached");
        }
        if (!r.ok) {
            const text = await r.text();
            let said;
            try {
                said = JSON.parse(text).error.message;
            } catch {
                said = r.status + " " + r.statusText;
            }
            const e = new Error(said);
            e.status = r.status;
            throw e;
        }
        return r;
    }

    /* The data of each server-sent event of a reply. */
    async function* events(reply) {
        const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
        let rest = "";
        try {
            for (;;) {
                const {done, value} = await reader.read();
                if (done)
                    return;
                rest += value;
                const lines = rest.split("\n");
                rest = lines.pop();
                for (const line of lines)
                    if (line.startsWith("data:"))
                        yield line.slice(5).trim();
            }
        } finally {
            reader.cancel().catch(() => {});
        }
    }

    /* One step of an answer taken over: adds to `answer` what the delta says. */
    function add_delta(answer, delta) {
        if (delta.content)
            answer.content += delta.content;
        if (delta.reasoning_content)
            answer.reasoning = (answer.reasoning || "") + delta.reasoning_content;
        for (const c of delta.tool_calls || []) {
            answer.tool_calls = answer.tool_calls || [];
            const call = answer.tool_calls[c.index] = answer.tool_calls[c.index] ||
                {id: "", type: "function", function: {name: "", arguments: ""}};
            if (c.id)
                call.id = c.id;
            if (c.function && c.function.name)
                call.function.name += c.function.name;
            if (c.function && c.function.arguments)
                call.function.arguments += c.function.arguments;
        }
    }

    /* Asks, and fills answer {content, reasoning, tool_calls, finish, stats} as it comes; seen() is
     * called after each change. What had come when it fails or is stopped stays in answer. */
    async function chat(body, answer, seen, signal) {
        const began = performance.now();
        let first = 0, ended = false;
        const reply = await ask("v1/chat/completions", {...body, stream: true, stream_options: {include_usage: true}}, signal);
        for await (const data of events(reply)) {
            if (data === "[DONE]") {
                ended = true;
                break;
            }
            const chunk = JSON.parse(data);
            if (chunk.error)
                throw new Error(chunk.error.message);
            const choice = chunk.choices && chunk.choices[0];
            if (choice) {
                add_delta(answer, choice.delta || {});
                if (!first && (answer.content || answer.reasoning || answer.tool_calls))
                    first = performance.now() - began;
                if (choice.finish_reason)
                    answer.finish = choice.finish_reason;
            }
            if (chunk.usage)
                answer.stats = {prompt: chunk.usage.prompt_tokens, tokens: chunk.usage.completion_tokens, first,
                    seconds: (performance.now() - began) / 1000,
                    cached: (chunk.usage.prompt_tokens_details || {}).cached_tokens || 0};
            if (chunk.warnings)
                answer.warnings = chunk.warnings;
            seen();
        }
        if (!ended)
            throw new Error("the answer broke off: the connection ended early");
    }

    return {
        chat, set_key, has_key: () => key !== "",
        models: async () => (await (await ask("v1/models")).json()).data,
        props: async () => (await ask("props")).json()
    };
})();
