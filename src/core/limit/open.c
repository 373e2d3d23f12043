/* SPDX-License-Identifier: MIT
 *
 * open: open and close a limiter; its memory; fork.
 *
 * PICTURE    one mapping of at most max_bytes:
 *            | buckets ... | region heads | bucket locks | counters | side chains, overrides,
 *            plans, permits |        the handle is separate, and counted, too
 * INVARIANTS No allocation after open. `bytes` of the figures is the sum, at most max_bytes.
 * WALK       compile rules -> slot size -> share of the side table -> the rest is buckets, in
 *            regions of at most 1024 -> reserve, commit -> read a snapshot -> register for fork
 * FORK       The child marks the limiter: its calls refuse, or do nothing. */
#include <string.h>

#include "base/open_error.h"
#include "base/opts.h"
#include "base/random.h"
#include "base/service.h"
#include "limit/calendar.h"
#include "limit/convert.h"
#include "limit/snapshot.h"

BASE_SIZE_BEGIN

#define LIMIT_OPEN "cellar_limiter_open"
#define LIMIT_DEFAULT_BYTES ((uint64_t)16 << 20)
#define LIMIT_OVER_DEFAULT 65536u
#define LIMIT_PLAN_DEFAULT 64u
#define LIMIT_PERMIT_MAX (1u << 20)
#define LIMIT_OVER_MAX (1u << 26) /* more than fits into any machine */
#define LIMIT_PLAN_MAX (1u << 20)
#define LIMIT_REGIONS_MAX (UINT32_MAX / LIMIT_REGION_BUCKETS) /* buckets are numbered in 32 bits */

/* ---- sizes ---- */

static void limit_shape(cellar_limiter *l, const limit_rule *rules)
{
    uint32_t at = 16 + 8 * l->rule_count;
    l->conc = -1;
    for (uint32_t i = 0; i < l->rule_count; i++) {
        const uint32_t algo = limit_algo(&rules[i]);
        l->algorithm[i] = algo;
        l->calendar_of[i] = (uint32_t)(rules[i].kind >> 16 & 0xff);
        if (algo == CELLAR_RULE_FIXED_WINDOW) { l->fixed = true; }
        if (limit_counts_units(algo)) { l->counts = true; }
        if (algo == CELLAR_RULE_CONCURRENCY) { l->conc = (int)i; }
        if (algo != CELLAR_RULE_SLIDING_LOG) { continue; }
        l->ring[i] = (uint32_t)limit_max_u64(rules[i].limit, 1);
        l->ring_at[i] = at;
        at += 8 * l->ring[i];
    }
    const uint32_t algo = l->algorithm[0];
    l->multi = l->rule_count > 1 || algo == CELLAR_RULE_SLIDING_LOG ||
               algo == CELLAR_RULE_CONCURRENCY || rules[0].ban != 0;
    l->bucket_alone = !l->multi && algo == CELLAR_RULE_TOKEN_BUCKET;
    l->words = l->rule_count + l->multi;
    l->slot_bytes = !l->multi ? 16 : at <= 32 ? 32 : (uint32_t)base_round_up(at, 64);
}

/* Compute the sizes of the side table and the number of counter rows. */
static void limit_side_sizes(cellar_limiter *l, const cellar_limiter_config *cfg,
                             uint64_t max_bytes)
{
    const uint64_t over = max_bytes / 16 / (sizeof(limit_over) + 2 * sizeof(uint32_t));
    l->over_max = cfg->max_overrides == CELLAR_OFF ? 0
                  : cfg->max_overrides != 0        ? cfg->max_overrides
                                            : (uint32_t)limit_min_u64(over, LIMIT_OVER_DEFAULT);
    l->over_buckets = l->over_max == 0 ? 0 : (uint32_t)base_pow2_ceil(l->over_max);
    const uint64_t plan = max_bytes / 64 / sizeof(limit_plan);
    l->plan_max = l->over_max == 0   ? 0
                  : cfg->max_plans != 0 ? cfg->max_plans
                                        : (uint32_t)limit_min_u64(plan, LIMIT_PLAN_DEFAULT);
    const uint64_t permit = max_bytes / 4 / sizeof(limit_permit);
    l->permit_max = l->conc < 0           ? 0
                    : cfg->max_permits != 0 ? cfg->max_permits
                                            : (uint32_t)limit_min_u64(permit, 65536);
    l->rows = (uint32_t)base_clamp(base_pow2_floor(max_bytes / 64 / sizeof(limit_row)), 2,
                                   LIMIT_ROWS_MAX);
}

