/* SPDX-License-Identifier: MIT
 *
 * control: the numbers that make values dead: epoch, generations, tags.
 *
 * PROTOCOL   END raises the epoch and writes it into a control key. KNOW reads control keys, writes
 *            back a number that this process knows and the server lost, and makes a missing key
 *            with the present epoch: a value born before that epoch is then a miss.
 *            Both change nothing if a control key holds no number: it is of another program.
 * INVARIANTS A missing control key never means that nothing ended. A missing epoch begins above
 *            every number that this process knows and above the time of the server.
 *            A number counts as known if it was read behind the last end that was heard of it: a
 *            heard tag takes a place, and a tag without a place inherits `data.lost`.
 *            born: the store draws an epoch of its own behind each reply (`host.epoch`). A load
 *            that begins later has that epoch or a higher one, so it began after the server
 *            executed the script, and counts as born in the epoch that the script read.
 * LOCKING    Replies come in the thread that runs the link. data.lock, without any call under it.
 * LIMITS     A tag beyond REMOTE_TAGS_KEPT displaces another one, which is read again at its next
 *            use; its number is then not written back after a failover. */
#include "remote/control.h"

#include <string.h>

#include "remote/key.h"
#include "remote/share.h"

enum { REMOTE_TAG_PROBES = 8 };

/* One reading: a generation, or the two numbers of a tag. */
typedef struct remote_item {
    remote_space *s; /* NULL: a tag */
    uint8_t len;
    char text[CELLAR_TAG_MAX];
} remote_item;

typedef struct remote_know {
    struct remote_data *d;
    uint64_t round;
    uint32_t count, next; /* next: of read_all, number of the next item of all */
    cellar_err failed;    /* E_FOREIGN: a key of another program; E_IO: another error; OK */
    void (*done)(struct remote_data *d, cellar_err err);
    remote_item item[REMOTE_CONTROL_MAX];
} remote_know;

/* ---- tags; data.lock is held ---- */

static remote_tag *remote_tag_slot(struct remote_data *d, const void *tag, size_t len, uint32_t i)
{
    return &d->tags[(remote_check(0, tag, len) + i) % REMOTE_TAGS_KEPT];
}

static remote_tag *remote_tag_find(struct remote_data *d, const void *tag, size_t len)
{
    for (uint32_t i = 0; d->tags != NULL && i < REMOTE_TAG_PROBES; i++) {
        remote_tag *t = remote_tag_slot(d, tag, len, i);
        if (t->len == len && memcmp(t->text, tag, len) == 0) { return t; }
    }
    return NULL;
}

/* Find a tag, or take a free place for it, or that of the tag that was read longest ago: so the
 * tags of one reading do not displace each other. NULL: no memory. */
static remote_tag *remote_tag_add(struct remote_data *d, const void *tag, size_t len)
{
    remote_tag *t = remote_tag_find(d, tag, len);
    if (t != NULL || d->tags == NULL) { return t; }
    t = remote_tag_slot(d, tag, len, 0);
    for (uint32_t i = 1; i < REMOTE_TAG_PROBES && t->len != 0; i++) {
        remote_tag *at = remote_tag_slot(d, tag, len, i);
        if (at->len == 0 || at->read < t->read) { t = at; }
    }
    if (t->forgot > d->lost) { d->lost = t->forgot; }
    memset(t, 0, sizeof *t);
    t->forgot = d->lost; /* its number may have been forgotten when it had no place */
    t->len = (uint8_t)len;
    memcpy(t->text, tag, len);
    return t;
}

static void remote_tags_make(struct remote_data *d)
{
    const size_t size = REMOTE_TAGS_KEPT * sizeof(remote_tag);
    pthread_mutex_lock(&d->lock);
    const bool there = d->tags != NULL;
    pthread_mutex_unlock(&d->lock);
    if (there) { return; }
    remote_tag *made = remote_alloc(d->r, size);
    if (made == NULL) { return; }
    memset(made, 0, size);
    pthread_mutex_lock(&d->lock);
    const bool late = d->tags != NULL;
    if (!late) { d->tags = made; }
    pthread_mutex_unlock(&d->lock);
    if (late) { remote_free(d->r, made, size); }
}

/* ---- judging ---- */

