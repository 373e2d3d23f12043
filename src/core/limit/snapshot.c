/* SPDX-License-Identifier: MIT
 *
 * snapshot: debts over a restart, in a file or through functions of the host.
 *
 * FORMAT     Little endian, one stream. The sum at the end covers all bytes before it.
 *            0   "CELLIM01"   8 version 4, number of rules 4   16 hash key 32   48 wall clock, ms 8
 *            56  hash of the boot id 8   64 ms since boot 8   72 limiter's clock, ns 8
 *            80  1 if slots have several words 4, 0 4
 *            88  the rules, 48 each, as limit_rule; then for each the longest window named, 8
 *            then records: fingerprint 8 (0 ends them); several words: banned for 8; for each rule:
 *                token bucket: debt 8      sliding window, fixed window: the value 8
 *                sliding log: number of stamps 4, units beyond them 4, age of each stamp 8, oldest
 *                first      concurrency: nothing
 *            then bans beside slots of one word: fingerprint 8 (0 ends them), banned for 8
 *            end: number of records and bans 8, sum 8
 *            Times are 1/64 ns of the saving clock. An age is signed: a stamp is later than a clock
 *            that went back.
 * HASH KEY   The snapshot holds it, or no fingerprint would match after a restart: hence mode 0600.
 * DOWNTIME   The difference of the wall clocks, less 1 ms because readings are rounded; never
 *            negative. If the boot is the same, no more than that of the clocks since boot. Debts
 *            shrink by it. The limiter's clock may have started again: ages are stored, not times,
 *            and sliding windows move to the new clock.
 * RULES      A region during a change of rules, and a key with a plan, are written as shares of the
 *            rules in the header: the snapshot has no other rules.
 * SEATS      Keys find their slots as any key does (slots.c). If the table
 *            is smaller than before, the keys with more debt stay; a key without a slot is counted.
 *            Of a key that was reset or evicted during the save, and came again, the last record
 *            counts.
 * REFUSED    An empty file, a wrong sum, a failed open or read, another version, other algorithms,
 *            another hash key than the given one: the limiter starts empty, counts it, writes one
 *            log line. Never partly.
 * FILE       NAME.new, datasync, rename, sync of the folder. Only keys in use are written. kill -9
 *            loses the changes since the last snapshot. A save that fails at the close writes one
 *            log line: the close returns no code.
 * LOCKING    One writer at a time (busy). Each bucket is copied under its locks, written
 *            without. Meanwhile no key moves between a bucket that is copied and one that is not:
 *            the snapshot would miss it, or have it twice. Records of bans that end meanwhile stay:
 *            they are written last. */
#include "limit/snapshot.h"

#include <errno.h>
#include <string.h>

#include "base/open_error.h"
#include "base/text.h"
#include "base/vfs.h"
#include "limit/calendar.h"
#include "limit/convert.h"
#include "limit/overrides.h"
#include "limit/run.h"
#include "limit/slots.h"

BASE_SIZE_BEGIN

#define LIMIT_CHUNK 4096u
#define LIMIT_VERSION 3u

typedef struct limit_persist {
    char dir[512], name[256]; /* of the file; name "": functions of the host */
    cellar_snapshot_write_fn write;
    cellar_snapshot_read_fn read;
    void *ctx;
    cellar_limiter_clock_fn boot_ms;
    void *clock_ctx;
    uint64_t every_ns;
    _Atomic uint64_t last_ns; /* limiter's clock, of the last snapshot */
    _Atomic uint32_t busy;
    base_vfs_file *folder, *file; /* while one is written or read */
    uint64_t offset;
    /* the stream: a sum over blocks of LIMIT_CHUNK bytes, for pieces of any size */
    unsigned char chunk[LIMIT_CHUNK];
    size_t at, have;
    uint64_t sum, blocks;
    int failed; /* 0: no; of a save: an errno */
} limit_persist;

typedef struct limit_image { /* the fixed part of the header */
    char magic[8];
    uint32_t version, rule_count;
    unsigned char hash_key[32];
    uint64_t wall_ms, boot_hash, boot_ms, now_ns;
    uint32_t multi, zero;
} limit_image;
_Static_assert(sizeof(limit_image) == 88, "as FORMAT says");
_Static_assert(sizeof(limit_rule) == 48, "as FORMAT says");

