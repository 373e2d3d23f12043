/* SPDX-License-Identifier: MIT
 *
 * config: the options of a remote after defaults and URL. */
#ifndef REMOTE_CONFIG_H
#define REMOTE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

enum { REMOTE_ADDRESSES_MAX = 16, REMOTE_HOST_MAX = 255, REMOTE_UUID_TEXT = 32,
       REMOTE_PREFIX_MAX = 32 };

typedef struct remote_address {
    char host[REMOTE_HOST_MAX + 1]; /* name, numeric address, or path of a unix socket */
    uint16_t port;                  /* 0: unix socket */
} remote_address;

/* Texts end with a zero byte; "" means none. */
typedef struct remote_config {
    char prefix[REMOTE_PREFIX_MAX + 1];
    char uuid[REMOTE_UUID_TEXT + 1]; /* of this remote, random: names the mark */
    char user[128], password[512], password_file[512];
    char master[128];                /* "": no Sentinel */
    remote_address server;           /* without Sentinel */
    remote_address sentinel[REMOTE_ADDRESSES_MAX];
    uint32_t sentinel_count;
    bool no_thread, allow_plaintext;
    int64_t io_ms, proof_ms, max_ttl_ms, close_ms;
    uint32_t journal_keys, queue_entries;
} remote_config;

#endif
