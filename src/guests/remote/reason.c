/* SPDX-License-Identifier: MIT
 *
 * reason: why a link ends, its states and counters, and the seams to the system. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/user_callback.h"
#include "remote/reason.h"

/* Constants of linux/futex.h, which a musl toolchain does not find. They are kernel ABI. */
#define REMOTE_FUTEX_WAIT_PRIVATE 137 /* with a mask, until an absolute time */
#define REMOTE_FUTEX_WAKE_PRIVATE 138 /* with a mask */

/* ---- seams ---- */

CELLAR_PRIVATE int64_t remote_mono_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

CELLAR_PRIVATE void remote_futex_wake(_Atomic uint32_t *word, uint32_t bits)
{
    (void)syscall(SYS_futex, word, REMOTE_FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, bits);
}

CELLAR_PRIVATE void remote_futex_wait(_Atomic uint32_t *word, uint32_t bits, uint32_t seen,
                                      int64_t until_ns)
{
    const struct timespec t = { .tv_sec = (time_t)(until_ns / 1000000000),
                                .tv_nsec = (long)(until_ns % 1000000000) };
    (void)syscall(SYS_futex, word, REMOTE_FUTEX_WAIT_PRIVATE, seen, &t, NULL, bits);
}

CELLAR_PRIVATE void remote_count(remote_link *l, uint32_t which, uint64_t n)
{
    (void)atomic_fetch_add_explicit(&l->counts[which], n, memory_order_relaxed);
}

CELLAR_PRIVATE void remote_trip_note(_Atomic uint64_t *buckets, int64_t ns)
{
    uint32_t i = 0;
    for (int64_t us = ns / 1000; us > 0 && i + 1 < REMOTE_TRIP_BUCKETS; us >>= 1) { i++; }
    (void)atomic_fetch_add_explicit(&buckets[i], 1, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&buckets[REMOTE_TRIP_BUCKETS], (uint64_t)ns / 1000,
                                    memory_order_relaxed);
}

CELLAR_PRIVATE void remote_wake(remote_link *l)
{
    const uint64_t one = 1;
    if (atomic_exchange(&l->asleep, 0) == 0) { return; }
    remote_count(l, REMOTE_LINK_RINGS, 1);
    const int cancel = base_cancel_off(); /* the caller may hold locks */
    const ssize_t n = write(l->bell, &one, sizeof one);
    (void)n; /* a full bell rings already */
    base_cancel_set(cancel);
}

/* ---- reasons ---- */

CELLAR_PRIVATE bool remote_starts(const remote_reply *r, const char *text)
{
    return r->type == REMOTE_ERROR && r->len >= strlen(text) &&
           memcmp(r->text, text, strlen(text)) == 0;
}

CELLAR_PRIVATE uint64_t remote_number(const remote_reply *reply)
{
    uint64_t n = 0;
    if (reply == NULL || reply->type != REMOTE_STRING || reply->len > 19) { return 0; }
    for (size_t i = 0; i < reply->len; i++) {
        if (reply->text[i] < '0' || reply->text[i] > '9') { return 0; }
        n = 10 * n + (uint64_t)(reply->text[i] - '0');
    }
    return n;
}

CELLAR_PRIVATE bool remote_is_text(const remote_reply *r, const char *text)
{
    return r != NULL && r->type == REMOTE_STRING && r->len == strlen(text) &&
           memcmp(r->text, text, r->len) == 0;
}

CELLAR_PRIVATE remote_why remote_why_of(const remote_reply *error)
{
    static const struct { const char *text; remote_why why; } known[] = {
        { "LOADING ", REMOTE_WHY_LOADING },   { "READONLY ", REMOTE_WHY_READONLY },
        { "MASTERDOWN ", REMOTE_WHY_REPLICA }, { "MISCONF ", REMOTE_WHY_MISCONF },
        { "NOREPLICAS ", REMOTE_WHY_READONLY }, { "NOAUTH ", REMOTE_WHY_AUTH },
        { "WRONGPASS ", REMOTE_WHY_AUTH },    { "NOPERM ", REMOTE_WHY_NOPERM },
        { "MOVED ", REMOTE_WHY_CLUSTER },     { "CLUSTERDOWN ", REMOTE_WHY_CLUSTER },
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (remote_starts(error, known[i].text)) { return known[i].why; }
    }
    return REMOTE_WHY_NONE;
}

CELLAR_PRIVATE void remote_break(remote_link *l, remote_why why, const char *format, ...)
{
    if (l->why != REMOTE_WHY_NONE) { return; }
    va_list args;
    va_start(args, format);
    (void)vsnprintf(l->why_text, sizeof l->why_text, format, args);
    va_end(args);
    for (char *c = l->why_text; *c != '\0'; c++) { /* bytes of the server */
        if (*c < 0x20 || *c > 0x7E) { *c = '?'; }
    }
    l->why = why;
}

