/* view.js - messages as elements. */
"use strict";

window.rill = window.rill || {};

rill.view = (function () {
    const WHO = {user: "You", assistant: "Model", tool: "Tool"};

    function el(name, cls, ...inside) {
        const e = document.createElement(name);
        if (cls)
            e.className = cls;
        e.append(...inside);
        return e;
    }

    function button(label, title, act) {
        const b = el("button", "", label);
        b.type = "button";
        b.title = title;
        b.dataset.act = act;
        return b;
    }

    function folded(cls, title, open, ...inside) {
        const d = el("details", cls, el("summary", "", title), ...inside);
        d.open = open;
        return d;
    }

    function pretty(text) {
        try {
            return JSON.stringify(JSON.parse(text), null, 2);
        } catch {
            return text;
        }
    }

    function call_box(call) {
        return folded("call", "calls " + (call.function.name || "…"), true,
            el("pre", "", el("code", "", pretty(call.function.arguments))));
    }

    /* A form for the results of an answer's calls. */
    function results_form(m) {
        const form = el("form", "results");
        for (const call of m.tool_calls) {
            const area = el("textarea");
            area.rows = 2;
            area.dataset.call = call.id;
            form.append(el("label", "", "Result of " + call.function.name, area));
        }
        const send = el("button", "", "Send results");
        send.type = "submit";
        form.append(send);
        return form;
    }

    function stats_text(m) {
        const s = m.stats, out = [];
        if (s && s.tokens) {
            const rest = s.seconds - s.first / 1000;
            out.push(s.prompt + " + " + s.tokens + " tokens");
            if (s.tokens > 1 && rest > 0)
                out.push(((s.tokens - 1) / rest).toFixed(1) + " tokens/s");
            out.push("first after " + (s.first < 1000 ? s.first.toFixed(0) + " ms" : (s.first / 1000).toFixed(1) + " s"));
            if (s.cached)
                out.push(s.cached + " from the cache");
        }
        if (m.finish === "length")
            out.push("cut at the token limit");
        if (m.finish === "stopped")
            out.push("stopped");
        return out.join(" · ");
    }

    /* Fills the body of a message anew. live: the answer is still coming. pending: its calls wait
     * for results. */
    function fill(article, m, live, pending) {
        const body = article.querySelector(".body"), foot = article.querySelector(".stats");
        const was_open = body.querySelector(".reasoning")?.open;
        body.replaceChildren();
        if (m.reasoning)
            body.append(folded("reasoning", live && !m.content ? "thinking …" : "thoughts", was_open ?? false,
                el("div", "", rill.markdown(m.reasoning))));
        for (const f of m.files || [])
            body.append(folded("file", f.name + " (" + f.text.length + " characters)", false, el("pre", "", f.text)));
        for (const url of m.images || []) {
            const img = el("img");
            img.src = url;
            img.alt = "attached image";
            body.append(img);
        }
        if (m.role === "assistant")
            body.append(rill.markdown(m.content));
        else
            body.append(el("div", "plain", m.content));
        for (const call of m.tool_calls || [])
            if (call)
                body.append(call_box(call));
        if (pending)
            body.append(results_form(m));
        if (m.error)
            body.append(el("p", "notice", m.error));
        for (const w of m.warnings || [])
            body.append(el("p", "warning", w));
        foot.textContent = live ? "" : stats_text(m);
        article.classList.toggle("live", live);
        article.setAttribute("aria-busy", String(live));
    }

    function message(m, index, live, pending) {
        const article = el("article", m.role), tools = el("div", "acts");
        article.dataset.index = index;
        article.setAttribute("aria-label", WHO[m.role]);
        tools.append(button("Copy", "Copy this message", "copy"));
        if (m.role === "user")
            tools.append(button("Edit", "Ask again with another text, in a new conversation", "edit"));
        if (m.role === "assistant") {
            tools.append(button("Retry", "Another answer", "retry"));
            if (m.others && m.others.length)
                tools.append(button("‹ " + (m.others.length + 1), "The answer before", "other"));
        }
        article.append(el("div", "body"), el("footer", "", el("span", "stats"), tools));
        fill(article, m, live, pending);
        return article;
    }

    return {el, message, fill};
})();
