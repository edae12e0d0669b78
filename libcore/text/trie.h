/* trie.h - a double-array trie over byte strings: all the tokens that begin at a place of a text.
 */
#ifndef RILL_TEXT_TRIE_H
#define RILL_TEXT_TRIE_H

#include "base/err.h"
#include "base/slice.h"

/* The child of node s by byte c is base[s] ^ c, when its parent is s. Node 0 is the root. */
struct trie {
    struct trie_node {
        uint32_t base;   // of its children
        uint32_t parent; // UINT32_MAX: no node
        uint32_t value;  // UINT32_MAX: no key ends here
    } * node;
    uint32_t cap;    // nodes, a multiple of 256
    bool first[256]; // some key begins with this byte
};

/* From n keys with their values; of equal keys the first stays. Empty keys are left out. */
int trie_new(struct trie *t, const struct slice *key, const uint32_t *value, uint32_t n,
             struct err *e);
void trie_fini(struct trie *t);

/* Goes on from *node by one byte. False: no key goes on so. *value is the key that ends there. */
static inline bool trie_step(const struct trie *t, uint32_t *node, uint8_t c, uint32_t *value)
{
    uint32_t next = t->node[*node].base ^ c;

    if (t->node[next].parent != *node)
        return false;
    *node = next;
    *value = t->node[next].value;
    return true;
}

/* The longest key at the front of text; returns its length (0: none). */
size_t trie_longest(const struct trie *t, struct slice text, uint32_t *value);

#endif
