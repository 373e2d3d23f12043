/* SPDX-License-Identifier: MIT
 *
 * sessions: a session ends after 30 minutes without use, or after a day. Each change is in the disk
 * tier before its call returns: a restart or kill -9 of the program ends no session. A power cut
 * takes the last second at most; a session that was ended in that second lives again. The disk tier
 * has room for 120,000 sessions, then a login fails with E_IO: set l2_bytes. Keys are hashes of
 * ids: a plain hash is enough, as an id has 128 random bits, and no guess finds it. A key made from
 * less, such as a mail address or a number, needs a keyed hash: HMAC-SHA-256.
 *
 *     cc -O2 sessions.c -lcellar -lcrypto -pthread
 *     drop-in: cc -O2 sessions.c dist/cellar.c -Idist -Idist/include -lcrypto -pthread */
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "cellar_entry.h"
#include "cellar_l2.h"

typedef struct session { /* stored as it is: raise root.version with each change */
    char user[32];
    int pages; /* seen */
} session;

static cellar *sessions_open(const char *path)
{
    cellar_namespace_config root = cellar_namespace_config_default();
    cellar_l2_config disk = cellar_l2_config_default();
    cellar_config cfg = cellar_config_default();
    cellar_error_info why = cellar_error_info_default();
    cellar *sessions;
    root.idle_ms = 30 * 60 * 1000, root.max_age_ms = 24 * 60 * 60 * 1000;
    root.l2_write = CELLAR_L2_WRITE_THROUGH;
    disk.sync = CELLAR_L2_SYNC_PERIODIC; /* with MANUAL, the default, a power cut ends them all */
    cfg.root = &root, cfg.l2 = &disk;
    cfg.l2_path = path, cfg.l2_bytes = 64u << 20, root.version = 1;
    if (cellar_open(&cfg, &sessions) == CELLAR_OK) { return sessions; }
    cellar_last_error(NULL, &why);
    fprintf(stderr, "%s\n", why.text);
    exit(1);
}

static cellar_err count_page(const void *old, size_t old_len, cellar_buf *out, void *copy)
{
    session *const s = copy;
    if (old == NULL || old_len != sizeof *s) { return CELLAR_MISS; }
    memcpy(s, old, sizeof *s);
    s->pages++;
    return cellar_buf_append(out, s, sizeof *s);
}

/* Count a page: a use of the session (idle_ms) that begins no new day (KEEP_TTL). */
static cellar_err page_seen(cellar *sessions, const void *key, size_t key_len, session *s)
{
    cellar_set_opts keep = cellar_set_opts_default();
    keep.flags = CELLAR_KEEP_TTL;
    return cellar_update(sessions, key, key_len, &keep, count_page, s);
}

int main(void)
{
    static const char path[] = "sessions.cache";
    unsigned char id[16], key[SHA256_DIGEST_LENGTH];
    session s = { "ada", 0 };
    cellar *sessions = sessions_open(path);
    if (getrandom(id, sizeof id, 0) != (ssize_t)sizeof id) { return 1; } /* log in: the cookie */
    SHA256(id, sizeof id, key); /* keys on disk are readable: a hash opens no session */
    cellar_err err = cellar_set(sessions, key, sizeof key, &s, sizeof s, NULL);
    while (err == CELLAR_OK && (err = page_seen(sessions, key, sizeof key, &s)) == CELLAR_OK) {
        printf("%s: page %d\n", s.user, s.pages);
        /* A new version of the program starts after page 2, and page 3 is the log-out. */
        if (s.pages == 2) { err = cellar_close(sessions), sessions = sessions_open(path); }
        if (s.pages == 3) { err = cellar_delete(sessions, key, sizeof key); }
    }
    puts(err == CELLAR_MISS ? "log in again" : cellar_strerror(err)); /* E_IO: log out once more */
    return cellar_close(sessions) == CELLAR_OK ? 0 : 1;
}
