/* SPDX-License-Identifier: MIT
 *
 * cache: the type _cellar.Cache, a store or one of its namespaces, and the calls for its keys.
 *
 * PICTURE    Cache -> root Cache -> cellar_open, cellar_remote_open; arguments kept for a child
 *            a call: key as bytes -> cellar_* -> value as an object
 * FORK       Each call compares `forks` of the handle with common_forks. In a child the first call
 *            opens store, link and namespace again, by the arguments of the parent. The wait for
 *            the server releases the GIL: meanwhile calls of other threads wait for the `opener`.
 *            A signal handler in the thread of the opener uses the store as it is.
 * GIL        Memory is asked with the GIL held: it costs less than to release it. A call that may
 *            wait for disk or server releases the GIL, and `busy` of the store counts it. The close
 *            waits until no such call runs: cellar_close must not overlap calls. So cache_ready is
 *            the last step before a call: code of the program (dumps, key=) lets others close.
 * SEE ALSO   load.c (get_or_load, memoize), guard.c (limiters, locks, the server). */
#include "python/python.h"

#include "cellar_entry.h"
#include "cellar_invalidate.h"
#include "cellar_l2.h"
#include "cellar_observe.h"

enum {
    CACHE_LOOK_BYTES = 3968, /* on the stack; 4,096 would alias with the buffers of the caller */
    CACHE_LINK_TRIES = 1000, /* ms that an open waits for a connection to the server */
    CACHE_PROOF_TRIES = 5000, /* ms that it waits for the proof of one that stands */
    CACHE_LINK_MS = 1000,    /* longest wait of a call for the server */
    CACHE_ENTER_TRIES = 1000 /* ms that a close waits for loads, which may not have begun */
};

PyTypeObject *cache_type;

/* ---- Open and close ------------------------------------------------------------------------- */

/* Fail if the program closed the handle or its store. */
static int cache_check_closed(const cache *s)
{
    if (!s->closed && !s->root->closed) { return 0; }
    (void)common_raise_text(CELLAR_E_CLOSED, CELLAR_E_CLOSED, "cellar: the Cache is closed");
    return -1;
}

/* Wait until the link is proven, or another thread closes it. Without a server the calls go on as
 * if it were away. */
static int cache_wait_proof(const cache *root)
{
    for (int i = 0; i < CACHE_PROOF_TRIES && root->remote != NULL; i++) {
        const cellar_remote_state state = cellar_remote_state_get(root->remote);
        if (state >= CELLAR_REMOTE_PROVEN) { return 0; }
        if (state == CELLAR_REMOTE_DOWN && i >= CACHE_LINK_TRIES) { return 0; }
        if (common_pause() < 0) { return -1; }
    }
    return 0;
}

/* Attach a handle to the link of its store, which others may have done, and wait for the proof. */
static int cache_attach(const cache *s, cellar *c)
{
    const cellar_err err = cellar_remote_attach(s->root->remote, c, NULL);
    if (err == CELLAR_OK) { return cache_wait_proof(s->root) < 0 ? -1 : cache_check_closed(s); }
    if (err != CELLAR_E_BUSY) { (void)common_raise_remote(NULL, err); }
    return err == CELLAR_E_BUSY ? 0 : -1;
}

/* Close what a store has open in this process. After an error it is open, without its link. */
static cellar_err cache_close_here(cache *s)
{
    cellar_err err;
    cellar_remote *remote = s->remote;
    s->remote = NULL;
    Py_BEGIN_ALLOW_THREADS
    cellar_remote_close(remote);
    err = cellar_close(s->c);
    Py_END_ALLOW_THREADS
    if (err >= 0) { s->c = NULL; }
    return err;
}

