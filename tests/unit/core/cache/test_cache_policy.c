/* SPDX-License-Identifier: MIT
 *
 * Aim:    The index finds the rule that a plain search in file order finds. A pattern that the
 *         linter calls hidden matches nothing that the earlier one does not match. A load of rules
 *         that gets no memory changes nothing and leaks nothing.
 * Method: Random files and keys over few letters, so that many match; an own matcher by recursion;
 *         each allocation of a load fails once. */
#include "kit/policy_lint.h"
#include "policy/policy.h"
#include "store/store.h"
#include "tests/support/api_kit.h"
#include "tests/support/disk_store.h"
#include "tests/support/loader.h"
#include "tests/support/rules.h"
#include "tests/support/settings.h"
#include "tests/support/shared_kit.h"
#include "tests/support/t.h"

#include <stdio.h>

/* ---- the matcher of the test ---- */

static bool plain(const char *p, size_t pn, const char *k, size_t kn)
{
    if (pn == 0) { return kn == 0; }
    if (p[0] == '{') {
        const size_t end = (size_t)((const char *)memchr(p, '}', pn) - p) + 1;
        for (size_t n = 1; n <= kn && k[n - 1] != ':'; n++) {
            if (plain(p + end, pn - end, k + n, kn - n)) { return true; }
        }
        return false;
    }
    if (p[0] == '*') {
        for (size_t n = 0; n <= kn; n++) {
            if (plain(p + 1, pn - 1, k + n, kn - n)) { return true; }
        }
        return false;
    }
    return kn > 0 && (p[0] == '?' || p[0] == k[0]) && plain(p + 1, pn - 1, k + 1, kn - 1);
}

static bool plain_rule(const policy_rule *r, const char *key, size_t len)
{
    char low[64];
    for (size_t i = 0; i < len; i++) {
        low[i] = key[i] >= 'A' && key[i] <= 'Z' ? (char)(key[i] + 32) : key[i];
    }
    return plain(r->pattern.at, r->pattern.len, r->kind >= POLICY_DENY ? low : key, len);
}

/* Return the rule that a plain search finds for a key of section `s`. */
static const policy_rule *plain_find(const policy_table *t, const policy_section *s,
                                     const char *key, size_t len)
{
    for (unsigned pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < t->rule_count; i++) {
            const policy_rule *r = &t->rule[i];
            const policy_section *in = &t->section[r->section];
            if ((in == s || in == s->all) && r->kind != POLICY_NO_L2 &&
                (r->kind == POLICY_DENY) == (pass == 0) && plain_rule(r, key, len)) {
                return r;
            }
        }
    }
    return NULL;
}

/* ---- random texts ---- */

static base_rng rng;
static unsigned below(unsigned n) { return (unsigned)base_rng_below(&rng, n); }

static size_t random_key(char *out)
{
    static const char letters[] = "aab:AB";
    const size_t n = 1 + below(14);
    for (size_t i = 0; i < n; i++) { out[i] = letters[below(sizeof letters - 1)]; }
    return n;
}

static size_t random_pattern(char *out, bool key)
{
    size_t n = 0;
    bool place = false;
    const unsigned tokens = 1 + below(10);
    for (unsigned i = 0; i < tokens; i++) {
        const unsigned what = below(10);
        if (key && what < 3 && !place) {
            memcpy(out + n, "{x}", 3);
            n += 3;
            place = true;
            continue;
        }
        place = false;
        out[n++] = !key && what == 0 ? '*' : !key && what == 1 ? '?' : "aab:"[below(4)];
    }
    out[n] = '\0';
    return n;
}

