/* k_scales.h - the eight scales and eight mins of 6 bits that Q4_K and Q5_K pack into 12 bytes.
 *
 * Those of parts 0-3 are the low six bits of bytes 0-3 (scales) and 4-7 (mins). Of parts 4-7, the
 * low four bits are the low (scale) and high (min) nibbles of bytes 8-11, and the high two are the
 * top two bits of bytes 0-3 (scales) and 4-7 (mins).
 */
#ifndef RILL_QUANT_K_SCALES_H
#define RILL_QUANT_K_SCALES_H

#include "quant/fmt.h"

/* Scale of part p, 0..63. */
FMT_FN int k_scale(const uint8_t *scales, int p)
{
    if (p < 4)
        return scales[p] & 63;
    return (scales[p + 4] & 15) | scales[p - 4] >> 6 << 4;
}

/* Min of part p, 0..63. */
FMT_FN int k_min(const uint8_t *scales, int p)
{
    if (p < 4)
        return scales[p + 4] & 63;
    return scales[p + 4] >> 4 | scales[p] >> 6 << 4;
}

#endif
