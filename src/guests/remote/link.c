/* SPDX-License-Identifier: MIT
 *
 * link: calls into the link, and the thread that runs it.
 *
 * PICTURE    remote_post -> ticket -> inbox -> bell -> round: sockets, queue, times, broken link
 *            round: the I/O thread, or with no_thread the step of the host and callers that wait
 *            remote_ask -> ticket -> inbox -> the caller sends and reads, or the owner of the turn
 * INVARIANTS asleep is 1 while no round looks at the inbox; a post that finds it 1 rings the bell.
 *            A request under way has a reader (README.md, Turns).
 * LOCKING    The turn, a lock of two states and a futex; refusal_lock guards the last reason only.
 *            Waits are futexes: of groups of tickets, and marker_back.
 * TIME       Waits and pauses: monotonic clock of the system. Markers and proofs: clock of the
 *            store.
 * FORK       The lock of the list of links is held over a fork, and no other. The child marks each
 *            link and closes its descriptors: calls return E_FORKED, a close does nothing. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/user_callback.h"
#include "remote/link.h"
#include "remote/reason.h"

#define REMOTE_SPIN_NS 50000    /* the longest spin */
#define REMOTE_SPIN_MOST 4u     /* while more callers wait, none spins */
#define REMOTE_TIMEOUTS_ROW 5u  /* calls without an answer that break the link */
#define REMOTE_LOOK_MS INT64_C(100)
#define REMOTE_READS 16         /* of one socket in a round */

/* ---- fork ---- */

static pthread_mutex_t remote_links_lock = PTHREAD_MUTEX_INITIALIZER;
static remote_link *remote_links; /* of this process; remote_links_lock */

static void remote_fork_prepare(void) { (void)pthread_mutex_lock(&remote_links_lock); }
static void remote_fork_parent(void) { (void)pthread_mutex_unlock(&remote_links_lock); }

static void remote_fd_leave(int fd)
{
    if (fd >= 0) { (void)close(fd); }
}

static void remote_fork_child(void)
{
    for (remote_link *l = remote_links; l != NULL; l = l->next) {
        l->forked = true;
        if (l->e.forked != NULL) { *l->e.forked = true; }
        remote_fd_leave(l->data.fd);
        remote_fd_leave(l->subscriber.fd);
        for (uint32_t i = 0; i < l->c->sentinel_count; i++) {
            remote_fd_leave(l->sentinel[i].wire.fd);
        }
        remote_fd_leave(l->epoll);
        remote_fd_leave(l->bell);
    }
    remote_links = NULL;
    (void)pthread_mutex_init(&remote_links_lock, NULL);
    remote_last_reset();
}

/* Register before the program does: see base_atfork. */
__attribute__((constructor(102))) static void remote_fork_watch(void)
{
    (void)pthread_atfork(remote_fork_prepare, remote_fork_parent, remote_fork_child);
}

static void remote_link_list(remote_link *l)
{
    (void)pthread_mutex_lock(&remote_links_lock);
    l->next = remote_links;
    remote_links = l;
    (void)pthread_mutex_unlock(&remote_links_lock);
}

static void remote_link_unlist(const remote_link *l)
{
    (void)pthread_mutex_lock(&remote_links_lock);
    remote_link **at = &remote_links;
    while (*at != l) { at = &(*at)->next; }
    *at = l->next;
    (void)pthread_mutex_unlock(&remote_links_lock);
}

/* ---- turns ---- */

static uintptr_t remote_self(void)
{
    static _Thread_local char here;
    return (uintptr_t)&here;
}

/* Take the turn to run the link, if no thread has it. */
static bool remote_turn_try(remote_link *l)
{
    uint32_t seen = 0;
    if (!atomic_compare_exchange_strong(&l->turn, &seen, 1)) { return false; }
    atomic_store(&l->runner, remote_self());
    return true;
}

static void remote_turn_take(remote_link *l)
{
    if (remote_turn_try(l)) { return; }
    while (atomic_exchange(&l->turn, 2) != 0) {
        remote_futex_wait(&l->turn, REMOTE_ALL_BITS, 2, INT64_MAX);
    }
    atomic_store(&l->runner, remote_self());
}

static void remote_turn_drop(remote_link *l)
{
    l->alone = REMOTE_TICKET_NONE;
    atomic_store(&l->runner, 0);
    if (atomic_exchange(&l->turn, 0) == 2) { remote_futex_wake(&l->turn, REMOTE_ALL_BITS); }
}