static int cache_open_store(cache *s)
{
    cellar_config cfg = cellar_config_default();
    cellar_host_config host = cellar_host_config_default();
    cellar_l2_config l2 = cellar_l2_config_default();
    cellar_remote_config link = cellar_remote_config_default();
    const char *url;
    int optional, durable;
    if (!PyArg_ParseTuple(s->spec, "O&zO&zO&O&pp", common_unsigned, &cfg.memory_bytes, &cfg.l2_path,
                          common_unsigned, &cfg.l2_bytes, &url, common_unsigned, &cfg.max_entries,
                          common_ms, &cfg.default_ttl_ms, &optional, &durable)) {
        return -1;
    }
    host.log = common_log;
    cfg.host = &host;
    cfg.l2 = cfg.l2_path == NULL ? NULL : &l2;
    l2.write = durable ? CELLAR_L2_WRITE_THROUGH : CELLAR_L2_WRITE_ON_SET;
    l2.optional = optional != 0;
    cellar_err err = cellar_open(&cfg, &s->c);
    if (err != CELLAR_OK) { return common_fail(NULL, err); }
    s->busy = s->entering = 0;
    s->below = cfg.l2_path != NULL ? BELOW_DISK : url != NULL ? BELOW_SERVER : 0;
    if (url == NULL) { return 0; }
    link.host = &host;
    link.io_ms = CACHE_LINK_MS;
    err = cellar_remote_open(s->c, url, &link, &s->remote);
    if (err != CELLAR_OK) { (void)common_raise_remote(NULL, err); }
    if (err == CELLAR_OK && cache_attach(s, s->c) == 0) { return 0; }
    (void)cache_close_here(s);
    return -1;
}

static int cache_open_namespace(cache *s)
{
    cellar_namespace_config cfg = cellar_namespace_config_default();
    const char *name;
    if (!PyArg_ParseTuple(s->spec, "sO&", &name, common_ms, &cfg.default_ttl_ms)) { return -1; }
    const cellar_err err = cellar_namespace_open(s->root->c, name, &cfg, &s->c);
    if (err != CELLAR_OK) { return common_fail(s->root->c, err); }
    s->below = s->root->below;
    if (s->root->remote == NULL || cache_attach(s, s->c) == 0) { return 0; }
    (void)cellar_namespace_close(s->c);
    return -1;
}

/* Open the handle in this process, or wait for the thread that opens it. Fail if it is closed. */
int cache_open_here(cache *s)
{
    if (s->root != s && cache_ready(s->root) < 0) { return -1; }
    while (s->opening == common_forks + 1 && s->opener != PyThread_get_thread_ident()) {
        if (common_pause() < 0) { return -1; }
    }
    if (cache_check_closed(s) < 0) { return -1; }
    if (s->c != NULL && (s->forks == common_forks || s->opening == common_forks + 1)) { return 0; }
    s->c = NULL;
    s->remote = NULL;
    s->opener = PyThread_get_thread_ident();
    s->opening = common_forks + 1;
    const int done = s->root == s ? cache_open_store(s) : cache_open_namespace(s);
    if (done == 0) { s->forks = s->opening - 1; } else { s->c = NULL; }
    s->opening = 0;
    return done;
}

/* Close, at the exit of the interpreter with true: then calls or loads may run, and the store stays
 * open with all buffers written. */
static PyObject *cache_close(PyObject *self, PyObject *at_exit)
{
    cache *s = (cache *)self;
    cellar_stats st = cellar_stats_default();
    cellar_err err = CELLAR_OK;
    const int is_open = !s->closed && s->c != NULL && s->forks == common_forks;
    s->closed = 1; /* new calls find a closed Cache */
    if (!is_open) { Py_RETURN_NONE; }
    if (s->root != s) {
        (void)cellar_namespace_close(s->c);
        s->c = NULL;
        Py_RETURN_NONE;
    }
    (void)cellar_stats_get(s->c, CELLAR_SCOPE_STORE, &st);
    if (at_exit == Py_True && (s->busy > 0 || st.loads_running > 0 || s->entering > 0)) {
        Py_BEGIN_ALLOW_THREADS
        (void)cellar_sync(s->c);
        Py_END_ALLOW_THREADS
        s->c = NULL; /* so the last reference waits for no load of a thread that has ended */
        Py_RETURN_NONE;
    }
    for (int i = 0; s->busy > 0 || (i < CACHE_ENTER_TRIES && s->entering > 0); i++) {
        if (common_pause() < 0) { break; }
    }
    if (!PyErr_Occurred()) { err = cache_close_here(s); }
    if (err < 0) { (void)common_raise(s->c, err); }
    s->closed = !PyErr_Occurred();
    return s->closed ? Py_NewRef(Py_None) : NULL;
}

