/* constrain_obj.h - what has been read of a JSON object, and what may still be.
 *
 * A record is a run of words: how many of the named members were read and how many others (both
 * only as far as anything depends on it), which conditions were met, and which members were read (a
 * bit each; in order: the number of the next). Equal records can go on equally.
 */
#ifndef RILL_TEXT_CONSTRAIN_OBJ_H
#define RILL_TEXT_CONSTRAIN_OBJ_H

#include "constrain_gram.h"

enum { OBJ_NAMED, OBJ_OTHERS, OBJ_MET, OBJ_READ }; // words of a record; all 0: nothing was read

uint32_t obj_words(const struct gram_obj *o); // of a record

/* Whether move m can come next, and the object still be ended behind it. work: a record. */
bool obj_may(const struct gram *g, const struct gram_obj *o, const uint32_t *rec,
             const struct gram_move *m, uint32_t *work);
/* The record behind m. */
void obj_move(const struct gram *g, const struct gram_obj *o, const uint32_t *rec,
              const struct gram_move *m, uint32_t *to);
bool obj_may_end(const struct gram *g, const struct gram_obj *o, const uint32_t *rec);

/* Whether an object can be ended at all when states are useful as marked. */
bool obj_possible(const struct gram *g, const struct gram_obj *o, const bool *useful);

#endif
