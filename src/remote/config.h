/* SPDX-License-Identifier: MIT
 *
 * config: the options of a remote after defaults and URL. */
#ifndef REMOTE_CONFIG_H
#define REMOTE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cellar_remote.h"
#include "remote/port.h"

enum { REMOTE_ADDRESSES_MAX = 16, REMOTE_HOST_MAX = 255, REMOTE_UUID_TEXT = 32,
       REMOTE_PREFIX_MAX = 32 };

typedef struct remote_address {
    char host[REMOTE_HOST_MAX + 1]; /* name, numeric address, or path of a unix socket */
    uint16_t port;                  /* 0: unix socket */
} remote_address;

/* Texts end with a zero byte; "" means none. */
typedef struct remote_config {
    char prefix[REMOTE_PREFIX_MAX + 1];
    char uuid[REMOTE_UUID_TEXT + 1]; /* of this remote, random: names the marker */
    char user[128], password[512], password_file[512];
    char master[128];                /* "": no Sentinel */
    remote_address server;           /* without Sentinel */
    remote_address sentinel[REMOTE_ADDRESSES_MAX];
    uint32_t sentinel_count;
    bool no_thread, allow_plaintext;
    int64_t io_ms, proof_ms, max_ttl_ms, close_ms;
    size_t string_max; /* longest string of a reply; 0: 1 MiB */
    uint32_t journal_keys, queue_entries;
} remote_config;

/* Return whether a text names this machine: a loopback address or "localhost". */
CELLAR_PRIVATE bool remote_host_is_local(const char *host);
/* Read options and URL into `c`, with defaults. On failure the reason is in `text`.
 * returns: OK; E_INVAL (URL, prefix), E_RANGE, E_TOOBIG, E_DENIED (plain TCP, password file),
 *          E_UNSUPPORTED (TLS, database number, newer option), E_NOT_FOUND, E_IO */
CELLAR_PRIVATE cellar_err remote_config_read(const char *url, const cellar_remote_opts *from,
                                             remote_config *c, char *text, size_t cap);

/* Note why an open or an attach failed, for cellar_remote_last_error(NULL, ..). Return `code`. */
CELLAR_PRIVATE cellar_err remote_call_fail(cellar_err code, const char *text);
CELLAR_PRIVATE cellar_err remote_call_refuse(cellar_err code, const char *call, const char *rule);
/* Copy the last note. */
CELLAR_PRIVATE void remote_call_failure(cellar_error_info *out);

#endif
