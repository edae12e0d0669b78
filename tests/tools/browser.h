/* browser.h - a page in a headless Chromium, driven through its debugging pipe (the DevTools
 * Protocol: JSON objects with a NUL behind each, written to its descriptor 3, read from its 4). */
#ifndef RILL_TESTS_TOOLS_BROWSER_H
#define RILL_TESTS_TOOLS_BROWSER_H

#include <jansson.h>
#include <sys/stat.h>

#include "tests/tools/client.h"

static struct {
    pid_t pid;
    int in, out, n;
    char session[80], dir[1024];
    struct buf got;
} browser;

static inline void browser_exec(const char *size)
{
    char profile[1100];

    snprintf(profile, sizeof profile, "--user-data-dir=%s", browser.dir);
    execlp("chromium", "chromium", "--headless=new", "--no-sandbox", "--disable-gpu",
           "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-pipe", profile, size,
           "about:blank", (char *)NULL);
    _exit(127);
}

/* The next message; the caller frees it. */
static inline json_t *browser_read(void)
{
    char c[65536], *end;
    struct pollfd p = {browser.out, POLLIN, 0};

    while (browser.got.n == 0 || !(end = memchr(browser.got.p, 0, browser.got.n))) {
        ssize_t n = poll(&p, 1, 60000) == 1 ? read(browser.out, c, sizeof c) : -1;

        ck_assert_msg(n > 0, "the browser says nothing more");
        buf_add(&browser.got, c, (size_t)n);
    }
    json_t *o = json_loads(browser.got.p, 0, NULL);
    size_t used = (size_t)(end + 1 - browser.got.p);

    memmove(browser.got.p, end + 1, browser.got.n - used);
    browser.got.n -= used;
    ck_assert_ptr_nonnull(o);
    return o;
}

/* Calls a method, params being taken; its result is the caller's. What the page complains of on the
 * way (exceptions, refused content) fails the test. */
static inline json_t *browser_call(const char *method, json_t *params)
{
    json_t *o = json_pack("{s:i,s:s,s:o}", "id", ++browser.n, "method", method, "params", params);
    char *text;

    if (browser.session[0])
        json_object_set_new(o, "sessionId", json_string(browser.session));
    text = json_dumps(o, 0);
    json_decref(o);
    ck_assert_int_gt(write(browser.in, text, strlen(text) + 1), 0);
    free(text);
    for (;;) {
        const char *said;
        json_t *result;

        o = browser_read();
        said = json_string_value(json_object_get(o, "method"));
        if (said && strcmp(said, "Runtime.exceptionThrown") == 0)
            ck_abort_msg("the page: %s", json_dumps(o, 0));
        if (json_integer_value(json_object_get(o, "id")) != browser.n) {
            json_decref(o);
            continue;
        }
        result = json_incref(json_object_get(o, "result"));
        ck_assert_msg(result != NULL, "%s: %s", method, json_dumps(o, 0));
        json_decref(o);
        return result;
    }
}

static inline void browser_do(const char *method, json_t *params)
{
    json_decref(browser_call(method, params));
}

/* Opens the server's page. False, which skips the test: there is no Chromium. */
static inline bool browser_open(const char *size)
{
    json_t *page, *r;
    char url[64];
    int in[2], out[2];

    if (system("command -v chromium >/dev/null 2>&1") != 0) {
        test_skip("no chromium");
        return false;
    }
    snprintf(browser.dir, sizeof browser.dir, "%s", tmpfile_path("browser"));
    ck_assert_int_eq(mkdir(browser.dir, 0700), 0);
    ck_assert_int_eq(pipe(in) | pipe(out), 0);
    browser.pid = fork();
    if (browser.pid == 0) {
        int from = fcntl(in[0], F_DUPFD, 10), to = fcntl(out[1], F_DUPFD, 10);
        int null = open("/dev/null", O_RDWR);

        setpgid(0, 0);
        dup2(null, 1);
        dup2(null, 2);
        dup2(from, 3);
        dup2(to, 4);
        for (int fd = 5; fd < 64; fd++)
            close(fd);
        browser_exec(size);
    }
    close(in[0]);
    close(out[1]);
    browser.in = in[1];
    browser.out = out[0];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", served.port);
    page = browser_call("Target.createTarget", json_pack("{s:s}", "url", url));
    r = browser_call(
        "Target.attachToTarget",
        json_pack("{s:O,s:b}", "targetId", json_object_get(page, "targetId"), "flatten", 1));
    json_decref(page);
    snprintf(browser.session, sizeof browser.session, "%s",
             json_string_value(json_object_get(r, "sessionId")));
    json_decref(r);
    browser_do("Runtime.enable", json_object());
    browser_do("Page.enable", json_object());
    return true;
}

static inline void browser_close(void)
{
    char rm[1100];

    kill(-browser.pid, SIGKILL);
    waitpid(browser.pid, NULL, 0);
    close(browser.in);
    close(browser.out);
    buf_fini(&browser.got);
    snprintf(rm, sizeof rm, "rm -rf %s", browser.dir);
    ck_assert_int_eq(system(rm), 0);
    memset(&browser, 0, sizeof browser);
}

/* What an expression is in the page, as JSON text; the caller frees it. */
static inline char *browser_get(const char *expression)
{
    json_t *r =
        browser_call("Runtime.evaluate", json_pack("{s:s,s:b,s:b}", "expression", expression,
                                                   "returnByValue", 1, "awaitPromise", 1));
    json_t *v = json_object_get(json_object_get(r, "result"), "value");
    char *text = json_dumps(v ? v : json_null(), JSON_ENCODE_ANY | JSON_SORT_KEYS);

    ck_assert_msg(!json_object_get(r, "exceptionDetails"), "%s: %s", expression, json_dumps(r, 0));
    json_decref(r);
    return text;
}

static inline void browser_is(const char *expression, const char *json)
{
    char *got = browser_get(expression);

    ck_assert_msg(strcmp(got, json) == 0, "%s is %s, not %s", expression, got, json);
    free(got);
}

static inline void browser_wait(const char *condition)
{
    char *got = NULL;

    for (int i = 0; i < 1500; i++) {
        free(got);
        got = browser_get(condition);
        if (strcmp(got, "true") == 0) {
            free(got);
            return;
        }
        client_nap(20);
    }
    ck_abort_msg("never true in the page: %s", condition);
}

static inline void browser_type(const char *text)
{
    browser_do("Input.insertText", json_pack("{s:s}", "text", text));
}

static inline void browser_key(const char *key, int code, const char *text, int modifiers)
{
    static const char *const step[] = {"keyDown", "keyUp"};

    for (int i = 0; i < 2; i++)
        browser_do("Input.dispatchKeyEvent",
                   json_pack("{s:s,s:s,s:s,s:i,s:i,s:s}", "type", step[i], "key", key, "code", key,
                             "windowsVirtualKeyCode", code, "modifiers", modifiers, "text",
                             i == 0 ? text : ""));
}

#endif