/* Room for the slots of one bucket, behind the struct. */
static limit_slot *limit_copy(limit_persist *p) { return (limit_slot *)(void *)(p + 1); }

static void limit_sum_block(limit_persist *p, const unsigned char *bytes, size_t n)
{
    static const base_hash_key fixed = {
        { UINT64_C(0x9e3779b97f4a7c15), UINT64_C(0xbf58476d1ce4e5b9), UINT64_C(0x94d049bb133111eb),
          UINT64_C(0xd6e8feb86659fd93) }, BASE_HASH_FOLD, 0 };
    const uint64_t h = base_hash(&fixed, (uint32_t)p->blocks, bytes, n);
    p->sum = base_hash_fold(p->sum ^ h, UINT64_C(0x9e3779b97f4a7c15)) + h;
    p->blocks++;
}

/* ---- writing ---- */

static void limit_flush(limit_persist *p, bool last)
{
    if (p->failed) { return; }
    if (*p->name == '\0') {
        p->failed = p->write(p->chunk, p->at, last, p->ctx) != 0 ? EIO : 0;
    } else {
        const base_vfs *v = base_vfs_system();
        size_t done = 0;
        for (size_t from = 0; from < p->at && !p->failed; from += done) {
            p->failed = v->pwrite(v->ctx, p->file, p->chunk + from, p->at - from,
                                  p->offset + from, &done);
            if (p->failed == 0 && done == 0) { p->failed = EIO; }
        }
        p->offset += p->at;
    }
    p->at = 0;
}

static void limit_put(limit_persist *p, const void *bytes, size_t n)
{
    const unsigned char *from = bytes;
    while (n > 0) {
        const size_t part = BASE_MIN(n, LIMIT_CHUNK - p->at);
        memcpy(p->chunk + p->at, from, part);
        p->at += part;
        from += part;
        n -= part;
        if (p->at < LIMIT_CHUNK) { continue; }
        limit_sum_block(p, p->chunk, LIMIT_CHUNK);
        limit_flush(p, false);
    }
}

static void limit_put_u64(limit_persist *p, uint64_t v) { limit_put(p, &v, sizeof v); }

/* Return the debt of a time, 0 if it is paid. */
static uint64_t limit_left(uint64_t until, uint64_t units)
{
    return until > units ? until - units : 0;
}

/* Write one key, from a copy of its slot. */
static void limit_put_key(cellar_limiter *l, limit_persist *p, limit_slot *s,
                          const limit_moment *m)
{
    const uint64_t units = m->units;
    limit_put_u64(p, base_load_rlx(&s->fp) & ~(uint64_t)1);
    if (l->multi) {
        limit_put_u64(p, limit_left(base_load_rlx(limit_word_at(s, l->rule_count)) >> 2, units));
    }
    for (uint32_t i = 0; i < l->rule_count; i++) {
        const uint64_t v = limit_value_of(l, m, s, i);
        if (l->algorithm[i] == CELLAR_RULE_CONCURRENCY) { continue; }
        if (l->algorithm[i] != CELLAR_RULE_SLIDING_LOG) {
            limit_put_u64(p, l->algorithm[i] == CELLAR_RULE_TOKEN_BUCKET ? limit_left(v, units)
                                                                         : v);
            continue;
        }
        const limit_ring g = limit_ring_of(l, s, i);
        const uint64_t used = limit_ring_used(g, v);
        limit_put_u64(p, (limit_ring_count(v) - used) << 32 | used);
        for (uint64_t j = used; j-- > 0;) {
            limit_put_u64(p, units - limit_ring_stamp(g, v, j)); /* negative: the clock went back */
        }
    }
}