/* Return whether callers may send. */
static bool remote_is_open(const remote_link *l)
{
    return l->phase == REMOTE_PHASE_MARKERS && l->why == REMOTE_WHY_NONE;
}

/* Return whether callers may read: all that is on its way is theirs, and has been sent, or the
 * reader has the turn and sends the rest. */
static bool remote_is_calm(const remote_link *l)
{
    const uint32_t reader = atomic_load(&l->reader);
    const bool mine = l->alone != REMOTE_TICKET_NONE &&
                      (reader == REMOTE_TICKET_NONE || reader == l->alone);
    return remote_is_open(l) && l->others == 0 && !l->scripts_gone && !l->c->no_thread &&
           l->again.first == REMOTE_TICKET_NONE && !remote_wire_holds(&l->data) &&
           (mine || (l->data.unsent.len == 0 && l->queue.first == REMOTE_TICKET_NONE));
}

/* Make the caller of a ticket the reader. False: it waits no more. It leaves first, and then looks
 * whether it is the reader. */
static bool remote_reader_set(remote_link *l, const remote_ticket *t)
{
    atomic_store(&l->reader, remote_ticket_number(l, t));
    return atomic_load(&t->state) == REMOTE_T_SENT;
}

/* Choose the thread that reads *data*: the caller with the turn, the one with the oldest request,
 * or the I/O thread. A reader stays it until its request has ended or it gives up. False: the link
 * broke. */
static bool remote_reader_choose(remote_link *l)
{
    const bool calm = remote_is_calm(l);
    const remote_ticket *now = remote_ticket_at(l, atomic_load(&l->reader));
    const remote_ticket *t = calm ? remote_ticket_at(l, l->alone) : NULL;
    if (now == NULL || atomic_load(&now->state) != REMOTE_T_SENT ||
        (!calm && remote_ticket_number(l, now) == l->alone)) {
        if (t == NULL || !remote_reader_set(l, t)) {
            t = calm ? remote_tickets_first(l, &l->sent) : NULL;
            while (t != NULL && !remote_reader_set(l, t)) { t = remote_ticket_after(l, t); }
            if (t == NULL) { atomic_store(&l->reader, REMOTE_TICKET_NONE); }
            else { remote_ticket_ended(l, t); }
            remote_tickets_wake(l);
        }
    }
    return remote_watch(l, &l->data);
}

/* ---- one round ---- */

static void remote_read(remote_link *l, remote_wire *w)
{
    bool more = true;
    for (int i = 0; more && i < REMOTE_READS && l->why == REMOTE_WHY_NONE; i++) {
        if (!remote_wire_read(w, &more)) { remote_break_wire(l, w); }
        remote_tickets_wake(l);
    }
    atomic_store(&l->timeouts_row, 0);
}