static remote_life remote_judge_tags(struct remote_data *d, uint64_t born,
                                     const cellar_bytes *tags, uint32_t tag_count)
{
    remote_life life = REMOTE_LIFE_FRESH;
    for (uint32_t i = 0; i < tag_count; i++) {
        const remote_tag *t = remote_tag_find(d, tags[i].data, tags[i].len);
        if (t == NULL || !t->known) { return REMOTE_LIFE_UNKNOWN; }
        if (born < t->hard) { return REMOTE_LIFE_DEAD; }
        if (born < t->soft) { life = REMOTE_LIFE_STALE; }
    }
    return life;
}

CELLAR_PRIVATE remote_life remote_control_judge(remote_space *s, uint64_t generation,
                                                uint64_t born, const cellar_bytes *tags,
                                                uint32_t tag_count)
{
    struct remote_data *d = s->r->data;
    pthread_mutex_lock(&d->lock);
    remote_life life = REMOTE_LIFE_UNKNOWN;
    if (s->known) {
        life = generation != s->generation || born < generation
                   ? REMOTE_LIFE_DEAD
                   : remote_judge_tags(d, born, tags, tag_count);
    }
    pthread_mutex_unlock(&d->lock);
    return life;
}

CELLAR_PRIVATE uint64_t remote_control_generation(remote_space *s)
{
    struct remote_data *d = s->r->data;
    pthread_mutex_lock(&d->lock);
    const uint64_t g = s->known ? s->generation : 0;
    pthread_mutex_unlock(&d->lock);
    return g;
}

CELLAR_PRIVATE uint64_t remote_control_epoch(struct remote_data *d)
{
    pthread_mutex_lock(&d->lock);
    const uint64_t epoch = d->heard;
    pthread_mutex_unlock(&d->lock);
    return epoch;
}

CELLAR_PRIVATE uint64_t remote_control_born(struct remote_data *d, uint64_t here)
{
    uint64_t server = 0;
    pthread_mutex_lock(&d->lock);
    for (uint64_t i = d->born_count; i > 0 && i + REMOTE_BORN_KEPT > d->born_count; i--) {
        const remote_born *b = &d->born[(i - 1) % REMOTE_BORN_KEPT];
        if (b->here <= here) {
            server = b->server;
            break;
        }
    }
    pthread_mutex_unlock(&d->lock);
    return server;
}

/* ---- forgetting ---- */

CELLAR_PRIVATE void remote_control_forget(struct remote_data *d)
{
    pthread_mutex_lock(&d->lock);
    const uint64_t round = ++d->round;
    const uint32_t spaces = atomic_load_explicit(&d->space_count, memory_order_acquire);
    for (uint32_t i = 0; i < spaces; i++) {
        d->space[i]->known = false;
        d->space[i]->forgot = round;
    }
    for (uint32_t i = 0; d->tags != NULL && i < REMOTE_TAGS_KEPT; i++) {
        d->tags[i].known = false;
        d->tags[i].forgot = round;
    }
    d->lost = round;
    pthread_mutex_unlock(&d->lock);
}

CELLAR_PRIVATE remote_space *remote_space_named(const struct remote_data *d, const char *name,
                                                size_t len)
{
    const uint32_t n = atomic_load_explicit(&d->space_count, memory_order_acquire);
    for (uint32_t i = 0; i < n; i++) {
        remote_space *s = d->space[i];
        if (strlen(s->name) == len && memcmp(s->name, name, len) == 0) { return s; }
    }
    return NULL;
}

CELLAR_PRIVATE void remote_control_heard(struct remote_data *d, const remote_parts *p)
{
    remote_space *s = NULL;
    if (p->text_len > CELLAR_TAG_MAX) { return; }
    if (p->kind == REMOTE_KIND_EPOCH) { /* a load that begins now is born in it */
        remote_control_want(d, NULL, NULL, 0);
        return;
    }
    pthread_mutex_lock(&d->lock);
    const uint64_t round = ++d->round;
    if (p->kind == REMOTE_KIND_GENERATION) {
        s = remote_space_named(d, p->text, p->text_len);
        if (s != NULL) {
            s->known = false;
            s->forgot = round;
        }
    } else {
        remote_tag *t = remote_tag_add(d, p->text, p->text_len);
        if (t != NULL) {
            t->known = false;
            t->forgot = round;
        } else {
            d->lost = round;
        }
    }
    pthread_mutex_unlock(&d->lock);
    if (s != NULL) { remote_control_want(d, s, NULL, 0); } /* a tag is read at its next use */
}

/* ---- reading ---- */

