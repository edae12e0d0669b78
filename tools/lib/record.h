/* record.h - requests and what was drawn for them, written down, and done again.
 *
 * A record is a line of JSON in requests.jsonl of a folder: time, path, model, seed, adapters, the
 * ids of prompts and answers, the body as it came. It has what was said: only its owner may read
 * the file.
 */
#ifndef RILL_TOOLS_RECORD_H
#define RILL_TOOLS_RECORD_H

#include <stdio.h>

#include "tools/lib/worker.h"

/* Opens the folder's file to be appended to; makes the folder. */
int record_open(FILE **out, const char *dir, struct err *e);
/* A token that was drawn joins tokens; the record of a job that has ended well is written. */
void record_token(struct buf *tokens, int prompt, const struct rill_event *ev);
void record_write(FILE *f, const struct job *j, const char *path, struct slice body,
                  struct slice tokens);

/* Does each record of a folder or file again, one after the other, and compares the line that would
 * be written of it byte for byte: says on standard output which differ and how many. 0: all are the
 * same, 1: some are not. One model stands for whatever models they name. */
int record_replay(const char *path, const struct worker_opts *w, int n, struct err *e);

#endif
