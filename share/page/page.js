/* page.js - the page itself: which conversation is shown, what is asked, what keys do. */
"use strict";

(function () {
    const $ = id => document.getElementById(id);
    const {api, store, view} = rill;
    const TEXT_LIMIT = 1 << 20, IMAGE_LIMIT = 8 << 20;
    const NUMBERS = ["temperature", "top_p", "top_k", "min_p", "max_tokens", "seed"];

    let settings = store.settings();
    let chat = store.fresh();
    let attached = []; // {name, text} or {name, url}
    let running = null; // the AbortController of the answer that is coming
    let context = 0;    // positions, 0: not known

    /* -- what is shown -- */

    function notice(text) {
        $("notice").textContent = text;
        $("notice").hidden = !text;
    }

    function at_bottom() {
        const l = $("log");
        return l.scrollHeight - l.scrollTop - l.clientHeight < 60;
    }

    function to_bottom() {
        $("log").scrollTop = $("log").scrollHeight;
    }

    /* Calls that still want results are those of the last answer. */
    function pending(i) {
        const m = chat.messages[i];
        return !running && i === chat.messages.length - 1 && m.role === "assistant" && (m.tool_calls || []).length > 0;
    }

    function show_chat() {
        $("log").replaceChildren(...chat.messages.map((m, i) => view.message(m, i, false, pending(i))));
        $("title").textContent = chat.title || "New conversation";
        document.title = (chat.title ? chat.title + " - " : "") + "rill";
        show_state();
        to_bottom();
    }

    function show_state() {
        const last = chat.messages.findLast(m => m.stats);
        const used = last ? last.stats.prompt + last.stats.tokens : 0;
        $("state").textContent = used && context ? used + " / " + context + " tokens" : "";
        $("send").hidden = running !== null;
        $("stop").hidden = running === null;
    }

    function show_sessions() {
        const want = $("find").value.toLowerCase();
        const items = store.all().filter(c => !want || c.title.toLowerCase().includes(want) ||
            c.messages.some(m => m.content.toLowerCase().includes(want)));
        $("sessions").replaceChildren(...items.map(c => {
            const open = view.el("button", "open", c.title || "untitled"), drop = view.el("button", "drop", "×");
            const li = view.el("li", "", open, drop);
            open.type = drop.type = "button";
            open.title = new Date(c.updated).toLocaleString();
            drop.title = "Delete this conversation";
            drop.setAttribute("aria-label", "Delete " + (c.title || "untitled"));
            li.dataset.id = c.id;
            if (c.id === chat.id)
                open.setAttribute("aria-current", "true");
            return li;
        }));
    }

    function show_files() {
        $("files").replaceChildren(...attached.map((f, i) => {
            const drop = view.el("button", "drop", "×");
            drop.type = "button";
            drop.dataset.index = i;
            drop.setAttribute("aria-label", "Remove " + f.name);
            return view.el("li", "", f.name, drop);
        }));
    }

    function grow() {
        const t = $("text");
        t.style.height = "auto";
        t.style.height = Math.min(t.scrollHeight, innerHeight * 0.4) + "px";
    }

    function apply_theme() {
        if (settings.theme)
            document.documentElement.dataset.theme = settings.theme;
        else
            delete document.documentElement.dataset.theme;
    }

    function side(open) {
        document.body.classList.toggle("side-open", open);
        $("menu").setAttribute("aria-expanded", String(open));
    }

    /* -- keeping -- */

    function keep() {
        chat.updated = Date.now();
        if (!store.save(chat))
            notice("This conversation no longer fits in the browser's memory: export what you need, and delete some.");
        show_sessions();
    }

    function open_chat(c) {
        stop();
        chat = c;
        notice("");
        show_chat();
        show_sessions();
        side(false);
        $("text").focus();
    }

    /* -- asking -- */

    /* A message as the API wants it. */
    function outward(m) {
        const out = {role: m.role, content: m.content};
        if (m.files && m.files.length)
            out.content = m.files.map(f => f.name + ":\n```\n" + f.text + "\n```\n\n").join("") + m.content;
        if (m.images && m.images.length)
            out.content = [{type: "text", text: out.content}, ...m.images.map(url => ({type: "image_url", image_url: {url}}))];
        if (m.tool_calls)
            out.tool_calls = m.tool_calls;
        if (m.tool_call_id)
            out.tool_call_id = m.tool_call_id;
        return out;
    }

    function request() {
        // a question that got no answer is no part of what was said
        const failed = m => m && m.error && !m.content;
        const said = chat.messages.filter((m, i) => !failed(m) && !(m.role === "user" && failed(chat.messages[i + 1])));
        const body = {messages: said.map(outward)};
        if (settings.system)
            body.messages.unshift({role: "system", content: settings.system});
        if ($("model").value)
            body.model = $("model").value;
        for (const name of NUMBERS)
            if (settings[name] !== undefined)
                body[name] = settings[name];
        if (settings.reasoning_effort)
            body.reasoning_effort = settings.reasoning_effort;
        if (settings.tools)
            body.tools = JSON.parse(settings.tools);
        if (settings.schema)
            body.response_format = {type: "json_schema", json_schema: {name: "answer", schema: JSON.parse(settings.schema)}};
        return body;
    }

    /* Has the model answer what the conversation holds; others: the answers this one stands beside. */
    async function answer(others) {
        const here = chat, m = {role: "assistant", content: ""}, body = request(), control = new AbortController();
        if (others && others.length)
            m.others = others;
        const index = here.messages.push(m) - 1, article = view.message(m, index, true, false);
        let frame = 0, cost = 0, shown = 0;
        const draw = () => {
            const began = performance.now(), follow = at_bottom();
            frame = 0;
            view.fill(article, m, true, false);
            if (follow)
                to_bottom();
            shown = performance.now();
            cost = shown - began;
        };
        // long texts take long to lay out: at most a tenth of the time goes there
        const seen = () => {
            if (!frame && performance.now() - shown >= 10 * cost)
                frame = requestAnimationFrame(draw);
        };
        running = control;
        $("log").append(article);
        to_bottom();
        show_state();
        notice("");
        try {
            await api.chat(body, m, seen, control.signal);
            if (m.tool_calls)
                m.tool_calls = m.tool_calls.filter(c => c);
        } catch (e) {
            delete m.tool_calls; // perhaps half of one
            if (e.name === "AbortError") {
                m.finish = "stopped";
            } else {
                m.error = "No answer: " + e.message + ".";
                if (e.status === 401)
                    m.error += " The key can be given in the settings.";
            }
        }
        cancelAnimationFrame(frame);
        if (running === control)
            running = null;
        if (m.finish === "stopped" && !m.content && !m.reasoning)
            here.messages.splice(index, 1);
        if (here === chat) {
            const follow = at_bottom();
            article.replaceWith(...here.messages[index] === m ? [view.message(m, index, false, pending(index))] : []);
            if (follow)
                to_bottom();
            $("said").textContent = m.content.slice(0, 2000);
            show_state();
            keep();
        } else {
            store.save(here);
            show_sessions();
        }
    }

    function stop() {
        if (running)
            running.abort();
    }

    function send() {
        const text = $("text").value.trim();
        if (running || (!text && !attached.length))
            return;
        const m = {role: "user", content: text};
        const files = attached.filter(f => f.text !== undefined), images = attached.filter(f => f.url);
        if (files.length)
            m.files = files;
        if (images.length)
            m.images = images.map(f => f.url);
        for (const old of $("log").querySelectorAll(".results"))
            old.remove();
        const index = chat.messages.push(m) - 1;
        if (!chat.title) {
            chat.title = (text || attached[0].name).replace(/\s+/g, " ").slice(0, 60);
            $("title").textContent = chat.title;
        }
        attached = [];
        $("text").value = "";
        show_files();
        grow();
        $("log").append(view.message(m, index, false, false));
        keep();
        answer();
    }

    function retry(index) {
        const old = chat.messages[index];
        stop();
        chat.messages.length = index;
        show_chat();
        answer([...(old.others || []), ...(old.content ? [{content: old.content, reasoning: old.reasoning}] : [])]);
    }

    /* The answer before takes the place of this one, which goes to the end of the row. */
    function other(index) {
        const m = chat.messages[index], now = {content: m.content, reasoning: m.reasoning}, next = m.others.shift();
        m.others.push(now);
        m.content = next.content;
        m.reasoning = next.reasoning;
        delete m.stats;
        delete m.tool_calls;
        keep();
        show_chat();
    }

    /* A new conversation with what came before the message; the old one stays as it is. */
    function edit(index) {
        const m = chat.messages[index], next = store.fresh();
        next.messages = structuredClone(chat.messages.slice(0, index));
        next.title = index ? chat.title : "";
        attached = [...(m.files || []), ...(m.images || []).map((url, i) => ({name: "image " + (i + 1), url}))];
        open_chat(next);
        $("text").value = m.content;
        show_files();
        grow();
    }

    function send_results(form) {
        if (running)
            return;
        for (const area of form.querySelectorAll("textarea"))
            chat.messages.push({role: "tool", tool_call_id: area.dataset.call, content: area.value});
        show_chat();
        keep();
        answer();
    }

    /* -- files -- */

    function read_image(file) {
        return new Promise((done, failed) => {
            const r = new FileReader();
            r.onload = () => done(r.result);
            r.onerror = () => failed(new Error("cannot be read"));
            r.readAsDataURL(file);
        });
    }

    async function attach(files) {
        for (const f of files) {
            try {
                if (f.type.startsWith("image/")) {
                    if (f.size > IMAGE_LIMIT)
                        throw new Error("images may have 8 MB");
                    attached.push({name: f.name || "image", url: await read_image(f)});
                } else {
                    if (f.size > TEXT_LIMIT)
                        throw new Error("texts may have 1 MB");
                    let text;
                    try {
                        text = new TextDecoder("utf-8", {fatal: true}).decode(await f.arrayBuffer());
                    } catch {
                        throw new Error("this is no text");
                    }
                    attached.push({name: f.name, text});
                }
                notice("");
            } catch (e) {
                notice(f.name + ": " + e.message + ".");
            }
        }
        show_files();
    }

    /* -- settings -- */

    function open_settings() {
        for (const name of [...NUMBERS, "system", "reasoning_effort", "theme", "tools", "schema"])
            $("s-" + name).value = settings[name] ?? "";
        $("s-key").value = "";
        $("s-key").placeholder = api.has_key() ? "a key is set" : "none";
        $("settings-error").hidden = true;
        $("settings").showModal();
    }

    function read_settings() {
        const next = {};
        for (const name of NUMBERS) {
            const v = $("s-" + name).valueAsNumber;
            if (!Number.isNaN(v))
                next[name] = v;
        }
        for (const name of ["system", "reasoning_effort", "theme", "tools", "schema"])
            if ($("s-" + name).value.trim())
                next[name] = $("s-" + name).value;
        for (const name of ["tools", "schema"]) {
            try {
                const v = next[name] && JSON.parse(next[name]);
                if (v && name === "tools" && !Array.isArray(v))
                    throw new Error("it must be an array");
            } catch (e) {
                throw new Error("The " + name + " cannot be used: " + e.message + ".");
            }
        }
        return next;
    }

    function save_settings(event) {
        try {
            settings = read_settings();
        } catch (e) {
            event.preventDefault();
            $("settings-error").textContent = e.message;
            $("settings-error").hidden = false;
            return;
        }
        if ($("s-key").value) {
            api.set_key($("s-key").value);
            load();
        }
        store.save_settings(settings);
        apply_theme();
    }

    /* -- the server -- */

    async function load() {
        try {
            const models = await api.models();
            $("model").replaceChildren(...models.map(m => new Option(m.id, m.id)));
            $("model").disabled = models.length < 2;
            const lengths = Object.fromEntries(models.map(m => [m.id, m.max_model_len || 0]));
            $("model").onchange = () => {
                context = lengths[$("model").value];
                show_state();
            };
            $("model").onchange();
            notice("");
        } catch (e) {
            if (e.status === 401)
                notice("This server wants a key: give it in the settings.");
            else if (e.status === 503)
                setTimeout(load, 1000);
            else
                notice("No models: " + e.message + ".");
        }
    }

    /* -- what people do -- */

    function download(name, text) {
        const a = view.el("a");
        a.href = URL.createObjectURL(new Blob([text], {type: "application/json"}));
        a.download = name;
        a.click();
        setTimeout(() => URL.revokeObjectURL(a.href), 10000);
    }

    function on_log(e) {
        const b = e.target.closest("button");
        if (!b)
            return;
        if (b.classList.contains("copy")) {
            navigator.clipboard.writeText(b.previousElementSibling.textContent);
            return;
        }
        const article = b.closest("article"), index = article ? +article.dataset.index : -1;
        if (b.dataset.act === "copy")
            navigator.clipboard.writeText(chat.messages[index].content);
        else if (b.dataset.act === "edit")
            edit(index);
        else if (b.dataset.act === "retry")
            retry(index);
        else if (b.dataset.act === "other")
            other(index);
    }

    function on_sessions(e) {
        const b = e.target.closest("button"), id = b && b.closest("li").dataset.id, c = id && store.get(id);
        if (!c)
            return;
        if (b.className === "open") {
            open_chat(c);
        } else if (confirm("Delete “" + (c.title || "untitled") + "”?")) {
            if (id === chat.id) {
                stop();
                chat = store.fresh();
                show_chat();
            }
            store.remove(id);
            show_sessions();
        }
    }

    $("ask").addEventListener("submit", e => {
        e.preventDefault();
        send();
    });
    $("text").addEventListener("input", grow);
    $("text").addEventListener("keydown", e => {
        if (e.key === "Enter" && !e.shiftKey && !e.isComposing) {
            e.preventDefault();
            send();
        }
    });
    $("text").addEventListener("paste", e => {
        const files = [...e.clipboardData.files];
        if (files.length) {
            e.preventDefault();
            attach(files);
        }
    });
    document.addEventListener("dragover", e => e.preventDefault());
    document.addEventListener("drop", e => {
        e.preventDefault();
        attach([...e.dataTransfer.files]);
    });
    document.addEventListener("keydown", e => {
        if (e.key === "Escape" && !$("settings").open) {
            if (running)
                stop();
            side(false);
        } else if (e.ctrlKey && e.shiftKey && e.code === "KeyO") {
            e.preventDefault();
            open_chat(store.fresh());
        }
    });
    $("stop").addEventListener("click", stop);
    $("attach").addEventListener("click", () => $("attach-file").click());
    $("attach-file").addEventListener("change", async e => {
        await attach([...e.target.files]);
        e.target.value = "";
    });
    $("files").addEventListener("click", e => {
        if (e.target.dataset.index !== undefined) {
            attached.splice(+e.target.dataset.index, 1);
            show_files();
        }
    });
    $("log").addEventListener("click", on_log);
    $("log").addEventListener("submit", e => {
        e.preventDefault();
        send_results(e.target);
    });
    $("sessions").addEventListener("click", on_sessions);
    $("find").addEventListener("input", show_sessions);
    $("new").addEventListener("click", () => open_chat(store.fresh()));
    $("menu").addEventListener("click", () => side(!document.body.classList.contains("side-open")));
    $("open-settings").addEventListener("click", open_settings);
    $("settings-cancel").addEventListener("click", () => $("settings").close());
    $("settings-ok").addEventListener("click", save_settings);
    $("export").addEventListener("click", () => download("rill-conversations.json", store.export_all()));
    $("import").addEventListener("click", () => $("import-file").click());
    $("import-file").addEventListener("change", async e => {
        try {
            const n = store.import_all(await e.target.files[0].text());
            notice(n + (n === 1 ? " conversation" : " conversations") + " taken over.");
        } catch (err) {
            notice("Nothing taken over: " + err.message + ".");
        }
        e.target.value = "";
        show_sessions();
    });
    window.addEventListener("storage", e => {
        if (store.is_ours(e.key))
            show_sessions();
    });

    apply_theme();
    show_chat();
    show_sessions();
    load();
})();
