/* SPDX-License-Identifier: MIT
 *
 * Aim:    A limiter with its snapshots in a store continues after a restart. A save is complete or
 *         has no effect; damage, other rules and other bytes are refused as a whole.
 * Method: A clock that the test turns, for store and limiter. Children are killed before each piece
 *         of a save. Entries of the namespace are changed by the test. */
#include "tests/support/api_kit.h"
#include "tests/support/disk_store.h"
#include "tests/support/figures.h"
#include "tests/support/shared_kit.h"
#include "tests/support/spaces.h"

#include "cellar_kit.h"
#include "cellar_limit.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEYS 1000u
#define PIECES 4u /* of their snapshot */

static void later(int64_t ms) { atomic_fetch_add(&api_now_ms, ms); }
static uint64_t now_ns(void *ctx)
{
    (void)ctx;
    return (uint64_t)atomic_load(&api_now_ms) * 1000000;
}
static uint64_t now_wall_ms(void *ctx) { (void)ctx; return (uint64_t)atomic_load(&api_now_ms); }

static cellar *disk_store(bool threads)
{
    const int64_t at = atomic_load(&api_now_ms);
    settings cfg = api_config((uint64_t)16 << 20);
    atomic_store(&api_now_ms, at);
    cfg.config.l2_path = store;
    cfg.l2.close_ms = CELLAR_TTL_NONE;
    cfg.config.l2_bytes = CELLAR_L2_BYTES_MIN;
    cfg.host.no_threads = !threads;
    return api_open_with(&cfg);
}

typedef struct limits {
    cellar_limiter_config cfg;
    cellar_limiter_snapshot *place;
    cellar_limiter *l;
    /* what a test puts in front of the functions of the place */
    cellar_snapshot_write_fn write;
    cellar_snapshot_read_fn read;
    void *ctx;
    unsigned kill_before; /* piece, from 1; 0: none */
} limits;

static int write_or_die(const void *bytes, size_t len, bool last, void *ctx)
{
    limits *of = ctx;
    if (of->kill_before != 0 && --of->kill_before == 0) { (void)raise(SIGKILL); }
    return of->write(bytes, len, last, of->ctx);
}
static int read_through(void *buf, size_t cap, size_t *len, void *ctx)
{
    limits *of = ctx;
    return of->read(buf, cap, len, of->ctx);
}

/* Save as a tick of the next second does. */
static cellar_err save(const limits *of) { later(1000); return cellar_tick(of->l, 0, NULL); }

static const cellar_rule *bucket(void)
{
    static cellar_rule rule;
    rule = cellar_rule_token_bucket(10, CELLAR_HOUR_NS, 10);
    return &rule;
}

static void limits_open(limits *of, cellar *c, const cellar_rule *rule)
{
    memset(of, 0, sizeof *of);
    of->cfg = cellar_limiter_config_default();
    of->cfg.max_bytes = 256u << 10;
    of->cfg.clock_ns = now_ns;
    of->cfg.wall_ms = now_wall_ms;
    of->cfg.boot_ms = now_wall_ms;
    of->cfg.snapshot_interval_ms = 1000;
    T_REQUIRE(cellar_limiter_snapshot_open(c, "limits", &of->cfg, &of->place) == CELLAR_OK);
    of->write = of->cfg.snapshot_write;
    of->read = of->cfg.snapshot_read;
    of->ctx = of->cfg.snapshot_ctx;
    of->cfg.snapshot_write = write_or_die;
    of->cfg.snapshot_read = read_through;
    of->cfg.snapshot_ctx = of;
    T_REQUIRE(cellar_limiter_open(&of->cfg, rule, 1, &of->l) == CELLAR_OK);
}
static void limits_close(limits *of)
{
    cellar_limiter_close(of->l);
    cellar_limiter_snapshot_close(of->place);
}
static uint64_t refused(const limits *of)
{
    cellar_limiter_stats s = cellar_limiter_stats_default();
    T_EQ_I64(cellar_limiter_stats_get(of->l, &s), CELLAR_OK);
    return s.snapshots_refused;
}