/* Keep the numbers of one item. data.lock is held. */
static void remote_item_take(struct remote_data *d, const remote_item *it, uint64_t round,
                             uint64_t hard, uint64_t soft)
{
    if (it->s != NULL) {
        if (hard > it->s->generation) { it->s->generation = hard; }
        it->s->known = it->s->forgot <= round;
        return;
    }
    remote_tag *t = remote_tag_add(d, it->text, it->len);
    if (t == NULL) { return; }
    if (hard > t->hard) { t->hard = hard; }
    if (soft > t->soft) { t->soft = soft; }
    t->known = t->forgot <= round;
    t->read = ++d->reads;
}

/* Draw an epoch of the store: loads that begin from now on are born in epoch `server`. */
static void remote_born_add(struct remote_data *d, uint64_t server)
{
    uint64_t here = 0;
    const uint32_t spaces = atomic_load_explicit(&d->space_count, memory_order_acquire);
    pthread_mutex_lock(&d->lock);
    const bool known = server <= d->heard; /* the pair of then says more */
    pthread_mutex_unlock(&d->lock);
    if (known) { return; }
    for (uint32_t i = 0; i < spaces && here == 0; i++) {
        remote_space *s = d->space[i];
        pthread_rwlock_rdlock(&s->use);
        if (s->host != NULL) { here = s->host->epoch(s->host->ctx); }
        pthread_rwlock_unlock(&s->use);
    }
    if (here == 0) { return; }
    pthread_mutex_lock(&d->lock);
    d->heard = server;
    d->born[d->born_count++ % REMOTE_BORN_KEPT] = (remote_born){ here, server };
    pthread_mutex_unlock(&d->lock);
}

/* Take the reply of KNOW: the epoch, then one number for a generation, two for a tag. */
static void remote_know_reply(void *ctx, uint32_t index, const remote_reply *reply)
{
    remote_know *w = ctx;
    const remote_reply *at = reply->type == REMOTE_ARRAY ? reply->first : NULL;
    const uint64_t epoch = remote_number(at);
    (void)index;
    const bool other = remote_starts(reply, "WRONGTYPE");
    w->failed = epoch != 0 ? CELLAR_OK : other ? CELLAR_E_FOREIGN : CELLAR_E_IO;
    if (epoch == 0) { return; }
    at = at->next;
    pthread_mutex_lock(&w->d->lock);
    for (uint32_t i = 0; i < w->count && at != NULL; i++) {
        const remote_item *it = &w->item[i];
        const uint64_t hard = remote_number(at);
        const uint64_t soft = it->s != NULL ? hard : remote_number(at->next);
        if (it->s == NULL) { at = at->next; }
        if (hard != 0 && soft != 0) { remote_item_take(w->d, it, w->round, hard, soft); }
        at = at != NULL ? at->next : NULL;
    }
    pthread_mutex_unlock(&w->d->lock);
    remote_born_add(w->d, epoch);
}

/* Append the name of a control key. */
static void remote_word_key(remote_bytes *b, const char *prefix, remote_kind kind,
                            const char *text, size_t len)
{
    remote_name n;
    remote_control_name(prefix, kind, text, len, &n);
    remote_word_add(b, (cellar_bytes)REMOTE_NAME(&n));
}

/* Begin a script for the epoch and `keys` - 1 other control keys, with a number for each of the
 * last `numbers` ones, and behind them the life of a tag (remote_word_life). */
static void remote_words_begin(remote_bytes *b, cellar_remote *r, remote_script script,
                               uint32_t keys, uint32_t numbers)
{
    const bool named = remote_is_named(r);
    *b = (remote_bytes){ .memory = &r->memory };
    remote_words(b, 4 + keys + numbers);
    remote_word_add(b, (cellar_bytes)REMOTE_EVAL_COMMAND(named));
    remote_word_add(b, remote_eval_name(r, named, script));
    remote_word_add(b, REMOTE_NUMBER(keys));
    remote_word_key(b, r->cfg.prefix, REMOTE_KIND_EPOCH, "", 0);
}

static void remote_word_life(remote_bytes *b, const cellar_remote *r)
{
    remote_word_add(b, REMOTE_NUMBER(r->cfg.max_ttl_ms));
}

/* Format KNOW for the items of `w`: names of keys, and the numbers that this process knows. If it
 * knows one of a tag, 1 stands for the other: 0 would be a new tag, which a full server refuses. */