/* Serve a socket with events. */
static void remote_serve(remote_link *l, remote_wire *w, uint32_t events)
{
    const bool shaking = !w->connected && w->tls != NULL;
    if (w->fd < 0 || l->why != REMOTE_WHY_NONE) { return; }
    if (w != &l->data && w != &l->subscriber) {
        remote_sentinel_serve(w, events & (EPOLLIN | EPOLLHUP | EPOLLERR));
        return;
    }
    if (!remote_wire_connected(w) || (w->connected && !remote_wire_flush(w))) {
        remote_break_wire(l, w);
        return;
    }
    if (shaking && w->connected) { remote_deadline_set(l); }
    const bool reads = (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0 ||
                       remote_wire_holds(w);
    if (reads && w->connected) { remote_read(l, w); }
}

/* Return whether tracking can begin again: no handshake or SCRIPT LOAD is on its way. */
static bool remote_may_retrack(const remote_link *l)
{
    return l->phase >= REMOTE_PHASE_SYNC && l->bytes.data == NULL;
}

static void remote_retrack_begin(remote_link *l)
{
    if (!remote_may_retrack(l) || !atomic_load(&l->retrack)) { return; }
    (void)atomic_fetch_add(&l->whys[REMOTE_WHY_RETRACK], 1);
    remote_gap_begin(l);
    remote_state_set(l, REMOTE_GAP);
    atomic_store(&l->retrack, false); /* after the state, and before the prefixes are read */
    remote_deadline_set(l); /* no marker may be under way that would break the link */
    remote_track(l, false);
}

/* Run the timers: time-outs, markers, the next attempt. */
static void remote_times(remote_link *l)
{
    const int64_t now_ns = remote_mono_ns();
    if (atomic_load(&l->timeouts_row) >= REMOTE_TIMEOUTS_ROW) {
        remote_break(l, REMOTE_WHY_TIMEOUT, "%u calls in a row had no answer", REMOTE_TIMEOUTS_ROW);
    }
    if (l->phase == REMOTE_PHASE_RESOLVE && l->why == REMOTE_WHY_NONE) { remote_resolve_step(l); }
    if (l->phase >= REMOTE_PHASE_RESOLVE && l->phase <= REMOTE_PHASE_TRACK &&
        now_ns > l->deadline_ns) {
        remote_break(l, REMOTE_WHY_TIMEOUT, l->phase == REMOTE_PHASE_RESOLVE
                     ? "the name %.80s has no address yet"
                     : l->phase == REMOTE_PHASE_SENTINEL
                     ? l->at.host[0] == '\0'
                     ? "no majority of the Sentinels names a primary%s"
                     : "no majority of the Sentinels names a primary; the last one was %.48s"
                     : l->data.tls != NULL && !l->data.connected
                     ? "the server %.68s does not answer the handshake of TLS"
                     : "the server %.75s does not answer the handshake", l->at.host);
    }
    remote_sentinels_tick(l);
    remote_expire_posted(l, now_ns);
    if (l->e.memory->rest != NULL) { l->e.memory->rest(l->e.memory->ctx); }
    remote_marker_tick(l);
    const bool beats = l->e.beat != NULL && atomic_load(&l->usable);
    l->beat_ms = beats ? l->e.beat(l->e.ctx) : INT64_MAX;
    if (l->phase == REMOTE_PHASE_PAUSE && l->why == REMOTE_WHY_NONE && now_ns >= l->retry_ns) {
        remote_attempt(l);
    }
}

/* Return whether the server holds a WAIT. */
static bool remote_is_waiting(remote_link *l)
{
    const remote_ticket *t = remote_tickets_first(l, &l->sent);
    return t != NULL && (t->q.flags & REMOTE_WAITS) != 0;
}

/* Wake a server that holds a WAIT: it ends a WAIT only when an event occurs, and without one up to
 * 100 ms late. An empty line is an event, and has no reply. */
static void remote_poke(remote_link *l)
{
    static char line[] = "\r\n";
    struct iovec part = { line, 2 };
    if (!remote_is_waiting(l) || l->data.unsent.len != 0) { return; }
    if (!remote_wire_send(&l->data, &part, 1)) { remote_break_wire(l, &l->data); }
}

/* Take new requests and send what can be sent. */
static void remote_requests(remote_link *l)
{
    remote_tickets_collect(l, &l->queue);
    if (l->phase <= REMOTE_PHASE_SENTINEL) {
        remote_end_all(l, CELLAR_E_IO);
    } else if (l->data.fd >= 0 && l->why == REMOTE_WHY_NONE) {
        remote_poke(l);
        remote_send_queue(l);
    }
}

static int64_t remote_round_wait(remote_link *l, int64_t wait_ms)
{
    int64_t most_ms = l->c->proof_ms / 16 < REMOTE_LOOK_MS ? l->c->proof_ms / 16 : REMOTE_LOOK_MS;
    const bool soon = l->sent.first != REMOTE_TICKET_NONE ||
                      l->phase == REMOTE_PHASE_RESOLVE || l->phase == REMOTE_PHASE_SENTINEL;
    if (soon && most_ms > 10) { most_ms = 10; }
    if (l->beat_ms < most_ms) { most_ms = l->beat_ms; }
    if (remote_is_waiting(l)) { most_ms = 1; }
    if (l->phase == REMOTE_PHASE_PAUSE) {
        const int64_t left_ms = (l->retry_ns - remote_mono_ns()) / REMOTE_NS_OF_MS + 1;
        if (left_ms < most_ms) { most_ms = left_ms > 0 ? left_ms : 0; }
    }
    return wait_ms < most_ms ? wait_ms : most_ms;
}

/* Return whether a round has something to do without an event. */
static bool remote_has_work(remote_link *l)
{
    return atomic_load(&l->inbox) != REMOTE_TICKET_NONE || atomic_load(&l->closing) ||
           atomic_load(&l->timeouts_row) >= REMOTE_TIMEOUTS_ROW ||
           (atomic_load(&l->retrack) && remote_may_retrack(l)) || remote_marker_due(l);
}

/* Wait for sockets and the bell, and serve them. */
static void remote_events_serve(remote_link *l, int64_t wait_ms)
{
    struct epoll_event e[8];
    const bool shares = !l->c->no_thread; /* callers run the link meanwhile */
    atomic_store(&l->asleep, 1);
    wait_ms = remote_has_work(l) ? 0 : remote_round_wait(l, wait_ms);
    if (shares) {
        remote_turn_drop(l);
        if (atomic_load(&l->inbox) != REMOTE_TICKET_NONE) { wait_ms = 0; }
    }
    const int n = epoll_wait(l->epoll, e, 8, (int)wait_ms);
    if (shares) { remote_turn_take(l); }
    atomic_store(&l->asleep, 0);
    for (int i = 0; i < n; i++) {
        if (e[i].data.ptr != NULL) { remote_serve(l, e[i].data.ptr, e[i].events); }
    }
}

static void remote_bytes_note(remote_link *l, remote_wire *w)
{
    if (w->bytes_in != 0) { remote_count(l, REMOTE_LINK_BYTES_IN, w->bytes_in); }
    if (w->bytes_out != 0) { remote_count(l, REMOTE_LINK_BYTES_OUT, w->bytes_out); }
    w->bytes_in = w->bytes_out = 0;
}

static void remote_round(remote_link *l, int64_t wait_ms)
{
    remote_events_serve(l, wait_ms);
    if (atomic_load(&l->retrack)) { remote_retrack_begin(l); }
    if (l->scripts_gone) { remote_load_scripts(l); }
    remote_times(l);
    remote_requests(l);
    remote_bytes_note(l, &l->data);
    remote_bytes_note(l, &l->subscriber);
    if (l->why != REMOTE_WHY_NONE) { remote_fall(l); }
    if (!remote_reader_choose(l) || !remote_watch(l, &l->subscriber)) { remote_fall(l); }
}

CELLAR_PRIVATE bool remote_inside(const remote_link *l)
{
    return atomic_load(&l->runner) == remote_self();
}

CELLAR_PRIVATE cellar_err remote_link_step(remote_link *l, int64_t wait_ms)
{
    if (l->forked) { return CELLAR_E_FORKED; }
    if (remote_inside(l)) { return CELLAR_E_DEADLOCK; }
    if (!remote_turn_try(l)) { return CELLAR_E_BUSY; }
    const int cancel = base_cancel_off(); /* it has the turn */
    remote_round(l, wait_ms);
    atomic_store(&l->asleep, 1); /* posts ring the bell, which the host polls */
    const bool more = atomic_load(&l->inbox) != REMOTE_TICKET_NONE;
    remote_turn_drop(l);
    if (more) { remote_wake(l); }
    base_cancel_set(cancel);
    return more ? CELLAR_PENDING : CELLAR_OK;
}

static void *remote_thread(void *link)
{
    remote_link *l = link;
    remote_turn_take(l);
    while (!atomic_load(&l->closing)) { remote_round(l, REMOTE_LOOK_MS); }
    remote_turn_drop(l);
    return NULL;
}

/* ---- callers that run the link ---- */

/* Send new requests, choose the reader, and give the turn back. me: number of the ticket of this
 * caller, or NONE. Return the socket that the caller waits for; fd -1: another thread reads. */
static struct pollfd remote_turn_end(remote_link *l, uint32_t me)
{
    struct pollfd p;
    bool calm;
    do {
        l->alone = me;
        if (remote_is_open(l)) { remote_requests(l); }
        calm = remote_reader_choose(l) && remote_is_calm(l);
        p.fd = me != REMOTE_TICKET_NONE && atomic_load(&l->reader) == me ? l->data.fd : -1;
        p.events = l->data.unsent.len != 0 ? POLLIN | POLLOUT : POLLIN;
        remote_bytes_note(l, &l->data);
        remote_turn_drop(l);
        if (!calm) { remote_wake(l); } /* the I/O thread has work */
    } while (calm && atomic_load(&l->inbox) != REMOTE_TICKET_NONE && remote_turn_try(l));
    return p;
}

/* Yield until the request has ended or may be read, or *data* has bytes (`p`), for REMOTE_SPIN_NS:
 * a server of this machine answers sooner than a sleeping thread wakes. After spins in vain, as for
 * a server farther away, up to 1,023 waits do without; after a yield for which other programs took
 * the processor at once so many. */
static bool remote_spin(remote_link *l, const remote_ticket *t, struct pollfd *p)
{
    static const struct timespec none;
    const uint32_t rest = atomic_load(&l->spin_rest), pause = atomic_load(&l->spin_pause);
    const int64_t until_ns = remote_mono_ns() + REMOTE_SPIN_NS;
    int64_t late_ns;
    bool found;
    if (rest != 0) { atomic_store(&l->spin_rest, rest - 1); }
    if (rest != 0 || atomic_load(&l->under_way) > REMOTE_SPIN_MOST) { return false; }
    do {
        sched_yield();
        found = p != NULL ? ppoll(p, 1, &none, NULL) > 0
                          : atomic_load(&t->state) == REMOTE_T_DONE ||
                            atomic_load(&l->reader) == remote_ticket_number(l, t);
        late_ns = remote_mono_ns() - until_ns;
    } while (!found && late_ns < 0);
    const uint32_t more = late_ns > 4 * REMOTE_SPIN_NS ? 1023 : (2 * pause + 1) & 1023;
    atomic_store(&l->spin_pause, late_ns < 0 ? pause / 2 : more);
    atomic_store(&l->spin_rest, late_ns < 0 ? 0 : more);
    return found;
}

/* Run the link for the caller of `t`: send, and read until the request has ended, unless another
 * thread does. */
static void remote_run(remote_link *l, const remote_ticket *t, int64_t until_ns)
{
    const uint32_t me = remote_ticket_number(l, t);
    int64_t left_ns;
    struct pollfd p;
    if (atomic_load(&l->reader) == me) { remote_turn_take(l); }
    else if (!remote_turn_try(l)) { return; } /* that thread sends the request */
    while ((p = remote_turn_end(l, me)).fd >= 0 && (left_ns = until_ns - remote_mono_ns()) > 0) {
        const int64_t most_ns = 10 * REMOTE_NS_OF_MS; /* the socket may be another one by now */
        const struct timespec wait = { .tv_nsec = (long)(left_ns < most_ns ? left_ns : most_ns) };
        const bool ready = (remote_spin(l, t, &p) || ppoll(&p, 1, &wait, NULL) > 0) &&
                           p.revents != POLLOUT;
        remote_turn_take(l);
        l->alone = me;
        if (ready && atomic_load(&l->reader) == me && remote_is_calm(l)) {
            remote_read(l, &l->data);
        }
    }
}

/* ---- requests ---- */

/* Return OK if the link takes requests now, else the code of a request. Count `refused` ones. */
static cellar_err remote_ready(remote_link *l, uint64_t refused)
{
    if (l->forked) { return CELLAR_E_FORKED; }
    if (atomic_load(&l->closing)) { return CELLAR_E_CLOSED; }
    if (atomic_load(&l->usable)) { return CELLAR_OK; }
    remote_count(l, REMOTE_LINK_BREAKER, refused);
    return CELLAR_E_BREAKER_OPEN;
}

/* Sleep until the word changes, or run the link meanwhile. */
static void remote_wait(remote_link *l, _Atomic uint32_t *word, uint32_t bits, uint32_t seen,
                        int64_t until_ns)
{
    if (!l->c->no_thread) {
        remote_futex_wait(word, bits, seen, until_ns);
        return;
    }
    const int64_t look_ns = remote_mono_ns() + REMOTE_NS_OF_MS;
    if (remote_link_step(l, until_ns < look_ns ? 0 : 1) == CELLAR_E_BUSY) {
        remote_futex_wait(word, bits, seen, until_ns < look_ns ? until_ns : look_ns);
    }
}

/* Leave a ticket after the time has passed. False: it is being sent or taken right now. */
static bool remote_leave(remote_link *l, remote_ticket *t, remote_fate *fate)
{
    const bool patient = remote_is_patient(l, &t->q);
    if (remote_ticket_move(t, REMOTE_T_QUEUED, REMOTE_T_LEFT)) {
        *fate = REMOTE_NOT_SENT;
    } else if (remote_ticket_move(t, REMOTE_T_SENT, REMOTE_T_LEFT)) {
        *fate = REMOTE_UNKNOWN;
    } else {
        return false;
    }
    if (atomic_load(&l->reader) == remote_ticket_number(l, t)) {
        remote_turn_take(l);
        (void)remote_turn_end(l, REMOTE_TICKET_NONE);
    }
    remote_count(l, REMOTE_LINK_TIMEOUTS, 1);
    if (patient && atomic_fetch_add(&l->timeouts_row, 1) + 1 == REMOTE_TIMEOUTS_ROW) {
        remote_wake(l);
    }
    return true;
}

static cellar_err remote_await(remote_link *l, remote_ticket *t, int64_t until_ns,
                               remote_fate *fate)
{
    uint32_t bit;
    _Atomic uint32_t *const word = remote_ticket_word(l, t, &bit);
    for (;;) {
        const uint32_t seen = atomic_load(word);
        bool done = atomic_load(&t->state) == REMOTE_T_DONE;
        if (!l->c->no_thread && !done) {
            remote_run(l, t, until_ns);
            done = atomic_load(&t->state) == REMOTE_T_DONE;
        }
        if (done) { break; }
        const int64_t now_ns = remote_mono_ns();
        if (now_ns < until_ns) {
            if (l->c->no_thread || !remote_spin(l, t, NULL)) {
                remote_wait(l, word, bit, seen, until_ns);
            }
        } else if (remote_leave(l, t, fate)) {
            return CELLAR_E_TIMEOUT;
        } else {
            remote_futex_wait(word, bit, seen, now_ns + REMOTE_NS_OF_MS / 10);
        }
    }
    const cellar_err err = t->err;
    *fate = t->fate;
    remote_ticket_free(l, t);
    return err;
}

/* Return the end of a wait; longer ones than 30 years end then. */
static int64_t remote_end_ns(int64_t wait_ms)
{
    const int64_t most_ms = INT64_C(1) << 40;
    return remote_mono_ns() + (wait_ms < most_ms ? wait_ms : most_ms) * REMOTE_NS_OF_MS;
}

static int64_t remote_until(const remote_link *l, int64_t wait_ms)
{
    return remote_end_ns(wait_ms != 0 ? wait_ms : l->c->io_ms);
}

CELLAR_PRIVATE cellar_err remote_ask(remote_link *l, const remote_request *q, remote_fate *fate)
{
    remote_fate unused;
    if (fate == NULL) { fate = &unused; }
    *fate = REMOTE_NOT_SENT;
    const cellar_err err = remote_ready(l, 1);
    if (err != CELLAR_OK) { return err; }
    if (remote_inside(l)) { return CELLAR_E_DEADLOCK; }
    remote_ticket *t = remote_ticket_new(l, q, false);
    if (t == NULL) { return CELLAR_E_LIMIT; }
    const int64_t until_ns = remote_until(l, q->wait_ms);
    remote_ticket_post(l, t);
    const int cancel = base_cancel_off(); /* it may have the turn */
    if (l->c->no_thread) { remote_wake(l); }
    const cellar_err end = remote_await(l, t, until_ns, fate);
    base_cancel_set(cancel);
    return end;
}

CELLAR_PRIVATE void remote_post(remote_link *l, const remote_request *q)
{
    cellar_err err = remote_ready(l, 1);
    remote_ticket *t = err == CELLAR_OK ? remote_ticket_new(l, q, false) : NULL;
    if (t == NULL) {
        if (err == CELLAR_OK) { err = CELLAR_E_LIMIT; }
        const remote_memory *m = q->memory;
        if (m != NULL) { m->free(m->ctx, (void *)(uintptr_t)q->bytes, q->bytes_cap); }
        if (q->done != NULL) { q->done(q->ctx, err, REMOTE_NOT_SENT); }
        return;
    }
    t->posted = true;
    t->until_ns = remote_until(l, q->wait_ms);
    remote_ticket_post(l, t);
    remote_wake(l);
}

CELLAR_PRIVATE void remote_synced(remote_link *l)
{
    if (l->phase != REMOTE_PHASE_SYNC) { return; }
    l->phase = REMOTE_PHASE_MARKERS;
    l->marker_due_ms = INT64_MIN;
    remote_marker_tick(l);
}

CELLAR_PRIVATE void remote_sync_failed(remote_link *l, cellar_err err)
{
    if (l->phase != REMOTE_PHASE_SYNC) { return; }
    if (err == CELLAR_E_FOREIGN) {
        remote_break(l, REMOTE_WHY_REFUSED, "prefix: control key %s:~e or another is not one of "
                     "cellar: use another prefix", l->c->prefix);
    } else {
        remote_break(l, REMOTE_WHY_TIMEOUT, "the control keys were not read in time");
    }
}

CELLAR_PRIVATE void remote_retrack(remote_link *l)
{
    atomic_store(&l->retrack, true);
    remote_wake(l);
}

/* Wait for a marker, for a short time: falls and new links do not change the word. Return false
 * after `until_ns`. */
static bool remote_look(remote_link *l, uint32_t back, int64_t until_ns)
{
    const int64_t now_ns = remote_mono_ns(), look_ns = now_ns + 10 * REMOTE_NS_OF_MS;
    if (now_ns >= until_ns) { return false; }
    remote_wait(l, &l->marker_back, REMOTE_ALL_BITS, back, until_ns < look_ns ? until_ns : look_ns);
    return true;
}

CELLAR_PRIVATE cellar_err remote_marker_now(remote_link *l, int64_t wait_ms)
{
    const int64_t until_ns = remote_end_ns(wait_ms);
    const cellar_err err = remote_ready(l, 1);
    if (err != CELLAR_OK) { return err; }
    if (remote_inside(l)) { return CELLAR_E_DEADLOCK; }
    const uint32_t falls = atomic_load(&l->falls), number = atomic_load(&l->marker_sent) + 1;
    uint32_t want = atomic_load(&l->marker_want);
    while ((int32_t)(number - want) > 0 &&
           !atomic_compare_exchange_weak(&l->marker_want, &want, number)) { }
    remote_wake(l);
    for (;;) {
        const uint32_t back = atomic_load(&l->marker_back);
        if ((int32_t)(back - number) >= 0) { return CELLAR_OK; }
        if (atomic_load(&l->falls) != falls) { return CELLAR_E_BREAKER_OPEN; }
        if (!remote_look(l, back, until_ns)) { return CELLAR_E_TIMEOUT; }
    }
}

CELLAR_PRIVATE cellar_err remote_link_await(remote_link *l, int64_t wait_ms)
{
    const int64_t until_ns = remote_end_ns(wait_ms);
    if (remote_inside(l)) { return CELLAR_E_DEADLOCK; }
    for (;;) {
        const uint32_t back = atomic_load(&l->marker_back);
        const cellar_err err = remote_ready(l, 0);
        if (err != CELLAR_E_BREAKER_OPEN) { return err; }
        if (!remote_look(l, back, until_ns)) { return CELLAR_E_TIMEOUT; }
    }
}

/* ---- figures ---- */

CELLAR_PRIVATE uint32_t remote_tracked(const remote_link *l) { return l->prefixes; }

CELLAR_PRIVATE uint64_t remote_largest(const remote_link *l) { return atomic_load(&l->largest); }

CELLAR_PRIVATE int64_t remote_proven_until(const remote_link *l)
{
    return atomic_load(&l->proven_until);
}

CELLAR_PRIVATE int64_t remote_engine_now(const remote_link *l, int64_t *error_ms)
{
    const int64_t offset_ms = atomic_load(&l->server_offset_ms);
    *error_ms = atomic_load(&l->server_error_ms);
    return offset_ms != 0 ? l->e.now_ms(l->e.ctx) + offset_ms : 0;
}

CELLAR_PRIVATE void remote_link_figures(const remote_link *l, remote_figures *out)
{
    const int64_t at_ms = atomic_load(&l->proof_ms_at);
    out->state = remote_link_state(l);
    for (size_t i = 0; i < REMOTE_LINK_COUNTS_N; i++) {
        out->counts[i] = atomic_load(&l->counts[i]);
    }
    for (size_t i = 0; i < REMOTE_WHYS_N; i++) { out->gaps[i] = atomic_load(&l->whys[i]); }
    for (size_t i = 0; i <= REMOTE_TRIP_BUCKETS; i++) {
        out->trips[i] = atomic_load(&l->trips[i]);
        out->journeys[i] = atomic_load(&l->journeys[i]);
    }
    out->addresses = atomic_load(&l->addresses);
    out->journey_us = atomic_load(&l->journey_us);
    out->proof_age_ms = at_ms != 0 ? l->e.now_ms(l->e.ctx) - at_ms : -1;
}

CELLAR_PRIVATE bool remote_sentinel_look(const remote_link *l, uint32_t i,
                                         remote_sentinel_view *out)
{
    if (i >= l->c->sentinel_count) { return false; }
    const remote_sentinel *s = &l->sentinel[i];
    *out = (remote_sentinel_view){ .at = l->c->sentinel[i], .named = s->named,
                                   .age_ms = l->e.now_ms(l->e.ctx) - s->named_ms, .text = s->text,
                                   .objects = remote_sentinel_objects(s) };
    if (s->why == REMOTE_WHY_NONE) { out->text = ""; } else { out->named.port = 0; }
    return true;
}

CELLAR_PRIVATE const remote_address *remote_link_at(const remote_link *l) { return &l->at; }

CELLAR_PRIVATE void remote_link_refusal(remote_link *l, remote_refusal *out)
{
    pthread_mutex_lock(&l->refusal_lock);
    *out = l->refusal;
    pthread_mutex_unlock(&l->refusal_lock);
}

/* ---- open and close ---- */

/* Make the descriptors. The bell is watched for edges: each write to it is one event, and the link
 * never reads it. */
static bool remote_descriptors(remote_link *l)
{
    struct epoll_event e = { .events = EPOLLIN | EPOLLET, .data.ptr = NULL };
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return l->epoll >= 0 && l->bell >= 0 && epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->bell, &e) == 0;
}