/* Stores that lost their last reference in a thread of a store. The close would join that thread if
 * it is one of the same store, so the main thread closes them. The GIL guards both. */
static cache *cache_left;
static unsigned cache_left_asked; /* 1 + common_forks while the main thread has the call, else 0 */

static void cache_end(cache *s)
{
    if (s->c != NULL && s->forks == common_forks) {
        (void)(s->root != s ? cellar_namespace_close(s->c) : cache_close_here(s));
    }
    Py_XDECREF(s->owned);
    common_free((PyObject *)s);
}

int cache_close_left(void *unused)
{
    (void)unused;
    cache_left_asked = 0;
    while (cache_left != NULL) {
        cache *const s = cache_left;
        cache_left = s->next;
        cache_end(s);
    }
    return 0;
}

static void cache_dealloc(PyObject *self)
{
    cache *s = (cache *)self;
    if (!common_background || s->c == NULL || s->root != s) {
        cache_end(s);
        return;
    }
    s->next = cache_left;
    cache_left = s;
    /* Without room for the call the next store asks again, or the exit closes this one. */
    const int is_asked = cache_left_asked == common_forks + 1 ||
        Py_AddPendingCall(cache_close_left, NULL) == 0;
    cache_left_asked = is_asked ? common_forks + 1 : 0;
}

/* Open a store, or with a root one of its namespaces: root, dumps, loads, is_pickle, raw, spec. The
 * class Cache of __init__.py has the arguments of users. */
static PyObject *cache_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *root, *dumps, *loads, *spec;
    int is_pickle, raw;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "OOOppO!", &root, &dumps, &loads, &is_pickle, &raw, &PyTuple_Type,
                          &spec)) {
        return NULL;
    }
    cache *s = (cache *)PyType_GenericAlloc(type, 0);
    if (s == NULL) { return NULL; }
    s->root = root == Py_None ? s : ((cache *)root)->root;
    s->owned = Py_NewRef(args);
    s->spec = spec;
    s->codec = (codec){ .dumps = dumps, .loads = loads, .raw = raw,
                        .tag = dumps == Py_None ? 0 : is_pickle ? TAG_PICKLE : TAG_CODEC };
    if (cache_open_here(s) < 0) { Py_CLEAR(s); }
    return (PyObject *)s;
}

/* ---- Look ----------------------------------------------------------------------------------- */

/* Read a value into `buf`. With `deep` ask memory first, then all tiers without the GIL. */
static cellar_err cache_read(cache *s, const char *key, size_t len, int deep, char *buf, size_t cap,
                             size_t *n)
{
    if (deep && !s->below) { return cellar_get(s->c, key, len, buf, cap, n); }
    cellar_get_opts o = cellar_get_opts_default();
    o.flags = CELLAR_GET_MEMORY;
    cellar_err err = cellar_get_with(s->c, key, len, &o, buf, cap, n);
    if (err != CELLAR_MISS || !deep) { return err; }
    PyThreadState *const gil = cache_leave(s);
    err = cellar_get(s->c, key, len, buf, cap, n);
    cache_return(s, gil);
    return err;
}

PyObject *cache_look(cache *s, const char *key, size_t len, int deep)
{
    char own[CACHE_LOOK_BYTES], *buf = own;
    size_t cap = sizeof own, n = 0;
    cellar_err err;
    for (;;) {
        err = cache_read(s, key, len, deep, buf, cap, &n);
        if (err != CELLAR_E_BUFFER && err != CELLAR_E_LIMIT) { break; } /* E_LIMIT: others copy */
        if (buf != own) { PyMem_Free(buf); }
        cap = n;
        buf = PyMem_Malloc(cap + 1);
        if (buf == NULL) { return PyErr_NoMemory(); }
        if (err == CELLAR_E_LIMIT && (common_pause() < 0 || cache_ready(s) < 0)) { break; }
    }
    PyObject *o = err == CELLAR_OK ? value_decode(buf, n, &s->codec) : NULL;
    if (buf != own) { PyMem_Free(buf); }
    if (o != NULL || PyErr_Occurred()) { return o; }
    if (err < 0) { return common_raise(s->c, err); }
    s->foreign += err == CELLAR_OK;
    return NULL;
}