/* Copy a bucket. Convert its words to shares of `rules`; *m: these at the reading `now_ns`. */
static void limit_copy_bucket(cellar_limiter *l, limit_slot *copy, uint32_t bucket,
                              const limit_rule *rules, uint64_t now_ns, limit_moment *m)
{
    limit_rule here[LIMIT_RULES], plan[LIMIT_RULES];
    _Atomic uint64_t *to = (_Atomic uint64_t *)(void *)copy;
    const _Atomic uint64_t *from = (const _Atomic uint64_t *)(void *)limit_slot_at(l, bucket, 0);
    const _Atomic uint64_t *set = limit_bucket_open(l, bucket, rules, now_ns, m);
    limit_rules_load(l, set, here);
    const bool same = memcmp(here, rules, l->rule_count * sizeof *rules) == 0;
    for (uint32_t i = 0; i < LIMIT_WAYS * (l->slot_bytes / 8); i++) {
        base_store_rlx(&to[i], base_load_rlx(&from[i]));
    }
    for (uint32_t way = 0; way < LIMIT_WAYS; way++, copy = limit_slot_next(l, copy)) {
        const uint64_t f = base_load_rlx(&copy->fp);
        const bool own = (f & 1) != 0 && limit_plan_of(l, f & ~(uint64_t)1, plan);
        if (f == 0 || (same && !own && !l->counts)) { continue; }
        limit_slot_convert(l, set, NULL, copy, f, own ? plan : here, rules);
    }
    base_store_rlx(&l->saved, bucket + 1); /* no key passes it: limit_third_take */
    limit_bucket_close(l, bucket);
}

/* Write all keys; return their number. */
static uint64_t limit_put_all(cellar_limiter *l, limit_persist *p, const limit_rule *rules,
                              uint64_t now_ns)
{
    uint64_t count = 0;
    for (uint32_t b = 0; b < l->regions * l->region_buckets && !p->failed; b++) {
        limit_moment m;
        limit_slot *s = limit_copy(p);
        limit_copy_bucket(l, s, b, rules, now_ns, &m);
        for (uint32_t way = 0; way < LIMIT_WAYS; way++, s = limit_slot_next(l, s)) {
            if (limit_loss(l, &m, s, base_load_rlx(&s->word)) == 0) { continue; }
            limit_put_key(l, p, s, &m);
            count++;
        }
    }
    return count;
}

/* Write the bans of the side table; return their number. */
static uint64_t limit_put_bans(cellar_limiter *l, limit_persist *p, uint64_t now_ns)
{
    uint64_t count = 0, fp, until_ns;
    const uint32_t most = base_load_acq(&l->over_count) != 0 ? l->over_max : 0;
    for (uint32_t i = 0; i < most && !p->failed; i++) {
        if (!limit_over_ban(l, i, &fp, &until_ns) || until_ns <= now_ns) { continue; }
        limit_put_u64(p, fp);
        limit_put_u64(p, limit_units_of(until_ns - now_ns));
        count++;
    }
    limit_put_u64(p, 0);
    return count;
}

static uint64_t limit_boot_ms(const limit_persist *p)
{
    static const base_clock system = { NULL, NULL, NULL };
    return p->boot_ms != NULL ? p->boot_ms(p->clock_ctx) : (uint64_t)base_now_ms(&system);
}

static uint64_t limit_boot_hash(void)
{
    unsigned char id[16] = { 0 };
    const base_vfs *v = base_vfs_system();
    uint64_t a, b;
    if (v->boot_id(v->ctx, id) != 0) { return 0; }
    memcpy(&a, id, 8);
    memcpy(&b, id + 8, 8);
    return base_mix64(a) ^ b;
}

static void limit_image_now(cellar_limiter *l, const limit_persist *p, limit_image *m)
{
    memset(m, 0, sizeof *m);
    memcpy(m->magic, "CELLIM01", 8);
    m->version = LIMIT_VERSION;
    m->rule_count = l->rule_count;
    memcpy(m->hash_key, l->hash_bytes, sizeof m->hash_key);
    m->wall_ms = limit_wall_ms(l);
    m->boot_hash = limit_boot_hash();
    m->boot_ms = limit_boot_ms(p);
    m->multi = l->multi;
}

static void limit_stream_start(limit_persist *p)
{
    p->at = p->have = 0;
    p->sum = p->blocks = p->offset = 0;
    p->failed = 0;
}