static size_t random_file(char *out, size_t cap, unsigned rules)
{
    static const char *const kind[] = { "key", "key", "key", "key", "glob", "deny", "no_l2" };
    size_t n = (size_t)snprintf(out, cap, "[*]\n");
    for (unsigned i = 0; i < rules; i++) {
        char pattern[64];
        const unsigned k = below(below(4) == 0 ? 7 : 5);
        if (below(20) == 0) {
            n += (size_t)snprintf(out + n, cap - n, "[%s]\n", below(2) != 0 ? "a" : "*");
        }
        (void)random_pattern(pattern, k < 4);
        n += (size_t)snprintf(out + n, cap - n, "%s %s%s\n", kind[k], pattern,
                              k < 5 ? " ttl=1s" : "");
    }
    return n;
}

static kit_policy structs_of(const char *text, size_t len)
{
    cellar_policy_rule *rules = NULL;
    size_t count;
    cellar_policy_opts o = { .struct_size = sizeof o, .text = text, .text_len = len };
    T_REQUIRE(cellar_policy_read("t", &o, NULL, NULL, &rules, &count) == CELLAR_OK);
    return (kit_policy){ rules, count };
}

static base_account account; /* of the tables */

static policy_table *table_of(const char *text, size_t len)
{
    static const unsigned char secret[32] = { 1 };
    base_hash_key hash;
    char refused[POLICY_SAID];
    policy_table *t = NULL;
    const kit_policy p = structs_of(text, len);
    base_hash_key_init(&hash, BASE_HASH_FOLD, secret);
    base_account_init(&account, UINT64_MAX, NULL);
    T_REQUIRE(policy_table_make(p.rule, p.count, &account, refused, &t) == CELLAR_OK);
    policy_index(t, &hash);
    cellar_free((void *)(uintptr_t)p.rule);
    return t;
}

T_CASE(index_finds_what_a_plain_search_finds)
{
    static char text[65536];
    base_rng_seed(&rng, t_seed());
    unsigned found = 0, denied = 0;
    for (uint64_t i = 0; i < t_share(400) && !t_failed(); i++) {
        policy_table *t = table_of(text, random_file(text, sizeof text, 1 + below(60)));
        const policy_section *s = policy_section_find(t, "a", 1);
        if (s == NULL) { s = policy_section_find(t, "*", 1); }
        for (unsigned j = 0; j < 500; j++) {
            char key[32];
            bool disk_off, off = false;
            const size_t len = random_key(key);
            const policy_rule *want = plain_find(t, s, key, len);
            const policy_rule *got = policy_find(s, key, len, &disk_off);
            if (want != NULL && want->kind == POLICY_DENY) {
                T_CHECK(got != NULL && got->kind == POLICY_DENY); /* of either section */
            } else {
                T_CHECK(got == want);
            }
            for (uint32_t r = 0; r < t->rule_count; r++) {
                const policy_section *in = &t->section[t->rule[r].section];
                off |= t->rule[r].kind == POLICY_NO_L2 && (in == s || in == s->all) &&
                       plain_rule(&t->rule[r], key, len);
            }
            T_CHECK((want != NULL && want->kind == POLICY_DENY) || off == disk_off);
            found += want != NULL;
            denied += want != NULL && want->kind == POLICY_DENY;
        }
        policy_table_free(t);
    }
    T_CHECK(found > 1000 && denied > 100);
}

T_CASE(hidden_rule_matches_nothing_that_the_earlier_one_does_not)
{
    static char text[65536];
    base_rng_seed(&rng, t_seed());
    unsigned covered = 0;
    for (uint64_t i = 0; i < t_share(100) && !t_failed(); i++) {
        const size_t bytes = random_file(text, sizeof text, 40);
        policy_table *t = table_of(text, bytes);
        const kit_policy p = structs_of(text, bytes);
        static char key[1000][32];
        static size_t len[1000];
        T_REQUIRE(p.count == t->rule_count);
        for (unsigned j = 0; j < 1000; j++) { len[j] = random_key(key[j]); }
        for (uint32_t a = 0; a < t->rule_count; a++) {
            for (uint32_t b = 0; b < t->rule_count; b++) {
                const policy_rule *earlier = &t->rule[a], *later = &t->rule[b];
                if (a == b || later->kind >= POLICY_DENY ||
                    !kit_policy_covers(&p, &p.rule[a], &p.rule[b])) {
                    continue;
                }
                covered++;
                for (unsigned j = 0; j < 1000; j++) {
                    T_CHECK(!plain_rule(later, key[j], len[j]) ||
                            plain_rule(earlier, key[j], len[j]));
                }
            }
        }
        policy_table_free(t);
        cellar_free((void *)(uintptr_t)p.rule);
    }
    T_CHECK(covered > 50);
}

