/* hf_names.c - see hf_names.h. */
#include "model/hf_names.h"

#include <stdio.h>
#include <string.h>

#define RWKV_MIXES "rwkvag" // the order of a GGUF file's rows

bool hf_spell(char out[HF_MAX_NAME], const char *pattern, int layer, int64_t expert)
{
    size_t n = 0;

    for (const char *p = pattern; *p && n < HF_MAX_NAME - 24; p++) {
        if (p[0] == '%' && p[1] == 'x' && expert < (int64_t)sizeof RWKV_MIXES - 1) {
            out[n++] = RWKV_MIXES[expert];
            p++;
        } else if (p[0] == '%' && (p[1] == 'd' || p[1] == 'e')) {
            n += (size_t)snprintf(out + n, 24, "%lld", p[1] == 'd' ? (long long)layer : expert);
            p++;
        } else {
            out[n++] = *p;
        }
    }
    out[n] = 0;
    return n < HF_MAX_NAME - 24;
}

bool hf_name(char out[HF_MAX_NAME], const char *name, int i)
{
    static const struct {
        const char *cut, *put;
        bool greek; // LayerNorm.gamma and .beta, as TensorFlow's BERT had them
    } other[HF_N_NAMES] = {{"", ""},
                           {"", "language_model."},
                           {"model.", "model.language_model."},
                           {"model.", "language_model."},
                           {"transformer.", ""},
                           {"model.", ""},
                           {"gpt_neox.", ""},
                           {"", "bert."},
                           {"", "", true},
                           {"", "bert.", true}};
    size_t n = strlen(other[i].cut);
    const char *norm = other[i].greek ? strstr(name, "LayerNorm.") : NULL;

    if (strncmp(name, other[i].cut, n) != 0)
        return false;
    if (other[i].greek)
        return norm && snprintf(out, HF_MAX_NAME, "%s%.*s%s", other[i].put, (int)(norm + 10 - name),
                                name, strcmp(norm + 10, "bias") == 0 ? "beta" : "gamma") <
                           HF_MAX_NAME;
    return snprintf(out, HF_MAX_NAME, "%s%s", other[i].put, name + n) < HF_MAX_NAME;
}
