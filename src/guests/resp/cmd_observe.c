/* SPDX-License-Identifier: MIT
 *
 * cmd_observe: INFO OBJECT MEMORY TIME SAVE BGSAVE LASTSAVE LATENCY SHUTDOWN DEBUG.
 *
 * INVARIANTS INFO calls itself Redis 7.0.0: clients choose their commands by that number. The
 *            version of the library is cellar_version. keys of a database are entries in memory,
 *            without a scan; DBSIZE scans. expires and avg_ttl are those of a part of the entries.
 * LOCKING    None. SAVE and BGSAVE wait for the disk in this thread; DEBUG SLEEP sleeps in it. */
#include "base/float_text.h"
#include "base/futex.h"
#include "base/process.h"
#include "base/text.h"
#include "cellar_l2.h"
#include "cellar_observe.h"
#include "resp/control.h"
#include "resp/data.h"
#include "resp/entry.h"

#include <inttypes.h>
#include <stdio.h>

BASE_SIZE_BEGIN

/* ---- INFO ------------------------------------------------------------------------------------ */

#define RESP_INFO_BYTES 8192u
#define RESP_TTL_SAMPLE  512u /* most entries of a database from which INFO estimates its TTLs */
#define RESP_TTL_BUCKETS 512u /* most buckets that it reads for them */
#define RESP_INT_TEXT    20u  /* most bytes of an integer as text */
#define RESP_ENTRY_BYTES 25 /* what an entry costs besides key and value (cellar.h, LIMITS) */

static uint64_t resp_count_of(const cellar_resp *r, resp_count which)
{
    return base_load_rlx(&r->count[which]);
}

static int64_t resp_option(const cellar_resp *r, cellar_option option)
{
    int64_t v = 0;
    (void)cellar_option_get(r->store, option, &v);
    return v;
}

static void resp_info_server(base_text *t, const cellar_resp *r, const cellar_stats *st)
{
    (void)st;
    const int64_t up_s = (base_now_ms(&r->obj.clock) - r->opened_ms) / 1000;
    base_text_add(t, "redis_version:" RESP_REDIS_VERSION "\r\nredis_mode:standalone\r\n"
                     "cellar_version:%s\r\narch_bits:%u\r\nprocess_id:%" PRId64 "\r\n"
                     "uptime_in_seconds:%" PRId64 "\r\nuptime_in_days:%" PRId64 "\r\n",
                  cellar_version(), (unsigned)(8 * sizeof(void *)), base_process_id(), up_s,
                  up_s / 86400);
}

static void resp_info_clients(base_text *t, const cellar_resp *r, const cellar_stats *st)
{
    (void)st;
    base_text_add(t, "connected_clients:%u\r\nmaxclients:%u\r\nblocked_clients:0\r\n"
                     "tracking_clients:%u\r\n",
                  r->client_count, r->max_clients, r->tracking.clients);
}

static void resp_info_memory(base_text *t, const cellar_resp *r, const cellar_stats *st)
{
    const uint64_t used = st->used_bytes + resp_control_used(r) + r->shared.limit_bytes;
    const uint64_t most = st->budget_bytes + base_load_rlx(&r->shared.most_bytes) +
                          base_load_rlx(&r->shared.limit_most_bytes);
    base_text_add(t, "used_memory:%" PRIu64 "\r\nused_memory_human:%.2fM\r\nmaxmemory:%" PRIu64
                     "\r\nmaxmemory_human:%.2fM\r\nused_memory_port:%" PRIu64 "\r\n",
                  used, (double)used / (1 << 20), most, (double)most / (1 << 20),
                  base_load_rlx(&r->obj.account.used));
}

/* Tell of the control keys of a shared store. */
static void resp_info_shared(base_text *t, const cellar_resp *r, const cellar_stats *st)
{
    base_text_add(t, "shared_keys:%" PRIu64 "\r\nshared_control_used:%" PRIu64
                     "\r\nshared_control_max:%" PRIu64 "\r\nshared_control_keys:%" PRIu64
                     "\r\nshared_prefixes:%u\r\nshared_tags_forgotten:%" PRIu64
                     "\r\nshared_limits_used:%" PRIu64 "\r\nshared_limits_max:%" PRIu64
                     "\r\nshared_limits_evicted:%" PRIu64
                     "\r\nshared_limits_refused:%" PRIu64 "\r\n",
                  r->shared.store != NULL ? st->entries : 0,
                  resp_control_used(r), base_load_rlx(&r->shared.most_bytes),
                  resp_control_count(r), r->channels[RESP_PREFIX].count,
                  base_load_rlx(&r->shared.tags_forgotten), r->shared.limit_bytes,
                  base_load_rlx(&r->shared.limit_most_bytes),
                  base_load_rlx(&r->shared.limits_evicted),
                  base_load_rlx(&r->shared.limits_refused));
}

