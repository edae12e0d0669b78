/* test_page.c - the page of rill-serve: its files, and what people do with it in a browser. */
#include "tests/tools/browser.h"

#define LAST          "document.querySelector('article:last-child"
#define QUIET         "!document.querySelector('article.live')"
#define N_ARTICLES(n) "document.querySelectorAll('article').length === " #n

/* -- without a browser -- */

START_TEST(files)
{
    static const char mark[] = "=\"page/";
    struct reply index, r;
    int n = 0;

    if (!serve_script("{\"answers\":[{\"text\":\"x\"}]}", NULL))
        return;
    wait_ready();
    ask(&index, "GET", "/", "", NULL);
    ck_assert_int_eq(index.status, 200);
    ck_assert_ptr_nonnull(strstr(index.head.p, "Content-Type: text/html; charset=utf-8\r\n"));
    ck_assert_ptr_nonnull(strstr(index.head.p, "Content-Security-Policy: default-src 'none'; "));
    ck_assert_ptr_nonnull(strstr(index.head.p, "X-Content-Type-Options: nosniff\r\n"));
    ck_assert_ptr_null(strstr(index.body.p, "http"));
    ck_assert_ptr_null(strstr(index.body.p, "<style"));
    ck_assert_ptr_null(strstr(index.body.p, " style="));
    for (char *p = index.body.p; (p = strstr(p, mark)) != NULL; n++) {
        char path[100];

        p += 2;
        snprintf(path, sizeof path, "/%.*s", (int)strcspn(p, "\""), p);
        ask(&r, "GET", path, "", NULL);
        ck_assert_msg(r.status == 200 && r.body.n > 100, "%s: %d", path, r.status);
        ck_assert_ptr_null(strstr(r.body.p, "innerHTML"));
        reply_fini(&r);
    }
    ck_assert_int_ge(n, 7);
    reply_fini(&index);
    expect_status("GET", "/page/none.js", "", NULL, 404, "unknown_url");
    expect_status("GET", "/page/../serve.c", "", NULL, 404, "unknown_url");
    expect_status("HEAD", "/", "", NULL, 200, NULL);
    expect_status("POST", "/", "", "{}", 405, NULL);
    serve_stop();
}
END_TEST

/* -- with one -- */

static void say(const char *text)
{
    browser_do("Runtime.evaluate",
               json_pack("{s:s}", "expression", "document.querySelector('#text').focus()"));
    browser_type(text);
    browser_key("Enter", 13, "\r", 0);
}

START_TEST(conversation)
{
    if (!serve_script("{\"token_ms\":10,\"answers\":[{\"text\":\"A *first* answer.\"},"
                      "{\"text\":\"Slow. \",\"repeat\":500},{\"text\":\"Another one.\"},"
                      "{\"text\":\"Forked.\"}]}",
                      NULL))
        return;
    wait_ready();
    if (!browser_open("--window-size=1200,800")) {
        serve_stop();
        return;
    }
    browser_wait("document.readyState === 'complete' && document.querySelector('#model')?.value "
                 "=== 'tales'");
    browser_is("document.activeElement.id", "\"text\"");
    say("Hello\nthere");
    browser_wait(N_ARTICLES(2) " && " QUIET);
    browser_is(LAST " .body').innerHTML", "\"<p>A <em>first</em> answer.</p>\"");
    browser_is("document.querySelector('article.user .body').textContent", "\"Hello\\nthere\"");
    browser_is("/^\\d+ \\+ \\d+ tokens · .* tokens\\/s · first after/.test(" LAST
               " .stats').textContent)",
               "true");
    browser_is("document.querySelector('#title').textContent", "\"Hello there\"");

    /* Esc ends an answer, also for the server; what has come stays */
    say("Go on");
    browser_wait("document.querySelector('article.live .body')?.textContent.length > 20");
    browser_is("document.querySelector('#send').hidden", "true");
    browser_key("Escape", 27, "", 0);
    browser_wait(QUIET);
    wait_idle(5);
    browser_is(LAST " .stats').textContent", "\"stopped\"");
    browser_is("document.querySelector('#send').hidden", "false");

    /* another answer; the one before can be had again */
    browser_is(LAST " [data-act=retry]').click()", "null");
    browser_wait(N_ARTICLES(4) " && " QUIET " && " LAST " .body').textContent === 'Another one.'");
    browser_is(LAST " [data-act=other]').click()", "null");
    browser_is(LAST " .body').textContent.slice(0, 5)", "\"Slow.\"");

    /* an edited question is a new conversation, the old one stays */
    browser_is("document.querySelector('article.user [data-act=edit]').click()", "null");
    browser_is("document.querySelector('#text').value", "\"Hello\\nthere\"");
    say(" now");
    browser_wait(N_ARTICLES(2) " && " QUIET);
    browser_is(LAST " .body').textContent", "\"Forked.\"");
    browser_is("document.querySelectorAll('#sessions li').length", "2");

    /* and both are there when the page comes again */
    browser_do("Page.reload", json_object());
    browser_wait("document.querySelectorAll('#sessions li').length === 2 && " N_ARTICLES(0));
    browser_is("document.querySelectorAll('#sessions .open')[1].click()", "null");
    browser_is(N_ARTICLES(4), "true");
    browser_is("document.querySelector('#find').value = 'forked'; "
               "document.querySelector('#find').dispatchEvent(new Event('input')); "
               "document.querySelectorAll('#sessions li').length",
               "1");
    browser_key("O", 79, "", 2 | 8);
    browser_close();
    serve_stop();
}
END_TEST

/* A text that wants to be more than a text. */
START_TEST(hostile_text)
{
    if (!serve_script("{\"answers\":[{\"text\":\"<script>window.bad=1</script><img src=x "
                      "onerror=window.bad=2> [a](javascript:window.bad=3) [b](data:text/html,x) "
                      "![c](http://192.0.2.1/x.png) [d](https://e.example/\\\"onclick=x)\\n\\n"
                      "```\\\"><script>\\n</code><script>window.bad=4</script>\\n```\\n"
                      "<iframe src=/>\\n\\n| a | b |\\n|--|--|\\n| <b>x</b> | `|` |\"}]}",
                      NULL))
        return;
    wait_ready();
    if (!browser_open("--window-size=400,700")) {
        serve_stop();
        return;
    }
    browser_wait("document.readyState === 'complete' && document.querySelector('#model')?.value "
                 "=== 'tales'");
    say("x");
    browser_wait(N_ARTICLES(2) " && " QUIET);
    browser_is("window.bad === undefined", "true");
    browser_is("[...new Set([..." LAST " .body').querySelectorAll('*')].map(e => e.localName))]"
               ".sort().join(' ')",
               "\"a button code div p pre table tbody td th thead tr\"");
    browser_is("[..." LAST " .body').querySelectorAll('a')].every(a => /^https?:/.test(a.href) && "
               "a.rel.includes('noopener'))",
               "true");
    browser_is("document.documentElement.scrollWidth <= innerWidth", "true");
    /* long runs of marks take no time */
    browser_is("(() => { const t = performance.now(); for (const s of ['*a ', '`', '[', '> ', "
               "'- ', '|', '**', '_a*', '# ', '[a](', '``` ']) rill.markdown(s.repeat(20000)); "
               "return performance.now() - t < 10000; })()",
               "true");
    browser_close();
    serve_stop();
}
END_TEST

TEST_MAIN("tools/page", files, conversation, hostile_text)
