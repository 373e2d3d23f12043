/* SPDX-License-Identifier: MIT
 *
 * policy_kit: a namespace under rules of a policy file, and the notes that reading the rules
 * gave. */
#ifndef SUPPORT_POLICY_KIT_H
#define SUPPORT_POLICY_KIT_H

#include "tests/support/api_kit.h"
#include "tests/support/rules.h"

#define S INT64_C(1000)

static inline int64_t ttl_of(cellar *c, const char *key)
{
    cellar_entry_info info = cellar_entry_info_default();
    const cellar_err err = cellar_entry_info_get(c, key, strlen(key), 0, &info);
    return err == CELLAR_OK || err == CELLAR_ABSENT ? info.ttl_left_ms : -1;
}

static inline int64_t ttl_after_set(cellar *c, const char *key)
{
    T_EQ_I64(api_put(c, key, "v", NULL), CELLAR_OK);
    return ttl_of(c, key);
}

typedef struct notes {
    unsigned count, warnings;
    uint32_t line, column; /* of the first note */
    char text[4096];       /* all notes, a line each */
} notes;

static inline void note(const cellar_settings_note *n, void *ctx)
{
    notes *all = ctx;
    const size_t used = strlen(all->text);
    if (all->count == 0) {
        all->line = n->line;
        all->column = n->column;
    }
    all->count++;
    all->warnings += n->level == CELLAR_LOG_WARNING;
    (void)snprintf(all->text + used, sizeof all->text - used, "%s\n", n->text);
}

static inline cellar_err rules(cellar *c, const char *text, notes *n)
{
    if (n != NULL) { memset(n, 0, sizeof *n); }
    return rules_set(c, text, strlen(text), n != NULL ? note : NULL, n);
}

#endif