static PyObject *cache_get(PyObject *self, PyObject *const *a, Py_ssize_t n)
{
    cache *s = (cache *)self;
    pykey k;
    if (common_arguments("get", n, 1, 2) < 0) { return NULL; }
    if (key_init(&k, a[0], s->codec.raw) < 0) { return NULL; }
    PyObject *o = cache_ready(s) < 0 ? NULL : cache_look(s, k.at, k.len, 1);
    key_fini(&k);
    if (o != NULL || PyErr_Occurred()) { return o; }
    return Py_NewRef(n == 2 ? a[1] : Py_None);
}

static PyObject *cache_subscript(PyObject *self, PyObject *key)
{
    PyObject *o = cache_get(self, (PyObject *[]){ key, self }, 2); /* no value is a Cache */
    if (o != self) { return o; }
    Py_DECREF(o);
    PyErr_SetObject(PyExc_KeyError, key);
    return NULL;
}

/* ---- Calls for one key, or for all ---------------------------------------------------------- */

/* Calls of _call. __init__.py has the same numbers. */
enum { CALL_TOUCH, CALL_TTL, CALL_WHY, CALL_TAG, CALL_PATTERN, CALL_CLEAR, CALL_DELETE, CALL_ADD,
       CALL_HAS };

/* One call, its arguments and results. */
typedef struct cache_job {
    int         call;
    int         flag;   /* CALL_TAG: the entries stay as stale ones. CALL_ADD: the key must exist.
                         * CALL_DELETE: the key is bytes of a key */
    const char *text;   /* tag or pattern */
    Py_ssize_t  len;
    int64_t     number; /* CALL_ADD: of a missing key. Result: sum, TTL, count, answer of `why` */
    int64_t     delta;
    int64_t     sum;    /* of the last run of cache_add_int: an update may run it again */
    int64_t     ttl_ms;
    const char *cause;  /* result of CALL_WHY */
} cache_job;

/* Add to an int. A cellar_update_fn. */
static cellar_err cache_add_int(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    cache_job *j = ctx;
    int64_t before = j->number;
    unsigned char bytes[sizeof before + 1];
    if (old != NULL) {
        memcpy(bytes, old, old_len == sizeof bytes ? sizeof bytes : 0);
        if (old_len != sizeof bytes || bytes[sizeof before] != TAG_INT) { return CELLAR_E_TYPE; }
        memcpy(&before, bytes, sizeof before);
    }
    if (__builtin_add_overflow(before, j->delta, &j->sum)) { return CELLAR_E_RANGE; }
    memcpy(bytes, &j->sum, sizeof j->sum);
    bytes[sizeof j->sum] = TAG_INT;
    return cellar_buf_append(out, bytes, sizeof bytes);
}

static cellar_err cache_run_add(cellar *c, const pykey *k, cache_job *j, int raw)
{
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = j->ttl_ms;
    o.flags = (j->flag ? CELLAR_ONLY_IF_PRESENT : 0u) | (raw ? 0u : CELLAR_KEEP_TTL);
    const cellar_err err = raw
        ? cellar_increment(c, k->at, k->len, j->delta, j->number, &o, &j->sum)
        : cellar_update(c, k->at, k->len, &o, cache_add_int, j);
    j->number = j->sum;
    return err;
}

static cellar_err cache_run(cellar *c, const pykey *k, cache_job *j, int raw)
{
    cellar_entry_info info = cellar_entry_info_default();
    cellar_reason reason = cellar_reason_default();
    uint64_t count = 0;
    cellar_err err = CELLAR_E_INVAL;
    switch (j->call) {
    case CALL_HAS: return cellar_contains(c, k->at, k->len);
    case CALL_DELETE: /* the code of a delete is of memory alone */
        j->number = cellar_contains(c, k->at, k->len) == CELLAR_OK;
        return cellar_delete(c, k->at, k->len);
    case CALL_TOUCH: return cellar_touch(c, k->at, k->len, j->ttl_ms);
    case CALL_TTL:
        err = cellar_entry_info_get(c, k->at, k->len, 0, &info);
        j->number = info.ttl_left_ms == CELLAR_TTL_NONE ? -1 : info.ttl_left_ms;
        return err;
    case CALL_ADD: return cache_run_add(c, k, j, raw);
    case CALL_WHY:
        err = cellar_why(c, k->at, k->len, &reason);
        j->number = reason.answer;
        j->cause = cellar_cause_name(reason.cause);
        return err;
    case CALL_TAG:
        return cellar_delete_by_tag(c, j->text, (size_t)j->len,
                                    j->flag ? CELLAR_TAG_SOFT : CELLAR_TAG_HARD);
    case CALL_PATTERN:
        err = cellar_delete_by_pattern(c, j->text, (size_t)j->len, &count);
        j->number = (int64_t)count;
        return err;
    case CALL_CLEAR: return cellar_clear(c);
    }
    return err;
}