static remote_request remote_know_format(remote_know *w, remote_bytes *b)
{
    struct remote_data *d = w->d;
    const char *prefix = d->r->cfg.prefix;
    uint64_t known[1 + 2 * REMOTE_CONTROL_MAX];
    uint32_t keys = 1;
    pthread_mutex_lock(&d->lock);
    w->round = d->round;
    known[0] = d->heard;
    for (uint32_t i = 0; i < w->count; i++) {
        const remote_item *it = &w->item[i];
        const remote_tag *t = it->s == NULL ? remote_tag_find(d, it->text, it->len) : NULL;
        const uint64_t hard = t != NULL ? t->hard : 0, soft = t != NULL ? t->soft : 0;
        known[keys++] = it->s != NULL ? it->s->generation : hard != 0 ? hard : soft != 0;
        if (it->s == NULL) { known[keys++] = soft != 0 ? soft : hard != 0; }
    }
    pthread_mutex_unlock(&d->lock);
    remote_words_begin(b, d->r, REMOTE_SCRIPT_KNOW, keys, keys);
    for (uint32_t i = 0; i < w->count; i++) {
        const remote_item *it = &w->item[i];
        if (it->s != NULL) {
            remote_word_key(b, prefix, REMOTE_KIND_GENERATION, it->s->name, strlen(it->s->name));
            continue;
        }
        remote_word_key(b, prefix, REMOTE_KIND_TAG, it->text, it->len);
        remote_word_key(b, prefix, REMOTE_KIND_SOFT_TAG, it->text, it->len);
    }
    for (uint32_t i = 0; i < keys; i++) { remote_word_add(b, REMOTE_NUMBER((int64_t)known[i])); }
    remote_word_life(b, d->r);
    return (remote_request){ .replies = 1, .flags = REMOTE_SCRIPTED, .ctx = w,
                             .fn = remote_know_reply };
}

/* Set the items of a reading: the generation of the namespace, if there is one, and tags. */
static void remote_know_items(remote_know *w, remote_space *s, const cellar_bytes *tags,
                              uint32_t tag_count)
{
    if (tag_count != 0 && s != NULL) { remote_tags_make(w->d); } /* no load needs a heard tag */
    if (s != NULL) { w->item[w->count++].s = s; }
    for (uint32_t i = 0; i < tag_count; i++) {
        remote_item *it = &w->item[w->count++];
        it->len = (uint8_t)tags[i].len;
        memcpy(it->text, tags[i].data, tags[i].len);
    }
}

CELLAR_PRIVATE cellar_err remote_control_need(remote_space *s, const cellar_bytes *tags,
                                              uint32_t tag_count)
{
    remote_bytes b;
    remote_know w = { .d = s->r->data };
    remote_know_items(&w, s, tags, tag_count);
    const remote_request q = remote_know_format(&w, &b);
    const cellar_err err = remote_ask_bytes(s->r, &b, q, NULL);
    return err == CELLAR_OK && w.failed != CELLAR_OK ? CELLAR_E_IO : err;
}

/* ---- reading without waiting ---- */

/* Collect the next items of all that this process keeps. Return whether there are any. A tag
 * without a number is read at its next use: a full server makes none. */
static bool remote_know_next(remote_know *w)
{
    struct remote_data *d = w->d;
    const uint32_t spaces = atomic_load_explicit(&d->space_count, memory_order_acquire);
    w->count = 0;
    pthread_mutex_lock(&d->lock);
    for (; w->count < REMOTE_CONTROL_MAX && w->next < spaces + REMOTE_TAGS_KEPT; w->next++) {
        remote_item *it = &w->item[w->count];
        memset(it, 0, sizeof *it);
        if (w->next < spaces) {
            it->s = d->space[w->next];
        } else {
            const remote_tag *t = d->tags != NULL ? &d->tags[w->next - spaces] : NULL;
            if (t == NULL || (t->hard | t->soft) == 0) { continue; }
            it->len = t->len;
            memcpy(it->text, t->text, it->len);
        }
        w->count++;
    }
    pthread_mutex_unlock(&d->lock);
    return w->count != 0;
}

static void remote_know_post(remote_know *w);

static void remote_know_done(void *ctx, cellar_err err, remote_fate fate)
{
    remote_know *w = ctx;
    (void)fate;
    if (err == CELLAR_OK) { err = w->failed; }
    if (err == CELLAR_OK && w->done != NULL && remote_know_next(w)) {
        remote_know_post(w);
        return;
    }
    if (w->done != NULL) { w->done(w->d, err); }
    remote_free(w->d->r, w, sizeof *w);
}

static void remote_know_post(remote_know *w)
{
    remote_bytes b;
    remote_request q = remote_know_format(w, &b);
    q.done = remote_know_done;
    remote_post_bytes(w->d->r, &b, q);
}