static void limit_put_rules(cellar_limiter *l, limit_persist *p, limit_rule *rules)
{
    sync_take(RESIZE, &l->change); /* all rules of one moment */
    limit_rules_load(l, limit_set_now(l), rules);
    sync_drop(RESIZE, &l->change);
    limit_put(p, rules, l->rule_count * sizeof rules[0]);
    for (uint32_t i = 0; i < l->rule_count; i++) {
        limit_put_u64(p, base_load_acq(&l->longest[i]));
    }
}

static void limit_write(cellar_limiter *l, limit_persist *p)
{
    limit_image m;
    limit_rule rules[LIMIT_RULES] = { { 0 } };
    const uint64_t now = limit_now(l);
    limit_calendar_look(l, now);
    limit_rebase(l, now);
    limit_bans_settle(l, now, l->over_max);
    limit_image_now(l, p, &m);
    m.now_ns = now;
    limit_stream_start(p);
    limit_put(p, &m, sizeof m);
    limit_put_rules(l, p, rules);
    uint64_t count = limit_put_all(l, p, rules, now);
    limit_put_u64(p, 0);
    count += limit_put_bans(l, p, now);
    base_store_rlx(&l->saved, 0u);
    limit_put_u64(p, count);
    if (p->at > 0) { limit_sum_block(p, p->chunk, p->at); }
    const uint64_t sum = p->sum;
    if (LIMIT_CHUNK - p->at < sizeof sum) { limit_flush(p, false); }
    memcpy(p->chunk + p->at, &sum, sizeof sum); /* the sum does not cover itself */
    p->at += sizeof sum;
    limit_flush(p, true);
    base_store_rlx(&p->last_ns, now);
}

/* Write the file next to the old one, then rename it. */
static int limit_write_file(cellar_limiter *l, limit_persist *p)
{
    const base_vfs *v = base_vfs_system();
    char temporary[sizeof p->name + 4];
    const size_t n = strlen(p->name);
    memcpy(temporary, p->name, n);
    memcpy(temporary + n, ".new", 5);
    int e = v->open_dir(v->ctx, p->dir, false, &p->folder);
    if (e != 0) { return e; }
    (void)v->unlink(v->ctx, p->folder, temporary); /* a crash may have left it */
    e = v->open(v->ctx, p->folder, temporary, BASE_VFS_CREATE | BASE_VFS_WRITE | BASE_VFS_EXCL,
                &p->file);
    if (e != 0) { goto drop_folder; }
    limit_write(l, p);
    e = p->failed != 0 ? p->failed : v->datasync(v->ctx, p->file);
    v->close(v->ctx, p->file);
    if (e == 0) { e = v->rename(v->ctx, p->folder, temporary, p->name); }
    if (e == 0) { e = v->sync_dir(v->ctx, p->folder); }
    if (e != 0) { (void)v->unlink(v->ctx, p->folder, temporary); }
drop_folder:
    v->close(v->ctx, p->folder);
    p->file = p->folder = NULL;
    return e;
}

static size_t limit_copy_bytes(const cellar_limiter *l)
{
    return (size_t)l->slot_bytes * LIMIT_WAYS;
}

CELLAR_PRIVATE size_t limit_persist_bytes(const cellar_limiter *l, const cellar_limiter_config *cfg)
{
    const bool none = cfg->snapshot_path == NULL && cfg->snapshot_write == NULL;
    return none ? 0 : sizeof(limit_persist) + limit_copy_bytes(l);
}

static cellar_err limit_save(cellar_limiter *l, limit_persist *p)
{
    if (!base_cas_ar(&p->busy, 0u, 1u)) { return CELLAR_E_BUSY; }
    if (*p->name != '\0') {
        p->failed = limit_write_file(l, p);
    } else {
        limit_write(l, p);
    }
    const cellar_err err = p->failed != 0 ? CELLAR_E_IO : CELLAR_OK;
    base_store_rel(&p->busy, 0u); /* acquire in the next writer's exchange */
    return err;
}

