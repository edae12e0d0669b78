/* fmt_end.h - takes back the columns a format header set for its hook.
 *
 * No guard: it is used once per row.
 */
#undef FMT
#undef FMT_ID
#undef FMT_NAME
#undef FMT_BLOCK
#undef FMT_BYTES
#undef FMT_SUB
#undef FMT_MIN
#undef FMT_ACT
#undef FMT_TOL
#undef FMT_ENCODE