CELLAR_PRIVATE void remote_break_reply(remote_link *l, remote_why why, const char *what,
                                       const remote_reply *reply)
{
    remote_break(l, why, "%s: %.*s", what, (int)(reply->len < 100 ? reply->len : 100), reply->text);
}

CELLAR_PRIVATE const char *remote_at_text(const remote_link *l, char to[REMOTE_AT_TEXT])
{
    const int n = snprintf(to, REMOTE_AT_TEXT, "%.48s", l->at.host);
    if (l->at.port != 0) { (void)snprintf(to + n, REMOTE_AT_TEXT - (size_t)n, ":%u", l->at.port); }
    return to;
}

/* Return the reason why no connection was made. strerror is not thread-safe. */
static const char *remote_errno_text(int e)
{
    return e == ECONNREFUSED                       ? "no server listens"
           : e == ENOENT                           ? "no such socket"
           : e == EACCES                           ? "no right to open the socket"
           : e == ETIMEDOUT                        ? "no answer"
           : e == EHOSTUNREACH || e == ENETUNREACH ? "no route" : "system error";
}

/* Break if the URL has no TLS and the server answers the first bytes as a TLS port does: by the end
 * of the connection, or by an alert. */
static void remote_break_plain(remote_link *l, const remote_wire *w)
{
    char at[REMOTE_AT_TEXT];
    const bool alert = w->fault == REMOTE_WIRE_PROTOCOL && w->odd == REMOTE_TLS_ALERT;
    if (l->c->tls || l->phase > REMOTE_PHASE_HANDSHAKE) { return; }
    if (alert) {
        remote_break(l, REMOTE_WHY_TLS, "the server %s speaks TLS: write rediss:// for redis://",
                     remote_at_text(l, at));
    } else if (w->fault == REMOTE_WIRE_CLOSED && w->connected && l->at.port != 0) {
        remote_break(l, REMOTE_WHY_CLOSED, "the server %s closed in the handshake: if its port "
                     "speaks TLS, write rediss:// for redis://", remote_at_text(l, at));
    }
}

CELLAR_PRIVATE void remote_break_wire(remote_link *l, const remote_wire *w)
{
    char at[REMOTE_AT_TEXT];
    const char *which = w == &l->subscriber ? "subscriber"
                      : w == &l->data       ? "data" : "to a Sentinel";
    remote_break_plain(l, w);
    switch (w->fault) {
    case REMOTE_WIRE_PROTOCOL:
        remote_break(l, REMOTE_WHY_PROTOCOL, l->phase <= REMOTE_PHASE_HANDSHAKE
                     ? "the server is no Redis" : "the server sent no valid reply");
        break;
    case REMOTE_WIRE_TOO_BIG:
        remote_break(l, REMOTE_WHY_TOO_BIG, "a reply on %s is above the limits", which);
        break;
    case REMOTE_WIRE_TLS:
        remote_break(l, REMOTE_WHY_TLS, "TLS with %.32s: %s", l->at.host, w->tls_text);
        break;
    case REMOTE_WIRE_NOMEM:
        remote_break(l, REMOTE_WHY_NOMEM, "no memory for a reply on %s", which);
        break;
    default:
        if (w->connected) {
            remote_break(l, REMOTE_WHY_CLOSED, "connection %s closed (errno %d)", which,
                         w->sys_errno);
            break;
        }
        remote_break(l, REMOTE_WHY_CONNECT, "no connection to %s: %s (errno %d)",
                     remote_at_text(l, at), remote_errno_text(w->sys_errno), w->sys_errno);
    }
}

_Static_assert(REMOTE_WHYS_N < 32, "a reason is a bit of `logged`");

CELLAR_PRIVATE void remote_warn(remote_link *l, uint32_t why, cellar_err code, const char *text)
{
    const int64_t now_ns = remote_mono_ns(), pause_ns = INT64_C(5000000000);
    if ((l->logged >> why & 1) != 0) { return; }
    /* A warning that is dropped here comes with the next attempt, if the reason lasts. */
    if (l->warned_ns != 0 && now_ns - l->warned_ns < pause_ns) { return; }
    l->logged |= UINT32_C(1) << why;
    l->warned_ns = now_ns;
    l->e.log(l->e.ctx, code, text);
}

/* ---- states ---- */

CELLAR_PRIVATE remote_state remote_link_state(const remote_link *l)
{
    const bool retrack = atomic_load(&l->retrack); /* before the state: remote_retrack_begin */
    const remote_state s = (remote_state)atomic_load(&l->state);
    return retrack && s >= REMOTE_PROVEN ? REMOTE_GAP : s; /* a new gap is requested */
}

CELLAR_PRIVATE void remote_state_set(remote_link *l, remote_state s)
{
    atomic_store(&l->state, (uint32_t)s);
}

CELLAR_PRIVATE void remote_gap_begin(remote_link *l)
{
    atomic_store(&l->proven_until, 0);
    l->marker.counts = false;
    if (l->gap_told) { return; }
    l->gap_told = true;
    remote_count(l, REMOTE_LINK_GAPS, 1);
    l->e.gap(l->e.ctx);
}