CELLAR_PRIVATE cellar_err limit_persist_tick(cellar_limiter *l, uint64_t now_ns)
{
    limit_persist *p = l->persist;
    if (p == NULL || p->every_ns == 0 || now_ns - base_load_rlx(&p->last_ns) < p->every_ns) {
        return CELLAR_OK;
    }
    return limit_save(l, p);
}

/* ---- reading ---- */

static bool limit_more(limit_persist *p)
{
    size_t got = 0;
    p->at = p->have = 0;
    while (p->have < LIMIT_CHUNK) { /* whole blocks, as the writer summed them */
        if (*p->name == '\0') {
            p->failed = p->read(p->chunk + p->have, LIMIT_CHUNK - p->have, &got, p->ctx) != 0 ||
                        got > LIMIT_CHUNK - p->have;
        } else {
            const base_vfs *v = base_vfs_system();
            p->failed = v->pread(v->ctx, p->file, p->chunk + p->have, LIMIT_CHUNK - p->have,
                                 p->offset, &got) != 0;
            p->offset += got;
        }
        if (p->failed) { return false; }
        if (got == 0) { break; }
        p->have += got;
    }
    return p->have > 0;
}

static bool limit_get(limit_persist *p, void *out, size_t n)
{
    unsigned char *to = out;
    while (n > 0) {
        if (p->at == p->have) {
            if (p->have == LIMIT_CHUNK) { limit_sum_block(p, p->chunk, LIMIT_CHUNK); }
            if (!limit_more(p)) { return false; }
        }
        const size_t part = BASE_MIN(n, p->have - p->at);
        memcpy(to, p->chunk + p->at, part);
        p->at += part;
        to += part;
        n -= part;
    }
    return true;
}

static bool limit_get_u64(limit_persist *p, uint64_t *v) { return limit_get(p, v, sizeof *v); }

typedef struct limit_back { /* state of one read */
    limit_rule from[LIMIT_RULES];
    uint64_t down;    /* downtime, units */
    uint64_t then_ns; /* reading of the saving clock, if it had run until now */
    limit_moment m;   /* now */
} limit_back;

static uint64_t limit_back_value(cellar_limiter *l, const limit_back *b, uint32_t i, uint64_t v)
{
    const limit_rule *from = &b->from[i];
    if (limit_counts_units(l->algorithm[i])) {
        v = limit_convert_counts(from, from->reach, v); /* whatever base a damaged file names */
        if (l->algorithm[i] == CELLAR_RULE_SLIDING_WINDOW) {
            v = limit_count_carry(from, b->then_ns, b->m.now_ns, v);
        }
        return limit_convert_counts(&b->m.rule[i], from->reach, v);
    }
    v = limit_min_u64(limit_left(v, b->down), LIMIT_DEBT_MAX);
    v = v != 0 ? b->m.units + v : 0;
    return limit_convert(&b->from[i], &b->m.rule[i], &b->m.at[i], v, 0);
}

/* Add to the time of a token bucket what a ban left that ended while down. `ban`: its rest at the
 * save; 0: none. */
static uint64_t limit_back_ban(const limit_back *b, uint32_t i, uint64_t ban, uint64_t v)
{
    const limit_rule *r = &b->m.rule[i];
    if (ban == 0 || ban > b->down || limit_algo(r) != CELLAR_RULE_TOKEN_BUCKET) { return v; }
    const uint64_t debt = limit_left(r->reach - r->step, b->down - ban);
    return debt != 0 ? limit_max_u64(v, b->m.units + debt) : v;
}

/* Read the stamps of a log: the youngest ones that fit, older by the downtime. */
static bool limit_back_log(cellar_limiter *l, limit_persist *p, const limit_back *b, uint32_t i,
                           limit_slot *s, uint64_t *value)
{
    uint64_t number, age, stamp;
    const limit_ring g = limit_ring_of(l, s, i);
    if (!limit_get_u64(p, &number)) { return false; }
    const uint64_t used = number & UINT32_MAX;
    if (used > CELLAR_SLIDING_LOG_MAX) { return false; }
    *value = 0;
    for (uint64_t j = 0; j < used; j++) {
        if (!limit_get_u64(p, &age)) { return false; }
        const uint64_t ahead = age >> 63 != 0 ? limit_min_u64(0 - age, LIMIT_DEBT_MAX) : 0;
        const uint64_t gone = age >> 63 != 0 ? b->down : age + b->down; /* down < 2^63 */
        limit_at at = b->m.at[i];
        at.u = limit_left(b->m.units + ahead, gone);
        if (at.u != 0) { *value = limit_ring_push(&at, g, *value, 1, &stamp); }
    }
    const uint64_t displaced = used > g.size ? used - g.size : 0;
    *value = limit_ring_add_over(g, *value, (number >> 32) + displaced);
    return true;
}

