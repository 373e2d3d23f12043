/* SPDX-License-Identifier: MIT
 *
 * cache: the type _cellar.Cache, a store or one of its namespaces, and the calls for its keys.
 *
 * PICTURE    Cache -> root Cache -> cellar_open, cellar_remote_open; arguments kept for a child
 *            a call: key as bytes -> cellar_* -> value as an object
 * FORK       Each call compares `forks` of the handle with common_forks. In a child the first call
 *            opens store, link and namespace again, by the arguments of the parent. The GIL is
 *            held, so one thread opens and the others wait.
 * GIL        Memory is asked with the GIL held: it costs less than to release it. A call that may
 *            wait for disk or server releases the GIL, and `busy` of the store counts it. The close
 *            waits until no such call runs: cellar_close must not overlap calls.
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
    CACHE_UPDATE_TRIES = 1000 /* ms for which an update of a shared counter is repeated */
};

PyTypeObject *cache_type;
static cache *cache_open_list; /* stores that this process opened */

/* ---- Open and close ------------------------------------------------------------------------- */

/* Wait until the link is proven. Without a server the calls go on as if it were away. */
static int cache_wait_proof(cellar_remote *r)
{
    for (int i = 0; i < CACHE_PROOF_TRIES; i++) {
        const cellar_remote_state state = cellar_remote_state_get(r);
        if (state >= CELLAR_REMOTE_PROVEN) { break; }
        if (state == CELLAR_REMOTE_DOWN && i >= CACHE_LINK_TRIES) { break; }
        if (common_pause() < 0) { return -1; }
    }
    return 0;
}

/* Open the link of a shared store. */
static int cache_open_link(cache *s)
{
    cellar_host_config host = cellar_host_config_default();
    cellar_remote_config cfg = cellar_remote_config_default();
    host.log = common_log;
    cfg.host = &host;
    cfg.io_ms = CACHE_LINK_MS;
    cellar_err err = cellar_remote_open(s->c, s->url, &cfg, &s->remote);
    if (err == CELLAR_OK) { err = cellar_remote_attach(s->remote, s->c, NULL); }
    if (err != CELLAR_OK) {
        (void)common_raise_remote(NULL, err);
        return -1;
    }
    return cache_wait_proof(s->remote);
}

/* Forget the handle of a store that is closed, or that another call closes. */
static void cache_forget(cache *s)
{
    cache **at = &cache_open_list;
    while (*at != NULL && *at != s) { at = &(*at)->next; }
    if (*at == s) { *at = s->next; }
    s->c = NULL;
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
    if (err >= 0) { cache_forget(s); }
    return err;
}

static int cache_open_store(cache *s)
{
    cellar_config cfg = cellar_config_default();
    cellar_host_config host = cellar_host_config_default();
    cellar_l2_config l2 = cellar_l2_config_default();
    host.log = common_log;
    l2.write = s->durable ? CELLAR_L2_WRITE_THROUGH : CELLAR_L2_WRITE_ON_SET;
    l2.optional = s->optional != 0;
    cfg.memory_bytes = s->memory_bytes;
    cfg.max_entries = s->max_entries;
    cfg.default_ttl_ms = s->ttl_ms;
    cfg.host = &host;
    cfg.l2_path = s->path;
    cfg.l2_bytes = s->path == NULL ? 0 : s->disk_bytes;
    cfg.l2 = s->path == NULL ? NULL : &l2;
    const cellar_err err = cellar_open(&cfg, &s->c);
    if (err != CELLAR_OK) {
        (void)common_raise(NULL, err);
        return -1;
    }
    s->busy = 0;
    s->forks = common_forks;
    s->next = cache_open_list;
    cache_open_list = s;
    if (s->url == NULL || cache_open_link(s) == 0) { return 0; }
    (void)cache_close_here(s);
    return -1;
}

