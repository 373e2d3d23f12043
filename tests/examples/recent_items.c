/* SPDX-License-Identifier: MIT
 *
 * recent_items: the newest posts of a forum, as one entry: a line for each, the newest first. The
 * cache may evict a list: keep posts in a database, and rebuild on MISS by cellar_get_or_load. A
 * new post changes the cached list in place, without a query. It goes to the place of its number,
 * so posts give the same list in any order, also a post that a rebuild has seen already. A title is
 * text of a user: no byte of it may end a line.
 *
 *     cc -O2 recent_items.c -lcellar -pthread
 *     drop-in: cc recent_items.c dist/cellar.c -Idist -Idist/include -pthread */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cellar_entry.h"
#include "cellar_load.h"

enum { NEWEST = 3 };

static const char *const title[] = { "hello", "a question", "an answer", "thanks",
                                     "bye\n99 forged", "news" };
static int rows = 4; /* of these: the database */
static cellar *lists;
static int queries;

static void die(const char *what)
{
    cellar_error_info e = cellar_error_info_default();
    cellar_last_error(lists, &e);
    fprintf(stderr, "%s: %s\n", what, e.text);
    exit(1);
}

static cellar_err append(cellar_buf *out, int number)
{
    char head[16];
    const int n = snprintf(head, sizeof head, "%d ", number);
    cellar_buf_append(out, head, (size_t)n); /* a failure stays: it fails the load or the update */
    for (const char *at = title[number]; *at != '\0'; at++) { /* a line end would begin a post */
        cellar_buf_append(out, (unsigned char)*at < ' ' ? " " : at, 1);
    }
    return cellar_buf_append(out, "\n", 1);
}

/* SELECT number, title FROM post ORDER BY number DESC LIMIT 3 */
static cellar_err query(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    cellar_buf *const out = cellar_load_buf(load);
    (void)key, (void)key_len, (void)ctx;
    queries++;
    for (int i = rows; i > 0 && i > rows - NEWEST; i--) { append(out, i - 1); }
    return CELLAR_OK;
}

/* Insert a post into the list. This runs again if another writer was faster. */
static cellar_err insert(const void *old, size_t old_len, cellar_buf *out, void *number)
{
    if (old == NULL) { return CELLAR_REMOVED; } /* no list; a load that runs now is not stored */
    const char *at = old, *const end = at + old_len;
    int mine = *(const int *)number;
    for (int n = 0; n < NEWEST && (at < end || mine >= 0); n++) {
        const char *const line_end = at < end ? memchr(at, '\n', (size_t)(end - at)) : at;
        if (line_end == NULL) { return CELLAR_E_TYPE; }
        const int there = at < end ? atoi(at) : -1;
        if (mine > there) {
            append(out, mine);
        } else {
            cellar_buf_append(out, at, (size_t)(line_end + 1 - at));
            at = line_end + 1;
        }
        if (mine >= there) { mine = -1; } /* the post is in the list */
    }
    return CELLAR_OK;
}

/* Put a post into the cached list, after its INSERT has committed. */
static void posted(int number)
{
    cellar_set_opts o = cellar_set_opts_default();
    o.flags = CELLAR_KEEP_TTL; /* so the list is rebuilt once a minute, whatever was missed */
    if (cellar_update(lists, "forum:7", 7, &o, insert, &number) < 0) {
        cellar_delete(lists, "forum:7", 7); /* E_BUSY after 64 lost rounds, E_NOMEM: rebuild it */
    }
}

static void show(void)
{
    cellar_result r = cellar_result_default();
    if (cellar_get_or_load(lists, "forum:7", 7, NULL, query, NULL, &r) < 0) { die("load"); }
    printf("%.*s(%d queries)\n", (int)r.value_len, (const char *)r.value, queries);
    cellar_result_free(&r);
}

int main(void)
{
    cellar_config cfg = cellar_config_default();
    cfg.default_ttl_ms = 60000;
    if (cellar_open(&cfg, &lists) != CELLAR_OK) { die("cellar_open"); }
    show();
    rows = 6; /* two threads insert a post, and reach the list in the other order */
    posted(5);
    posted(4);
    show();
    cellar_delete(lists, "forum:7", 7); /* as an eviction does */
    show();
    return cellar_close(lists) == CELLAR_OK ? 0 : 1;
}