/* Read one key and insert it. `image`: room for a slot. */
static bool limit_back_key(cellar_limiter *l, limit_persist *p, const limit_back *b, uint64_t fp,
                           limit_slot *image)
{
    uint64_t v = 0, ban = 0;
    if ((fp & 1) != 0) { return false; }
    base_store_rlx(&image->fp, fp);
    if (l->multi) {
        if (!limit_get_u64(p, &ban)) { return false; }
        v = limit_min_u64(limit_left(ban, b->down), LIMIT_DEBT_MAX);
        base_store_rlx(limit_word_at(image, l->rule_count),
                       limit_word(v != 0 ? b->m.units + v : 0, 0));
    }
    for (uint32_t i = 0; i < l->rule_count; i++) {
        v = 0;
        if (l->algorithm[i] == CELLAR_RULE_SLIDING_LOG) {
            if (!limit_back_log(l, p, b, i, image, &v)) { return false; }
        } else if (l->algorithm[i] != CELLAR_RULE_CONCURRENCY) {
            if (!limit_get_u64(p, &v) || v >> 62 != 0) { return false; }
            v = limit_back_ban(b, i, ban, limit_back_value(l, b, i, v));
        }
        base_store_rlx(limit_word_at(image, i), limit_word(v, 0));
    }
    limit_seat(l, image, &b->m);
    return true;
}

static bool limit_back_rules(cellar_limiter *l, limit_persist *p, limit_back *b)
{
    limit_moment_of(l, l->set[0], NULL, b->m.now_ns, &b->m);
    if (!limit_get(p, b->from, l->rule_count * sizeof b->from[0])) { return false; }
    for (uint32_t i = 0; i < l->rule_count; i++) {
        const bool count = l->algorithm[i] == CELLAR_RULE_SLIDING_WINDOW;
        if ((b->from[i].kind & 0xff00ff) != (b->m.rule[i].kind & 0xff00ff) ||
            (count && b->from[i].step != b->m.rule[i].step) || b->from[i].reach > LIMIT_DEBT_MAX) {
            return false;
        }
    }
    for (uint32_t i = 0; i < l->rule_count; i++) {
        uint64_t longest;
        if (!limit_get_u64(p, &longest)) { return false; }
        base_store_rlx(&l->longest[i], limit_min_u64(longest, LIMIT_DEBT_MAX));
    }
    return true;
}

/* Compute the downtime. The clock of the limiter has run on since, or has started again. */
static void limit_back_times(cellar_limiter *l, const limit_image *m, const limit_image *now,
                             limit_back *b)
{
    const bool same_boot = m->boot_hash == now->boot_hash && now->boot_ms >= m->boot_ms;
    uint64_t gone_ms = limit_left(now->wall_ms, m->wall_ms);
    if (same_boot) { gone_ms = limit_min_u64(gone_ms, now->boot_ms - m->boot_ms); }
    gone_ms = limit_left(gone_ms, 1); /* both readings were rounded down */
    const uint64_t down_ns = limit_min_u64(gone_ms, CELLAR_PERIOD_MAX_NS / 1000000) * 1000000;
    b->m.now_ns = limit_now(l);
    b->down = limit_units_of(down_ns);
    b->then_ns = m->now_ns > UINT64_MAX - down_ns ? UINT64_MAX : m->now_ns + down_ns;
    if (same_boot && b->m.now_ns >= m->now_ns && b->m.now_ns - m->now_ns <= down_ns + 3000000) {
        b->then_ns = b->m.now_ns; /* it has run on; both clocks are rounded */
    }
}