static int cache_open_namespace(cache *s)
{
    cellar_namespace_config cfg = cellar_namespace_config_default();
    cellar *c;
    if (cache_ready(s->root) < 0) { return -1; }
    cfg.default_ttl_ms = s->ttl_ms;
    cellar_err err = cellar_namespace_open(s->root->c, s->name, &cfg, &c);
    if (err != CELLAR_OK) {
        (void)common_raise(s->root->c, err);
        return -1;
    }
    if (s->root->remote != NULL) {
        err = cellar_remote_attach(s->root->remote, c, NULL);
        if (err != CELLAR_OK && err != CELLAR_E_BUSY) { /* E_BUSY: another handle attached it */
            (void)common_raise_remote(NULL, err);
            (void)cellar_namespace_close(c);
            return -1;
        }
    }
    s->c = c;
    s->forks = common_forks;
    return err == CELLAR_OK && s->root->remote != NULL ? cache_wait_proof(s->root->remote) : 0;
}

/* Open the handle in this process, or fail because the program closed it. */
int cache_open_here(cache *s)
{
    if (s->closed || s->root->closed) {
        (void)common_raise_text(common_error, CELLAR_E_CLOSED, "cellar: the Cache is closed");
        return -1;
    }
    if (s->forks != common_forks) { cache_open_list = NULL; } /* those of the parent */
    s->c = NULL;
    s->remote = NULL;
    return s->root == s ? cache_open_store(s) : cache_open_namespace(s);
}

/* Close the stores at the exit. One with a running load stays open: its buffers are written. */
void cache_close_all(void)
{
    cache *s = cache_open_list;
    while (s != NULL) {
        cache *const next = s->next;
        cellar_stats st = cellar_stats_default();
        if (s->forks == common_forks && cellar_stats_get(s->c, CELLAR_SCOPE_STORE, &st) == 0) {
            s->closed = 1;
            if (s->busy == 0 && st.loads_running == 0) {
                (void)cache_close_here(s);
            } else {
                Py_BEGIN_ALLOW_THREADS
                (void)cellar_sync(s->c);
                Py_END_ALLOW_THREADS
            }
        }
        s = next;
    }
}

static PyObject *cache_close(PyObject *self, PyObject *unused)
{
    cache *s = (cache *)self;
    (void)unused;
    const int is_open = !s->closed && s->c != NULL && s->forks == common_forks;
    s->closed = 1; /* new calls find a closed Cache */
    if (!is_open) { Py_RETURN_NONE; }
    if (s->root != s) {
        (void)cellar_namespace_close(s->c);
        s->c = NULL;
        Py_RETURN_NONE;
    }
    while (s->busy > 0 && common_pause() == 0) {}
    const cellar_err err = PyErr_Occurred() ? CELLAR_E_CANCELLED : cache_close_here(s);
    if (err >= 0) { Py_RETURN_NONE; }
    s->closed = 0;
    return PyErr_Occurred() ? NULL : common_raise(s->c, err);
}

/* Close a store that its last reference left in a thread of the store, which would join itself. */
static int cache_close_later(void *store)
{
    Py_BEGIN_ALLOW_THREADS
    (void)cellar_close(store);
    Py_END_ALLOW_THREADS
    return 0;
}

static void cache_dealloc(PyObject *self)
{
    cache *s = (cache *)self;
    if (s->c != NULL && s->forks == common_forks) {
        if (s->root != s) {
            (void)cellar_namespace_close(s->c);
        } else if (common_background) {
            cellar *const c = s->c;
            cache_forget(s);
            (void)Py_AddPendingCall(cache_close_later, c);
        } else {
            (void)cache_close_here(s);
        }
    }
    if (s->root != s) { Py_XDECREF((PyObject *)s->root); }
    Py_XDECREF(s->owned);
    common_free(self);
}

/* Open a store, or with a root one of its namespaces. The class Cache of __init__.py has the
 * arguments of users. */