/* Admit `cost` units of each key. */
static void charge(const limits *of, uint64_t cost)
{
    for (uint32_t k = 0; k < KEYS; k++) {
        T_EQ_I64(cellar_limiter_check(of->l, &k, sizeof k, cost, NULL), CELLAR_OK);
    }
}
/* Check that every key has `units` left. */
static void left_is(const limits *of, uint64_t units)
{
    cellar_check_opts peek = { .struct_size = sizeof peek, .flags = CELLAR_CHECK_PEEK };
    uint32_t wrong = 0;
    for (uint32_t k = 0; k < KEYS; k++) {
        cellar_limiter_result r = { 0 };
        (void)cellar_limiter_check_with(of->l, &k, sizeof k, 0, &peek, &r);
        wrong += r.remaining != units;
    }
    T_EQ_U64(wrong, 0);
}

T_CASE_ON(debts_survive_a_restart_less_the_downtime, ON_DISK)
{
    limits of;
    atomic_store(&api_now_ms, API_START_MS);
    cellar *c = disk_store(false);
    limits_open(&of, c, bucket());
    left_is(&of, 10); /* no snapshot yet */
    T_EQ_U64(refused(&of), 0);
    charge(&of, 7);
    limits_close(&of); /* saves */
    api_shut(c);
    later(12 * 60000 + 1); /* two of ten an hour; the restart may take 1 ms off */
    c = disk_store(false);
    limits_open(&of, c, bucket());
    T_EQ_U64(refused(&of), 0);
    left_is(&of, 5);
    limits_close(&of);
    api_shut(c);
}

T_CASE(a_store_without_disk_keeps_the_snapshot_while_it_is_open)
{
    for (uint32_t optional = 0; optional <= 1; optional++) {
        limits of;
        settings cfg = api_config((uint64_t)16 << 20);
        if (optional != 0) { /* the disk cannot open */
            cfg.config.l2_path = "/dev/null";
            cfg.config.l2_bytes = CELLAR_L2_BYTES_MIN;
            cfg.l2.optional = 1;
        }
        cellar *c = api_open_with(&cfg);
        for (uint64_t left = 10; left > 4; left -= 3) {
            limits_open(&of, c, bucket());
            left_is(&of, left);
            charge(&of, 3);
            limits_close(&of);
        }
        T_EQ_U64(figure(c, "cellar_l2_not_through_total"), 0); /* it asked for no disk */
        api_shut(c);
    }
}

static uint64_t sets_of(cellar *c)
{
    cellar_stats s = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(space_with(c, "limits", NULL), CELLAR_SCOPE_NAMESPACE, &s), CELLAR_OK);
    return s.sets;
}

#define STORE(fn) T_WITH(fn, cellar *c, c, api_open((uint64_t)16 << 20), api_shut(c))

T_CASE_ON(tick_saves_at_its_period, STORE)
{
    limits of;
    limits_open(&of, c, bucket());
    charge(&of, 1);
    later(999);
    T_EQ_I64(cellar_tick(of.l, 0, NULL), CELLAR_OK);
    T_EQ_U64(sets_of(c), 0);
    later(1);
    T_EQ_I64(cellar_tick(of.l, 0, NULL), CELLAR_OK);
    T_EQ_U64(sets_of(c), PIECES + 1);
    T_EQ_I64(cellar_tick(of.l, 0, NULL), CELLAR_OK);
    T_EQ_U64(sets_of(c), PIECES + 1);
    limits_close(&of);
    T_EQ_U64(sets_of(c), 2 * (PIECES + 1));
}

/* A child saves once, admits more and is killed before piece n of its next save; before piece
 * PIECES + 1 there is none: it is killed after the save. */
T_ALONE(kill_during_a_save_leaves_the_snapshot_before_it)
{
    for (unsigned n = 1; n <= PIECES + 1; n++) {
        limits of;
        store_begin();
        atomic_store(&api_now_ms, API_START_MS);
        const pid_t pid = fork();
        if (pid == 0) {
            cellar *c = disk_store(n % 2 == 0);
            limits_open(&of, c, bucket());
            charge(&of, 2);
            if (save(&of) != CELLAR_OK) { _exit(1); }
            charge(&of, 1);
            if (save(&of) != CELLAR_OK) { _exit(2); }
            charge(&of, 4);
            of.kill_before = n;
            if (save(&of) != CELLAR_OK) { _exit(3); }
            (void)raise(SIGKILL);
        }
        int status = 0;
        T_EQ_I64(waitpid(pid, &status, 0), pid);
        T_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        cellar *c = disk_store(n % 2 == 0);
        limits_open(&of, c, bucket());
        T_EQ_U64(refused(&of), 0);
        left_is(&of, n <= PIECES ? 7 : 3);
        limits_close(&of);
        api_shut(c);
        store_end();
        if (t_failed()) {
            printf("# killed before piece %u\n", n);
            break;
        }
    }
}

