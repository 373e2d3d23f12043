/* SPDX-License-Identifier: MIT
 *
 * rules: rules of keys from the text or the file of a test. */
#ifndef TESTS_RULES_H
#define TESTS_RULES_H

#include "cellar_kit.h"
#include "tests/support/t.h"

/* Put the rules of a text into force. fn optional: gets the notes. */
T_INLINE cellar_err rules_set(cellar *c, const char *text, size_t len, cellar_settings_note_fn fn,
                              void *ctx)
{
    cellar_policy_rule *rules;
    size_t count;
    cellar_policy_opts o = { .struct_size = sizeof o, .text = text, .text_len = len };
    cellar_err err = cellar_policy_read("policy", &o, fn, ctx, &rules, &count);
    if (err != CELLAR_OK) { return err; }
    err = cellar_policy_set(c, rules, count);
    cellar_free(rules);
    return err;
}

/* Read a file into the rules of a configuration. Free cfg->rules with rules_drop. */
T_INLINE void rules_of_file(cellar_config *cfg, const char *path)
{
    cellar_policy_rule *rules = NULL;
    T_REQUIRE(cellar_policy_read(path, NULL, NULL, NULL, &rules, &cfg->rule_count) == CELLAR_OK);
    cfg->rules = rules;
}

T_INLINE void rules_drop(cellar_config *cfg)
{
    cellar_free((void *)(uintptr_t)cfg->rules);
    cfg->rules = NULL;
    cfg->rule_count = 0;
}

#endif
