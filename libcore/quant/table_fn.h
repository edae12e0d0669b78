/* table_fn.h - hook of quant.c, first pass: the functions behind one row of the format table. */

static void FMT_F(decode_n)(const void *blocks, float *out, size_t n_blocks)
{
    const FMT_T *b = (const FMT_T *)blocks;

    for (size_t i = 0; i < n_blocks; i++)
        FMT_F(decode)(b + i, out + i * FMT_BLOCK);
}

static float FMT_F(get_i)(const void *block, int i)
{
    return FMT_F(get)((const FMT_T *)block, i);
}

#if defined(FMT_ENCODE) && FMT_ENCODE == 1
static void FMT_F(encode_n)(const float *in, void *blocks, size_t n_blocks)
{
    FMT_T *b = (FMT_T *)blocks;

    for (size_t i = 0; i < n_blocks; i++)
        FMT_F(encode)(in + i * FMT_BLOCK, b + i);
}
#elif defined(FMT_ENCODE) && FMT_ENCODE == 2
static void FMT_F(encode_w)(const float *in, const float *column, float mean2, void *blocks,
                            size_t n_blocks)
{
    FMT_T *b = (FMT_T *)blocks;

    for (size_t i = 0; i < n_blocks; i++)
        FMT_F(encode)(in + i * FMT_BLOCK, column ? column + i * FMT_BLOCK : NULL, mean2, b + i);
}

static void FMT_F(encode_n)(const float *in, void *blocks, size_t n_blocks)
{
    FMT_F(encode_w)(in, NULL, 0.0f, blocks, n_blocks);
}
#endif

#if FMT_SUB
static void FMT_F(codes_1)(const void *block, int8_t *q)
{
    FMT_F(codes)((const FMT_T *)block, q);
}

static void FMT_F(scales_1)(const void *block, float *s, float *m)
{
    FMT_F(scales)((const FMT_T *)block, s, m);
}
#endif