/* Let a key of one word have what a ban left that ended while down. `image`: room for a slot. */
static void limit_back_ended(cellar_limiter *l, const limit_back *b, uint64_t fp, uint64_t ban,
                             limit_slot *image)
{
    limit_place p;
    uint64_t f;
    uint32_t bucket;
    const uint64_t v = limit_back_ban(b, 0, ban, 0);
    if (v == 0) { return; }
    limit_place_of(l, fp, &p);
    limit_slot *s = limit_find(l, &p, fp, &f, &bucket);
    if (s != NULL) {
        const uint64_t w = base_load_rlx(&s->word);
        base_store_rlx(&s->word, limit_word(limit_max_u64(w >> 2, v), w));
        return;
    }
    base_store_rlx(&image->fp, fp);
    base_store_rlx(&image->word, limit_word(v, 0));
    limit_seat(l, image, &b->m);
}

/* Read the bans of the side table. A ban without a record is counted. */
static bool limit_back_bans(cellar_limiter *l, limit_persist *p, const limit_back *b,
                            uint64_t *count)
{
    uint64_t fp, ban;
    for (;; (*count)++) {
        if (!limit_get_u64(p, &fp)) { return false; }
        if (fp == 0) { return true; }
        if ((fp & 1) != 0 || !limit_get_u64(p, &ban)) { return false; }
        const uint64_t left = limit_left(ban, b->down);
        if (left != 0) {
            (void)limit_assign(l, fp, LIMIT_PLAN_SAME, limit_ns_of(left));
        } else {
            limit_back_ended(l, b, fp, ban, limit_copy(p));
        }
    }
}

/* Read the whole snapshot; return false if any part is unusable. */
static bool limit_read(cellar_limiter *l, limit_persist *p, bool own_key)
{
    limit_image m;
    limit_back b;
    uint64_t fp, count = 0, want, sum;
    if (!limit_get(p, &m, sizeof m) || memcmp(m.magic, "CELLIM01", 8) != 0 ||
        m.version != LIMIT_VERSION || m.rule_count != l->rule_count || m.multi != l->multi) {
        return false;
    }
    if (own_key && memcmp(m.hash_key, l->hash_bytes, sizeof m.hash_key) != 0) { return false; }
    limit_image now;
    limit_image_now(l, p, &now);
    memset(&b, 0, sizeof b);
    limit_back_times(l, &m, &now, &b);
    limit_calendar_look(l, b.m.now_ns);
    if (!limit_back_rules(l, p, &b)) { return false; }
    memcpy(l->hash_bytes, m.hash_key, sizeof l->hash_bytes);
    base_hash_key_init(&l->hash, BASE_HASH_FOLD, l->hash_bytes);
    for (;;) {
        if (!limit_get_u64(p, &fp)) { return false; }
        if (fp == 0) { break; }
        if (!limit_back_key(l, p, &b, fp, limit_copy(p))) { return false; }
        count++;
    }
    if (!limit_back_bans(l, p, &b, &count)) { return false; }
    if (!limit_get_u64(p, &want) || want != count) { return false; }
    if (p->at > 0) { limit_sum_block(p, p->chunk, p->at); }
    const uint64_t mine = p->sum;
    return limit_get_u64(p, &sum) && sum == mine;
}

static void limit_refused(cellar_limiter *l)
{
    limit_count(l, STATS_LIMITER_SNAPSHOTS_REFUSED, 1);
    base_log(&l->obj.log, BASE_LOG_WARNING, "limit", CELLAR_E_CORRUPT,
             "snapshot unreadable, damaged or of other rules: starting empty");
}

/* Start empty: remove the keys read so far. */
static void limit_refuse(cellar_limiter *l, const unsigned char *hash_key)
{
    memset(l->table, 0, (size_t)l->regions * l->region_buckets * LIMIT_WAYS * l->slot_bytes);
    (void)limit_side_clear_bans(l);
    memset(l->row, 0, l->rows * sizeof *l->row);
    for (uint32_t i = 0; i < l->rule_count; i++) { base_store_rlx(&l->longest[i], (uint64_t)0); }
    memcpy(l->hash_bytes, hash_key, sizeof l->hash_bytes);
    base_hash_key_init(&l->hash, BASE_HASH_FOLD, l->hash_bytes);
    limit_refused(l);
}

