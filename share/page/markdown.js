/* markdown.js - Markdown as models write it, to a tree of elements.
 *
 * Nothing is ever parsed as HTML: elements are made one by one from the short list here, and all
 * text is set as text. Links are kept for http, https and mailto only; images become links, so that
 * a text cannot make the reader's browser fetch anything. Work is linear: the end of an emphasis is
 * looked for within FAR characters, and depth is bounded.
 */
"use strict";

var rill = window.rill || {};

rill.markdown = (function () {
    const FAR = 2000, DEEP = 12;
    const MARKS = {"**": "strong", "__": "strong", "~~": "del", "*": "em", "_": "em"};

    function make(name, parent) {
        const e = document.createElement(name);
        if (parent)
            parent.append(e);
        return e;
    }

    /* -- inside a line -- */

    /* The address of a link if a reader may follow it, or null. */
    function safe_link(text) {
        try {
            const u = new URL(text);
            return ["http:", "https:", "mailto:"].includes(u.protocol) ? u.href : null;
        } catch {
            return null;
        }
    }

    function add_link(parent, address, fill) {
        const href = safe_link(address);
        if (!href)
            return false;
        const a = make("a", parent);
        a.href = href;
        a.rel = "noopener noreferrer nofollow";
        a.target = "_blank";
        fill(a);
        return true;
    }

    const word = c => c !== undefined && /[\p{L}\p{N}_]/u.test(c);
    const space = c => c === undefined || /\s/.test(c);

    /* Where the emphasis that mark opened before `from` ends, or -1. none: up to where there is no
     * end of a mark, as earlier searches found. ticks: where the last backtick of s is. */
    function closing(s, from, mark, none, ticks) {
        const end = Math.min(s.length, from + FAR);
        for (let i = Math.max(from, none[mark] || 0); i < end; i++) {
            if (s[i] === "\\") {
                i++;
            } else if (s[i] === "`" && ticks > i) {
                i = s.indexOf("`", i + 1);
            } else if (s.startsWith(mark, i) && i > from && !space(s[i - 1])) {
                const twice = mark.length === 1 && (s[i + 1] === mark || s[i - 1] === mark);
                if (!twice && !(mark[0] === "_" && word(s[i + mark.length])))
                    return i;
                if (twice && s[i + 1] === mark)
                    i++;
            }
        }
        none[mark] = end;
        return -1;
    }

    /* "[text](address)" at i: {text, address, end}, or null. */
    function link_at(s, i) {
        let depth = 0, j = i;
        const end = Math.min(s.length, i + FAR);
        for (; j < end; j++) {
            if (s[j] === "\\")
                j++;
            else if (s[j] === "[")
                depth++;
            else if (s[j] === "]" && --depth === 0)
                break;
        }
        if (j >= end || s[j + 1] !== "(")
            return null;
        depth = 0;
        let k = j + 1;
        for (; k < end; k++) {
            if (s[k] === "(")
                depth++;
            else if (s[k] === ")" && --depth === 0)
                break;
        }
        if (k >= end)
            return null;
        const address = s.slice(j + 2, k).trim().replace(/\s+["'(][^]*$/, "").replace(/^<|>$/g, "");
        return {text: s.slice(i + 1, j), address, end: k + 1};
    }

    function inline(parent, s, deep) {
        const none = {}, ticks = s.lastIndexOf("`");
        let plain = "", i = 0;
        const flush = () => {
            if (plain)
                parent.append(plain);
            plain = "";
        };
        while (i < s.length) {
            const c = s[i];
            if (c === "\\" && i + 1 < s.length && /[!-/:-@[-`{-~]/.test(s[i + 1])) {
                plain += s[i + 1];
                i += 2;
                continue;
            }
            if (c === "\n") {
                flush();
                make("br", parent);
                i++;
                continue;
            }
            if (c === "`") {
                let n = 1;
                while (s[i + n] === "`")
                    n++;
                const mark = "`".repeat(n), end = s.indexOf(mark, i + n);
                if (end > 0) {
                    flush();
                    const inner = s.slice(i + n, end).replace(/\n/g, " ");
                    make("code", parent).textContent = /^ .* $/.test(inner) && inner.trim() ? inner.slice(1, -1) : inner;
                    i = end + n;
                } else {
                    plain += mark;
                    i += n;
                }
                continue;
            }
            if (deep < DEEP && (c === "*" || c === "_" || c === "~")) {
                const mark = s.startsWith(c + c, i) ? c + c : c, name = MARKS[mark];
                const opens = name && !space(s[i + mark.length]) && !(c === "_" && word(s[i - 1]));
                const end = opens ? closing(s, i + mark.length, mark, none, ticks) : -1;
                if (end > 0) {
                    flush();
                    inline(make(name, parent), s.slice(i + mark.length, end), deep + 1);
                    i = end + mark.length;
                } else {
                    plain += mark;
                    i += mark.length;
                }
                continue;
            }
            if (deep < DEEP && (c === "[" || (c === "!" && s[i + 1] === "["))) {
                const at = c === "!" ? i + 1 : i, l = link_at(s, at);
                if (l && safe_link(l.address)) {
                    flush();
                    add_link(parent, l.address, a => inline(a, l.text || l.address, DEEP));
                    i = l.end;
                    continue;
                }
            }
            if ((c === "h" || c === "<") && !word(s[i - 1])) {
                const m = /^<?(https?:\/\/[^\s<>"'`\])}]+[^\s<>"'`\])}.,;:!?*_~])>?/.exec(s.slice(i, i + FAR));
                if (m && safe_link(m[1])) {
                    flush();
                    add_link(parent, m[1], a => a.append(m[1]));
                    i += m[0].length;
                    continue;
                }
            }
            plain += c;
            i++;
        }
        flush();
    }

    /* -- lines -- */

    const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^\s`]*)/;
    const HEADING = /^ {0,3}(#{1,6})\s(.*)$/;
    const RULE = /^ {0,3}([-*_])(\s*\1){2,}\s*$/;
    const QUOTE = /^ {0,3}> ?/;
    const ITEM = /^( *)([-*+]|\d{1,9}[.)])(\s+|$)/;
    const TABLE = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

    const starts_block = line => FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || ITEM.test(line);

    function add_code(parent, text, language) {
        const box = make("div", parent), pre = make("pre", box), code = make("code", pre);
        const copy = make("button", box);
        box.className = "code";
        copy.type = "button";
        copy.className = "copy";
        copy.textContent = "Copy";
        if (language)
            box.dataset.language = language.slice(0, 40);
        code.textContent = text;
    }

    /* A fence from line i on; one that is still open ends with the text, as in a stream. */
    function fence(parent, lines, i) {
        const [, mark, language] = FENCE.exec(lines[i]);
        const closes = new RegExp("^ {0,3}" + (mark[0] === "`" ? "`" : "~") + "{" + mark.length + ",}\\s*$");
        const indent = /^ */.exec(lines[i])[0].length, body = [];
        for (i++; i < lines.length && !closes.test(lines[i]); i++)
            body.push(lines[i].replace(new RegExp("^ {0," + indent + "}"), ""));
        add_code(parent, body.join("\n"), language);
        return i + 1;
    }

    function cells(line) {
        const out = [];
        let cell = "", code = false;
        const s = line.trim().replace(/^\|/, "").replace(/\|$/, "");
        for (let i = 0; i < s.length; i++) {
            if (s[i] === "\\" && s[i + 1] === "|") {
                cell += "|";
                i++;
            } else if (s[i] === "|" && !code) {
                out.push(cell.trim());
                cell = "";
            } else {
                code = s[i] === "`" ? !code : code;
                cell += s[i];
            }
        }
        out.push(cell.trim());
        return out;
    }

    function table(parent, lines, i, deep) {
        const box = make("div", parent), t = make("table", box);
        const align = cells(lines[i + 1]).map(c => (c.endsWith(":") ? (c.startsWith(":") ? "center" : "right") : ""));
        const row = (line, name, into) => {
            const tr = make("tr", into), all = cells(line);
            align.forEach((a, k) => {
                const cell = make(name, tr);
                if (a)
                    cell.className = a;
                inline(cell, all[k] || "", deep);
            });
        };
        box.className = "table";
        row(lines[i], "th", make("thead", t));
        const body = make("tbody", t);
        for (i += 2; i < lines.length && lines[i].includes("|") && lines[i].trim(); i++)
            row(lines[i], "td", body);
        return i;
    }

    /* The items of a list from line i on: what is indented below an item belongs to it. */
    function list(parent, lines, i, deep) {
        const first = ITEM.exec(lines[i]), ordered = /\d/.test(first[2]);
        const l = make(ordered ? "ol" : "ul", parent), indent = first[1].length;
        if (ordered)
            l.start = parseInt(first[2], 10);
        while (i < lines.length) {
            const m = ITEM.exec(lines[i]);
            if (!m || m[1].length < indent || m[1].length > indent + 3 || /\d/.test(m[2]) !== ordered || RULE.test(lines[i]))
                break;
            const inner = [lines[i].slice(m[0].length)], width = m[1].length + 2;
            for (i++; i < lines.length; i++) {
                const lead = /^ */.exec(lines[i])[0].length;
                if (!lines[i].trim()) {
                    if (i + 1 < lines.length && /^ */.exec(lines[i + 1])[0].length < width && !ITEM.test(lines[i + 1]))
                        break;
                } else if (lead < width && (starts_block(lines[i]) || !lines[i - 1].trim())) {
                    break;
                }
                inner.push(lines[i].slice(Math.min(lead, m[0].length)));
            }
            while (inner.length > 1 && !inner[inner.length - 1].trim())
                inner.pop();
            const li = make("li", l), task = /^\[([ xX])\]\s+/.exec(inner[0]);
            if (task) {
                const box = make("input", li);
                box.type = "checkbox";
                box.disabled = true;
                box.checked = task[1] !== " ";
                inner[0] = inner[0].slice(task[0].length);
            }
            blocks(li, inner, deep + 1, true);
        }
        return i;
    }

    function blocks(parent, lines, deep, tight) {
        let i = 0;
        while (i < lines.length) {
            const line = lines[i], h = HEADING.exec(line);
            if (!line.trim()) {
                i++;
            } else if (FENCE.test(line)) {
                i = fence(parent, lines, i);
            } else if (h) {
                inline(make("h" + Math.min(6, h[1].length + 1), parent), h[2].trim().replace(/ #+$/, ""), 0);
                i++;
            } else if (RULE.test(line)) {
                make("hr", parent);
                i++;
            } else if (QUOTE.test(line) && deep < DEEP) {
                const inner = [];
                for (; i < lines.length && QUOTE.test(lines[i]); i++)
                    inner.push(lines[i].replace(QUOTE, ""));
                blocks(make("blockquote", parent), inner, deep + 1, false);
            } else if (ITEM.test(line) && deep < DEEP) {
                i = list(parent, lines, i, deep);
            } else if (line.includes("|") && i + 1 < lines.length && lines[i + 1].includes("-") && lines[i + 1].length < FAR && TABLE.test(lines[i + 1])) {
                i = table(parent, lines, i, 0);
            } else {
                const from = i;
                for (i++; i < lines.length && lines[i].trim() && !starts_block(lines[i]); i++)
                    continue;
                inline(tight && from === 0 ? parent : make("p", parent), lines.slice(from, i).join("\n"), 0);
            }
        }
    }

    /* A fragment with the elements of a text. */
    return function (text) {
        const out = document.createDocumentFragment();
        blocks(out, text.replace(/\r\n?/g, "\n").replace(/\t/g, "    ").split("\n"), 0, false);
        return out;
    };
})();
window.rill = rill;
