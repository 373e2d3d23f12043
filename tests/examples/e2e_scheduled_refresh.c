/* SPDX-License-Identifier: MIT
 *
 * e2e_scheduled_refresh: the pages of a forum read six kinds of keys. A policy file says how long
 * each lives and how often it is refreshed; the upstream fails 30 of 100 calls. The program turns
 * the clocks over 24 hours and a change of the day, and checks what the pages see.
 *
 *     cc -O2 e2e_scheduled_refresh.c -lcellar -pthread  (or: with cellar_all.c) */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cellar.h"
#include "cellar_entry.h"
#include "cellar_kit.h"
#include "cellar_refresh.h"

#define MINUTE_MS INT64_C(60000)
#define HOUR_MS   (60 * MINUTE_MS)
#define DAY_MS    (24 * HOUR_MS)
#define STALE_MS  HOUR_MS       /* stale=1h below */

static const char policy[] = /* %s: the zone of the service */
    "[forum]\n"
    "set prefix=\"forum:\" default_ttl=2h refresh=1h negative=60s stale=1h\n"
    "key projects:list:{scope}            ttl=2h  refresh=1h  loader=projects_list priority=low\n"
    "key project:{id}:info                ttl=2h  refresh=1h  loader=project_info  priority=low\n"
    "key project:{id}:stats               ttl=1h  refresh=30m loader=project_stats priority=mid\n"
    "key project:{id}:daily_stats         ttl=30m refresh=15m loader=daily_stats   priority=mid "
    "at=00:00@%s\n"
    "key project:{id}:leaderboard:{type}  ttl=1h  refresh=30m loader=leaderboard   priority=mid\n"
    "key project:{id}:topics              ttl=10m refresh=5m  loader=topics        priority=high\n";

enum { PROJECTS = 20, DAILY = 3 };