static void resp_info_persistence(base_text *t, const cellar_resp *r, const cellar_stats *st)
{
    base_text_add(t, "loading:0\r\nrdb_bgsave_in_progress:0\r\n"
                     "rdb_last_save_time:%" PRId64 "\r\nrdb_last_bgsave_status:%s\r\n"
                     "aof_enabled:0\r\n"
                     "aof_rewrite_in_progress:0\r\ncellar_disk_bytes:%" PRId64 "\r\n"
                     "cellar_disk_owes:%" PRIu64 "\r\ncellar_disk_rejected_size:%" PRIu64 "\r\n"
                     "cellar_disk_rejected_ttl:%" PRIu64 "\r\ncellar_disk_rejected_limit:%" PRIu64
                     "\r\n",
                  r->saved_wall_ms / 1000, r->save_failed ? "err" : "ok",
                  resp_option(r, CELLAR_OPT_L2_BYTES), st->l2_owes, st->l2_rejected_size,
                  st->l2_rejected_ttl, st->l2_rejected_limit);
}

static void resp_info_stats(base_text *t, const cellar_resp *r, const cellar_stats *st)
{
    base_text_add(t, "total_connections_received:%" PRIu64 "\r\ntotal_commands_processed:%" PRIu64
                     "\r\ntotal_net_input_bytes:%" PRIu64 "\r\ntotal_net_output_bytes:%" PRIu64
                     "\r\nrejected_connections:%" PRIu64 "\r\n",
                  resp_count_of(r, RESP_COUNT_connections), resp_count_of(r, RESP_COUNT_commands),
                  resp_count_of(r, RESP_COUNT_bytes_in), resp_count_of(r, RESP_COUNT_bytes_out),
                  resp_count_of(r, RESP_COUNT_rejected));
    base_text_add(t, "expired_keys:%" PRIu64 "\r\nevicted_keys:%" PRIu64
                     "\r\nkeyspace_hits:%" PRIu64 "\r\nkeyspace_misses:%" PRIu64
                     "\r\npubsub_channels:%u\r\npubsub_patterns:%u\r\n",
                  st->ended[CELLAR_CAUSE_EXPIRED], st->ended[CELLAR_CAUSE_EVICTED],
                  st->gets - st->misses, st->misses, (unsigned)r->channels[RESP_CHANNEL].count,
                  (unsigned)r->channels[RESP_PATTERN].count);
}

/* The first entries of a scan: a random sample, because a scan goes in the order of hashes. */
typedef struct resp_ttl_sample {
    uint64_t seen, timed; /* entries; those with a TTL */
    double sum_ms;        /* of their TTLs */
} resp_ttl_sample;

static bool resp_ttl_seen(const cellar_scan_entry *e, void *ctx)
{
    resp_ttl_sample *s = ctx;
    s->seen++;
    if (e->ttl_left_ms != CELLAR_TTL_NONE) {
        s->timed++;
        s->sum_ms += (double)e->ttl_left_ms;
    }
    return s->seen < RESP_TTL_SAMPLE;
}

static void resp_info_keyspace(base_text *t, const cellar_resp *r, const cellar_stats *st)
{
    (void)st;
    cellar_scan_opts o = cellar_scan_opts_default();
    o.bucket_count = RESP_TTL_BUCKETS;
    for (uint32_t db = 0; db < RESP_DBS; db++) {
        uint64_t cursor = 0;
        cellar_stats of = cellar_stats_default();
        resp_ttl_sample s = { 0, 0, 0 };
        if (r->db[db].handle == NULL ||
            cellar_stats_get(r->db[db].handle, CELLAR_SCOPE_NAMESPACE, &of) != CELLAR_OK ||
            of.namespace_entries == 0) {
            continue;
        }
        const uint64_t keys = of.namespace_entries;
        (void)cellar_scan(r->db[db].handle, &cursor, &o, resp_ttl_seen, &s);
        const double timed = (double)s.timed, share = s.seen != 0 ? timed / (double)s.seen : 0;
        base_text_add(t, "db%u:keys=%" PRIu64 ",expires=%.0f,avg_ttl=%.0f\r\n", db, keys,
                      cursor == 0 ? timed : share * (double)keys,
                      s.timed != 0 ? s.sum_ms / timed : 0);
    }
}

