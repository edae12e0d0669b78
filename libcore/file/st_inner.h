/* st_inner.h - what the files of the safetensors reader share. */
#ifndef RILL_FILE_ST_INNER_H
#define RILL_FILE_ST_INNER_H

#include "file/safetensors.h"

/* Reads the header of s->part[0], whose view holds the file, into s. */
int st_parse(struct safetensors *s, struct err *e);

#endif