/* Fit the buckets beside all other parts, in regions, and compute the bytes of the mapping. Return
 * OK; E_SPACE: not one bucket fits; E_NOMEM: the numbers of buckets or bytes have too many bits. */
static cellar_err limit_fit(cellar_limiter *l, uint64_t max_bytes)
{
    const uint64_t bucket = (uint64_t)l->slot_bytes * LIMIT_WAYS +
                            (l->multi ? sizeof(sync_lock) : 0);
    const uint64_t rest = sizeof *l + BASE_PAD + base_tz_bytes(l->zone) + l->persist_bytes;
    const uint64_t parts = l->rows * (uint64_t)sizeof(limit_row) +
                           l->over_buckets * (uint64_t)sizeof(uint32_t) +
                           l->over_max * (uint64_t)sizeof(limit_over) +
                           l->plan_max * (uint64_t)sizeof(limit_plan) +
                           l->permit_max * (uint64_t)sizeof(limit_permit) + 8 * BASE_PAD;
    const uint64_t fixed = rest + parts + BASE_PAGE;
    if (max_bytes <= fixed + sizeof(limit_head) + bucket) { return CELLAR_E_SPACE; }
    const uint64_t left = max_bytes - fixed;
    const uint64_t per_region = LIMIT_REGION_BUCKETS * bucket + sizeof(limit_head);
    const uint64_t regions = left / per_region + 1;
    const uint64_t each = limit_min_u64((left - regions * sizeof(limit_head)) / bucket / regions,
                                        LIMIT_REGION_BUCKETS);
    if (each == 0) { return CELLAR_E_SPACE; }
    if (regions > LIMIT_REGIONS_MAX || max_bytes > SIZE_MAX / 2) { return CELLAR_E_NOMEM; }
    l->regions = (uint32_t)regions;
    l->region_buckets = (uint32_t)each;
    l->block_bytes = (size_t)base_round_up(regions * (sizeof(limit_head) + each * bucket) + parts,
                                           BASE_PAGE);
    BASE_ASSERT(l->block_bytes + rest <= max_bytes);
    return CELLAR_OK;
}

/* Cut the next part off the mapping. */
static void *limit_part(unsigned char **at, size_t count, size_t bytes)
{
    unsigned char *part = *at;
    *at += base_round_up(count * bytes, BASE_PAD);
    return part;
}

static bool limit_map(cellar_limiter *l)
{
    if (!base_region_reserve(&l->block, l->block_bytes, l->block_bytes)) { return false; }
    if (!base_region_commit(&l->block, 0, l->block_bytes)) {
        base_region_release(&l->block);
        return false;
    }
    if (l->block_bytes >= BASE_HUGE) { base_region_huge(&l->block, true); }
    const size_t buckets = (size_t)l->regions * l->region_buckets;
    unsigned char *at = l->block.base;
    l->table = limit_part(&at, buckets * LIMIT_WAYS, l->slot_bytes);
    l->head = limit_part(&at, l->regions, sizeof *l->head);
    l->bucket_lock = limit_part(&at, l->multi ? buckets : 0, sizeof *l->bucket_lock);
    l->row = limit_part(&at, l->rows, sizeof *l->row);
    l->over_chain = limit_part(&at, l->over_buckets, sizeof *l->over_chain);
    l->over = limit_part(&at, l->over_max, sizeof *l->over);
    l->plan = limit_part(&at, l->plan_max, sizeof *l->plan);
    l->permit = limit_part(&at, l->permit_max, sizeof *l->permit);
    BASE_ASSERT(at <= (unsigned char *)l->block.base + l->block_bytes);
    for (uint32_t i = l->over_max; i > 0; i--) {
        l->over[i - 1].next = l->over_free;
        l->over_free = i;
    }
    for (uint32_t i = l->permit_max; i > 0; i--) {
        l->permit[i - 1].next = l->permit_free;
        l->permit_free = i;
    }
    return true;
}

/* Fail the fast checks, too: no region is converted. */
static void limit_forked(void *limiter)
{
    base_object_forked(limiter);
    base_store_rlx(&((cellar_limiter *)limiter)->state, UINT64_C(0));
}

/* ---- opening ---- */

STATS_SERVICE(limit_service, limit_tick, limit_figures, cellar_limiter_stats, LIMIT_RULES,
              "limiter", STATS_LIMITERS, limit_figures_more)

