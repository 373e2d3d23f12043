/* SPDX-License-Identifier: MIT
 *
 * redis: redis-server over a unix socket; get is one request at a time, get_many a pipeline.
 *
 * CONFIGURATION  no persistence, no port; maxmemory and allkeys-lru where the bound is in bytes. The
 *            server is its own package's, or that of redis-tools: one binary under several names.
 *            Its CPU is another process's and is in no cpu figure here: the wall clock counts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/peers/peers.h"
#include "bench/peers/server.h"

#define REDIS_PIPELINE 128

static char redis_version[32] = "installed"; /* until one has been asked */

static void redis_ask_version(server *s)
{
    char text[8192];
    server_line *l = server_mine(s);
    size_t n;
    const char *head = l != NULL && server_send(l, "*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n", 26)
                           ? server_read_line(l, &n) : NULL;
    const size_t len = head != NULL && head[0] == '$' ? strtoul(head + 1, NULL, 10) : 0;
    if (len == 0 || len >= sizeof text || !server_read_bytes(l, text, len)) {
        return;
    }
    text[len] = '\0';
    const char *at = strstr(text, "redis_version:");
    if (at != NULL) {
        snprintf(redis_version, sizeof redis_version, "%.*s", (int)strcspn(at + 14, "\r\n"), at + 14);
    }
}

static void *redis_open(const bench_cfg *cfg)
{
    char path[108], most[32];
    static const char *const programs[] = { "redis-server", "/usr/bin/redis-check-rdb" };
    if (cfg->capacity_entries != 0 || cfg->ttl_ms != 0) {
        return NULL;
    }
    snprintf(path, sizeof path, "%s/redis.%d.sock", cfg->scratch != NULL ? cfg->scratch : "build/bench",
             (int)getpid());
    snprintf(most, sizeof most, "%llu", (unsigned long long)cfg->capacity_bytes);
    const char *const argv[] = { "redis-server", "--port",      "0",         "--unixsocket",
                                 path,           "--save",      "",          "--appendonly",
                                 "no",           "--maxmemory", most,        "--maxmemory-policy",
                                 "allkeys-lru",  NULL };
    server *s = NULL;
    for (size_t i = 0; s == NULL && i < 2; i++) {
        s = server_start(programs[i], (char *const *)(uintptr_t)argv, path);
    }
    if (s != NULL) {
        redis_ask_version(s);
    }
    return s;
}

static void redis_close(void *store) { server_stop(store); }

/* "$LEN\r\nBYTES\r\n"; returns the end of it. */
static unsigned char *redis_part(unsigned char *to, const void *bytes, size_t len)
{
    to += snprintf((char *)to, 24, "$%zu\r\n", len);
    memcpy(to, bytes, len);
    memcpy(to + len, "\r\n", 2);
    return to + len + 2;
}

static unsigned char *redis_ask(unsigned char *to, const char *verb, const void *key, size_t key_len)
{
    to += snprintf((char *)to, 24, "*%d\r\n", verb[0] == 'S' ? 3 : 2);
    return redis_part(redis_part(to, verb, 3), key, key_len);
}

/* The answer to one GET. */
static int redis_value(server_line *l, void *buf, size_t buf_cap, size_t *value_len)
{
    size_t n;
    const char *head = server_read_line(l, &n);
    if (head == NULL || head[0] != '$') {
        return -1;
    }
    if (head[1] == '-') {
        return 0;
    }
    *value_len = strtoul(head + 1, NULL, 10);
    const bool fits = *value_len <= buf_cap;
    return server_read_bytes(l, fits ? buf : NULL, *value_len) && fits ? 1 : -1;
}

static int redis_get(void *store, const void *key, size_t key_len, void *buf, size_t buf_cap,
                     size_t *value_len)
{
    unsigned char text[128];
    server_line *l = server_mine(store);
    const unsigned char *end = redis_ask(text, "GET", key, key_len);
    return l != NULL && server_send(l, text, (size_t)(end - text))
               ? redis_value(l, buf, buf_cap, value_len) : -1;
}

static size_t redis_get_many(void *store, const bench_key *keys, size_t count, void *bufs,
                             size_t stride)
{
    unsigned char text[REDIS_PIPELINE * 64], *end = text;
    server_line *l = server_mine(store);
    size_t hits = 0;
    for (size_t i = 0; i < count && i < REDIS_PIPELINE; i++) {
        end = redis_ask(end, "GET", keys[i].ptr, keys[i].len);
    }
    if (l == NULL || count > REDIS_PIPELINE || !server_send(l, text, (size_t)(end - text))) {
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        size_t len;
        hits += redis_value(l, (unsigned char *)bufs + i * stride, stride, &len) == 1;
    }
    return hits;
}

static int redis_set(void *store, const void *key, size_t key_len, const void *value,
                     size_t value_len, int64_t ttl_ms)
{
    unsigned char small[512], *text = value_len < 256 ? small : malloc(value_len + 256);
    server_line *l = server_mine(store);
    size_t n;
    int answer = -1;
    (void)ttl_ms;
    if (l != NULL && text != NULL) {
        const unsigned char *end = redis_part(redis_ask(text, "SET", key, key_len), value, value_len);
        const char *said = server_send(l, text, (size_t)(end - text)) ? server_read_line(l, &n) : NULL;
        answer = said != NULL && said[0] == '+' ? 0 : -1;
    }
    if (text != small) {
        free(text);
    }
    return answer;
}

static int redis_number(void *store, const void *bytes, size_t len)
{
    server_line *l = server_mine(store);
    size_t n;
    const char *said = l != NULL && server_send(l, bytes, len) ? server_read_line(l, &n) : NULL;
    return said != NULL && said[0] == ':' ? atoi(said + 1) : -1;
}

static int redis_del(void *store, const void *key, size_t key_len)
{
    unsigned char text[128];
    const unsigned char *end = redis_ask(text, "DEL", key, key_len);
    return redis_number(store, text, (size_t)(end - text));
}

static uint64_t redis_count(void *store)
{
    const int n = redis_number(store, "*1\r\n$6\r\nDBSIZE\r\n", 16);
    return n > 0 ? (uint64_t)n : 0;
}

const bench_subject redis_subject = {
    .name = "redis",
    .version = redis_version,
    .semantics = "remote",
    .caps = BENCH_BOUNDED | BENCH_BYTES | BENCH_DEL | BENCH_SLOW,
    .open = redis_open,
    .close = redis_close,
    .get = redis_get,
    .set = redis_set,
    .del = redis_del,
    .get_many = redis_get_many,
    .count = redis_count,
};