/* ---- a tier ---- */

static uint64_t disk_puts(const cellar *c)
{
    l2_stats st;
    l2_stats_get(c->store->disk, &st);
    return st.puts;
}

T_CASE(no_l2_keeps_entries_off_the_disk)
{
    static const char text[] = "[*]\nno_l2 *secret*\nkey here:{x} no_l2\nkey tag:{x} tags=a\n";
    store_begin();
    settings s = api_config(4u << 20);
    s.config.l2_path = store;
    s.config.l2_bytes = CELLAR_L2_BYTES_MIN;
    s.l2.write = CELLAR_L2_WRITE_ON_SET;
    cellar *c = api_open_with(&s);
    T_EQ_I64(rules_set(c, text, sizeof text - 1, NULL, NULL), CELLAR_OK);
    T_EQ_I64(api_put(c, "other", "v", NULL), CELLAR_OK);
    T_EQ_U64(disk_puts(c), 1);
    T_EQ_I64(api_put(c, "my:Secret:1", "v", NULL), CELLAR_OK);
    T_EQ_I64(api_put(c, "here:1", "v", NULL), CELLAR_OK);
    T_EQ_U64(disk_puts(c), 1);
    T_EQ_I64(api_put(c, "tag:1", "v", NULL), CELLAR_OK);
    T_EQ_U64(disk_puts(c), 2);
    char buf[8];
    size_t len;
    T_EQ_I64(cellar_get(c, "my:Secret:1", 11, buf, sizeof buf, &len), CELLAR_OK);
    api_shut(c);
    store_end();
}

static cellar_err load_tagged(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    const cellar_bytes mine = { "mine", 4 };
    (void)key, (void)len, (void)ctx;
    (void)loader_tags(ld, &mine, 1);
    return cellar_load_value(ld, "v", 1);
}

/* Lose the first round to a delete. */
static cellar_err lose_round(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)old_len;
    if (old != NULL) { T_EQ_I64(cellar_delete(ctx, "t:1", 3), CELLAR_OK); }
    return cellar_buf_append(out, "u", 1);
}

static shared_server server;