/* Copy and check the options of the caller. */
static cellar_err limit_config_in(const cellar_limiter_config *in, cellar_limiter_config *out,
                                  cellar_host_config *host)
{
    const char *why;
    const cellar_err err = BASE_CONFIG_IN(cellar_limiter_config, out, in, host, LIMIT_OPEN,
                                          "default", NULL, 0); /* abi first */
    if (err != CELLAR_OK) { return err; }
    if (out->abi != 0 && out->abi != CELLAR_ABI) {
        return base_refuse(CELLAR_E_ABI, LIMIT_OPEN, "the header belongs to another library");
    }
    const bool files = out->snapshot_path != NULL, calls = out->snapshot_write != NULL;
    const bool bad =
        base_broken(!limit_name_ok(host->name, CELLAR_NAME_MAX),
                    "host.name must be printable ASCII", &why) ||
        base_broken((uint32_t)out->overflow > CELLAR_OVERFLOW_ALLOW_NEW,
                    "overflow must be a cellar_overflow", &why) ||
        base_broken(calls != (out->snapshot_read != NULL),
                    "snapshot_write and snapshot_read must be set together", &why) ||
        base_broken(files && calls, "snapshot_path excludes snapshot_write", &why) ||
        base_broken(out->snapshot_interval_ms != 0 && !files && !calls,
                    "snapshot_interval_ms needs snapshot_path or snapshot_write", &why) ||
        base_broken(out->coarse_clock > 1, "coarse_clock must be 0 or 1", &why) ||
        base_broken(out->coarse_clock == 1 && out->clock_ns != NULL,
                    "coarse_clock excludes clock_ns", &why) ||
        base_broken(out->max_permits > LIMIT_PERMIT_MAX, "max_permits must be 0..2^20", &why) ||
        base_broken(out->max_plans > LIMIT_PLAN_MAX, "max_plans must be 0..2^20", &why) ||
        base_broken(out->max_overrides > LIMIT_OVER_MAX && out->max_overrides != CELLAR_OFF,
                    "max_overrides must be 0..2^26, or CELLAR_OFF", &why);
    return bad ? base_refuse(CELLAR_E_INVAL, LIMIT_OPEN, why) : CELLAR_OK;
}

static cellar_err limit_zone(cellar_limiter *l, const char *name)
{
    if (!l->fixed) { return CELLAR_OK; }
    const cellar_err err = base_tz_open(&l->obj.account.hooks, name, &l->zone);
    if (err == CELLAR_OK) { return err; }
    const char *const unknown = "zone is unknown: install tzdata, or use an offset like \"+08:00\"";
    return base_refuse(err, LIMIT_OPEN,
                       err == CELLAR_E_NOT_FOUND ? unknown
                       : err == CELLAR_E_CORRUPT ? "the file of zone is damaged: reinstall tzdata"
                                                 : "no memory for zone");
}

static cellar_err limit_rules_first(cellar_limiter *l, const cellar_limiter_config *cfg,
                                    const cellar_rule *in, limit_rule *rules)
{
    uint32_t concs = 0;
    for (uint32_t i = 0; i < l->rule_count; i++) {
        const char *why = NULL;
        cellar_err err = limit_compile(&in[i], i, &rules[i], &why);
        concs += in[i].algorithm == CELLAR_RULE_CONCURRENCY;
        const bool bucket = in[i].algorithm == CELLAR_RULE_TOKEN_BUCKET;
        if (err == CELLAR_OK &&
            (base_broken(concs > 1, "a limiter has at most one concurrency rule", &why) ||
             base_broken(cfg->coarse_clock == 1 && bucket &&
                             rules[i].step < 100 * LIMIT_UNITS_NS,
                         "coarse_clock needs a limit of at most 1e7 a second", &why))) {
            err = CELLAR_E_INVAL;
        }
        if (err != CELLAR_OK) {
            return base_open_fail(err, 0, "cellar_limiter_open: rule %u: %s", i, why);
        }
        l->rule[i] = in[i];
        const char *name = in[i].name != NULL ? in[i].name : "default";
        memcpy(l->rule_name[i], name, strlen(name) + 1);
        l->rule[i].name = l->rule_name[i];
    }
    return CELLAR_OK;
}

static void limit_set_first(cellar_limiter *l, const limit_rule *rules, bool snapshots)
{
    uint64_t lead_ns = limit_lead(l, rules);
    for (uint32_t i = 0; i < l->rule_count && snapshots; i++) { /* windows may be longer there */
        if (l->algorithm[i] == CELLAR_RULE_SLIDING_LOG) {
            lead_ns = CELLAR_SECOND_NS + CELLAR_PERIOD_MAX_NS;
        }
    }
    limit_set_write(l->set[0], limit_now(l) - lead_ns, rules, l->rule_count);
    base_store_rel(&l->state, (uint64_t)l->regions);
}

