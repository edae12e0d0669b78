/* arch_cases.h - the tiny models of tests/golden/arch, one per architecture and variant: NAME.gguf,
 * NAME.logits, NAME.hf.json (scripts/ref-arch.py).
 */
#ifndef RILL_TESTS_ARCH_CASES_H
#define RILL_TESTS_ARCH_CASES_H

/* X(name of the test, name of the files) */
#define ARCH_CASES(X)                                                                              \
    X(bert, "bert")                                                                                \
    X(bert_rank, "bert-rank")                                                                      \
    X(command_r, "command-r")                                                                      \
    X(cohere2, "cohere2")                                                                          \
    X(command_r_norms, "command-r-norms")                                                          \
    X(deepseek2, "deepseek2")                                                                      \
    X(deepseek2_groups, "deepseek2-groups")                                                        \
    X(deepseek2_lite, "deepseek2-lite")                                                            \
    X(deepseek2_old, "deepseek2-old")                                                              \
    X(gemma, "gemma")                                                                              \
    X(gemma2, "gemma2")                                                                            \
    X(gemma3, "gemma3")                                                                            \
    X(gpt2, "gpt2")                                                                                \
    X(gpt_oss, "gpt-oss")                                                                          \
    X(gptneox, "gptneox")                                                                          \
    X(gptneox_serial, "gptneox-serial")                                                            \
    X(granite, "granite")                                                                          \
    X(granitehybrid, "granitehybrid")                                                              \
    X(granitehybrid_dense, "granitehybrid-dense")                                                  \
    X(granitemoe, "granitemoe")                                                                    \
    X(granitemoe_shared, "granitemoe-shared")                                                      \
    X(llama, "llama")                                                                              \
    X(llama_bias, "llama-bias")                                                                    \
    X(llama_linear, "llama-linear")                                                                \
    X(llama_rope3, "llama-rope3")                                                                  \
    X(llama_yarn, "llama-yarn")                                                                    \
    X(mixtral, "mixtral")                                                                          \
    X(nomic_bert, "nomic-bert")                                                                    \
    X(olmo2, "olmo2")                                                                              \
    X(phi3_long, "phi3-long")                                                                      \
    X(phi3_short, "phi3-short")                                                                    \
    X(qwen2, "qwen2")                                                                              \
    X(qwen3, "qwen3")                                                                              \
    X(qwen3moe, "qwen3moe")                                                                        \
    X(rwkv7, "rwkv7")                                                                              \
    X(starcoder2, "starcoder2")

/* A test of each by check_case(name), and the list of those. */
#define ARCH_TEST(test, name)                                                                      \
    START_TEST(test)                                                                               \
    {                                                                                              \
        check_case(name);                                                                          \
    }                                                                                              \
    END_TEST
#define ARCH_ITEM(test, name) test,

#endif