static void resp_info_cellar(base_text *t, const cellar_resp *r, const cellar_stats *st)
{
    (void)r;
    base_text_add(t, "cellar_gets:%" PRIu64 "\r\ncellar_hits_memory:%" PRIu64
                     "\r\ncellar_hits_disk:%" PRIu64 "\r\ncellar_hits_negative:%" PRIu64
                     "\r\ncellar_hit_ratio:%.4f\r\n",
                  st->gets, st->hits_l1, st->hits_l2, st->negative_hits, st->hit_ratio);
    base_text_add(t, "cellar_entries:%" PRIu64 "\r\ncellar_loads:%" PRIu64
                     "\r\ncellar_loads_running:%" PRIu64 "\r\ncellar_loads_joined:%" PRIu64
                     "\r\ncellar_loads_failed:%" PRIu64 "\r\ncellar_write_errors:%" PRIu64 "\r\n",
                  st->entries, st->loads, st->loads_running, st->loads_joined, st->loads_failed,
                  st->write_errors);
}

static const struct {
    const char *name, *title;
    void (*write)(base_text *t, const cellar_resp *r, const cellar_stats *st);
} resp_sections[] = {
    { "server", "Server", resp_info_server }, { "clients", "Clients", resp_info_clients },
    { "memory", "Memory", resp_info_memory }, { "shared", "Shared", resp_info_shared },
    { "persistence", "Persistence", resp_info_persistence },
    { "stats", "Stats", resp_info_stats }, { "cellar", "Cellar", resp_info_cellar },
    { "keyspace", "Keyspace", resp_info_keyspace },
};

static bool resp_section_wanted(const char *name, const cellar_bytes *argv, uint32_t argc)
{
    for (uint32_t i = 1; i < argc; i++) {
        if (resp_is(&argv[i], name) || resp_is(&argv[i], "all") || resp_is(&argv[i], "default") ||
            resp_is(&argv[i], "everything")) {
            return true;
        }
    }
    return argc == 1;
}

RESP_CALL(resp_cmd_info)
{
    char buf[RESP_INFO_BYTES];
    base_text t = { buf, sizeof buf, 0 };
    cellar_stats st = cellar_stats_default();
    const cellar_err err = cellar_stats_get(resp_main_store(c->of), CELLAR_SCOPE_STORE, &st);
    if (err != CELLAR_OK) {
        resp_fail(c, err);
        return;
    }
    for (size_t i = 0; i < sizeof resp_sections / sizeof resp_sections[0]; i++) {
        if (!resp_section_wanted(resp_sections[i].name, argv, argc)) { continue; }
        base_text_add(&t, "%s# %s\r\n", t.len > 0 ? "\r\n" : "", resp_sections[i].title);
        resp_sections[i].write(&t, c->of, &st);
    }
    BASE_ASSERT(t.len < sizeof buf);
    resp_verbatim(c, "txt", buf, t.len);
}

/* ---- OBJECT, MEMORY -------------------------------------------------------------------------- */

/* Return the encoding that Redis would choose for a value. */
static const char *resp_encoding(resp_client *c, cellar *ns, cellar_bytes key, uint64_t value_len)
{
    resp_held h;
    int64_t n;
    if (value_len > RESP_INT_TEXT) { return value_len <= 44 ? "embstr" : "raw"; }
    const bool is_int = resp_hold(c, ns, key, &h) == CELLAR_OK && resp_to_int(&h.value, &n);
    resp_held_free(&h);
    return is_int ? "int" : "embstr";
}

/* Return the seconds without use, or, where the store does not know, since the last write. */
static int64_t resp_idle_s(const cellar_entry_info *i)
{
    if (i->idle_ms != 0 && i->ttl_left_ms <= i->idle_ms) {
        return (i->idle_ms - i->ttl_left_ms) / 1000;
    }
    return i->age_ms == INT64_MAX ? 0 : i->age_ms / 1000;
}

/* Find the entry of a command that looks at one. False: nil or an error was written. */
static bool resp_need_entry(resp_client *c, cellar_bytes key, cellar **ns, cellar_entry_info *info)
{
    *ns = resp_ns(c);
    if (*ns == NULL) { return false; }
    const cellar_err err = resp_info(c, *ns, key, info);
    if (err < 0) { resp_fail(c, err); }
    if (err > 0) { resp_null(c); }
    return err == CELLAR_OK;
}

RESP_CALL(resp_cmd_object)
{
    static const char *const subs[] = { "encoding", "freq", "idletime", "refcount" };
    size_t sub = 0;
    while (sub < 4 && !resp_is(&argv[1], subs[sub])) { sub++; }
    if (sub == 4) {
        resp_unknown_sub(c, argv, "OBJECT");
        return;
    }
    if (argc != 3) {
        char name[32];
        (void)snprintf(name, sizeof name, "object|%s", subs[sub]);
        resp_wrong_arity(c, name);
        return;
    }
    cellar *ns;
    cellar_entry_info info;
    if (!resp_need_entry(c, argv[2], &ns, &info)) { return; }
    switch (sub) {
    case 0:
        resp_bulk_text(c, info.kind == CELLAR_KIND_OBJECT
                              ? "object" : resp_encoding(c, ns, argv[2], info.value_len));
        break;
    case 1: resp_int(c, (int64_t)info.hits); break;
    case 2: resp_int(c, resp_idle_s(&info)); break;
    default: resp_int(c, 1); break;
    }
}