/* Begin a reading without a wait. NULL: no memory; a number that stays unknown is read later. */
static remote_know *remote_know_new(struct remote_data *d)
{
    remote_know *w = remote_alloc(d->r, sizeof *w);
    if (w == NULL) { return NULL; }
    memset(w, 0, sizeof *w);
    w->d = d;
    return w;
}

CELLAR_PRIVATE void remote_control_read_all(struct remote_data *d,
                                            void (*done)(struct remote_data *d, cellar_err err))
{
    remote_know *w = remote_know_new(d);
    if (w == NULL) {
        if (done != NULL) { done(d, CELLAR_E_NOMEM); }
        return;
    }
    w->done = done;
    (void)remote_know_next(w); /* without namespaces: the epoch alone */
    remote_know_post(w);
}

CELLAR_PRIVATE void remote_control_want(struct remote_data *d, remote_space *s,
                                        const cellar_bytes *tags, uint32_t tag_count)
{
    remote_know *w = remote_know_new(d);
    if (w == NULL) { return; }
    remote_know_items(w, s, tags, tag_count);
    remote_know_post(w);
}

/* ---- ending ---- */

typedef struct remote_end {
    remote_space *s;
    remote_kind kind;
    const char *text; /* of the control key; outlives the request */
    size_t len;
    uint64_t epoch;   /* 0: no usable reply */
    void (*done)(void *ctx, cellar_err err);
} remote_end;

static void remote_end_reply(void *ctx, uint32_t index, const remote_reply *reply)
{
    remote_end *w = ctx;
    (void)index;
    w->epoch = remote_number(reply);
    if (w->epoch != 0) { remote_born_add(w->s->r->data, w->epoch); }
}

/* Format END for one control key. */
static remote_request remote_end_format(remote_end *w, remote_bytes *b)
{
    cellar_remote *r = w->s->r;
    remote_words_begin(b, r, REMOTE_SCRIPT_END, 2, 1);
    remote_word_key(b, r->cfg.prefix, w->kind, w->text, w->len);
    remote_word_add(b, REMOTE_NUMBER((int64_t)remote_control_epoch(r->data)));
    remote_word_life(b, r);
    return (remote_request){ .replies = 1, .ctx = w, .flags = REMOTE_SCRIPTED,
                             .fn = remote_end_reply };
}

/* Note the number that the control key has now. */
static cellar_err remote_end_take(const remote_end *w, cellar_err err)
{
    struct remote_data *d = w->s->r->data;
    if (err != CELLAR_OK || w->epoch == 0) { return err != CELLAR_OK ? err : CELLAR_E_IO; }
    pthread_mutex_lock(&d->lock);
    remote_tag *t = w->kind != REMOTE_KIND_GENERATION ? remote_tag_find(d, w->text, w->len) : NULL;
    uint64_t *number = w->kind == REMOTE_KIND_GENERATION ? &w->s->generation
                       : t == NULL                       ? NULL
                       : w->kind == REMOTE_KIND_TAG      ? &t->hard : &t->soft;
    if (number != NULL && w->epoch > *number) { *number = w->epoch; }
    pthread_mutex_unlock(&d->lock);
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err remote_control_end(remote_space *s, remote_kind kind, const void *text,
                                             size_t len)
{
    remote_bytes b;
    remote_end w = { .s = s, .kind = kind, .text = text, .len = len };
    const remote_request q = remote_end_format(&w, &b);
    return remote_end_take(&w, remote_ask_bytes(s->r, &b, q, NULL));
}

static void remote_clear_post_done(void *ctx, cellar_err err, remote_fate fate)
{
    remote_end *w = ctx;
    (void)fate;
    w->done(w->s, remote_end_take(w, err));
    remote_free(w->s->r, w, sizeof *w);
}

CELLAR_PRIVATE void remote_control_clear_post(remote_space *s,
                                              void (*done)(void *ctx, cellar_err err))
{
    remote_end *w = remote_alloc(s->r, sizeof *w);
    if (w == NULL) {
        done(s, CELLAR_E_NOMEM);
        return;
    }
    *w = (remote_end){ .s = s, .kind = REMOTE_KIND_GENERATION, .text = s->name,
                       .len = strlen(s->name), .done = done };
    remote_bytes b;
    remote_request q = remote_end_format(w, &b);
    q.done = remote_clear_post_done;
    remote_post_bytes(s->r, &b, q);
}