static void remote_link_free(remote_link *l)
{
    const remote_memory *memory = l->e.memory;
    remote_link_unlist(l);
    remote_wire_close(&l->data);
    remote_wire_close(&l->subscriber);
    remote_sentinels_close(l);
    tls_ticket_free(l->data.ticket);
    tls_ticket_free(l->subscriber.ticket);
    remote_lookup_leave(l->lookup);
    remote_bytes_free(&l->bytes);
    remote_bytes_free(&l->marker_bytes);
    if (l->epoll >= 0) { (void)close(l->epoll); }
    if (l->bell >= 0) { (void)close(l->bell); }
    (void)pthread_mutex_destroy(&l->refusal_lock);
    memory->free(memory->ctx, l, sizeof *l);
}

static void remote_link_init(remote_link *l, const remote_config *c, const remote_events *e)
{
    *l = (remote_link){ .c = c, .e = *e };
    l->epoll = l->bell = -1;
    l->gap_told = true;
    l->beat_ms = INT64_MAX;
    atomic_init(&l->asleep, 1);
    (void)pthread_mutex_init(&l->refusal_lock, NULL);
    remote_wire_init(&l->data, e->memory, remote_take_reply, l);
    remote_wire_init(&l->subscriber, e->memory, remote_take_message, l);
    remote_sentinels_open(l);
    remote_tickets_open(l);
    l->bytes = (remote_bytes){ .memory = e->memory, .secret = true };
    l->marker_bytes = (remote_bytes){ .memory = e->memory };
    l->marker_prefix_len =
        (size_t)snprintf(l->marker_key, sizeof l->marker_key, "~%s:%s:", c->prefix, c->uuid);
}