/* ---- refused snapshots ---- */

enum { HEAD, FIRST, SECOND }; /* entries of a snapshot */
enum { FLIP, CUT, GROW, GONE, ABSENT, OTHER };

typedef struct harm {
    int entry, how;
    size_t at; /* FLIP: the byte */
} harm;

static const harm harms[] = {
    { FIRST, FLIP, 3000 }, { FIRST, FLIP, 8 }, /* a byte, the version */
    { FIRST, CUT, 0 }, { FIRST, GROW, 0 }, { SECOND, GONE, 0 },
    { SECOND, OTHER, 0 },                      /* the bytes of the first piece */
    { HEAD, CUT, 0 }, { HEAD, OTHER, 0 },
    { HEAD, FLIP, 7 }, { HEAD, FLIP, 8 }, { HEAD, FLIP, 12 }, /* magic, slot, count of pieces */
    { HEAD, ABSENT, 0 },
};
#define HARMS (sizeof harms / sizeof harms[0])

static void do_harm(cellar *c, const harm *h)
{
    struct { char magic[8]; uint32_t slot, pieces; } head;
    static unsigned char piece[8192], bytes[8192];
    cellar *ns = space_with(c, "limits", NULL);
    cellar_set_opts negative = { .struct_size = sizeof negative, .flags = CELLAR_NEGATIVE };
    size_t len = 0;
    T_EQ_I64(cellar_get(ns, "head", 4, &head, sizeof head, &len), CELLAR_OK);
    T_EQ_U64(len, sizeof head);
    T_EQ_U64(head.pieces, PIECES);
    const uint32_t number[2] = { head.slot, h->entry == SECOND };
    const void *key = h->entry == HEAD ? (const void *)"head" : number;
    const size_t key_len = h->entry == HEAD ? 4 : sizeof number;
    const uint32_t first[2] = { head.slot, 0 };
    T_EQ_I64(cellar_get(ns, first, sizeof first, piece, sizeof piece, &len), CELLAR_OK);
    T_EQ_U64(len, 4096);
    T_EQ_I64(cellar_get(ns, key, key_len, bytes, sizeof bytes, &len), CELLAR_OK);
    switch (h->how) {
    case FLIP: bytes[h->at] ^= 3; break;
    case CUT: len--; break;
    case GROW: len++; break;
    case OTHER:
        len = 4096;
        memcpy(bytes, piece, len);
        break;
    case GONE: T_EQ_I64(cellar_delete(ns, key, key_len), CELLAR_OK); return;
    default: T_EQ_I64(cellar_set(ns, key, key_len, NULL, 0, &negative), CELLAR_OK); return;
    }
    T_EQ_I64(cellar_set(ns, key, key_len, bytes, len, NULL), CELLAR_OK);
}

T_CASE(damaged_snapshots_are_refused_whole)
{
    for (size_t what = 0; what <= HARMS; what++) { /* the last one: none */
        limits of;
        cellar *c = api_open((uint64_t)16 << 20);
        limits_open(&of, c, bucket());
        charge(&of, 7);
        limits_close(&of);
        if (what < HARMS) { do_harm(c, &harms[what]); }
        limits_open(&of, c, bucket());
        T_EQ_U64(refused(&of), what < HARMS);
        left_is(&of, what < HARMS ? 10 : 3);
        if (what < HARMS) { charge(&of, 7); }
        limits_close(&of); /* the next snapshot is sound */
        limits_open(&of, c, bucket());
        T_EQ_U64(refused(&of), 0);
        left_is(&of, 3);
        limits_close(&of);
        api_shut(c);
        if (t_failed()) {
            printf("# harm %zu\n", what);
            break;
        }
    }
}

/* ---- failures ---- */

