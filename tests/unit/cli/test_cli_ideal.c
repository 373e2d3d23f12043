/* SPDX-License-Identifier: MIT
 *
 * Aim:    Belady is the optimum, and no choice of a cache misses less than the bound; exact policies know TTLs.
 * Method: traces of 12 requests to 6 objects, with sets and deletes; sizes that change and TTLs by bytes. A search
 *         through all choices (hit or miss, which entries leave) gives the optimum of misses and of missed bytes. */
#include "tests/support/draw.h"
#include "tests/support/t.h"

#include "bench/replay/ideal.c"
#include "bench/replay/policies/arc.c"
#include "bench/replay/policies/clock.c"
#include "bench/replay/policies/fifo.c"
#include "bench/replay/policies/lru.c"
#include "bench/replay/policies/s3fifo.c"
#include "bench/replay/policies/sieve.c"
#include "bench/replay/policies/tinylfu.c"

enum { OBJECTS = 6, REQUESTS = 12, TRACES = 10000 };

T_ONE_THREAD;

enum { CODES = 7 };
static const replay_code *codes[CODES];
static unsigned code_count;
void replay_policy_add(const replay_code *code) { codes[code_count++] = code; }

/* ---- the search ---- */

static cli_request trace[REQUESTS]; /* id: the number of the object */
static bool by_bytes, cost_is_bytes;
static uint64_t room, least; /* least: of the search so far */

typedef struct search_state {
    uint64_t size[OBJECTS]; /* 0: not stored */
    int64_t deadline[OBJECTS];
} search_state;

static void search(unsigned at, search_state s, uint64_t cost);

/* Try each choice of entries that leave until the others fit. */
static void search_fit(unsigned at, search_state s, uint64_t cost)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < OBJECTS; i++) { sum += s.size[i]; }
    if (sum <= room) {
        search(at, s, cost);
        return;
    }
    for (unsigned i = 0; i < OBJECTS; i++) {
        if (s.size[i] == 0) { continue; }
        search_state less = s;
        less.size[i] = 0;
        search_fit(at, less, cost);
    }
}

static void search(unsigned at, search_state s, uint64_t cost)
{
    if (cost >= least) { return; }
    if (at == REQUESTS) {
        least = cost;
        return;
    }
    const cli_request *r = &trace[at];
    const uint64_t weight = by_bytes ? r->size : 1;
    search_state stored = s;
    if (r->op == CLI_DELETE) {
        s.size[r->id] = 0;
        search(at + 1, s, cost);
        return;
    }
    stored.size[r->id] = weight;
    stored.deadline[r->id] = by_bytes && r->ttl_ms != 0 ? r->time_ms + r->ttl_ms : INT64_MAX;
    if (r->op == CLI_SET) {
        search_fit(at + 1, stored, cost);
        return;
    }
    if (s.size[r->id] != 0 && r->time_ms < s.deadline[r->id]) {
        search_fit(at + 1, s.size[r->id] == weight ? s : stored, cost);
    }
    search_fit(at + 1, stored, cost + (cost_is_bytes ? r->size : 1));
}

static uint64_t optimum(bool of_bytes)
{
    cost_is_bytes = of_bytes;
    least = UINT64_MAX;
    search(0, (search_state){ { 0 }, { 0 } }, 0);
    return least;
}

static void draw_trace(bool bytes)
{
    int64_t now = 0;
    by_bytes = bytes;
    room = bytes ? 3 + draw(5) : 1 + draw(3);
    for (unsigned i = 0; i < REQUESTS; i++) {
        const uint64_t kind = draw(10);
        now += (int64_t)draw(3);
        trace[i] = (cli_request){ .id = draw(OBJECTS), .size = 1 + draw(4), .time_ms = now,
                                  .ttl_ms = draw(2) != 0 ? (int64_t)draw(9) : 0,
                                  .op = kind < 6 ? CLI_GET : kind < 8 ? CLI_SET : CLI_DELETE };
    }
}

/* ---- the policies ---- */

/* The bytes that are held are those of the stored objects, and fit. */
static void check_lists(const cli_ideal *p)
{
    uint64_t held = 0;
    for (unsigned i = 0; i < OBJECTS; i++) { held += p->size[i]; }
    T_EQ_U64(p->held, held);
    T_CHECK(held <= room);
}