CELLAR_PRIVATE cellar_err remote_link_open(const remote_config *c, const remote_events *e,
                                           remote_link **out)
{
    *out = NULL;
    remote_link *l = e->memory->alloc(e->memory->ctx, sizeof *l);
    if (l == NULL) { return CELLAR_E_NOMEM; }
    remote_link_init(l, c, e);
    remote_link_list(l);
    cellar_err err = remote_descriptors(l) ? CELLAR_OK : CELLAR_E_IO;
    *out = l; /* before the thread: its events use the link */
    if (err == CELLAR_OK && !c->no_thread &&
        !remote_thread_start(&l->thread, "cellar-remote", remote_thread, l)) {
        err = CELLAR_E_NOMEM;
    }
    if (err != CELLAR_OK) {
        *out = NULL;
        remote_link_free(l);
    }
    return err;
}

CELLAR_PRIVATE void remote_link_close(remote_link *l)
{
    if (l == NULL || l->forked) { return; }
    const int cancel = base_cancel_off(); /* a close must complete */
    atomic_store(&l->closing, true);
    remote_wake(l);
    if (!l->c->no_thread) { (void)pthread_join(l->thread, NULL); }
    remote_turn_take(l);
    remote_break(l, REMOTE_WHY_CLOSE, "closed");
    remote_fall(l);
    remote_end_all(l, CELLAR_E_CLOSED);
    remote_turn_drop(l);
    remote_link_free(l);
    base_cancel_set(cancel);
}

CELLAR_PRIVATE int remote_link_fd(const remote_link *l)
{
    return !l->c->no_thread || l->forked ? -1 : l->epoll;
}
