/* SPDX-License-Identifier: MIT
 *
 * memcached: memcached over a unix socket; get is one request at a time, get_many a pipeline.
 *
 * CONFIGURATION  one thread (-t 1), room by -m. The text protocol allows no spaces or control bytes
 *            in a key, so keys are sent as hex: 32 bytes instead of 16, said here. The program is the
 *            one in PATH or the package that src/tools/deps.sh unpacks below build/peers. Its CPU is another
 *            process's and is in no cpu figure here: the wall clock counts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/peers/peers.h"
#include "bench/peers/server.h"

#define MEMCACHED_PIPELINE 128

static char memcached_version[32] = "installed"; /* until one has been asked */

static void memcached_ask_version(server *s)
{
    server_line *l = server_mine(s);
    size_t n;
    const char *said = l != NULL && server_send(l, "version\r\n", 9) ? server_read_line(l, &n) : NULL;
    if (said != NULL && strncmp(said, "VERSION ", 8) == 0) {
        snprintf(memcached_version, sizeof memcached_version, "%.31s", said + 8);
    }
}

static void *memcached_open(const bench_cfg *cfg)
{
    char path[108], most[32];
    static const char *const programs[] = { "memcached", "build/peers/usr/bin/memcached" };
    if (cfg->capacity_entries != 0 || cfg->ttl_ms != 0) {
        return NULL;
    }
    const uint64_t bytes = cfg->capacity_bytes != 0
                               ? cfg->capacity_bytes
                               : 2 * cfg->payload_bytes + cfg->hint_entries * 128 + (64 << 20);
    snprintf(path, sizeof path, "%s/memcached.%d.sock", cfg->scratch != NULL ? cfg->scratch : "build/bench",
             (int)getpid());
    snprintf(most, sizeof most, "%llu", (unsigned long long)(bytes >> 20));
    const char *const argv[] = { "memcached", "-s", path, "-m", most, "-t", "1", "-u", "root", NULL };
    server *s = NULL;
    for (size_t i = 0; s == NULL && i < 2; i++) {
        s = server_start(programs[i], (char *const *)(uintptr_t)argv, path);
    }
    if (s != NULL) {
        memcached_ask_version(s);
    }
    return s;
}

static void memcached_close(void *store) { server_stop(store); }

static char *memcached_key(char *to, const char *verb, const void *key, size_t key_len)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *k = key;
    const size_t n = strlen(verb);
    memcpy(to, verb, n);
    to += n;
    for (size_t i = 0; i < key_len; i++) {
        *to++ = digits[k[i] >> 4];
        *to++ = digits[k[i] & 15];
    }
    return to;
}

static char *memcached_ask(char *to, const void *key, size_t key_len)
{
    to = memcached_key(to, "get ", key, key_len);
    memcpy(to, "\r\n", 2);
    return to + 2;
}

/* "VALUE key flags bytes", the bytes, "END"; or "END" alone. */
static int memcached_value(server_line *l, void *buf, size_t buf_cap, size_t *value_len)
{
    size_t n;
    const char *head = server_read_line(l, &n);
    if (head == NULL || strcmp(head, "END") == 0) {
        return head == NULL ? -1 : 0;
    }
    const char *bytes = strrchr(head, ' ');
    if (strncmp(head, "VALUE ", 6) != 0 || bytes == NULL) {
        return -1;
    }
    *value_len = strtoul(bytes, NULL, 10);
    const bool fits = *value_len <= buf_cap;
    if (!server_read_bytes(l, fits ? buf : NULL, *value_len) ||
        (head = server_read_line(l, &n)) == NULL || strcmp(head, "END") != 0) {
        return -1;
    }
    return fits ? 1 : -1;
}

static int memcached_get(void *store, const void *key, size_t key_len, void *buf, size_t buf_cap,
                         size_t *value_len)
{
    char text[128];
    server_line *l = server_mine(store);
    const char *end = memcached_ask(text, key, key_len);
    return l != NULL && server_send(l, text, (size_t)(end - text))
               ? memcached_value(l, buf, buf_cap, value_len) : -1;
}

static size_t memcached_get_many(void *store, const bench_key *keys, size_t count, void *bufs,
                                 size_t stride)
{
    char text[MEMCACHED_PIPELINE * 64], *end = text;
    server_line *l = server_mine(store);
    size_t hits = 0;
    for (size_t i = 0; i < count && i < MEMCACHED_PIPELINE; i++) {
        end = memcached_ask(end, keys[i].ptr, keys[i].len);
    }
    if (l == NULL || count > MEMCACHED_PIPELINE || !server_send(l, text, (size_t)(end - text))) {
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        size_t len;
        hits += memcached_value(l, (unsigned char *)bufs + i * stride, stride, &len) == 1;
    }
    return hits;
}

static int memcached_set(void *store, const void *key, size_t key_len, const void *value,
                         size_t value_len, int64_t ttl_ms)
{
    char small[512], *text = value_len < 256 ? small : malloc(value_len + 256);
    server_line *l = server_mine(store);
    size_t n;
    int answer = -1;
    (void)ttl_ms;
    if (l != NULL && text != NULL) {
        char *end = memcached_key(text, "set ", key, key_len);
        end += snprintf(end, 48, " 0 0 %zu\r\n", value_len);
        memcpy(end, value, value_len);
        memcpy(end + value_len, "\r\n", 2);
        const size_t len = (size_t)(end - text) + value_len + 2;
        const char *said = server_send(l, text, len) ? server_read_line(l, &n) : NULL;
        answer = said != NULL && strcmp(said, "STORED") == 0 ? 0 : -1;
    }
    if (text != small) {
        free(text);
    }
    return answer;
}

static int memcached_del(void *store, const void *key, size_t key_len)
{
    char text[128];
    server_line *l = server_mine(store);
    size_t n;
    char *end = memcached_key(text, "delete ", key, key_len);
    memcpy(end, "\r\n", 2);
    const char *said = l != NULL && server_send(l, text, (size_t)(end - text) + 2)
                           ? server_read_line(l, &n) : NULL;
    return said == NULL ? -1 : strcmp(said, "DELETED") == 0;
}

static uint64_t memcached_count(void *store)
{
    server_line *l = server_mine(store);
    uint64_t items = 0;
    size_t n;
    const char *said;
    if (l == NULL || !server_send(l, "stats\r\n", 7)) {
        return 0;
    }
    while ((said = server_read_line(l, &n)) != NULL && strcmp(said, "END") != 0) {
        if (strncmp(said, "STAT curr_items ", 16) == 0) {
            items = strtoull(said + 16, NULL, 10);
        }
    }
    return items;
}

const bench_subject memcached_subject = {
    .name = "memcached",
    .version = memcached_version,
    .semantics = "remote",
    .caps = BENCH_BOUNDED | BENCH_BYTES | BENCH_DEL | BENCH_SLOW,
    .open = memcached_open,
    .close = memcached_close,
    .get = memcached_get,
    .set = memcached_set,
    .del = memcached_del,
    .get_many = memcached_get_many,
    .count = memcached_count,
};