/* A shared tier that changes nothing under a condition, as a remote one that writes behind. */
static cellar_err answers_no_change(void *ctx, const cellar_tier_key *k, void *buf, size_t cap,
                                    size_t *len, cellar_tier_entry *e)
{
    (void)ctx, (void)k, (void)buf, (void)cap, (void)len;
    return (e->flags & CELLAR_TIER_FRESH) != 0 ? CELLAR_E_UNSUPPORTED : CELLAR_MISS;
}

static cellar_err takes(void *ctx, const cellar_tier_key *k, const void *value, size_t len,
                        cellar_tier_entry *e)
{
    (void)ctx, (void)k, (void)value, (void)len, (void)e;
    return CELLAR_OK;
}

T_CASE_ON(tier_without_conditions_keeps_the_snapshot, STORE)
{
    limits of;
    shared_server server;
    shared_client client;
    cellar *ns = space_with(c, "limits", NULL);
    shared_server_init(&server);
    shared_client_init(&client, &server);
    client.table.get = answers_no_change;
    client.table.get_many = NULL;
    client.table.put = takes;
    T_REQUIRE(cellar_tier_attach(ns, &client.table) == CELLAR_OK);
    limits_open(&of, c, bucket());
    T_EQ_U64(refused(&of), 0);
    charge(&of, 2);
    T_EQ_I64(save(&of), CELLAR_OK);
    limits_close(&of);
    limits_open(&of, c, bucket());
    T_EQ_U64(refused(&of), 0);
    left_is(&of, 8);
    limits_close(&of);
}

T_CASE_ON(failed_save_leaves_the_snapshot_before_it, STORE)
{
    limits of;
    limits_open(&of, c, bucket());
    charge(&of, 2);
    T_EQ_I64(save(&of), CELLAR_OK);
    charge(&of, 3);
    cellar *ns = space_with(c, "limits", NULL);
    T_EQ_I64(cellar_option_set(ns, CELLAR_OPT_ENABLED, 0), CELLAR_OK); /* sets store nothing */
    T_EQ_I64(save(&of), CELLAR_E_IO);
    limits_close(&of);
    T_EQ_I64(cellar_option_set(ns, CELLAR_OPT_ENABLED, 1), CELLAR_OK);
    limits_open(&of, c, bucket());
    T_EQ_U64(refused(&of), 0);
    left_is(&of, 8);
    limits_close(&of);
}

T_CASE_ON(bad_input_changes_nothing, STORE)
{
    cellar_limiter_snapshot *s = (cellar_limiter_snapshot *)&s;
    cellar_limiter_config cfg = cellar_limiter_config_default();
    const cellar_limiter_config untouched = cfg;
    static char name[70];
    memset(name, 'n', sizeof name - 1);
    T_EQ_I64(cellar_limiter_snapshot_open(NULL, "a", &cfg, &s), CELLAR_E_INVAL);
    T_CHECK(s == NULL);
    T_EQ_I64(cellar_limiter_snapshot_open(c, NULL, &cfg, &s), CELLAR_E_INVAL);
    T_EQ_I64(cellar_limiter_snapshot_open(c, "a", NULL, &s), CELLAR_E_INVAL);
    T_EQ_I64(cellar_limiter_snapshot_open(c, "a", &cfg, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_limiter_snapshot_open(c, "", &cfg, &s), CELLAR_E_INVAL);
    T_EQ_I64(cellar_limiter_snapshot_open(c, name, &cfg, &s), CELLAR_E_INVAL);
    T_EQ_MEM(&cfg, &untouched, sizeof cfg);
    cfg.struct_size -= sizeof(size_t);
    T_EQ_I64(cellar_limiter_snapshot_open(c, "a", &cfg, &s), CELLAR_E_ABI);
    cfg.struct_size = 0;
    T_EQ_I64(cellar_limiter_snapshot_open(c, "a", &cfg, &s), CELLAR_E_INVAL);
    cfg = untouched;
    cfg.snapshot_path = "file";
    T_EQ_I64(cellar_limiter_snapshot_open(c, "a", &cfg, &s), CELLAR_E_INVAL);
    cfg = untouched;
    cfg.snapshot_write = write_or_die;
    T_EQ_I64(cellar_limiter_snapshot_open(c, "a", &cfg, &s), CELLAR_E_INVAL);
    T_CHECK(s == NULL);
    cellar_limiter_snapshot_close(NULL);
}

T_MAIN("api_kit_snapshot")