/* Run one call, without the GIL where it may wait or walk. `key` NULL: one of the namespace. Return
 * its code, -1 with an exception. */
static int cache_do(cache *s, PyObject *key, cache_job *j)
{
    pykey k;
    const int raw = s->codec.raw || (j->call == CALL_DELETE && j->flag);
    if (key != NULL && key_init(&k, key, raw) < 0) { return -1; }
    cellar_err err = CELLAR_OK;
    const int ready = cache_ready(s);
    if (ready == 0) {
        PyThreadState *const gil = s->below || key == NULL ? cache_leave(s) : NULL;
        err = cache_run(s->c, &k, j, s->codec.raw);
        cache_return(s, gil);
    }
    if (key != NULL) { key_fini(&k); }
    return ready < 0 ? -1 : err < 0 ? common_fail(s->c, err) : (int)err;
}

/* Run a call: its number, key (unused in calls for all), ttl, tag or pattern, flag, delta, initial.
 * Return (code, number, cause). */
static PyObject *cache_call(PyObject *self, PyObject *args)
{
    cache_job j = { .cause = NULL };
    PyObject *key;
    if (!PyArg_ParseTuple(args, "iO|O&z#pll", &j.call, &key, common_ms, &j.ttl_ms, &j.text, &j.len,
                          &j.flag, &j.delta, &j.number)) {
        return NULL;
    }
    const int is_of_all = j.call >= CALL_TAG && j.call <= CALL_CLEAR;
    const int code = cache_do((cache *)self, is_of_all ? NULL : key, &j);
    return code < 0 ? NULL : Py_BuildValue("ilz", code, j.number, j.cause);
}

static int cache_contains(PyObject *self, PyObject *key)
{
    cache_job j = { .call = CALL_HAS };
    const int code = cache_do((cache *)self, key, &j);
    return code < 0 ? -1 : code == CELLAR_OK;
}

static PyObject *cache_delete(PyObject *self, PyObject *key)
{
    cache_job j = { .call = CALL_DELETE };
    return cache_do((cache *)self, key, &j) < 0 ? NULL : PyBool_FromLong(j.number != 0);
}

/* ---- Store ---------------------------------------------------------------------------------- */

int cache_tags(PyObject *tags, cellar_bytes *out, uint32_t *count)
{
    const Py_ssize_t n = PyTuple_Check(tags) ? PyTuple_Size(tags) : -1;
    if (n < 0 || n > (Py_ssize_t)CELLAR_TAGS_MAX) {
        PyErr_SetString(PyExc_TypeError, "cellar: tags must be a tuple of at most 16 str");
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        Py_ssize_t len;
        out[i].data = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(tags, i), &len);
        if (out[i].data == NULL) { return -1; }
        out[i].len = (size_t)len;
    }
    *count = (uint32_t)n;
    return 0;
}

int cache_options_init(cache_options *x, PyObject *ttl, PyObject *const *a, PyObject *names)
{
    static const char *const words[] = { "ttl", "stale", "tags" };
    PyObject *given[] = { ttl, NULL, Py_None };
    const Py_ssize_t n = names == NULL ? 0 : PyTuple_Size(names);
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *name = PyTuple_GetItem(names, i);
        size_t at = 0;
        while (at < 3 && PyUnicode_CompareWithASCIIString(name, words[at]) != 0) { at++; }
        if (at == 3 || (at == 0 && ttl != NULL)) {
            PyErr_Format(PyExc_TypeError, "cellar: argument %R is unknown or given twice", name);
            return -1;
        }
        given[at] = a[i];
    }
    *x = (cache_options){ .tags = given[2] };
    return (given[0] == NULL || common_ms(given[0], &x->ttl_ms)) &&
        (given[1] == NULL || common_stale(given[1], &x->stale_ms)) ? 0 : -1;
}

