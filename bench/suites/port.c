/* SPDX-License-Identifier: MIT
 *
 * port: the RESP port of `cellar serve` and redis-server, asked by `cellar load`.
 *
 * FIGURES    port_get _set _mset  requests a second, x redis: 10,000 keys of 16 bytes with values of
 *                          100, 50 clients, unix socket; `cpu`: requests a second of CPU time of
 *                          the server, the figure that other programs on the machine disturb least
 *            port_p99      99th percentile of a GET at -P 1, x redis
 *            port_start    ms from fork to the reply to PING
 *            port_rss      bytes that a server without keys and clients holds
 *            port_binary   bytes of the program, static and stripped
 * WALK       Rounds; both servers have their turn in each, every second round backwards. A turn is a
 *            new run of `cellar load`, of redis-benchmark for MSET.
 * INPUT      environment: BENCH_SERVE, the program `cellar` (make bench SUITE=port builds it with
 *            STATIC=1 and strips it). */
#include "bench/suites/suite.h"

#include "bench/harness/json.h"

#if BENCH_HAVE_CELLAR
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/harness/host.h"
#include "bench/peers/server.h"

#define PORT_REDIS "/usr/bin/redis-check-rdb" /* redis-server under the name of another tool */
#define PORT_KEYS 10000u
#define PORT_STARTS 21u

/* ---- servers ---- */

static const char *port_program(void)
{
    const char *path = getenv("BENCH_SERVE");
    return path != NULL && path[0] != '\0' ? path : "build/cellar";
}

static server *port_cellar(const cell_options *o, const char *name)
{
    char path[108], option[128];
    snprintf(path, sizeof path, "%s/%s.%d.sock", o->scratch, name, (int)getpid());
    snprintf(option, sizeof option, "--unix=%s", path);
    const char *const argv[] = { "cellar", "serve", "--port=0", option, NULL };
    return server_start(port_program(), (char *const *)(uintptr_t)argv, path);
}

static server *port_redis(const cell_options *o)
{
    char path[108];
    snprintf(path, sizeof path, "%s/redis.%d.sock", o->scratch, (int)getpid());
    const char *const argv[] = { "redis-server", "--port", "0", "--unixsocket", path, "--save", "",
                                 "--appendonly", "no", NULL };
    return server_start(PORT_REDIS, (char *const *)(uintptr_t)argv, path);
}

/* Send a PING and read the reply. */
static bool port_ping(server *s)
{
    size_t len;
    server_line *l = server_mine(s);
    const char *line = l != NULL && server_send(l, "PING\r\n", 6) ? server_read_line(l, &len) : NULL;
    return line != NULL && strcmp(line, "+PONG") == 0;
}

/* ---- requests ---- */

typedef struct port_turn {
    double mops, mops_cpu, p99_ms; /* requests in us of time, of CPU time of the server */
} port_turn;

/* Run `cellar load` or, for mset, redis-benchmark once. False: it did not end well. */
static bool port_ask(const server *s, const char *test, uint32_t pipeline, uint32_t count,
                     port_turn *out)
{
    char command[600], line[256];
    double rate = 0, p99_us = 0;
    const bool mset = strcmp(test, "mset") == 0;
    if (mset) {
        snprintf(command, sizeof command,
                 "redis-benchmark -s '%s' -t %s -P %u -n %u -c 50 -r %u -d 100 --csv 2>/dev/null",
                 s->path, test, pipeline, count, PORT_KEYS);
    } else {
        snprintf(command, sizeof command, "'%s' load --csv --requests=%u --pipeline=%u --keys=%u "
                 "--zipf=0 --mix=%s 'unix:%s'", port_program(), count, pipeline, PORT_KEYS,
                 strcmp(test, "get") == 0 ? "1,0" : "0,1", s->path);
    }
    const uint64_t from_ns = host_cpu_ns_of(s->pid);
    FILE *f = popen(command, "re");
    if (f == NULL) { return false; }
    while (fgets(line, sizeof line, f) != NULL) {
        const char *at = strstr(line, "\",\""); /* "MSET (10 keys)","93457.94",.. */
        if (mset && at != NULL) { (void)sscanf(at, "\",\"%lf", &rate); }
        /* get,100000,93457.9,p50,p90,p99,.. */
        if (!mset) { (void)sscanf(line, "%*[a-z],%*u,%lf,%*f,%*f,%lf", &rate, &p99_us); }
    }
    const uint64_t ns = host_cpu_ns_of(s->pid) - from_ns;
    const bool ok = pclose(f) == 0 && rate > 0 && ns > 0;
    out->mops = rate / 1e6;
    out->p99_ms = p99_us / 1e3;
    out->mops_cpu = (double)count * 1e3 / (double)ns;
    return ok;
}

/* One row of the table: a test of redis-benchmark. */
typedef struct port_shape {
    const char *test, *metric, *name;
    uint32_t pipeline, count;
    bool latency;
} port_shape;