static cellar_err limit_build(cellar_limiter *l, const cellar_limiter_config *cfg,
                              const cellar_rule *in)
{
    limit_rule rules[LIMIT_RULES];
    const uint64_t max_bytes = cfg->max_bytes != 0 ? cfg->max_bytes : LIMIT_DEFAULT_BYTES;
    cellar_err err = limit_rules_first(l, cfg, in, rules);
    if (err != CELLAR_OK) { return err; }
    limit_shape(l, rules);
    err = limit_zone(l, cfg->zone);
    if (err != CELLAR_OK) { return err; }
    l->persist_bytes = limit_persist_bytes(l, cfg);
    limit_side_sizes(l, cfg, max_bytes);
    err = limit_fit(l, max_bytes);
    if (err == CELLAR_E_SPACE) {
        return base_open_fail(err, 0, "cellar_limiter_open: max_bytes is too small for "
                              "one bucket of these rules: raise it (got %llu)",
                              (unsigned long long)max_bytes);
    }
    const char *why = "no memory for max_bytes: lower it";
    if (err == CELLAR_OK && !limit_map(l)) { err = CELLAR_E_NOMEM; }
    if (err != CELLAR_OK) { goto refuse; }
    err = CELLAR_E_NOMEM;
    why = "no random bytes for the hash key: set hash_key";
    if (cfg->hash_key != NULL) {
        memcpy(l->hash_bytes, cfg->hash_key, sizeof l->hash_bytes);
    } else if (!base_random_bytes(l->hash_bytes, sizeof l->hash_bytes)) {
        goto refuse;
    }
    base_hash_key_init(&l->hash, BASE_HASH_FOLD, l->hash_bytes);
    limit_set_first(l, rules, l->persist_bytes != 0);
    err = limit_persist_open(l, cfg, &why);
    if (err != CELLAR_OK) { goto refuse; }
    l->forks_known = base_object_forks(&l->obj, limit_forked);
    if (l->forks_known) { return CELLAR_OK; }
    err = CELLAR_E_NOMEM;
    why = "no memory for the fork handlers";
refuse:
    return base_refuse(err, LIMIT_OPEN, why);
}

static void limit_free(cellar_limiter *l)
{
    if (l->forks_known) { base_fork_unregister(&l->obj.fork); }
    limit_persist_close(l);
    base_tz_close(l->zone);
    base_region_release(&l->block);
    base_object_free(&l->obj);
}

CELLAR_API cellar_err cellar_limiter_open(const cellar_limiter_config *cfg,
                                          const cellar_rule *rules, uint32_t rule_count,
                                          cellar_limiter **out)
{
    cellar_limiter_config c;
    if (out == NULL) { return base_refuse(CELLAR_E_INVAL, LIMIT_OPEN, "out must not be NULL"); }
    *out = NULL;
    if (rules == NULL) { return base_refuse(CELLAR_E_INVAL, LIMIT_OPEN, "rules must not be NULL"); }
    if (rule_count == 0 || rule_count > LIMIT_RULES) {
        return base_open_fail(CELLAR_E_INVAL, 0,
                              "cellar_limiter_open: rule_count must be 1..7 (got %u)", rule_count);
    }
    cellar_host_config host;
    cellar_err err = limit_config_in(cfg, &c, &host);
    if (err != CELLAR_OK) { return err; }
    cellar_limiter *l = base_object_new(&limit_service.kind, &host, sizeof *l);
    if (l == NULL) { return base_refuse(CELLAR_E_NOMEM, LIMIT_OPEN, "no memory for the handle"); }
    l->rule_count = rule_count;
    l->overflow = (uint32_t)c.overflow;
    l->clock = c.clock_ns;
    l->wall_ms = c.wall_ms;
    l->clock_ctx = c.clock_ctx;
    l->coarse = c.coarse_clock == 1;
    err = limit_build(l, &c, rules);
    if (err != CELLAR_OK) {
        limit_free(l);
        return err;
    }
    *out = l;
    return CELLAR_OK;
}

CELLAR_API void cellar_limiter_close(cellar_limiter *l)
{
    if (l != NULL && !l->obj.forked) { limit_free(l); }
}

BASE_SIZE_END