static PyObject *cache_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    unsigned long long memory, disk, most;
    const char *name, *path, *url;
    PyObject *root, *ttl, *dumps, *loads;
    int is_pickle, optional, durable, raw;
    int64_t ttl_ms;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "OzKzKzKOOOpppp", &root, &name, &memory, &path, &disk, &url, &most,
                          &ttl, &dumps, &loads, &is_pickle, &optional, &durable, &raw) ||
        common_ms(ttl, "ttl", &ttl_ms) < 0) {
        return NULL;
    }
    cache *s = (cache *)common_alloc(type);
    if (s == NULL) { return NULL; }
    cache *const own = root == Py_None ? NULL : ((cache *)root)->root;
    s->root = own == NULL ? s : (cache *)Py_NewRef((PyObject *)own);
    s->owned = Py_NewRef(args);
    s->name = name;
    s->path = path;
    s->url = url;
    s->memory_bytes = memory;
    s->disk_bytes = disk;
    s->max_entries = most;
    s->ttl_ms = ttl_ms;
    s->optional = optional;
    s->durable = durable;
    s->below = s->root->path != NULL || s->root->url != NULL;
    s->codec.dumps = dumps;
    s->codec.loads = loads;
    s->codec.type = dumps == Py_None ? 0 : is_pickle ? TYPE_PICKLE : TYPE_CODEC;
    s->codec.raw = raw;
    if (cache_open_here(s) < 0) { Py_CLEAR(s); }
    return (PyObject *)s;
}

/* ---- Look ----------------------------------------------------------------------------------- */

/* Read a value into `buf`. With `deep` ask memory first, then all tiers without the GIL. */
static cellar_err cache_read(cache *s, const char *key, size_t len, int deep, char *buf, size_t cap,
                             size_t *n)
{
    cellar_err err;
    if (deep && !s->below) { return cellar_get(s->c, key, len, buf, cap, n); }
    cellar_get_opts o = cellar_get_opts_default();
    o.flags = CELLAR_GET_MEMORY;
    err = cellar_get_with(s->c, key, len, &o, buf, cap, n);
    if (err != CELLAR_MISS || !deep) { return err; }
    CACHE_RELEASED_BEGIN(s)
    err = cellar_get(s->c, key, len, buf, cap, n);
    CACHE_RELEASED_END
    return err;
}

/* Return the object of a value. Bytes that are none of this package are a miss, and counted. */
static PyObject *cache_object(cache *s, const char *at, size_t n)
{
    PyObject *o = value_decode(at, n, &s->codec);
    if (o == NULL && !PyErr_Occurred()) { s->foreign++; }
    return o;
}

PyObject *cache_look(cache *s, const char *key, size_t len, int deep)
{
    char buf[CACHE_LOOK_BYTES];
    size_t n = 0;
    cellar_err err = cache_read(s, key, len, deep, buf, sizeof buf, &n);
    if (err == CELLAR_OK) { return cache_object(s, buf, n); }
    while (err == CELLAR_E_BUFFER || err == CELLAR_E_LIMIT) { /* E_LIMIT: other threads copy */
        const size_t cap = n;
        char *big = PyMem_Malloc(cap + 1);
        if (big == NULL) { return PyErr_NoMemory(); }
        err = cache_read(s, key, len, deep, big, cap, &n);
        PyObject *o = err == CELLAR_OK ? cache_object(s, big, n) : NULL;
        PyMem_Free(big);
        if (err == CELLAR_OK) { return o; }
        if (err == CELLAR_E_LIMIT && common_pause() < 0) { return NULL; }
    }
    return err < 0 ? common_raise(s->c, err) : NULL;
}

static PyObject *cache_get(PyObject *self, PyObject *const *a, Py_ssize_t n)
{
    cache *s = (cache *)self;
    pykey k;
    if (common_arguments("get", n, 1, 2) < 0 || cache_ready(s) < 0) { return NULL; }
    if (key_init(&k, a[0], s->codec.raw) < 0) { return NULL; }
    PyObject *o = cache_look(s, k.at, k.len, 1);
    key_fini(&k);
    if (o != NULL || PyErr_Occurred()) { return o; }
    return Py_NewRef(n == 2 ? a[1] : Py_None);
}

static PyObject *cache_subscript(PyObject *self, PyObject *key)
{
    PyObject *o = cache_get(self, (PyObject *[]){ key, Py_Ellipsis }, 2); /* no value is one */
    if (o != Py_Ellipsis) { return o; }
    Py_DECREF(o);
    PyErr_SetObject(PyExc_KeyError, key);
    return NULL;
}

/* ---- Calls for one key, or for all ---------------------------------------------------------- */

/* An addition to a counter. */
typedef struct cache_sum {
    int64_t delta;
    int64_t initial;
    int64_t now;
} cache_sum;

