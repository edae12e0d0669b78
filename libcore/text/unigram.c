/* unigram.c - SentencePiece Unigram: of all ways to write the text as tokens the one with the best
 * sum of scores (Viterbi). Also the RWKV tokenizer, which is the longest match at each place.
 *
 * The text is cut where no token can lie across, so that the table of best ways stays in the cache.
 * The sum goes on over a cut: its rounding decides between ways that are equally good, and should
 * do so as in tokenizers that do not cut. (It is a double there and here; the original's float sums
 * lose the scores of single tokens after some hundred kilobytes.)
 */
#include "tok_in.h"

/* What SentencePiece takes off the worst score for a character that is in no token. */
#define UNKNOWN_PENALTY 10.0

static int best_room(struct enc *x, uint64_t n)
{
    struct best *p;

    if (n <= x->cap_best)
        return 0;
    p = mem_resize(x->best, 0, n + n / 2, sizeof *p, x->e);
    if (!p)
        return E_NOMEM;
    x->best = p;
    x->cap_best = n + n / 2;
    return 0;
}

static inline void offer(struct best *b, double score, uint32_t start, uint32_t id)
{
    if (b->id == NO_SYMBOL || score > b->score)
        *b = (struct best){score, start, id, 0};
}

/* Fills best[i]: how p[0, i) is written best. */
static void best_ways(struct enc *x, const char *p, size_t n)
{
    const struct tok *t = x->t;
    struct best *best = x->best;

    for (size_t i = 1; i <= n; i++)
        best[i].id = NO_SYMBOL;
    best[0] = (struct best){x->score, 0, NO_SYMBOL, 0};
    for (size_t at = 0, len; at < n; at += len) {
        uint32_t node = 0, id;
        bool alone = false;

        len = char_len(p + at, n - at);
        for (size_t i = at; i < n && trie_step(&t->words, &node, (uint8_t)p[i], &id); i++) {
            if (id == NO_ID)
                continue;
            alone |= i + 1 - at == len;
            offer(&best[i + 1], best[at].score + (double)t->score[id], (uint32_t)at, id);
        }
        if (!alone)
            offer(&best[at + len], best[at].score + t->unknown_score, (uint32_t)at, t->n);
    }
}

static int write_chunk(struct enc *x, const char *p, size_t n)
{
    const struct tok *t = x->t;
    struct best *best;
    int rc = best_room(x, n + 1);

    if (rc < 0)
        return rc;
    best_ways(x, p, n);
    best = x->best;
    x->score = best[n].score;
    for (size_t at = n; at > 0; at = best[at].start)
        best[best[at].start].next = (uint32_t)at;
    for (size_t at = 0; at < n && rc == 0; at = best[at].next) {
        size_t end = best[at].next;

        rc = best[end].id < t->n ? put(x, best[end].id) : put_bytes(x, p + at, end - at);
    }
    return rc;
}

int encode_unigram(struct enc *x, struct slice text)
{
    const char *p = text.p;
    size_t n = text.n;
    int rc;

    x->score = 0;
    for (size_t from = 0, at; from < n; from = at) {
        size_t len = char_len(p + from, n - from);

        for (at = from + len; at < n; at += len) {
            if (!is_inside(x->t, (uint8_t)p[at - 1], (uint8_t)p[at]))
                break;
            len = char_len(p + at, n - at);
        }
        if ((rc = write_chunk(x, p + from, at - from)) < 0)
            return rc;
    }
    return 0;
}

int encode_rwkv(struct enc *x, struct slice text)
{
    while (text.n) {
        uint32_t id;
        size_t n = trie_longest(&x->t->words, text, &id);
        int rc = n ? put(x, id) : put_bytes(x, text.p, 1);

        if (rc < 0)
            return rc;
        n += n == 0;
        text = (struct slice){text.p + n, text.n - n};
    }
    return 0;
}

void unigram_unknown_score(struct tok *t)
{
    float worst = 0;
    bool any = false;

    for (uint32_t i = 0; i < t->n; i++)
        if (t->kind[i] == TOK_NORMAL && (!any || t->score[i] < worst)) {
            worst = t->score[i];
            any = true;
        }
    t->unknown_score = (double)worst - UNKNOWN_PENALTY;
}