/* Read the arguments of set and add behind key and value. */
static int cache_set_options(cellar_set_opts *o, cellar_bytes *tags, PyObject *const *a,
                             Py_ssize_t n, PyObject *names, uint32_t flags)
{
    cache_options x;
    *o = cellar_set_opts_default();
    if (common_arguments("set", n, 2, 3) < 0 ||
        cache_options_init(&x, n == 3 ? a[2] : NULL, a + n, names) < 0 ||
        (x.tags != Py_None && cache_tags(x.tags, tags, &o->tag_count) < 0)) {
        return -1;
    }
    o->tags = o->tag_count == 0 ? NULL : tags; /* a set with a TTL alone is faster */
    o->ttl_ms = x.ttl_ms;
    o->stale_ms = x.stale_ms;
    o->flags = flags;
    return 0;
}

/* Store with the arguments of set and add. Return the code, below 0 with an exception. */
static cellar_err cache_put(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names,
                            uint32_t flags)
{
    cache *s = (cache *)self;
    const int is_plain = n == 2 && names == NULL && flags == 0;
    cellar_err err = CELLAR_E_CANCELLED;
    cellar_bytes tags[CELLAR_TAGS_MAX];
    cellar_set_opts o;
    pykey k;
    pybuf v;
    if (!is_plain && cache_set_options(&o, tags, a, n, names, flags) < 0) { return err; }
    if (key_init(&k, a[0], s->codec.raw) < 0) { return err; }
    buf_init(&v);
    if (value_encode(&v, a[1], &s->codec) == 0 && cache_ready(s) == 0) {
        PyThreadState *const gil = s->below ? cache_leave(s) : NULL;
        err = cellar_set(s->c, k.at, k.len, v.at, v.len, is_plain ? NULL : &o);
        cache_return(s, gil);
        if (err < 0) { (void)common_raise(s->c, err); }
    }
    buf_fini(&v);
    key_fini(&k);
    return err;
}