/* Add to a value of TYPE_INT. A cellar_update_fn. */
static cellar_err cache_add_int(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    cache_sum *x = ctx;
    int64_t before = x->initial;
    unsigned char bytes[sizeof before + 1];
    if (old != NULL) {
        memcpy(bytes, old, old_len == sizeof bytes ? sizeof bytes : 0);
        if (old_len != sizeof bytes || bytes[sizeof before] != TYPE_INT) { return CELLAR_E_TYPE; }
        memcpy(&before, bytes, sizeof before);
    }
    if (__builtin_add_overflow(before, x->delta, &x->now)) { return CELLAR_E_RANGE; }
    memcpy(bytes, &x->now, sizeof x->now);
    bytes[sizeof before] = TYPE_INT;
    return cellar_buf_append(out, bytes, sizeof bytes);
}

/* Calls of the library; __init__.py has those from JOB_TOUCH to JOB_FORGET. */
enum { JOB_TOUCH, JOB_DESCRIBE, JOB_WHY, JOB_TAG, JOB_PATTERN, JOB_CLEAR, JOB_FORGET,
       JOB_HAS, JOB_DELETE, JOB_ADD };

/* One call, its arguments and results. */
typedef struct cache_job {
    int               call;  /* JOB_HAS .. */
    cellar_set_opts   o;
    cache_sum         sum;
    cellar_entry_info info;
    cellar_reason     reason;
    const char       *text; /* tag or pattern */
    Py_ssize_t        len;
    int               stale; /* JOB_TAG: the entries stay as stale ones */
    uint64_t          deleted;
} cache_job;

static cellar_err cache_run(cellar *c, const pykey *k, cache_job *j, int raw)
{
    switch (j->call) {
    case JOB_HAS: return cellar_contains(c, k->at, k->len);
    case JOB_FORGET: return cellar_delete(c, k->at, k->len);
    case JOB_DELETE: /* the code of a delete is of memory alone */
        j->deleted = cellar_contains(c, k->at, k->len) == CELLAR_OK;
        return cellar_delete(c, k->at, k->len);
    case JOB_TOUCH: return cellar_touch(c, k->at, k->len, j->o.ttl_ms);
    case JOB_DESCRIBE: return cellar_entry_info_get(c, k->at, k->len, 0, &j->info);
    case JOB_ADD:
        if (raw) {
            return cellar_increment(c, k->at, k->len, j->sum.delta, j->sum.initial, &j->o,
                                    &j->sum.now);
        }
        j->o.flags |= CELLAR_KEEP_TTL;
        return cellar_update(c, k->at, k->len, &j->o, cache_add_int, &j->sum);
    case JOB_WHY: return cellar_why(c, k->at, k->len, &j->reason);
    case JOB_TAG:
        return cellar_delete_by_tag(c, j->text, (size_t)j->len,
                                    j->stale ? CELLAR_TAG_SOFT : CELLAR_TAG_HARD);
    case JOB_PATTERN: return cellar_delete_by_pattern(c, j->text, (size_t)j->len, &j->deleted);
    case JOB_CLEAR: return cellar_clear(c);
    }
    return CELLAR_E_INVAL;
}

/* Run one call, without the GIL where a tier is below memory. `key` NULL: one of the namespace.
 * Return its code, -1 with an exception. E_BUSY of an addition is none: the caller repeats it. */
static int cache_do(cache *s, PyObject *key, cache_job *j)
{
    cellar_err err;
    pykey k;
    const int raw = s->codec.raw || j->call == JOB_FORGET; /* it has the bytes of a key */
    if (cache_ready(s) < 0 || (key != NULL && key_init(&k, key, raw) < 0)) { return -1; }
    if (!s->below && key != NULL) {
        err = cache_run(s->c, &k, j, s->codec.raw);
    } else {
        CACHE_RELEASED_BEGIN(s)
        err = cache_run(s->c, &k, j, s->codec.raw);
        CACHE_RELEASED_END
    }
    if (key != NULL) { key_fini(&k); }
    if (err >= 0 || (err == CELLAR_E_BUSY && j->call == JOB_ADD)) { return (int)err; }
    if (err == CELLAR_E_TYPE) {
        PyErr_SetString(PyExc_TypeError, "cellar: incr needs an int of 64 bits");
    } else if (err == CELLAR_E_RANGE) {
        PyErr_SetString(PyExc_OverflowError, "cellar: the counter would leave 64 bits");
    } else {
        (void)common_raise(s->c, err);
    }
    return -1;
}