static void limit_read_all(cellar_limiter *l, limit_persist *p, bool own_key)
{
    unsigned char hash_key[sizeof l->hash_bytes];
    memcpy(hash_key, l->hash_bytes, sizeof hash_key);
    limit_stream_start(p);
    const bool any = limit_more(p);
    if (!any && !p->failed && *p->name == '\0') { return; } /* the host has no snapshot */
    if (!any || !limit_read(l, p, own_key)) { limit_refuse(l, hash_key); }
}

static void limit_read_file(cellar_limiter *l, limit_persist *p, bool own_key)
{
    const base_vfs *v = base_vfs_system();
    int e = v->open_dir(v->ctx, p->dir, false, &p->folder);
    if (e == 0) {
        e = v->open(v->ctx, p->folder, p->name, 0, &p->file);
        if (e == 0) {
            limit_read_all(l, p, own_key);
            v->close(v->ctx, p->file);
        }
        v->close(v->ctx, p->folder);
        p->file = p->folder = NULL;
    }
    if (e != 0 && e != ENOENT) { limit_refused(l); }
}

/* Split a path into folder and name. Return false if it is too long or has no name. */
static bool limit_path(limit_persist *p, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    const size_t dir_len = slash == NULL ? 1 : slash == path ? 1 : (size_t)(slash - path);
    if (*name == '\0' || strlen(name) >= sizeof p->name || dir_len >= sizeof p->dir) {
        return false;
    }
    memcpy(p->name, name, strlen(name) + 1);
    memcpy(p->dir, slash == NULL ? "." : path, dir_len);
    p->dir[dir_len] = '\0';
    return true;
}

CELLAR_PRIVATE cellar_err limit_persist_open(cellar_limiter *l, const cellar_limiter_config *cfg,
                                             const char **why)
{
    if (cfg->snapshot_path == NULL && cfg->snapshot_write == NULL) { return CELLAR_OK; }
    limit_persist *p = base_alloc_raw(&l->obj.account.hooks, sizeof *p + limit_copy_bytes(l));
    if (base_broken(p == NULL, "no memory for snapshots", why)) { return CELLAR_E_NOMEM; }
    memset(p, 0, sizeof *p);
    l->persist = p;
    p->write = cfg->snapshot_write;
    p->read = cfg->snapshot_read;
    p->ctx = cfg->snapshot_ctx;
    p->boot_ms = cfg->boot_ms;
    p->clock_ctx = cfg->clock_ctx;
    p->every_ns = 1000000 *
                  limit_min_u64(cfg->snapshot_interval_ms, CELLAR_PERIOD_MAX_NS / 1000000);
    if (base_broken(cfg->snapshot_path != NULL && !limit_path(p, cfg->snapshot_path),
                    "snapshot_path must end with a file name of at most 255 bytes", why)) {
        return CELLAR_E_INVAL;
    }
    if (*p->name != '\0') {
        limit_read_file(l, p, cfg->hash_key != NULL);
    } else {
        limit_read_all(l, p, cfg->hash_key != NULL);
    }
    base_store_rlx(&p->last_ns, limit_now(l));
    return CELLAR_OK;
}

CELLAR_PRIVATE void limit_persist_close(cellar_limiter *l)
{
    limit_persist *p = l->persist;
    if (p == NULL) { return; }
    if (l->forks_known && limit_save(l, p) != CELLAR_OK) {
        const bool file = *p->name != '\0';
        base_log(&l->obj.log, BASE_LOG_ERROR, "limit", CELLAR_E_IO,
                 "cellar_limiter_close: snapshot not saved (%s): %s%s%s",
                 file ? base_errno_text(p->failed) : "the function failed",
                 file ? p->dir : "snapshot_write", file ? "/" : "", p->name);
    }
    base_free_raw(&l->obj.account.hooks, p, sizeof *p + limit_copy_bytes(l));
    l->persist = NULL;
}

BASE_SIZE_END