RESP_CALL(resp_cmd_memory)
{
    if (!resp_is(&argv[1], "usage")) {
        resp_unknown_sub(c, argv, "MEMORY");
        return;
    }
    if (argc < 3) {
        resp_wrong_arity(c, "memory|usage");
        return;
    }
    for (uint32_t i = 3; i < argc; i += 2) {
        int64_t samples; /* a string has no elements to sample */
        if (!resp_is(&argv[i], "samples") || i + 1 == argc) {
            resp_syntax(c);
            return;
        }
        if (!resp_need_int(c, &argv[i + 1], &samples)) { return; }
        if (samples < 0) {
            resp_syntax(c);
            return;
        }
    }
    cellar *ns;
    cellar_entry_info info;
    if (resp_need_entry(c, argv[2], &ns, &info)) {
        resp_int(c, (int64_t)(argv[2].len + info.value_len) + RESP_ENTRY_BYTES);
    }
}

/* ---- Time and disk --------------------------------------------------------------------------- */

RESP_CALL(resp_cmd_time)
{
    (void)argv, (void)argc;
    const int64_t now_us = c->of->wall_us();
    resp_array(c, 2);
    resp_bulk_int(c, now_us / 1000000);
    resp_bulk_int(c, now_us % 1000000);
}

static void resp_save(resp_client *c, const char *done)
{
    uint64_t missed;
    const cellar_err err = cellar_save(c->of->store, &missed);
    c->of->save_failed = err != CELLAR_OK;
    if (err == CELLAR_OK) {
        c->of->saved_wall_ms = base_wall_ms();
        resp_simple(c, done);
    } else if (err == CELLAR_DROPPED) {
        resp_error(c, "ERR %" PRIu64 " keys of memory are not on disk: see INFO persistence",
                   missed);
    } else if (err == CELLAR_DISABLED) {
        resp_error(c, "ERR the store has no disk tier, or the tier is off: nothing was saved");
    } else {
        resp_error(c, "ERR the disk tier could not be written: nothing was saved");
    }
}

RESP_CALL(resp_cmd_save)
{
    (void)argv, (void)argc;
    resp_save(c, "OK");
}

RESP_CALL(resp_cmd_bgsave)
{
    if (argc == 1 || (argc == 2 && resp_is(&argv[1], "schedule"))) {
        resp_save(c, "Background saving started");
    } else {
        resp_syntax(c);
    }
}

RESP_CALL(resp_cmd_lastsave)
{
    (void)argv, (void)argc;
    resp_int(c, c->of->saved_wall_ms / 1000);
}

/* The port keeps no latency events: SLOWLOG and CELLAR.METRICS have the times. */
RESP_CALL(resp_cmd_latency)
{
    if (resp_is(&argv[1], "latest") && argc == 2) {
        resp_array(c, 0);
    } else if (resp_is(&argv[1], "reset")) {
        resp_int(c, 0);
    } else {
        resp_unknown_sub(c, argv, "LATENCY");
    }
}

/* ---- SHUTDOWN, DEBUG ------------------------------------------------------------------------- */

/* Ask the process to end, as SIGTERM does, and close the connection without a reply. */
RESP_CALL(resp_cmd_shutdown)
{
    for (uint32_t i = 1; i < argc; i++) {
        if (!resp_is(&argv[i], "nosave") && !resp_is(&argv[i], "save") &&
            !resp_is(&argv[i], "now") && !resp_is(&argv[i], "force")) {
            resp_syntax(c);
            return;
        }
    }
    base_process_terminate();
    c->flags |= RESP_C_CLOSE;
}

#define RESP_SLEEP_MAX_S 3600

RESP_CALL(resp_cmd_debug)
{
    if (!resp_is(&argv[1], "sleep") || argc != 3) {
        resp_unknown_sub(c, argv, "DEBUG");
        return;
    }
    long double s;
    if (!base_float_read(argv[2].data, argv[2].len, &s) || s < 0 || s > RESP_SLEEP_MAX_S) {
        resp_error(c, "ERR value is not a valid float");
        return;
    }
    base_sleep_ns((uint64_t)(s * 1e9L));
    resp_ok(c);
}

BASE_SIZE_END