static int cache_contains(PyObject *self, PyObject *key)
{
    cache_job j = { .call = JOB_HAS };
    const int code = cache_do((cache *)self, key, &j);
    return code < 0 ? -1 : code == CELLAR_OK;
}

static PyObject *cache_delete(PyObject *self, PyObject *key)
{
    cache_job j = { .call = JOB_DELETE };
    return cache_do((cache *)self, key, &j) < 0 ? NULL : PyBool_FromLong(j.deleted != 0);
}

/* Add to a counter: key, delta, initial (None: it must exist), ttl. */
static PyObject *cache_incr(PyObject *self, PyObject *args)
{
    cache *s = (cache *)self;
    cache_job j = { .call = JOB_ADD, .o = cellar_set_opts_default() };
    PyObject *key, *initial, *ttl;
    long long delta;
    if (!PyArg_ParseTuple(args, "OLOO", &key, &delta, &initial, &ttl) ||
        common_ms(ttl, "ttl", &j.o.ttl_ms) < 0) {
        return NULL;
    }
    j.sum.delta = delta;
    j.sum.initial = initial == Py_None ? 0 : PyLong_AsLongLong(initial);
    j.o.flags = initial == Py_None ? CELLAR_ONLY_IF_PRESENT : 0;
    if (PyErr_Occurred()) { return NULL; }
    int code = cache_do(s, key, &j);
    for (int i = 0; code == CELLAR_E_BUSY && i < CACHE_UPDATE_TRIES; i++) {
        if (common_pause() < 0) { return NULL; }
        code = cache_do(s, key, &j);
    }
    if (code == CELLAR_MISS) { PyErr_SetObject(PyExc_KeyError, key); }
    if (code == CELLAR_E_BUSY && !PyErr_Occurred()) { return common_raise(s->c, CELLAR_E_BUSY); }
    return PyErr_Occurred() ? NULL : PyLong_FromLongLong(j.sum.now);
}

/* Run a call of __init__.py: its number, key or None, ttl, text, stale. Return its result. */
static PyObject *cache_call(PyObject *self, PyObject *args)
{
    static const char *const words[] = { "unknown", "live", "stale", "negative", "error", "loading",
                                         "gone", "not in source" };
    cache_job j = { .info = cellar_entry_info_default(), .reason = cellar_reason_default() };
    PyObject *key, *ttl;
    int call;
    if (!PyArg_ParseTuple(args, "iOOz#p", &call, &key, &ttl, &j.text, &j.len, &j.stale) ||
        common_ms(ttl, "ttl", &j.o.ttl_ms) < 0) {
        return NULL;
    }
    j.call = call;
    const int code = cache_do((cache *)self, key == Py_None ? NULL : key, &j);
    if (code < 0) { return NULL; }
    switch (j.call) {
    case JOB_TOUCH: return PyBool_FromLong(code == CELLAR_OK);
    case JOB_DESCRIBE:
        if (code == CELLAR_OK && j.info.ttl_left_ms == CELLAR_TTL_NONE) { break; }
        if (code == CELLAR_OK) { return PyFloat_FromDouble((double)j.info.ttl_left_ms / 1000); }
        PyErr_SetObject(PyExc_KeyError, key);
        return NULL;
    case JOB_WHY:
        return PyUnicode_FromString(j.reason.answer == CELLAR_WHY_GONE ?
                                    cellar_cause_name(j.reason.cause) : words[j.reason.answer]);
    case JOB_PATTERN: return PyLong_FromUnsignedLongLong(j.deleted);
    default: break;
    }
    Py_RETURN_NONE;
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
    x->ttl_ms = x->stale_ms = 0;
    x->tags = NULL;
    if (ttl != NULL && common_ms(ttl, "ttl", &x->ttl_ms) < 0) { return -1; }
    const Py_ssize_t n = names == NULL ? 0 : PyTuple_Size(names);
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *name = PyTuple_GetItem(names, i);
        if (PyUnicode_CompareWithASCIIString(name, "ttl") == 0) {
            if (common_ms(a[i], "ttl", &x->ttl_ms) < 0) { return -1; }
        } else if (PyUnicode_CompareWithASCIIString(name, "stale") == 0) {
            if (common_ms(a[i], "stale", &x->stale_ms) < 0) { return -1; }
        } else if (PyUnicode_CompareWithASCIIString(name, "tags") == 0) {
            x->tags = a[i];
        } else {
            PyErr_Format(PyExc_TypeError, "cellar: unknown argument %R", name);
            return -1;
        }
    }
    return 0;
}