T_CASE(texts_of_tags_of_a_rule_reach_the_tier)
{
    static const char text[] = "[*]\nkey t:{x} tags=red,blue\nkey mine:{x} tags=blue,mine\n";
    static shared_client client;
    shared_server_init(&server);
    shared_client_init(&client, &server);
    cellar *c = api_open(4u << 20);
    T_EQ_I64(cellar_tier_attach(c, &client.table), CELLAR_OK);
    T_EQ_I64(rules_set(c, text, sizeof text - 1, NULL, NULL), CELLAR_OK);
    const cellar_bytes mine = { "mine", 4 };
    cellar_set_opts tagged = { .struct_size = sizeof tagged, .tags = &mine, .tag_count = 1 };
    T_EQ_I64(cellar_set(c, "t:1", 3, "v", 1, NULL), CELLAR_OK);
    T_EQ_STR(shared_tags(&server, "t:1"), "red,blue,");
    T_EQ_I64(cellar_update(c, "t:1", 3, NULL, lose_round, c), CELLAR_OK);
    T_EQ_STR(shared_tags(&server, "t:1"), "red,blue,");
    T_EQ_I64(cellar_set(c, "t:2", 3, "v", 1, &tagged), CELLAR_OK);
    T_EQ_STR(shared_tags(&server, "t:2"), "mine,red,blue,");
    T_EQ_I64(cellar_set(c, "mine:1", 6, "v", 1, &tagged), CELLAR_OK);
    T_EQ_STR(shared_tags(&server, "mine:1"), "mine,blue,");
    cellar_set_item items[2] = { { .key = "t:3", .key_len = 3, .value = "v", .value_len = 1 },
                                 { .key = "u:3", .key_len = 3, .value = "v", .value_len = 1 } };
    T_EQ_I64(cellar_set_many(c, items, 1, &tagged, NULL), CELLAR_OK);
    T_EQ_STR(shared_tags(&server, "t:3"), "mine,red,blue,");
    T_EQ_I64(cellar_set_many(c, items, 2, &tagged, NULL), CELLAR_OK);
    T_EQ_STR(shared_tags(&server, "u:3"), "mine,");
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(c, "t:4", 3, NULL, load_tagged, NULL, &r), CELLAR_OK);
    cellar_result_free(&r);
    T_EQ_STR(shared_tags(&server, "t:4"), "mine,red,blue,");
    cellar_lease lease;
    T_EQ_I64(cellar_lease_acquire(c, "t:5", 3, NULL, NULL, &lease, &r), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_fulfill(c, &lease, "v", 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_contains(c, "t:5", 3), CELLAR_OK);
    T_EQ_I64(cellar_delete_by_tag(c, "red", 3, CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_I64(cellar_contains(c, "t:1", 3), CELLAR_MISS);
    T_EQ_I64(cellar_contains(c, "t:5", 3), CELLAR_MISS);
    T_EQ_I64(cellar_contains(c, "u:3", 3), CELLAR_OK);
    api_shut(c);
}

/* ---- reads ---- */

static unsigned asked;

static cellar_err count_write(cellar *c, const void *key, size_t key_len,
                              struct cache_plan *plan)
{
    asked++;
    return policy_write(c, key, key_len, plan);
}

static cellar_err load_value(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key, (void)len, (void)ctx;
    return cellar_load_value(ld, "v", 1);
}

T_CASE(reads_never_look_at_the_rules)
{
    static const char text[] = "[*]\nkey a:{x} ttl=1h refresh=1m stale=1h\ndeny *token*\n";
    cellar *c = api_open(2u << 20);
    char buf[8];
    size_t len;
    int64_t n = 0;
    T_EQ_I64(rules_set(c, text, sizeof text - 1, NULL, NULL), CELLAR_OK);
    T_CHECK(c->policy == policy_write);
    c->policy = count_write;
    asked = 0;
    T_EQ_I64(cellar_set(c, "a:1", 3, "v", 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_increment(c, "a:n", 3, 1, 0, NULL, &n), CELLAR_OK);
    T_EQ_U64(asked, 2);
    cellar_get_item item = { .key = "a:1", .key_len = 3, .buf = buf, .buf_cap = sizeof buf };
    cellar_pinned pin;
    cellar_result r = cellar_result_default();
    cellar_load_opts o = cellar_load_opts_default();
    cellar_entry_info info = cellar_entry_info_default();
    T_EQ_I64(cellar_get(c, "a:1", 3, buf, sizeof buf, &len), CELLAR_OK);
    T_EQ_I64(cellar_get_many(c, &item, 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_contains(c, "a:1", 3), CELLAR_OK);
    T_EQ_I64(cellar_entry_info_get(c, "a:1", 3, 0, &info), CELLAR_OK);
    T_EQ_I64(cellar_pin(c, "a:1", 3, &pin), CELLAR_OK);
    cellar_unpin(&pin);
    T_EQ_I64(cellar_get_or_load(c, "a:1", 3, NULL, load_value, NULL, &r), CELLAR_OK);
    cellar_result_free(&r);
    T_EQ_I64(cellar_get_or_load(c, "a:1", 3, &o, load_value, NULL, &r), CELLAR_OK);
    cellar_result_free(&r);
    T_EQ_I64(cellar_get(c, "token", 5, buf, sizeof buf, &len), CELLAR_MISS);
    T_EQ_I64(cellar_increment(c, "a:n", 3, 1, 0, NULL, &n), CELLAR_OK); /* it exists */
    T_EQ_I64(cellar_delete(c, "a:1", 3), CELLAR_OK);
    T_EQ_U64(asked, 2);
    api_shut(c);
}

/* ---- memory ---- */

static int64_t ttl_of(cellar *c, const char *key)
{
    cellar_entry_info info = cellar_entry_info_default();
    T_EQ_I64(cellar_set(c, key, strlen(key), "v", 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_entry_info_get(c, key, strlen(key), 0, &info), CELLAR_OK);
    return info.ttl_left_ms;
}

static cellar_err load_file(cellar *c)
{
    return cellar_policy_reload(c, "tests/data/s4.policy", NULL, NULL);
}

static cellar_err load_quota(cellar *c)
{
    static const char text[] = "[*]\nset quota_max=10%\nkey b at=00:00@Europe/Paris tags=x\n";
    return rules_set(c, text, sizeof text - 1, NULL, NULL);
}

static cellar_err load_structs(cellar *c)
{
    cellar_policy_rule r[2] = { cellar_policy_rule_default(), cellar_policy_rule_default() };
    r[0].pattern = "b";
    r[0].at = "00:00@Europe/Paris";
    r[1].pattern = "c";
    r[1].tags = "x";
    return cellar_policy_set(c, r, 2);
}

static const char old_rules[] = "[*]\nkey a ttl=1h\n";

/* Fail each allocation of a load once. */
static void load_fails(cellar *c, cellar_err (*load)(cellar *c))
{
    const uint64_t charged = base_load_rlx(&c->store->account.by_module[BASE_MOD_POLICY]);
    unsigned failed = 0;
    cellar_err err = CELLAR_E_NOMEM;
    for (uint64_t nth = 1; err != CELLAR_OK && nth < 100; nth++) {
        const uint64_t live = base_live_blocks(); /* each try: sets take memory, too */
        (void)base_fault_alloc_arm(nth, false);
        err = load(c);
        (void)base_fault_alloc_arm(0, false);
        if (err == CELLAR_OK) { break; }
        failed++;
        T_CHECK(err == CELLAR_E_NOMEM);
        T_EQ_U64(base_load_rlx(&c->store->account.by_module[BASE_MOD_POLICY]), charged);
        T_EQ_U64(base_live_blocks(), live);
        T_CHECK(ttl_of(c, "a") > 3599000);
    }
    T_EQ_I64(err, CELLAR_OK);
    T_CHECK(failed > 2);
    T_CHECK(base_load_rlx(&c->store->account.by_module[BASE_MOD_POLICY]) > charged);
    T_EQ_I64(rules_set(c, old_rules, sizeof old_rules - 1, NULL, NULL), CELLAR_OK);
}

T_CASE(load_without_memory_keeps_the_rules)
{
    cellar *c = api_open(2u << 20);
    T_EQ_I64(rules_set(c, old_rules, sizeof old_rules - 1, NULL, NULL), CELLAR_OK);
    T_CHECK(ttl_of(c, "a") > 3599000);
    load_fails(c, load_file);
    load_fails(c, load_structs);
    load_fails(c, load_quota);
    T_EQ_I64(cellar_policy_set(c, NULL, 0), CELLAR_OK);
    api_shut(c);
}

T_CASE(table_beyond_the_budget_is_refused)
{
    static char text[200000];
    cellar *c = api_open(CELLAR_MEMORY_MIN);
    size_t n = (size_t)snprintf(text, sizeof text, "[*]\n");
    for (unsigned i = 0; i < 4096; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "key k%u:{x} ttl=1s\n", i);
    }
    T_EQ_I64(rules_set(c, text, n, NULL, NULL), CELLAR_E_SPACE);
    T_EQ_I64(ttl_of(c, "k1:x"), CELLAR_TTL_NONE);
    api_shut(c);
}

T_ONE_THREAD;
T_MAIN("cache_policy")
