/* table_row.h - hook of quant.c, second pass: one row of the format table. */
{
    .name = FMT_NAME, .id = FMT_ID, .block = FMT_BLOCK, .bytes = FMT_BYTES, .sub = FMT_SUB,
    .has_min = FMT_MIN, .act = FMT_ACT, .tol = FMT_TOL, .decode = FMT_F(decode_n),
    .get = FMT_F(get_i),
#if defined(FMT_ENCODE) && FMT_ENCODE < 3
    .encode = FMT_F(encode_n),
#endif
#if defined(FMT_ENCODE) && FMT_ENCODE == 2
    .encode_weighted = FMT_F(encode_w),
#endif
#if FMT_SUB
    .codes = FMT_F(codes_1), .scales = FMT_F(scales_1),
#endif
}
,
