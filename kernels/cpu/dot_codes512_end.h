/* dot_codes512_end.h - what dot_codes512.inc defined for one format. */
#undef SUB
#undef MINS
#undef PARTS
#undef TOGETHER
#undef VP
#undef VP_
#undef WIDE
#undef SIGNS
#undef MOST
#undef BY
