/* SPDX-License-Identifier: MIT
 *
 * Aim:    A hit in memory is answered only while the tier proves it. A value without proof, or
 *         one that ended softly, is stale: calls that take stale values get it, all others ask
 *         the server.
 * Method: Two stores are two clients of a server in memory. The test ends proofs and entries
 *         between and inside calls. A clock of the test. */

#include "tests/support/spaces.h"
#include "tests/support/tier_clients.h"

/* ---- proof ---- */

/* Read the key by each call that takes no stale value. Return how many found it. */
static unsigned found_by_calls(cellar *c)
{
    char buf[8];
    void *copy = NULL;
    size_t len = 0, hits = 0;
    cellar_pinned pin = { 0 };
    cellar_get_opts o = cellar_get_opts_default();
    cellar_entry_info info = cellar_entry_info_default();
    cellar_get_item item = { .key = "k", .key_len = 1, .buf = buf, .buf_cap = sizeof buf };
    unsigned found = cellar_get(c, "k", 1, buf, sizeof buf, NULL) == CELLAR_OK;
    found += cellar_get_with(c, "k", 1, &o, buf, sizeof buf, NULL) == CELLAR_OK;
    o.info = &info;
    found += cellar_get_with(c, "k", 1, &o, buf, sizeof buf, NULL) == CELLAR_OK;
    found += peek(c, "k", 1, buf, sizeof buf, NULL) == CELLAR_OK;
    found += cellar_contains(c, "k", 1) == CELLAR_OK;
    found += cellar_get_alloc(c, "k", 1, &copy, &len) == CELLAR_OK;
    found += cellar_pin(c, "k", 1, &pin) == CELLAR_OK;
    T_EQ_I64(cellar_get_many(c, &item, 1, &hits), CELLAR_OK);
    cellar_free(copy);
    cellar_unpin(&pin);
    return found + (unsigned)hits;
}

static cellar_err load_new(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key, (void)len, (void)ctx;
    return cellar_load_value(ld, "new", 3);
}

/* Open both clients with proofs; the server of the second one then does not answer. */
static void begin_proven(cellar_tier_proof proof)
{
    make_clients();
    one.table.proof = two.table.proof = proof;
    attach_both();
    for (unsigned i = 0; i < 2; i++) {
        const cellar_tier_host *h = server.client[i]->host;
        h->proven(h->ctx, now_ms + 2000);
    }
    sets(ns[0], "k", "old");
    has(ns[1], "k", "old");
    server.row[0].used = false; /* only memory has it */
}
#define MISS(fn) T_WITHIN(fn, begin_proven(CELLAR_TIER_PROOF_MISS), end())
#define STALE(fn) T_WITHIN(fn, begin_proven(CELLAR_TIER_PROOF_STALE), end())

T_CASE(memory_answers_until_the_proof_ends)
{
    for (unsigned stale = 0; stale < 2; stale++) {
        begin_proven(stale != 0 ? CELLAR_TIER_PROOF_STALE : CELLAR_TIER_PROOF_MISS);
        T_EQ_U64(found_by_calls(ns[1]), 8);
        T_AFTER_U64(now_ms += 1900, found_by_calls(ns[1]), 8);
        T_AFTER_U64(now_ms += 100, found_by_calls(ns[1]), 0);
        two.host->proven(two.host->ctx, now_ms + 2000);
        T_EQ_U64(found_by_calls(ns[1]), 8);
        two.host->proven(two.host->ctx, 0);
        T_EQ_U64(found_by_calls(ns[1]), 0);
        end();
    }
}

/* Keys of 8 to 16 bytes have the shortest path: it compares one clock with proof and deadline. */
T_CASE(plain_hit_ends_with_proof_and_deadline)
{
    for (unsigned i = 0; i < 4; i++) {
        const bool needs = (i & 1) != 0;
        const int64_t life_ms = (i & 2) != 0 ? 500 : 5000;
        make_clients();
        one.table.proof = needs ? CELLAR_TIER_PROOF_MISS : CELLAR_TIER_PROOF_NONE;
        one.table.max_ttl_ms = life_ms;
        attach_both();
        one.host->proven(one.host->ctx, now_ms + 2000);
        sets(ns[0], "user:0001", "1");
        const int64_t ends_ms = needs && life_ms > 2000 ? 2000 : life_ms;
        now_ms += ends_ms - 100;
        T_CHECK(in_memory(ns[0], &one, "user:0001"));
        now_ms += 100;
        T_CHECK(!in_memory(ns[0], &one, "user:0001"));
        end();
    }
}