static void port_say_rate(const port_shape *p, const char *subject, const char *clock,
                          const double *mops, uint32_t rounds, const double *ratio)
{
    suite_say_rate(&(suite_rate){
        .bench = "port", .subject = subject, .workload = p->name, .metric = p->metric,
        .clock = clock, .unit = "Mreq", .threads = 1, .rounds = rounds, .c2c_ns = host_c2c_ns(),
        .mops = mops, .vs = ratio != NULL ? "redis" : NULL, .ratio = ratio });
}

static int port_shape_run(const port_shape *p, const server *s[2], uint32_t rounds, bool quick)
{
    double wall[2][SUITE_ROUNDS_MAX], cpu[2][SUITE_ROUNDS_MAX], ratio[3][SUITE_ROUNDS_MAX];
    for (uint32_t n = 0; n < rounds; n++) {
        port_turn t[2];
        for (uint32_t i = 0; i < 2; i++) {
            const uint32_t side = i ^ (n & 1);
            if (!port_ask(s[side], p->test, p->pipeline, quick ? p->count / 10 : p->count,
                          &t[side])) {
                return CELL_WRONG;
            }
            wall[side][n] = t[side].mops;
            cpu[side][n] = t[side].mops_cpu;
        }
        ratio[0][n] = t[0].mops / t[1].mops;
        ratio[1][n] = t[0].mops_cpu / t[1].mops_cpu;
        ratio[2][n] = t[0].p99_ms / t[1].p99_ms;
        host_beat();
    }
    port_say_rate(p, "cellar", "wall", wall[0], rounds, ratio[0]);
    port_say_rate(p, "cellar", "cpu", cpu[0], rounds, ratio[1]);
    port_say_rate(p, "redis", "wall", wall[1], rounds, NULL);
    if (p->latency) {
        suite_say("port", "cellar", p->name, "port_p99", ratio[2], rounds, "wall", NULL);
    }
    return CELL_OK;
}

static int port_against_redis(const cell_options *o)
{
    static const port_shape shapes[] = {
        { "get", "port_get", "p64", 64, 300000, false }, { "get", "port_get", "p1", 1, 100000, true },
        { "set", "port_set", "p64", 64, 300000, false },
        { "mset", "port_mset", "p16", 16, 40000, false },
    };
    int status = CELL_OK;
    port_turn fill;
    server *ours = port_cellar(o, "port"), *theirs = port_redis(o);
    const server *both[2] = { ours, theirs };
    if (ours == NULL || theirs == NULL || !port_ask(ours, "set", 64, 20 * PORT_KEYS, &fill) ||
        !port_ask(theirs, "set", 64, 20 * PORT_KEYS, &fill)) {
        json_say("port", ours == NULL ? "cellar" : "redis", NULL, "crash", "does not answer");
        status = CELL_WRONG;
    }
    for (size_t i = 0; status == CELL_OK && i < sizeof shapes / sizeof *shapes; i++) {
        status = port_shape_run(&shapes[i], both, o->rounds, o->quick);
    }
    server_stop(ours);
    server_stop(theirs);
    return status;
}

/* ---- a server of its own ---- */

static int port_say(const char *shape, const char *metric, const char *clock, double *values,
                    uint32_t rounds)
{
    suite_say("port", "cellar", shape, metric, values, rounds, clock, NULL);
    host_beat();
    return CELL_OK;
}

static int port_start(const cell_options *o)
{
    double ms[PORT_STARTS], rss[PORT_STARTS];
    for (uint32_t n = 0; n < PORT_STARTS; n++) {
        const uint64_t from = host_wall_ns();
        server *s = port_cellar(o, "start");
        const bool ok = s != NULL && port_ping(s);
        ms[n] = (double)(host_wall_ns() - from) / 1e6;
        rss[n] = ok ? (double)host_rss_of(s->pid) : 0;
        server_stop(s);
        if (!ok) { return CELL_WRONG; }
    }
    return port_say("serve", "port_start", "wall", ms, PORT_STARTS) |
           port_say("serve", "port_rss", NULL, rss, PORT_STARTS);
}

static int port_binary(void)
{
    struct stat st;
    if (getenv("BENCH_SERVE") == NULL || stat(port_program(), &st) != 0) {
        json_say("port", "cellar", "static", "skip", "no static program: make bench SUITE=port");
        return CELL_OK;
    }
    double bytes = (double)st.st_size;
    return port_say("static", "port_binary", NULL, &bytes, 1);
}

static bool port_has(const char *program)
{
    char command[128];
    snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", program);
    return system(command) == 0;
}

static int port_run(const cell_options *o)
{
    int status = CELL_OK;
    printf("\nport\n");
    if (access(port_program(), X_OK) != 0) {
        json_say("port", "cellar", NULL, "skip", "no program: make bench SUITE=port builds it");
        return CELL_OK;
    }
    if (port_has("redis-benchmark") && access(PORT_REDIS, X_OK) == 0) {
        status = port_against_redis(o);
    } else {
        json_say("port", "redis", NULL, "skip", "redis-tools is missing");
    }
    return status | port_start(o) | port_binary();
}
#endif

SUITE_OF_LIBRARY(port, "the RESP port beside redis-server", port_run, true);