static PyObject *cache_set(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names)
{
    return cache_put(self, a, n, names, 0) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *cache_add(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names)
{
    const cellar_err err = cache_put(self, a, n, names, CELLAR_ONLY_IF_ABSENT);
    return err < 0 ? NULL : PyBool_FromLong(err == CELLAR_OK);
}

static int cache_ass_subscript(PyObject *self, PyObject *key, PyObject *value)
{
    cache_job j = { .call = CALL_DELETE };
    PyObject *const both[] = { key, value };
    if (value != NULL) { return cache_put(self, both, 2, NULL, 0) < 0 ? -1 : 0; }
    if (cache_do((cache *)self, key, &j) >= 0 && j.number == 0) {
        PyErr_SetObject(PyExc_KeyError, key);
    }
    return PyErr_Occurred() ? -1 : 0;
}

/* ---- Look at all entries -------------------------------------------------------------------- */

/* Append the length and the bytes of a key: an object could begin a collection, which runs code of
 * the program in the middle of the scan. */
static bool cache_note_key(const cellar_scan_entry *e, void *ctx)
{
    pybuf *keys = ctx;
    return e->kind != CELLAR_KIND_VALUE || (buf_put(keys, &e->key_len, sizeof e->key_len) == 0 &&
                                            buf_put(keys, e->key, e->key_len) == 0);
}

/* Return a list of the keys that a scan found. */
static PyObject *cache_keys(const pybuf *keys, int raw)
{
    PyObject *list = PyList_New(0);
    size_t len;
    for (size_t at = 0; list != NULL && at < keys->len; at += len) {
        memcpy(&len, keys->at + at, sizeof len);
        at += sizeof len;
        PyObject *key = key_object(keys->at + at, len, raw);
        if (key != NULL) { (void)PyList_Append(list, key); }
        Py_XDECREF(key);
        if (PyErr_Occurred()) { Py_CLEAR(list); }
    }
    return list;
}

/* Return the next keys and the place behind them: (keys, cursor, place). */
static PyObject *cache_scan(PyObject *self, PyObject *args)
{
    cache *s = (cache *)self;
    cellar_scan_opts o = cellar_scan_opts_default();
    uint64_t cursor, place;
    Py_ssize_t n = 0;
    pybuf keys;
    if (!PyArg_ParseTuple(args, "kkz#", &cursor, &place, &o.pattern, &n)) { return NULL; }
    if (cache_ready(s) < 0) { return NULL; }
    o.pattern_len = (size_t)n;
    o.flags = s->below == BELOW_DISK ? CELLAR_SCAN_DISK : 0;
    o.place = s->below == BELOW_DISK ? &place : NULL;
    buf_init(&keys);
    const cellar_err err = cellar_scan(s->c, &cursor, &o, cache_note_key, &keys);
    if (err < 0 && !PyErr_Occurred()) { (void)common_raise(s->c, err); }
    PyObject *list = PyErr_Occurred() ? NULL : cache_keys(&keys, s->codec.raw);
    buf_fini(&keys);
    return list == NULL ? NULL : Py_BuildValue("Nkk", list, cursor, place);
}

static PyObject *cache_stats(PyObject *self, PyObject *unused)
{
    cache *s = (cache *)self;
    cellar_stats st = cellar_stats_default();
    (void)unused;
    if (cache_ready(s) < 0) { return NULL; }
    (void)cellar_stats_get(s->c, CELLAR_SCOPE_NAMESPACE, &st);
    const cellar_remote *const r = s->root->remote;
    return Py_BuildValue(
        "{sksksksksksksksksksksksksksksi}", "hits", st.hits_l1 + st.hits_l2 + st.stale_hits,
        "misses", st.misses, "hits_below", st.hits_l2, "sets", st.sets, "deletes", st.deletes,
        "entries", st.namespace_entries, "used_bytes", st.used_bytes, "budget_bytes",
        st.budget_bytes, "evicted", st.ended[CELLAR_CAUSE_EVICTED], "expired",
        st.ended[CELLAR_CAUSE_EXPIRED], "loads", st.loads, "loads_failed", st.loads_failed,
        "loads_joined", st.loads_joined, "foreign", s->foreign, "shared",
        r != NULL && cellar_remote_state_get(r) >= CELLAR_REMOTE_PROVEN);
}

static PyMethodDef cache_methods[] = {
    { "get", COMMON_METHOD(cache_get), METH_FASTCALL,
      "get(key, default=None): the value, or default." },
    { "set", COMMON_METHOD(cache_set), METH_FASTCALL | METH_KEYWORDS,
      "set(key, value, ttl=..., *, tags=(), stale=...): store a copy of the value.\n\n"
      "ttl in seconds; not given: of the namespace; None: never expires. tags: a tuple of str,\n"
      "for delete_tag. stale: seconds after the TTL in which memoize may return the value." },
    { "add", COMMON_METHOD(cache_add), METH_FASTCALL | METH_KEYWORDS,
      "add(key, value, ttl=..., *, tags=(), stale=...): store unless the key has a value;\n"
      "return whether stored." },
    { "delete", cache_delete, METH_O, "delete(key): return whether the key had a value." },
    { "stats", cache_stats, METH_NOARGS, "stats(): counters of this namespace and process." },
    { "_close", cache_close, METH_O, NULL },
    { "_call", cache_call, METH_VARARGS, NULL },
    { "_scan", cache_scan, METH_VARARGS, NULL },
    { NULL, NULL, 0, NULL }, /* get_or_load */
    { NULL, NULL, 0, NULL }
};
static PyType_Slot cache_slots[] = {
    { Py_tp_new, cache_new }, { Py_tp_dealloc, cache_dealloc }, { Py_tp_methods, cache_methods },
    { Py_mp_subscript, cache_subscript }, { Py_mp_ass_subscript, cache_ass_subscript },
    { Py_sq_contains, cache_contains }, { 0, NULL }
};
static PyType_Spec cache_spec = { "cellar._cellar.Cache", sizeof(cache), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, cache_slots };

int cache_types_add(PyObject *module, const PyMethodDef *more)
{
    cache_methods[sizeof cache_methods / sizeof cache_methods[0] - 2] = *more;
    cache_type = (PyTypeObject *)PyType_FromSpec(&cache_spec);
    return cache_type == NULL ? -1 : PyModule_AddType(module, cache_type);
}
