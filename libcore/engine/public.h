/* public.h - what a struct rill_model is: an opened model as the engine sees it. */
#ifndef RILL_ENGINE_PUBLIC_H
#define RILL_ENGINE_PUBLIC_H

#include "plan/backend.h"
#include "rill.h"
#include "text/tok.h"

struct model;

struct rill_model {
    struct model *m;          // owned; NULL in tests that stand something else here
    const struct backend *be; // the rest is borrowed from it
    struct dev *dev;
    const struct plan *plan;  // NULL: opened for its vocabulary only
    const struct tok *tok;
    const char *path;
    char *chat_template;      // NUL-ended copies, or NULL
    char *name;
    struct dev_info info;
};

#endif
