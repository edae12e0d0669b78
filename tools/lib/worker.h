/* worker.h - a model at work for the server: its requests come in, what becomes of them goes
 * out, and the loop that serves clients never waits for it.
 *
 * Two threads: one reads requests (JSON, template, tokens, constraints), one owns the engine and
 * steps it. A job is the loop's until worker_start, then the worker's, and the loop's again when
 * OUT_END has come; meanwhile both may read what neither changes (the request, once OUT_READY has
 * come). Events come back as records in a bytes_queue, in order for each job.
 */
#ifndef RILL_TOOLS_WORKER_H
#define RILL_TOOLS_WORKER_H

#include "tools/lib/api.h"
#include "tools/lib/opt.h"
#include "tools/lib/queue.h"
#include "tools/lib/script.h"

struct worker;
struct job;

/* A prompt of a job: what events carry. */
struct job_ref {
    struct job *job;
    int prompt, number;
};

enum { WORKER_DRAFTS = 4 }; // models that may propose tokens for one

enum job_kind {
    JOB_ANSWER, // prompts to answers
    JOB_TEXT,   // read makes the whole reply: nothing for the engine
    JOB_ACT     // read, then act makes the reply with the engine
};

/* An adapter that is loaded: its scale in requests that choose none, 0: it is not in them. */
struct adapter {
    int id;
    float scale;
    char name[100];
};

/* What the thread of the engine has, for the length of a call. */
struct worker_hands {
    struct rill_engine *engine;
    struct adapter *adapter; // [RILL_LORA_MAX]
    int *n_adapter;
};

/* What a client's requests may use of the adapters; NULL and "" are none said. */
struct job_rights {
    char adapters[256]; // names that they may choose, separated by commas; "": all
    char lora[100];     // of those that choose none; "": the adapters that have a scale
    float lora_scale;
    char draft[64]; // which model proposes its tokens, if that is there; "": the first
};
/* Whether a name is in such a list. */
bool names_have(const char *list, const char *name);

struct job {
    uint64_t id;
    enum job_kind kind;
    struct worker *worker;
    enum api_kind asks; // JOB_ANSWER: what its body is
    /* Reads the body of another, or makes the reply (JOB_TEXT), on the worker's thread. */
    int (*read)(struct job *j, struct err *e);
    int (*act)(struct job *j, struct worker_hands *h, struct err *e); // on the engine's
    struct buf body;
    struct api_opts o;
    struct api_request r;
    struct api_answer *answer; // [n_prompt][best_of]
    struct job_ref *ref;       // [n_prompt]
    json_t *custom;            // what else was read; freed with the job
    struct buf reply;          // of JOB_TEXT and JOB_ACT
    struct job_rights rights;
    const json_t *lora; // names and scales of adapters that it is to use whatever it says; or NULL
    struct buf used;    // those that it uses: JSON objects, separated by commas
    int client;         // 0 to RILL_CLIENTS - 1
    float weight;
    double deadline;  // seconds; 0: none
    double start_at;  // when the engine began with it; 0: not yet
    int left, failed; // answers that have not ended; code of a failure: the runner's
    bool cancelled;   // under the worker's lock
    void *user;       // the server's
};

enum out_kind {
    OUT_READY, // the engine has taken it: its answers begin
    OUT_EVENT, // ev, for prompt
    OUT_END,   // nothing more comes: rc < 0 when it failed
    OUT_STATE  // of the worker, no job: loaded (rc 0), or why not
};

struct out_record {
    enum out_kind kind;
    int rc;
    struct job *job;
    struct worker *worker;
    int prompt;
    double at; // when it happened
    struct rill_event ev;
    const char *why; // rc < 0: the sentence
};

struct worker_opts {
    const char *name;
    struct rill_model_opts model;
    const char *path;
    const char *draft[WORKER_DRAFTS]; // [n_draft] smaller models that propose tokens
    int n_draft;
    struct rill_engine_opts engine;
    const char *tool_format;   // of api_chat_open
    const char *template_name; // of the template's text, or NULL: the model's own
    struct slice template_text;
    const struct script *script; // instead of an engine, or NULL
    const struct opt_list *lora; // FILE[=SCALE] each, or NULL
    const char *lora_dir;        // what requests may load, or NULL
    const char *session_dir;     // of their sessions, or NULL
};

/* What a model is called that was given without a name: as its file, without folders and .gguf. */
struct slice worker_model_name(const char *path);

/* out: where records go. Loading begins at once, on the worker's thread. */
int worker_new(struct worker **out, const struct worker_opts *o, struct bytes_queue *records,
               struct err *e);
/* Cancels all, waits for the threads. The pipe must have been closed or be read by nobody. */
void worker_free(struct worker *w); // accepts NULL

/* Takes a job: OUT_END comes back. */
int worker_start(struct worker *w, struct job *j, struct err *e);
/* Its answers end as soon as can be. */
void worker_cancel(struct worker *w, struct job *j);

/* What is known once OUT_STATE has come with 0. */
const struct worker_opts *worker_opts(const struct worker *w);
const char *worker_name(const struct worker *w);
const struct api_opts *worker_api(const struct worker *w); // what its requests begin with
const struct rill_model *worker_model(const struct worker *w);
int worker_ctx(const struct worker *w);
/* The last numbers of the engine. */
void worker_stats(struct worker *w, struct rill_stats *out);

/* The next record of a batch that bytes_take gave; false at its end. Pointers in ev hold until the
 * batch is gone. */
bool out_next(const struct buf *batch, size_t *at, struct out_record *out);

void job_free(struct job *j); // accepts NULL

#endif
