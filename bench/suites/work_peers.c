/* SPDX-License-Identifier: MIT
 *
 * work_peers: tasks and schedules beside the Python packages that programs use for them.
 *
 * FIGURES    work_result   tasks a second from submit to result, all submitted, then all results
 *                          read; two workers. work_result_x: ours / Celery's of the same round,
 *                          with redis on a unix socket as broker and result backend
 *            work_late     as in work.c, of date jobs of APScheduler
 * PROCESS    work_peers.py measures; it starts and ends the worker of Celery. A package that is
 *            missing, or a server that does not start, is a skip line.
 * CHECKED    Each result is that of its task, on both sides. */
#include "bench/suites/work.h"

#include "bench/harness/json.h"

#if BENCH_HAVE_CELLAR
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/harness/host.h"
#include "bench/peers/server.h"
#include "cellar.h"
#include "cellar_task.h"

#define PEERS_OURS 50000u
#define PEERS_CELERY 2000u
#define PEERS_ROUNDS 9u
#define PEERS_JOBS 400u
#define PEERS_SPAN_MS 4000u

/* Run work_peers.py with the Python that has the modules; return the number of figures. */
static uint32_t peers_python(const char *modules, const char *words, double *figures, uint32_t most)
{
    char command[900], line[128];
    uint32_t count = 0;
    snprintf(command, sizeof command,
             "for p in python3 /usr/bin/python3; do "
             "if $p -c 'import %s' 2>/dev/null; then "
             "exec timeout 120 $p bench/suites/work_peers.py %s; fi; done", modules, words);
    FILE *f = popen(command, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (count < most) { figures[count++] = strtod(line, NULL); }
        host_beat();
    }
    if (f != NULL) { pclose(f); }
    return count;
}

/* ---- Celery ---- */

static cellar_verdict peers_echo(const cellar_task *t, void *ctx)
{
    (void)ctx;
    return cellar_task_result_set(t, t->payload, t->payload_len) == CELLAR_OK
               ? cellar_verdict_ok() : cellar_verdict_fail();
}

static bool peers_submit_and_read(cellar_pool *p, cellar_task_id *ids, uint32_t count)
{
    bool good = true;
    for (uint32_t i = 0; i < count; i++) {
        good = good && cellar_task_submit(p, "echo", &i, sizeof i, NULL, &ids[i]) == CELLAR_OK;
    }
    for (uint32_t i = 0; i < count && good; i++) {
        uint32_t value;
        size_t len;
        good = cellar_task_wait(p, ids[i], 60000, NULL) == CELLAR_OK &&
               cellar_task_result_get(p, ids[i], &value, sizeof value, &len) == CELLAR_OK &&
               len == sizeof value && value == i;
    }
    return good;
}

/* Return tasks a second; 0 if a result is wrong. */
static double peers_our_round(uint32_t count)
{
    cellar_pool_config cfg = cellar_pool_config_default();
    cellar *store = NULL;
    cellar_pool *p = NULL;
    double rate = 0;
    cellar_task_id *ids = malloc(count * sizeof *ids);
    cfg.workers = 2;
    if (ids != NULL && cellar_open(NULL, &store) == CELLAR_OK) {
        cfg.results = store;
        if (cellar_pool_open(&cfg, &p) == CELLAR_OK &&
            cellar_task_register(p, "echo", peers_echo, NULL, NULL) == CELLAR_OK) {
            const uint64_t from = host_wall_ns();
            const bool good = peers_submit_and_read(p, ids, count);
            rate = good ? (double)count * 1e9 / (double)(host_wall_ns() - from) : 0;
        }
    }
    cellar_pool_close(p);
    cellar_close(store);
    free(ids);
    host_beat();
    return rate;
}

static server *peers_redis(const cell_options *o, char path[100])
{
    static const char *const programs[] = { "redis-server", "/usr/bin/redis-check-rdb" };
    snprintf(path, 100, "%s/celery.%d.sock", o->scratch, (int)getpid());
    const char *const argv[] = { "redis-server", "--port", "0", "--unixsocket", path, "--save", "",
                                 "--appendonly", "no", NULL };
    server *s = NULL;
    for (size_t i = 0; i < sizeof programs / sizeof programs[0] && s == NULL; i++) {
        char *copy[sizeof argv / sizeof argv[0]];
        memcpy(copy, argv, sizeof copy);
        s = server_start(programs[i], copy, path);
    }
    return s;
}

static int peers_celery(const cell_options *o)
{
    double ours[PEERS_ROUNDS], celery[PEERS_ROUNDS], ratio[PEERS_ROUNDS];
    const uint32_t rounds = o->quick ? 1 : PEERS_ROUNDS;
    char path[100], words[200];
    for (uint32_t n = 0; n < rounds; n++) {
        ours[n] = peers_our_round(work_count(o, PEERS_OURS));
        if (ours[n] <= 0) { return CELL_WRONG; }
    }
    int status = work_say("cellar", "result", "work_result", "wall", ours, rounds, 0);
    server *s = peers_redis(o, path);
    if (s == NULL) {
        json_say("work", "celery", "result", "skip", "redis-server does not start or is missing");
        return status;
    }
    snprintf(words, sizeof words, "celery '%s' %u %u", path, work_count(o, PEERS_CELERY), rounds);
    const uint32_t found = peers_python("celery, redis", words, celery, rounds);
    server_stop(s);
    if (found < rounds) {
        json_say("work", "celery", "result", "skip", "python3-celery or python3-redis is missing");
        return status;
    }
    for (uint32_t n = 0; n < rounds; n++) { ratio[n] = ours[n] / celery[n]; }
    status |= work_say("celery", "result", "work_result", "wall", celery, rounds, 0);
    return status | work_say("cellar", "result", "work_result_x", "wall", ratio, rounds, 0);
}

/* ---- APScheduler ---- */

static int peers_apscheduler(const cell_options *o)
{
    char words[64];
    double p99;
    snprintf(words, sizeof words, "apscheduler %u %u", work_count(o, PEERS_JOBS),
             work_count(o, PEERS_SPAN_MS));
    if (peers_python("apscheduler", words, &p99, 1) == 0) {
        json_say("work", "apscheduler", "delayed2k", "skip", "python3-apscheduler is missing");
        return CELL_OK;
    }
    return work_say("apscheduler", "delayed2k", "work_late", "wall", &p99, 1, 0);
}

int work_peers_run(const cell_options *o) { return peers_celery(o) | peers_apscheduler(o); }
#endif