static const struct kind { /* a row of the policy */
    const char *loader, *key; /* key: of project %d */
    int64_t ttl_ms;
} kinds[] = {
    { "projects_list", "forum:projects:list:%d", 2 * HOUR_MS },
    { "project_info", "forum:project:%d:info", 2 * HOUR_MS },
    { "project_stats", "forum:project:%d:stats", HOUR_MS },
    { "daily_stats", "forum:project:%d:daily_stats", 30 * MINUTE_MS },
    { "leaderboard", "forum:project:%d:leaderboard:points", HOUR_MS },
    { "topics", "forum:project:%d:topics", 10 * MINUTE_MS }
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

/* ---- the clocks of the program ---- */

static int64_t zone_ms; /* of the service: +08:00 or -04:00 */
static int64_t passed_ms; /* since the start, which is 2026-03-10 12:00 UTC */

static int64_t wall(void) { return INT64_C(1773144000000) + passed_ms; }

static int64_t clock_of_the_store(void *ctx)
{
    (void)ctx;
    return 1000000 + passed_ms;
}

static int64_t wall_clock(void *ctx)
{
    (void)ctx;
    return wall();
}

/* ---- the upstream ---- */

static uint64_t drawn, drawn_failed;

static uint64_t next_random(void)
{
    static uint64_t state = 20260310;
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return state >> 33;
}

static cellar *pages;
static uint64_t reads_beside, wrong;

static void check(int right, const char *what, const char *key)
{
    if (right) { return; }
    if (wrong++ < 10) { fprintf(stderr, "wrong at minute %lld, %s: %s\n",
                                (long long)(passed_ms / MINUTE_MS), key, what); }
}

/* Answer with the wall clock. A page reads the key meanwhile: it finds the old value, if any. */
static cellar_err query(cellar_load *load, const void *key, size_t len, void *ctx)
{
    char old[32], value[32];
    size_t old_len;
    const cellar_err seen = cellar_get(pages, key, len, old, sizeof old, &old_len);
    (void)ctx;
    check(seen == CELLAR_OK || seen == CELLAR_MISS, "a get beside a refresh", "any");
    reads_beside += seen == CELLAR_OK;
    drawn++;
    if (next_random() % 100 < 30) {
        drawn_failed++;
        return CELLAR_E_IO;
    }
    return cellar_load_value(load, value,
                             (size_t)snprintf(value, sizeof value, "%lld", (long long)wall()));
}

static cellar_err list_projects(cellar_refresh_keys *keys, const char *pattern, void *ctx)
{
    const struct kind *k = ctx;
    cellar_err err = CELLAR_OK;
    (void)pattern;
    for (int id = 0; id < PROJECTS && err == CELLAR_OK; id++) {
        char key[64];
        const int n = snprintf(key, sizeof key, k->key, id);
        err = cellar_refresh_keys_add(keys, key, (size_t)n);
    }
    return err;
}

/* ---- what an application writes ---- */

static cellar_pool *refresh_pages(void)
{
    cellar_pool *p;
    cellar_host_config host = cellar_host_config_default();
    cellar_pool_config cfg = cellar_pool_config_default();
    size_t rows = 0;
    host.clock = clock_of_the_store;
    host.no_threads = 1;
    host.log_level = CELLAR_LOG_OFF;
    cfg.host = &host;
    cfg.wall_clock = wall_clock;
    if (cellar_pool_open(&cfg, &p) != CELLAR_OK) { return NULL; }
    for (int i = 0; i < KINDS; i++) {
        cellar_refresh_loader_opts o = cellar_refresh_loader_opts_default();
        o.lister = list_projects;
        o.lister_ctx = (void *)(uintptr_t)&kinds[i];
        check(cellar_refresh_loader(p, pages, kinds[i].loader, query, NULL, &o) == CELLAR_OK,
              "no loader", kinds[i].loader);
    }
    check(cellar_refresh_add_policies(p, pages, &rows) == CELLAR_OK && rows == KINDS,
          "a row of the policy is missing", "all");
    return p;
}

/* Run what is due in the next minute. */
static void minute(cellar_pool *p)
{
    const int64_t until = passed_ms + MINUTE_MS;
    while (passed_ms < until) {
        int64_t wait_ms;
        while (cellar_tick(p, 10000, &wait_ms) == CELLAR_PENDING) { }
        passed_ms += wait_ms < until - passed_ms ? wait_ms : until - passed_ms;
    }
    while (cellar_tick(p, 10000, NULL) == CELLAR_PENDING) { }
}

/* ---- the pages ---- */

static uint64_t reads, stale, missing;

static void read_page(int kind, int id)
{
    char key[64], text[32];
    size_t len;
    cellar_get_opts o = cellar_get_opts_default();
    const int n = snprintf(key, sizeof key, kinds[kind].key, id);
    o.flags = CELLAR_GET_ALLOW_STALE;
    const cellar_err err = cellar_get_with(pages, key, (size_t)n, &o, text, sizeof text - 1, &len);
    reads++;
    stale += err == CELLAR_STALE;
    if (err != CELLAR_OK && err != CELLAR_STALE) {
        const int64_t day_ms = (wall() + zone_ms) % DAY_MS;
        missing++; /* at the start of a day, until the upstream has answered */
        check(kind == DAILY && day_ms < 10 * MINUTE_MS, "no value", key);
        return;
    }
    text[len] = '\0';
    const int64_t loaded = strtoll(text, NULL, 10), age = wall() - loaded;
    check(age <= kinds[kind].ttl_ms + kinds[kind].ttl_ms / 10 + STALE_MS, "too old", key);
    check(kind != DAILY || (loaded + zone_ms) / DAY_MS == (wall() + zone_ms) / DAY_MS,
          "a value of yesterday", key);
}

int main(void)
{
    cellar_config cfg = cellar_config_default();
    cellar_host_config host = cellar_host_config_default();
    cellar *c;
    host.clock = clock_of_the_store;
    host.no_threads = 1;
    host.log_level = CELLAR_LOG_OFF;
    cfg.memory_bytes = UINT64_C(16) << 20;
    cfg.host = &host;
    /* The store ends values of a day by the clock of the system, which hardly moves here: take a
     * zone in which the day ends in 6 hours or later. */
    const int hour = (int)(time(NULL) / 3600 % 24);
    const bool west = hour >= 10 && hour < 22;
    char rows[sizeof policy + 8];
    zone_ms = (west ? -4 : 8) * HOUR_MS;
    cellar_policy_opts text = cellar_policy_opts_default();
    cellar_policy_rule *rules;
    text.text = rows;
    text.text_len = (size_t)snprintf(rows, sizeof rows, policy, west ? "-04:00" : "+08:00");
    if (cellar_policy_read("policy", &text, NULL, NULL, &rules, &cfg.rule_count) != CELLAR_OK) {
        return 1;
    }
    cfg.rules = rules;
    const cellar_err opened = cellar_open(&cfg, &c);
    cellar_free(rules);
    if (opened != CELLAR_OK || cellar_namespace_open(c, "forum", NULL, &pages) != CELLAR_OK) {
        return 1;
    }
    cellar_pool *p = refresh_pages();
    if (p == NULL) { return 1; }
    for (int i = 0; i < 90; i++) { minute(p); } /* each row has run: an interval, and its retries */
    for (int i = 0; i < 24 * 60; i++) {
        minute(p);
        for (int kind = 0; kind < KINDS; kind++) {
            for (int id = 0; id < PROJECTS; id++) { read_page(kind, id); }
        }
    }
    cellar_refresh_stats st = cellar_refresh_stats_default();
    cellar_refresh_stats_get(p, &st);
    const double ratio = (double)st.success_ppm / 1e6;
    const double expected = 1.0 - (double)drawn_failed / (double)drawn;
    check(ratio > expected - 0.01 && ratio < expected + 0.01, "success ratio", "all");
    check(ratio > 0.65 && ratio < 0.75, "the upstream does not fail as told", "all");
    check(st.ok + st.failed == drawn, "a refresh is not counted", "all");
    check(st.days == 1, "the day changed once", "daily_stats");
    check(reads_beside > drawn / 2, "refreshes of keys without a value", "all");
    printf("%llu refreshes, success ratio %.3f (drawn %.3f), %llu reads: %llu stale, %llu without "
           "value; %llu day change\n",
           (unsigned long long)drawn, ratio, expected, (unsigned long long)reads,
           (unsigned long long)stale, (unsigned long long)missing, (unsigned long long)st.days);
    cellar_pool_close(p);
    cellar_namespace_close(pages);
    cellar_close(c);
    printf("%s\n", wrong == 0 ? "ok" : "FAILED");
    return wrong == 0 ? 0 : 1;
}
