/* SPDX-License-Identifier: MIT
 *
 * Aim:    a take finds the first free run in a bounded number of steps; each page is charged
 *         exactly while one of its units is used.
 * Method: random takes and gives of all sizes against a plain array of units, searched from its
 *         start. Then a region with as many holes as possible: count the words and nodes that a
 *         take examines. The audit compares map, tree and charges throughout. */
#include "tests/support/l1_kit.h"

#include "l1/large.h"

typedef struct block { unsigned char *at; uint64_t bytes; l1_big *big; } block;

static uint64_t unit_of(const kit *k) { return (uint64_t)1 << k->c->pages.unit_shift; }

static l1_run take(kit *k, block *b, uint64_t units)
{
    uint64_t need = 0;
    *b = (block){NULL, units * unit_of(k), NULL};
    const l1_run got = l1_run_take(k->c, b->bytes, &b->big, &need);
    b->at = (unsigned char *)b->big;
    return got;
}

static void give(kit *k, const block *b)
{
    T_EQ_U64(b->big->bytes, b->bytes);
    l1_run_give(k->c, b->big);
}

/* ---- against an array ------------------------------------------------------------------------ */
enum { BLOCKS = 300 };

static uint64_t first_fit(const unsigned char *used, uint64_t count, uint64_t n)
{
    uint64_t run = 0;
    for (uint64_t i = 0; i < count; i++) {
        run = used[i] ? 0 : run + 1;
        if (run == n) { return i + 1 - n; }
    }
    return UINT64_MAX;
}

T_CASE(take_finds_the_first_free_run)
{
    static const uint64_t budgets[] = {KIT_MIB(1), KIT_MIB(65)};
    for (unsigned b = 0; b < 2; b++) {
        kit k;
        kit_rng r = {t_seed()};
        block held[BLOCKS] = {{NULL, 0, NULL}};
        kit_open(&k, budgets[b], NULL);
        l1_pages *p = &k.c->pages;
        const uint64_t count = (uint64_t)p->region.reserved_bytes >> p->unit_shift;
        const uint64_t per = BASE_PAGE / unit_of(&k);
        unsigned char *used = calloc(1, (size_t)count);
        T_REQUIRE(used != NULL);
        for (uint64_t i = 0; i < kit_scale(6000); i++) {
            block *x = &held[kit_below(&r, BLOCKS)];
            if (x->at != NULL) {
                memset(used + ((uint64_t)(x->at - p->region.base) >> p->unit_shift), 0,
                       (size_t)(x->bytes >> p->unit_shift));
                give(&k, x);
                x->at = NULL;
                continue;
            }
            const uint64_t n = 1 + kit_below(&r, kit_one_in(&r, 10) ? 5000 : 20);
            const uint64_t want = first_fit(used, count, n);
            if (take(&k, x, n) != L1_RUN_OK) { continue; } /* the budget is full */
            T_EQ_U64((uint64_t)(x->at - p->region.base) >> p->unit_shift, want);
            memset(used + want, 1, (size_t)n);
            memset(l1_big_bytes(x->big), 7, (size_t)x->bytes - L1_BIG_HEADER);
            if (i % 16 != 0) { continue; }
            uint64_t pages = 0;
            for (uint64_t at = 0; at < count; at += per) {
                pages += memchr(used + at, 1, (size_t)per) != NULL;
            }
            T_EQ_U64(p->page_count, pages);
            kit_audit(&k);
        }
        for (unsigned i = 0; i < BLOCKS; i++) {
            if (held[i].at != NULL) { give(&k, &held[i]); }
        }
        T_EQ_U64(p->page_count, 0);
        T_EQ_U64(base_load_rlx(&k.account.by_module[BASE_MOD_BIG]), 0);
        free(used);
        kit_close(&k);
    }
}

/* ---- holes everywhere ------------------------------------------------------------------------ */
T_CASE(holes_cost_nothing)
{
    kit k;
    kit_open(&k, KIT_MIB(256), NULL);
    l1_pages *p = &k.c->pages;
    /* Mark every second unit of the whole region as used, without a charge. */
    const uint64_t words = (uint64_t)p->leaves * 64;
    memset(p->map, 0x55, (size_t)words * 8);
    p->map[words / 2] = UINT64_C(0x5550000000005555); /* one hole of some 36 units */
    for (uint32_t i = 2 * p->leaves - 1; i >= 1; i--) {
        p->tree[i] = i >= p->leaves ? (l1_span){0, 1, 1} : p->tree[2 * i];
    }
    const uint32_t leaf = p->leaves + (uint32_t)(words / 2 / 64);
    p->tree[leaf].best = 37;
    for (uint32_t i = leaf / 2; i >= 1; i /= 2) { p->tree[i].best = 37; }
    block b;
    const uint64_t most = 64 + 2 * base_log2_floor(p->leaves) + 2;
    for (uint64_t n = 2; n <= 37; n += 35) {
        T_REQUIRE(take(&k, &b, n) == L1_RUN_OK);
        T_CHECK((uint64_t)(b.at - p->region.base) >> p->unit_shift >= words * 32);
        T_CHECK(p->looked <= most);
        printf("# %u groups: a run of %" PRIu64 " in %" PRIu64 " steps\n", p->leaves, n, p->looked);
        give(&k, &b);
    }
    T_EQ_I64(take(&k, &b, 64), L1_RUN_NONE);
    memset(p->map, 0, (size_t)words * 8);
    base_store_rlx(&k.c->big_bytes, 0);
    for (uint32_t i = 2 * p->leaves - 1, each = 4096; i >= 1; i--) {
        if ((i & (i + 1)) == 0 && i + 1 != 2 * p->leaves) { each *= 2; }
        p->tree[i] = (l1_span){each, each, each};
    }
    kit_close(&k);
}

T_ONE_THREAD;
T_MAIN("l1_runs")