/* Store a value. `o` NULL: all defaults. Return the code, below 0 with an exception. */
static cellar_err cache_put(cache *s, PyObject *key, PyObject *value, const cellar_set_opts *o)
{
    pykey k;
    pybuf v;
    cellar_err err = CELLAR_E_CANCELLED;
    if (key_init(&k, key, s->codec.raw) < 0) { return err; }
    buf_init(&v);
    if (value_encode(&v, value, &s->codec) == 0) {
        if (!s->below) {
            err = cellar_set(s->c, k.at, k.len, v.at, v.len, o);
        } else {
            CACHE_RELEASED_BEGIN(s)
            err = cellar_set(s->c, k.at, k.len, v.at, v.len, o);
            CACHE_RELEASED_END
        }
        if (err < 0) { (void)common_raise(s->c, err); }
    }
    buf_fini(&v);
    key_fini(&k);
    return err;
}

/* Store with options: set and add. */
static cellar_err cache_put_with(cache *s, PyObject *const *a, Py_ssize_t n, PyObject *names,
                                 uint32_t flags)
{
    cache_options x;
    cellar_set_opts o = cellar_set_opts_default();
    cellar_bytes tags[CELLAR_TAGS_MAX];
    if (common_arguments("set", n, 2, 3) < 0 ||
        cache_options_init(&x, n == 3 ? a[2] : NULL, a + n, names) < 0 ||
        (x.tags != NULL && cache_tags(x.tags, tags, &o.tag_count) < 0)) {
        return CELLAR_E_CANCELLED;
    }
    o.tags = tags;
    o.ttl_ms = x.ttl_ms;
    o.stale_ms = x.stale_ms;
    o.flags = flags;
    return cache_put(s, a[0], a[1], &o);
}

