/* store.js - conversations and settings, kept in this browser: one entry of localStorage each. */
"use strict";

window.rill = window.rill || {};

rill.store = (function () {
    const PREFIX = "rill.chat.";

    function fresh() {
        return {id: Date.now().toString(36) + Math.random().toString(36).slice(2, 8), title: "", created: Date.now(),
            updated: Date.now(), messages: []};
    }

    /* A conversation from outside as one of ours, or null: only what is known is taken over. */
    function checked(c) {
        if (!c || typeof c.id !== "string" || !/^[a-z0-9]{1,40}$/.test(c.id) || !Array.isArray(c.messages))
            return null;
        const string = s => (typeof s === "string" ? s : "");
        const out = {id: c.id, title: string(c.title).slice(0, 200), created: +c.created || 0, updated: +c.updated || 0, messages: []};
        for (const m of c.messages) {
            if (!m || !["user", "assistant", "tool"].includes(m.role))
                return null;
            const keep = {role: m.role, content: string(m.content)};
            for (const name of ["reasoning", "tool_call_id", "finish", "error"])
                if (typeof m[name] === "string")
                    keep[name] = m[name];
            if (Array.isArray(m.images))
                keep.images = m.images.filter(u => typeof u === "string" && u.startsWith("data:image/"));
            if (Array.isArray(m.files))
                keep.files = m.files.filter(f => f && typeof f.name === "string" && typeof f.text === "string")
                    .map(f => ({name: f.name, text: f.text}));
            if (Array.isArray(m.tool_calls))
                keep.tool_calls = m.tool_calls.filter(t => t && t.function).map(t => ({id: string(t.id), type: "function",
                    function: {name: string(t.function.name), arguments: string(t.function.arguments)}}));
            if (m.stats && typeof m.stats === "object")
                keep.stats = Object.fromEntries(Object.entries(m.stats).filter(([, v]) => typeof v === "number"));
            if (Array.isArray(m.others))
                keep.others = m.others.filter(o => o && typeof o.content === "string")
                    .map(o => ({content: o.content, reasoning: string(o.reasoning)}));
            out.messages.push(keep);
        }
        return out;
    }

    function read(key) {
        try {
            return checked(JSON.parse(localStorage.getItem(key)));
        } catch {
            return null;
        }
    }

    /* All conversations, the last used first. */
    function all() {
        const out = [];
        for (let i = 0; i < localStorage.length; i++) {
            const key = localStorage.key(i), c = key.startsWith(PREFIX) ? read(key) : null;
            if (c)
                out.push(c);
        }
        return out.sort((a, b) => b.updated - a.updated);
    }

    /* False when the browser's memory for this page is used up. */
    function put(key, text) {
        try {
            localStorage.setItem(key, text);
            return true;
        } catch {
            return false;
        }
    }

    return {
        fresh, all,
        get: id => read(PREFIX + id),
        save: c => put(PREFIX + c.id, JSON.stringify(c)),
        remove: id => localStorage.removeItem(PREFIX + id),
        is_ours: key => key !== null && key.startsWith(PREFIX),
        export_all: () => JSON.stringify({format: "rill conversations", version: 1, conversations: all()}, null, 1),
        /* How many conversations of an exported text were taken over; what is here already stays. */
        import_all(text) {
            const whole = JSON.parse(text);
            if (!whole || whole.format !== "rill conversations" || !Array.isArray(whole.conversations))
                throw new Error("this is no file of conversations");
            let n = 0;
            for (const c of whole.conversations.map(checked)) {
                if (!c || localStorage.getItem(PREFIX + c.id) !== null)
                    continue;
                if (!put(PREFIX + c.id, JSON.stringify(c)))
                    throw new Error("the browser's memory for this page is full: " + n + " taken over");
                n++;
            }
            return n;
        },
        settings() {
            try {
                return JSON.parse(localStorage.getItem("rill.settings")) || {};
            } catch {
                return {};
            }
        },
        save_settings: s => put("rill.settings", JSON.stringify(s))
    };
})();
