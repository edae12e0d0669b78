/* page.h - the page that rill-serve shows at "/": the files of share/page, in the binary. */
#ifndef RILL_TOOLS_PAGE_H
#define RILL_TOOLS_PAGE_H

#include <stddef.h>

struct page_file {
    const char *name;
    const unsigned char *data;
    size_t n; // bytes; a NUL follows
};

extern const struct page_file page_files[]; // made by scripts/embed
extern const int page_n;

#endif
