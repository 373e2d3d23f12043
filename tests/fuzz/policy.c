/* SPDX-License-Identifier: MIT
 *
 * fuzz/policy: the parser of policy files, the linter and the index, on any text.
 *
 * INPUT      u8 length of a key, the key, the text of a file
 * ORACLE     no crash, no sanitizer report, no failed assert; a text has either rules or at least
 *            one error, and never more than 100 notes; the engine accepts the rules of each text; the
 *            index finds a deny rule of the section if one matches alone.
 * USE        tests/fuzz/test_policy_fuzz.c: seeded inputs, in every test run. libFuzzer:
 *            tests/fuzz/matrix_fuzz.sh. */
#include <stdlib.h>

#include "base/glob.h"
#include "kit/text.h"
#include "policy/policy.h"
#include "tests/fuzz/must.h"

static uint64_t fuzz_tables; /* texts without an error */

static void fuzz_note(const cellar_settings_note *n, void *ctx)
{
    uint32_t *count = ctx;
    if (n->line == 0 || n->column == 0 || strlen(n->text) >= 512 || n->name[0] != '\0') { abort(); }
    count[n->level == CELLAR_LOG_WARNING]++;
}

static void fuzz_find(const policy_table *t, const uint8_t *key, size_t len)
{
    for (uint32_t i = 0; i < t->section_count; i++) {
        const policy_section *s = &t->section[i];
        bool disk_off, alone = false;
        const policy_rule *r = policy_find(s, key, len, &disk_off);
        if (policy_has(&s->v, POLICY_PREFIX)) { continue; }
        for (uint32_t j = 0; j < t->rule_count; j++) {
            const policy_rule *deny = &t->rule[j];
            alone |= deny->kind == POLICY_DENY && &t->section[deny->section] == s &&
                     base_glob_match_lower(deny->pattern.at, deny->pattern.len, key, len);
        }
        if (alone && (r == NULL || r->kind != POLICY_DENY)) { abort(); }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const unsigned char secret[32] = { 1 };
    uint32_t notes[2] = { 0, 0 }; /* errors, warnings */
    char said[POLICY_SAID];
    cellar_policy_rule *rules;
    size_t count;
    policy_table *t = NULL;
    base_account account;
    base_hash_key hash;
    if (n < 2) { return 0; }
    const size_t len = BASE_MIN((size_t)1 + data[0] % 40, n - 1);
    cellar_policy_opts o = { .struct_size = sizeof o, .text = (const char *)data + 1 + len,
                             .text_len = n - 1 - len, .lint = 1 };
    const cellar_err err = cellar_policy_read("f", &o, fuzz_note, notes, &rules, &count);
    if ((err == CELLAR_OK) != (rules != NULL) || (err == CELLAR_OK && notes[0] != 0) ||
        (err == CELLAR_E_CONFIG) != (notes[0] > 0) || notes[0] > KIT_NOTES_MAX ||
        notes[1] > KIT_NOTES_MAX) {
        abort();
    }
    if (rules == NULL) { return 0; }
    base_account_init(&account, UINT64_MAX, NULL);
    if (policy_table_make(rules, count, &account, said, &t) != CELLAR_OK) { abort(); }
    cellar_free(rules);
    base_hash_key_init(&hash, BASE_HASH_FOLD, secret);
    policy_index(t, &hash);
    fuzz_find(t, data + 1, len);
    policy_table_free(t);
    if (base_load_rlx(&account.used) != 0) { abort(); }
    fuzz_tables++;
    return 0;
}