T_CASE(nothing_is_answered_before_the_first_proof)
{
    make_clients();
    one.table.proof = CELLAR_TIER_PROOF_MISS;
    attach_both();
    sets(ns[0], "k", "1");
    server.row[0].used = false;
    has(ns[0], "k", NULL);
    has(ns[1], "k", NULL);
    end();
}

T_CASE_ON(get_without_proof_asks_the_server, MISS)
{
    server.row[0].used = true;
    now_ms += 5000;
    T_CHECK(!in_memory(ns[1], &two, "k"));
    has(ns[1], "k", "old");
}

T_CASE(value_without_proof_is_stale_for_calls_that_take_it)
{
    for (unsigned stale = 0; stale < 2; stale++) {
        begin_proven(stale != 0 ? CELLAR_TIER_PROOF_STALE : CELLAR_TIER_PROOF_MISS);
        two.lease_answer = CELLAR_E_IO; /* the server is away */
        char buf[8];
        cellar_entry_info info = cellar_entry_info_default();
        cellar_get_opts o = { .struct_size = sizeof o, .flags = CELLAR_GET_ALLOW_STALE };
        now_ms += 5000;
        const cellar_err want = stale != 0 ? CELLAR_STALE : CELLAR_MISS;
        T_EQ_I64(cellar_get_with(ns[1], "k", 1, &o, buf, sizeof buf, NULL), want);
        o.info = &info;
        T_EQ_I64(cellar_get_with(ns[1], "k", 1, &o, buf, sizeof buf, NULL), want);
        T_EQ_I64(cellar_entry_info_get(ns[1], "k", 1, 0, &info), want);
        const cellar_err failed = stale != 0 ? CELLAR_STALE : CELLAR_E_LOADER;
        (void)loaded(1, NULL, load_fails, NULL, failed, NULL);
        (void)loaded(1, NULL, load_new, NULL, stale != 0 ? CELLAR_STALE : CELLAR_OK, NULL);
        end();
    }
}

/* ---- a soft end ---- */

T_CASE_ON(softly_ended_value_is_stale_and_never_fresh, STALE)
{
    const cellar_entry_info info = info_of(ns[1], "k");
    T_EQ_U64(info.flags & CELLAR_INFO_TAGGED, 0); /* the tag of its life is not one of the user */
    T_EQ_U64(found_by_calls(ns[1]), 8);
    T_AFTER_U64(end_softly(), found_by_calls(ns[1]), 0);
    T_EQ_I64(read_stale("old"), CELLAR_STALE);
    end_softly(); /* a second gap keeps it, too */
    two.host->proven(two.host->ctx, 0);
    T_EQ_U64(found_by_calls(ns[1]), 0);
    T_EQ_I64(read_stale("old"), CELLAR_STALE);
    two.host->proven(two.host->ctx, now_ms + 2000);
    T_AFTER_U64(sets(ns[1], "k", "own"), found_by_calls(ns[1]), 8);
    T_EQ_I64(read_stale("own"), CELLAR_OK);
}

T_CASE(hard_end_leaves_no_stale_value)
{
    for (unsigned i = 0; i < 6; i++) {
        begin_proven(CELLAR_TIER_PROOF_STALE);
        const cellar_bytes tag = { "t", 1 };
        cellar_set_opts o = { .struct_size = sizeof o, .tags = &tag, .tag_count = 1 };
        T_EQ_I64(cellar_set(ns[1], "k", 1, "old", 3, &o), CELLAR_OK);
        server.row[0].used = false;
        T_AFTER_I64(end_softly(), read_stale("old"), CELLAR_STALE);
        switch (i) {
        case 0: two.host->ended(two.host->ctx, CELLAR_TAG_HARD); break;
        case 1: two.host->changed(two.host->ctx, "k", 1); break;
        case 2: two.host->tag_ended(two.host->ctx, "t", 1, CELLAR_TAG_HARD); break;
        case 3: T_EQ_I64(cellar_clear(ns[1]), CELLAR_OK); break;
        case 4: T_EQ_I64(cellar_version_set(ns[1], 0, NULL), CELLAR_OK); break;
        default: (void)cellar_delete(ns[1], "k", 1); break;
        }
        T_EQ_I64(read_stale(NULL), CELLAR_MISS);
        end();
    }
}

T_CASE_ON(soft_end_without_stale_proof_is_hard, MISS)
{
    T_AFTER_I64(end_softly(), read_stale(NULL), CELLAR_MISS);
    T_EQ_U64(found_by_calls(ns[1]), 0);
}

/* End all entries while the reply is on its way. */
static void end_inside(shared_client *m, const char *call)
{
    if (strcmp(call, "get") == 0) { m->host->ended(m->host->ctx, CELLAR_TAG_SOFT); }
}

