/* SPDX-License-Identifier: MIT
 *
 * share: commands that wait or are posted, scripts that return numbers, and the part `share`.
 *
 * LOCKING    share.h.
 * SEE ALSO   script.c; limit.c, lock.c, lease.c. */
#include "remote/share.h"

#include <string.h>
#include <time.h>

/* ---- Running a script ----------------------------------------------------------------------- */

CELLAR_PRIVATE cellar_err remote_error_code(const remote_reply *reply)
{
    return remote_starts(reply, "OOM") ? CELLAR_E_SPACE : CELLAR_E_IO;
}

CELLAR_PRIVATE cellar_err remote_ask_bytes(cellar_remote *r, remote_bytes *b, remote_request q,
                                           remote_fate *fate)
{
    cellar_err err = b->err;
    q.bytes = b->data;
    q.bytes_len = b->len;
    if (fate != NULL) { *fate = REMOTE_NOT_SENT; }
    if (err == CELLAR_OK && q.replies != 0) { err = remote_ask(r->link, &q, fate); }
    if (err == CELLAR_OK && fate != NULL) { *fate = REMOTE_NOT_SENT; } /* its answer is known */
    remote_bytes_free(b);
    return err;
}

CELLAR_PRIVATE cellar_err remote_ask_words(cellar_remote *r, const cellar_bytes *words,
                                           size_t count, remote_request q, remote_fate *fate)
{
    remote_bytes b = { .memory = &r->memory };
    remote_command(&b, words, count);
    q.replies = 1;
    return remote_ask_bytes(r, &b, q, fate);
}

CELLAR_PRIVATE void remote_post_bytes(cellar_remote *r, remote_bytes *b, remote_request q)
{
    q.bytes = b->data;
    q.bytes_len = b->len;
    q.bytes_cap = b->cap;
    q.memory = b->memory;
    if (b->err == CELLAR_OK) {
        remote_post(r->link, &q);
        return;
    }
    remote_bytes_free(b);
    if (q.done != NULL) { q.done(q.ctx, CELLAR_E_NOMEM, REMOTE_NOT_SENT); }
}

typedef struct script_reply {
    cellar_remote *r;
    cellar_err err;
    int64_t *numbers;
} script_reply;

static void take_script_reply(void *ctx, uint32_t index, const remote_reply *reply)
{
    script_reply *to = ctx;
    (void)index;
    to->numbers[REMOTE_NUMBERS_ORDER] = (int64_t)remote_reply_number(to->r);
    if (reply->type == REMOTE_ERROR) {
        to->err = remote_error_code(reply);
    } else if (reply->type == REMOTE_INTEGER) {
        to->numbers[0] = reply->number;
    } else {
        size_t i = 0;
        for (const remote_reply *e = reply->first; e != NULL && i < REMOTE_NUMBERS_ORDER;
             e = e->next) {
            to->numbers[i++] = e->type == REMOTE_INTEGER ? e->number : 0;
        }
    }
}

CELLAR_PRIVATE cellar_err remote_script_run(cellar_remote *r, const cellar_bytes *words,
                                            size_t count, int64_t wait_ms, int64_t *numbers,
                                            remote_fate *fate)
{
    script_reply reply = { r, CELLAR_OK, numbers };
    memset(numbers, 0, REMOTE_NUMBERS_MAX * sizeof *numbers);
    const remote_request q = { .wait_ms = wait_ms, .flags = REMOTE_SCRIPTED, .ctx = &reply,
                               .fn = take_script_reply };
    const cellar_err err = remote_ask_words(r, words, count, q, fate);
    return err != CELLAR_OK ? err : reply.err;
}

CELLAR_PRIVATE void remote_script_post(cellar_remote *r, const cellar_bytes *words, size_t count)
{
    remote_bytes b = { .memory = &r->memory };
    remote_command(&b, words, count);
    remote_post_bytes(r, &b, (remote_request){ .replies = 1, .flags = REMOTE_SCRIPTED });
}

/* ---- The part ------------------------------------------------------------------------------- */

CELLAR_PRIVATE int64_t remote_share_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

CELLAR_PRIVATE void remote_share_sleep(_Atomic uint32_t *word, pthread_mutex_t *m, int64_t ms)
{
    const int64_t day_ms = 86400000;
    const uint32_t seen = atomic_fetch_or(word, 1) | 1;
    ms = ms < 0 ? 0 : ms > day_ms ? day_ms : ms;
    pthread_mutex_unlock(m);
    remote_futex_wait(word, REMOTE_ALL_BITS, seen, remote_mono_ns() + ms * 1000000);
    pthread_mutex_lock(m);
}

CELLAR_PRIVATE void remote_share_wake(_Atomic uint32_t *word)
{
    if (atomic_load(word) % 2 == 0) { return; }
    (void)atomic_fetch_add(word, 1);
    remote_futex_wake(word, REMOTE_ALL_BITS);
}

CELLAR_PRIVATE cellar_err remote_share_open(cellar_remote *r)
{
    struct remote_share *s = remote_alloc(r, sizeof *s);
    uint64_t seed;
    if (s == NULL || remote_random(&seed, 1) != CELLAR_OK) {
        remote_free(r, s, sizeof *s);
        return CELLAR_E_NOMEM;
    }
    memset(s, 0, sizeof *s);
    s->seed = seed;
    for (size_t i = 0; i < REMOTE_LOCK_ROWS; i++) { pthread_mutex_init(&s->rows[i].lock, NULL); }
    r->share = s;
    return CELLAR_OK;
}

CELLAR_PRIVATE void remote_share_close(cellar_remote *r)
{
    struct remote_share *s = r->share;
    if (s == NULL) { return; }
    for (size_t i = 0; i < REMOTE_LOCK_ROWS; i++) { pthread_mutex_destroy(&s->rows[i].lock); }
    r->share = NULL;
    remote_free(r, s, sizeof *s);
}
