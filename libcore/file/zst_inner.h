/* zst_inner.h - numbers of the seek table that its reader and its writer share. */
#ifndef RILL_FILE_ZST_INNER_H
#define RILL_FILE_ZST_INNER_H

#define ZST_SKIP_MAGIC  0x184D2A5Eu
#define ZST_TABLE_MAGIC 0x8F92EAB1u

enum {
    ZST_SKIP_HEAD = 8, // the magic number and the length of a frame that is skipped
    ZST_FOOT = 9,      // frames, flags, magic number
    ZST_FLAG_SUMS = 0x80,
    ZST_FLAGS_RESERVED = 0x7C,
};

#endif