T_CASE_ON(reply_that_a_soft_end_overtook_is_not_stored, STALE)
{
    two.host->changed(two.host->ctx, "k", 1);
    server.row[0].used = true;
    two.inside = end_inside;
    has(ns[1], "k", "old");
    two.inside = NULL;
    server.row[0].used = false;
    T_EQ_I64(read_stale(NULL), CELLAR_MISS);
    T_EQ_U64(found_by_calls(ns[1]), 0);
}

static cellar_err load_over_a_soft_end(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    end_softly();
    return load_new(ld, key, len, ctx);
}

T_CASE_ON(load_that_a_soft_end_overtook_is_stale, STALE)
{
    two.host->changed(two.host->ctx, "k", 1);
    two.lease_answer = CELLAR_E_IO; /* memory only */
    (void)loaded(1, NULL, load_over_a_soft_end, NULL, CELLAR_OK, NULL);
    T_EQ_U64(found_by_calls(ns[1]), 0);
    T_EQ_I64(read_stale("new"), CELLAR_STALE);
}

T_CASE_ON(refresh_of_a_softly_ended_value_asks_the_server_first, STALE)
{
    server.row[0].used = true;
    end_softly();
    T_AFTER_U64(loaded(1, NULL, load_fails, NULL, CELLAR_OK, "old"), two.leases, 0);
    T_EQ_U64(found_by_calls(ns[1]), 8);
}

static cellar_err load_same(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key, (void)len, (void)ctx;
    return cellar_load_not_modified(ld);
}

T_CASE_ON(value_found_the_same_is_fresh_until_the_next_soft_end, STALE)
{
    two.lease_answer = CELLAR_E_IO;
    end_softly();
    T_AFTER_U64(loaded(1, NULL, load_same, NULL, CELLAR_OK, NULL), found_by_calls(ns[1]), 8);
    T_AFTER_U64(end_softly(), found_by_calls(ns[1]), 0);
    T_EQ_I64(read_stale("old"), CELLAR_STALE);
    two.lease_answer = CELLAR_OK; /* with a lease the same value is filled */
    T_AFTER_U64(loaded(1, NULL, load_same, NULL, CELLAR_OK, NULL), two.fills, 1);
}

T_CASE_ON(load_without_proof_runs_the_loader, MISS)
{
    (void)loaded(1, NULL, load_new, NULL, CELLAR_OK, "old");
    now_ms += 5000;
    (void)loaded(1, LOAD_OPTS(.flags = CELLAR_LOAD_PIN), load_new, NULL, CELLAR_OK, "new");
}

static cellar_err load_new_each(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    for (size_t i = 0; i < count; i++) {
        T_EQ_I64(cellar_load_select(ld, i), CELLAR_OK);
        T_EQ_I64(load_new(ld, keys[i].data, keys[i].len, ctx), CELLAR_OK);
    }
    return CELLAR_OK;
}

T_CASE(bulk_load_without_proof_runs_the_loader)
{
    for (unsigned own = 0; own < 2; own++) { /* with room of the caller, and without */
        char buf[8];
        begin_proven(CELLAR_TIER_PROOF_MISS);
        cellar_result r = cellar_result_default();
        r.buf = own != 0 ? buf : NULL;
        r.buf_cap = own != 0 ? sizeof buf : 0;
        cellar_load_item it = { .key = "k", .key_len = 1, .result = &r };
        T_EQ_I64(cellar_get_or_load_many(ns[1], &it, 1, NULL, load_new_each, NULL), CELLAR_OK);
        T_EQ_I64(it.status, CELLAR_OK);
        T_EQ_MEM(r.value, "old", 3);
        cellar_result_free(&r);
        now_ms += 5000;
        T_EQ_I64(cellar_get_or_load_many(ns[1], &it, 1, NULL, load_new_each, NULL), CELLAR_OK);
        T_EQ_I64(it.status, CELLAR_OK);
        T_EQ_MEM(r.value, "new", 3);
        cellar_result_free(&r);
        end();
    }
}

T_CASE_ON(namespace_without_handles_hears_changes, MISS)
{
    server.row[0].used = true;
    for (unsigned all = 0; all < 2; all++) {
        T_EQ_I64(cellar_namespace_close(ns[1]), CELLAR_OK);
        if (all != 0) { two.host->ended(two.host->ctx, 0); } else { sets(ns[0], "k", "new"); }
        server.row[0].used = false;
        T_EQ_I64(cellar_namespace_open(root[1], "users", NULL, &ns[1]), CELLAR_OK);
        has(ns[1], "k", NULL);
        sets(ns[1], "k", "again");
        has(ns[1], "k", "again");
    }
    now_ms += 5000;
    server.row[0].used = false;
    has(ns[1], "k", NULL); /* it needs a proof as before */
}

T_MAIN("api_tier_proof")
