/* SPDX-License-Identifier: MIT
 *
 * config: the options of a remote after defaults and URL. */
#ifndef REMOTE_CONFIG_H
#define REMOTE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cellar_remote.h"
#include "base/port.h"

enum { REMOTE_ADDRESSES_MAX = 16, REMOTE_HOST_MAX = 255, REMOTE_UUID_TEXT = 32,
       REMOTE_OWN_TEXT = 16, REMOTE_PREFIX_MAX = 32 };

/* Texts that options and URL have alike: name, bytes with the final 0. */
#define REMOTE_TEXTS(X) \
    X(prefix, REMOTE_PREFIX_MAX + 1) X(user, 128) X(password_file, 512) X(master, 128) \
    X(sentinel_user, 128) X(sentinel_password, 512) \
    X(tls_ca_file, 512) X(tls_ca_dir, 512) X(tls_cert_file, 512) X(tls_key_file, 512) \
    X(tls_server_name, REMOTE_HOST_MAX + 1)

typedef struct remote_address {
    char host[REMOTE_HOST_MAX + 1]; /* name, numeric address, or path of a unix socket */
    uint16_t port;                  /* 0: unix socket */
} remote_address;

/* Texts end with a zero byte; "" means none. */
typedef struct remote_config {
#define REMOTE_TEXT_FIELD(name, bytes) char name[bytes];
    REMOTE_TEXTS(REMOTE_TEXT_FIELD)
#undef REMOTE_TEXT_FIELD
    char uuid[REMOTE_UUID_TEXT + 1]; /* of this remote, random. REMOTE_OWN_TEXT name it */
    char password[512];
    remote_address server;           /* without Sentinel */
    remote_address sentinel[REMOTE_ADDRESSES_MAX];
    uint32_t sentinel_count;
    bool no_thread, allow_plaintext, tls, tls_insecure;
    int64_t io_ms, proof_ms, lease_ms, max_ttl_ms, close_ms;
    size_t string_max; /* longest string of a reply; 0: 1 MiB */
    uint32_t journal_keys, queue_entries;
} remote_config;

/* Return whether a text has only letters, digits, '.', '_' and '-', and at least one. */
CELLAR_PRIVATE bool remote_is_plain(const char *text);
/* Return whether a text names this machine: a loopback address or "localhost". */
CELLAR_PRIVATE bool remote_host_is_local(const char *host);
/* Fill `words` with random bits of the system. Returns OK, E_NOMEM. */
CELLAR_PRIVATE cellar_err remote_random(uint64_t *words, size_t count);
/* Write 128 random bits as text. */
CELLAR_PRIVATE void remote_random_text(const uint64_t *words, char to[REMOTE_UUID_TEXT + 1]);
/* Return the value of a hexadecimal digit in small letters; -1: none. */
CELLAR_PRIVATE int remote_hex_digit(int c);
/* Read options and URL into `c`, with defaults. On failure the reason is in `text`.
 * returns: OK; E_INVAL (URL, prefix), E_RANGE, E_TOOBIG, E_DENIED (plain TCP, password file),
 *          E_UNSUPPORTED (a build without TLS, database number, newer option), E_NOT_FOUND, E_IO */
CELLAR_PRIVATE cellar_err remote_config_read(const char *url, const cellar_remote_config *from,
                                             remote_config *c, char *text, size_t cap);

/* Note why an open or an attach failed, for cellar_remote_last_error(NULL, ..). Return `code`. */
CELLAR_PRIVATE cellar_err remote_call_fail(cellar_err code, const char *text);
CELLAR_PRIVATE cellar_err remote_call_refuse(cellar_err code, const char *call, const char *rule);
/* Forget it in a forked child, where the lock may be held by a lost thread. */
CELLAR_PRIVATE void remote_last_reset(void);
/* Copy the last note. */
CELLAR_PRIVATE void remote_call_failure(cellar_error_info *out);

#endif