static PyObject *cache_set(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names)
{
    cache *s = (cache *)self;
    if (cache_ready(s) < 0) { return NULL; }
    const cellar_err err = n == 2 && names == NULL ? cache_put(s, a[0], a[1], NULL) :
        cache_put_with(s, a, n, names, 0);
    return err < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *cache_add(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names)
{
    cache *s = (cache *)self;
    if (cache_ready(s) < 0) { return NULL; }
    const cellar_err err = cache_put_with(s, a, n, names, CELLAR_ONLY_IF_ABSENT);
    return err < 0 ? NULL : PyBool_FromLong(err == CELLAR_OK);
}

static int cache_ass_subscript(PyObject *self, PyObject *key, PyObject *value)
{
    cache *s = (cache *)self;
    cache_job j = { .call = JOB_DELETE };
    if (value != NULL) {
        return cache_ready(s) < 0 || cache_put(s, key, value, NULL) < 0 ? -1 : 0;
    }
    if (cache_do(s, key, &j) < 0) { return -1; }
    if (j.deleted == 0) { PyErr_SetObject(PyExc_KeyError, key); }
    return j.deleted == 0 ? -1 : 0;
}

/* ---- Look at all entries -------------------------------------------------------------------- */

/* Keys that one step of a scan found. */
typedef struct cache_found {
    PyObject *keys;
    int       raw;
} cache_found;

static bool cache_note_key(const cellar_scan_entry *e, void *ctx)
{
    cache_found *f = ctx;
    if (e->kind != CELLAR_KIND_VALUE || PyErr_Occurred()) { return true; }
    PyObject *key = key_object(e->key, e->key_len, f->raw);
    if (key != NULL) { (void)PyList_Append(f->keys, key); }
    Py_XDECREF(key);
    return !PyErr_Occurred();
}

/* Return the next keys and the place behind them: (keys, cursor, place). */
static PyObject *cache_scan(PyObject *self, PyObject *args)
{
    cache *s = (cache *)self;
    cellar_scan_opts o = cellar_scan_opts_default();
    unsigned long long cursor, place;
    Py_ssize_t n = 0;
    if (!PyArg_ParseTuple(args, "KKz#", &cursor, &place, &o.pattern, &n)) { return NULL; }
    if (cache_ready(s) < 0) { return NULL; }
    uint64_t at = cursor, second = place;
    o.pattern_len = (size_t)n;
    o.flags = s->root->path != NULL ? CELLAR_SCAN_DISK : 0;
    o.place = s->root->path != NULL ? &second : NULL;
    cache_found f = { PyList_New(0), s->codec.raw };
    const cellar_err err = f.keys == NULL ? CELLAR_OK :
        cellar_scan(s->c, &at, &o, cache_note_key, &f);
    if (err == CELLAR_E_BUSY) {
        (void)common_pause(); /* the disk does not answer: the next step goes on here */
    } else if (err < 0 && !PyErr_Occurred()) {
        (void)common_raise(s->c, err);
    }
    if (!PyErr_Occurred()) {
        return Py_BuildValue("NKK", f.keys, (unsigned long long)at, (unsigned long long)second);
    }
    Py_XDECREF(f.keys);
    return NULL;
}

static Py_ssize_t cache_length(PyObject *self)
{
    cache *s = (cache *)self;
    cellar_stats st = cellar_stats_default();
    if (cache_ready(s) < 0) { return -1; }
    (void)cellar_stats_get(s->c, CELLAR_SCOPE_NAMESPACE, &st);
    return (Py_ssize_t)st.namespace_entries;
}

static PyObject *cache_stats(PyObject *self, PyObject *unused)
{
    cache *s = (cache *)self;
    cellar_stats st = cellar_stats_default();
    (void)unused;
    if (cache_ready(s) < 0) { return NULL; }
    (void)cellar_stats_get(s->c, CELLAR_SCOPE_NAMESPACE, &st);
    const struct { const char *name; uint64_t count; } rows[] = {
        { "hits", st.hits_l1 + st.hits_l2 + st.stale_hits }, { "misses", st.misses },
        { "hits_below", st.hits_l2 }, { "sets", st.sets }, { "deletes", st.deletes },
        { "entries", st.namespace_entries }, { "used_bytes", st.used_bytes },
        { "budget_bytes", st.budget_bytes }, { "evicted", st.ended[CELLAR_CAUSE_EVICTED] },
        { "expired", st.ended[CELLAR_CAUSE_EXPIRED] }, { "loads", st.loads },
        { "loads_failed", st.loads_failed }, { "loads_joined", st.loads_joined },
        { "foreign", s->foreign },
        { "shared", s->root->remote != NULL &&
              cellar_remote_state_get(s->root->remote) >= CELLAR_REMOTE_PROVEN }
    };
    PyObject *out = PyDict_New();
    for (size_t i = 0; out != NULL && i < sizeof rows / sizeof rows[0]; i++) {
        PyObject *count = PyLong_FromUnsignedLongLong(rows[i].count);
        if (count == NULL || PyDict_SetItemString(out, rows[i].name, count) < 0) { Py_CLEAR(out); }
        Py_XDECREF(count);
    }
    return out;
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
    { "close", cache_close, METH_NOARGS,
      "close(): write what is buffered and close. A second call does nothing." },
    { "_call", cache_call, METH_VARARGS, NULL },
    { "_incr", cache_incr, METH_VARARGS, NULL },
    { "_scan", cache_scan, METH_VARARGS, NULL },
    { NULL, NULL, 0, NULL }
};
static PyType_Slot cache_slots[] = {
    { Py_tp_new, cache_new }, { Py_tp_dealloc, cache_dealloc }, { Py_tp_methods, cache_methods },
    { Py_mp_subscript, cache_subscript }, { Py_mp_ass_subscript, cache_ass_subscript },
    { Py_mp_length, cache_length }, { Py_sq_contains, cache_contains }, { 0, NULL }
};
static PyType_Spec cache_spec = { "cellar._cellar.Cache", sizeof(cache), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, cache_slots };

int cache_types_add(PyObject *module)
{
    cache_type = common_type_add(module, "Cache", &cache_spec);
    return cache_type == NULL ? -1 : 0;
}