/* Run the trace. Return the misses, with *bytes the missed bytes. */
static uint64_t run_code(cli_ideal_kind kind, const replay_code *code, uint64_t *bytes)
{
    uint64_t misses = 0, hits = 0, saved = 0;
    cli_ideal *p = cli_ideal_open(kind, code, room, by_bytes ? 2 : 0, OBJECTS);
    T_REQUIRE(p != NULL);
    *bytes = 0;
    for (unsigned i = 0; (kind == CLI_IDEAL_BOUND || kind == CLI_IDEAL_BELADY) && i < REQUESTS; i++) {
        T_REQUIRE(cli_ideal_foresee(p, (uint32_t)trace[i].id, &trace[i]));
    }
    if (kind == CLI_IDEAL_BOUND) { cli_ideal_bound(p, &hits, &saved); }
    for (unsigned i = 0; i < REQUESTS; i++) {
        const bool hit = kind != CLI_IDEAL_BOUND && cli_ideal_request(p, (uint32_t)trace[i].id, &trace[i]);
        if (trace[i].op != CLI_GET || hit) { continue; }
        misses++;
        *bytes += trace[i].size;
    }
    if (kind == CLI_IDEAL_CODE) { check_lists(p); }
    cli_ideal_close(p);
    *bytes -= saved;
    return misses - hits;
}

static uint64_t run(cli_ideal_kind kind, uint64_t *bytes) { return run_code(kind, NULL, bytes); }

static void set_trace(const char *objects, const char *ops)
{
    for (unsigned i = 0; i < REQUESTS; i++) {
        const char op = ops[i];
        trace[i] = (cli_request){ .id = (uint64_t)(objects[i] - 'a'), .size = 1, .time_ms = i,
                                  .op = op == 'g' ? CLI_GET : op == 's' ? CLI_SET : CLI_DELETE };
    }
}

T_CASE(search_finds_a_known_optimum)
{
    uint64_t bytes;
    by_bytes = false;
    room = 2;
    set_trace("abcabcabcabc", "gggggggggggg"); /* two of three stay: 2 + 4 misses of the third, one in turn */
    T_EQ_U64(optimum(false), 6);
    T_EQ_U64(run(CLI_IDEAL_BELADY, &bytes), 6);
    T_EQ_U64(run_code(CLI_IDEAL_CODE, &lru_code, &bytes), 12);
    set_trace("abcababacbac", "ggdgssgsdgsg"); /* what is set again, or deleted, needs no room until then */
    T_EQ_U64(optimum(false), 3);
}

T_CASE(belady_misses_as_the_best_of_all_choices)
{
    uint64_t bytes, wrong = 0, fewer = 0;
    draw_state = t_seed();
    for (unsigned i = 0; i < t_share(TRACES); i++) {
        draw_trace(false);
        const uint64_t best = optimum(false);
        wrong += run(CLI_IDEAL_BELADY, &bytes) != best;
        fewer += run_code(CLI_IDEAL_CODE, &lru_code, &bytes) < best;
    }
    T_EQ_U64(wrong, 0);
    T_EQ_U64(fewer, 0);
}

T_CASE(no_choice_misses_less_than_the_bound)
{
    uint64_t above = 0, above_bytes = 0, fewer = 0, bytes;
    draw_state = t_seed();
    for (unsigned i = 0; i < t_share(TRACES); i++) {
        draw_trace(i % 4 != 0);
        const uint64_t best = optimum(false), best_bytes = optimum(true);
        above += run(CLI_IDEAL_BOUND, &bytes) > best;
        above_bytes += bytes > best_bytes;
        for (unsigned k = 0; k < CODES; k++) {
            fewer += run_code(CLI_IDEAL_CODE, codes[k], &bytes) < best || bytes < best_bytes;
        }
        fewer += run(CLI_IDEAL_GDSF, &bytes) < best || bytes < best_bytes;
    }
    T_EQ_U64(above, 0);
    T_EQ_U64(above_bytes, 0);
    T_EQ_U64(fewer, 0);
}

T_CASE(expired_entry_misses_and_a_hit_keeps_its_deadline)
{
    uint64_t bytes;
    by_bytes = true;
    room = 8;
    set_trace("aaaaaaaaaaaa", "ggggsgggdggg");
    for (unsigned i = 0; i < REQUESTS; i++) { trace[i].ttl_ms = i == 9 ? 0 : 3; }
    T_EQ_U64(run(CLI_IDEAL_GDSF, &bytes), 4); /* at 0, 3, 7 and 9 */
    for (unsigned k = 0; k < CODES; k++) { T_EQ_U64(run_code(CLI_IDEAL_CODE, codes[k], &bytes), 4); }
}

T_CASE(gdsf_evicts_the_oldest_of_equal_priority)
{
    static const uint32_t order[] = { 2, 1, 2, 1, 0 };
    const cli_request get = { .size = 1 };
    cli_ideal *p = cli_ideal_open(CLI_IDEAL_GDSF, NULL, 2, 0, OBJECTS);
    T_REQUIRE(p != NULL);
    for (unsigned i = 0; i < 5; i++) { (void)cli_ideal_request(p, order[i], &get); }
    T_CHECK(p->size[2] == 0 && p->size[1] == 1 && p->size[0] == 1); /* 2 was asked for before 1 */
    cli_ideal_close(p);
}

T_MAIN("cli_ideal")
