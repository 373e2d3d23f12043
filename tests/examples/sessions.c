/* SPDX-License-Identifier: MIT
 *
 * sessions: a session ends if it was not used for 30 minutes, or after a day. Each change is on
 * disk before the call returns: a restart of the program logs no user out.
 *
 *     cc -O2 sessions.c -lcellar -pthread */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "cellar_entry.h"

typedef struct session { /* stored as it is: raise root.version with each change */
    char user[32];
    int pages; /* seen */
} session;

static cellar *sessions_open(const char *path)
{
    cellar_namespace_config root = cellar_namespace_config_default();
    root.idle_ms = 30 * 60 * 1000;
    root.max_age_ms = 24 * 60 * 60 * 1000;
    root.l2_write = CELLAR_L2_WRITE_THROUGH;
    cellar_config cfg = cellar_config_default();
    cfg.root = &root;
    cfg.l2_path = path;
    cfg.l2_bytes = 16u << 20;
    cellar *sessions;
    return cellar_open(&cfg, &sessions) == CELLAR_OK ? sessions : NULL;
}

static cellar_err count_page(const void *old, size_t old_len, cellar_buf *out, void *copy)
{
    session *const s = copy;
    if (old == NULL || old_len != sizeof *s) { return CELLAR_MISS; }
    memcpy(s, old, sizeof *s);
    s->pages++;
    return cellar_buf_append(out, s, sizeof *s);
}

/* Count a page. Two requests of one session at the same time both count. It is a use of the session
 * (idle_ms), and KEEP_TTL: no new day begins. */
static cellar_err page_seen(cellar *sessions, const void *id, size_t id_len, session *s)
{
    cellar_set_opts keep = cellar_set_opts_default();
    keep.flags = CELLAR_KEEP_TTL;
    return cellar_update(sessions, id, id_len, &keep, count_page, s);
}

int main(int argc, char **argv)
{
    const char *const path = argc > 1 ? argv[1] : "sessions.cache";
    session s = { "ada", 0 };
    unsigned char id[16]; /* for the cookie; keys are readable on disk: better store its SHA-256 */
    cellar *sessions = sessions_open(path);
    if (sessions == NULL || getrandom(id, sizeof id, 0) != (ssize_t)sizeof id ||
        cellar_set(sessions, id, sizeof id, &s, sizeof s, NULL) != CELLAR_OK) { return 1; }
    cellar_err err;
    while ((err = page_seen(sessions, id, sizeof id, &s)) == CELLAR_OK) {
        printf("%s: page %d\n", s.user, s.pages);
        if (s.pages == 2) { /* a new version of the program starts */
            if (cellar_close(sessions) != CELLAR_OK) { return 1; }
            sessions = sessions_open(path);
            if (sessions == NULL) { return 1; }
        }
        if (s.pages == 3) { cellar_delete(sessions, id, sizeof id); } /* log out */
    }
    puts(err == CELLAR_MISS ? "log in again" : cellar_strerror(err)); /* else: try again later */
    return cellar_close(sessions) == CELLAR_OK ? 0 : 1;
}
