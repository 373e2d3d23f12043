/* SPDX-License-Identifier: MIT
 *
 * load: get_or_load, and the type _cellar.Memo, a memoized function.
 *
 * PICTURE    call -> memory, with the GIL -> cellar_get_or_load, without it -> load_run, with it
 *            a loader that raises -> row of load_rows -> its number as code of the load -> every
 *            call that waited raises the exception of the row
 * INVARIANTS A row lives as long as a call that began before it: load_calls is in order of begin,
 *            and the end of the oldest call drops the rows that no other call can ask for.
 * SIGNALS    The main thread waits in slices of 50 ms and runs signal handlers between them. A
 *            load that failed between two slices has a row with its key: the next slice finds it.
 * LOCKING    The GIL guards rows and calls.
 * SEE ALSO   LOADS, RECURSION and LEAVE A WAIT in cellar_load.h. */
#include "python/python.h"

#include <pythread.h>

#include "cellar_entry.h"
#include "cellar_load.h"

enum { LOAD_SLICE_MS = 50 };

/* A call that may run its loader or wait for another one. A background load has one on the heap. */
typedef struct load_call load_call;
struct load_call {
    load_call  *earlier, *later; /* list of the calls that run, in order of begin */
    uint64_t    begin;           /* load_clock of the begin */
    const void *of;              /* the Cache, to compare alone */
    codec       codec;           /* of the Cache; borrowed, owned by a background load */
    PyObject   *fn;              /* the loader; all four borrowed, owned in the background */
    PyObject   *args;
    PyObject   *kwargs;
    PyObject   *tags;            /* a tuple, or a function of the arguments; NULL: none */
    PyObject   *store;           /* a function of the value: whether to store it; NULL: always */
    PyObject   *value;           /* what the loader of this call returned, owned */
    unsigned    forks;           /* common_forks of the begin */
    int         slices;          /* waits that ended so far */
};

/* An exception of a loader, while calls may wait for it. */
typedef struct load_row load_row;
struct load_row {
    load_row *next;
    PyObject *error;
    uint64_t  made;    /* load_clock */
    uint64_t  key_hash; /* of the key and its Cache */
    int32_t   number;  /* code of the load */
};

static uint64_t load_clock;
static load_call *load_oldest, *load_newest;
static load_row *load_rows;

/* ---- Exceptions of loaders ------------------------------------------------------------------ */

static void load_begin(load_call *x)
{
    x->begin = load_clock;
    x->forks = common_forks;
    x->earlier = load_newest;
    x->later = NULL;
    if (load_newest != NULL) { load_newest->later = x; } else { load_oldest = x; }
    load_newest = x;
}

static void load_end(load_call *x)
{
    if (x->earlier != NULL) { x->earlier->later = x->later; } else { load_oldest = x->later; }
    if (x->later != NULL) { x->later->earlier = x->earlier; } else { load_newest = x->earlier; }
    load_row **at = &load_rows, *ended = NULL;
    while (*at != NULL) {
        load_row *const row = *at;
        if (load_oldest != NULL && row->made > load_oldest->begin) {
            at = &row->next;
            continue;
        }
        *at = row->next;
        row->next = ended;
        ended = row;
    }
    while (ended != NULL) { /* the end of an exception may run code of the program */
        load_row *const row = ended;
        ended = row->next;
        Py_DECREF(row->error);
        PyMem_Free(row);
    }
}

/* Return a number of a key in a Cache: FNV-1a. */
static uint64_t load_hash(const void *cache_of, const void *key, size_t len)
{
    const unsigned char *at = key;
    uint64_t hash = UINT64_C(14695981039346656037) ^ (uint64_t)(uintptr_t)cache_of;
    for (size_t i = 0; i < len; i++) { hash = (hash ^ at[i]) * UINT64_C(1099511628211); }
    return hash;
}

/* Keep the exception that is set, which stays set. Return its number; 0 without memory. */
static int32_t load_keep(uint64_t key_hash)
{
    PyObject *type, *value, *trace;
    load_row *row = PyMem_Malloc(sizeof *row);
    if (row == NULL) { return 0; }
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    if (trace != NULL) { (void)PyException_SetTraceback(value, trace); }
    row->error = Py_NewRef(value);
    row->key_hash = key_hash;
    row->made = ++load_clock;
    row->number = (int32_t)(load_clock % INT32_MAX) + 1;
    row->next = load_rows;
    load_rows = row;
    PyErr_Restore(type, value, trace);
    return row->number;
}

/* Raise the exception of a row; else LoadError with the code. */
static void load_raise(int32_t number)
{
    for (load_row *row = load_rows; row != NULL; row = row->next) {
        if (row->number == number) {
            PyErr_SetObject((PyObject *)Py_TYPE(row->error), row->error);
            return;
        }
    }
    (void)common_raise_text(common_load_error, (cellar_err)number,
                            "cellar: the load failed in another process, or with a code");
}

/* Return the number of a row of this key that is newer than the call. 0: none. */
static int32_t load_failed_meanwhile(const load_call *x, uint64_t key_hash)
{
    for (const load_row *row = load_rows; row != NULL; row = row->next) {
        if (row->key_hash == key_hash && row->made > x->begin) { return row->number; }
    }
    return 0;
}

/* ---- Run a loader --------------------------------------------------------------------------- */

/* Find tags and NO_STORE of a result. The tags live as long as *owner: the caller releases it. */
static int load_result_options(const load_call *x, PyObject *value, cellar_set_opts *o,
                               cellar_bytes *texts, PyObject **owner)
{
    *owner = NULL;
    *o = cellar_set_opts_default();
    if (x->tags != NULL) {
        const int is_function = PyCallable_Check(x->tags);
        PyObject *tags = is_function ? PyObject_Call(x->tags, x->args, x->kwargs) :
            Py_NewRef(x->tags);
        *owner = tags == NULL ? NULL : PySequence_Tuple(tags);
        Py_XDECREF(tags);
        if (*owner == NULL || cache_tags(*owner, texts, &o->tag_count) < 0) { return -1; }
        o->tags = texts;
    }
    if (x->store == NULL) { return 0; }
    PyObject *answer = PyObject_CallFunctionObjArgs(x->store, value, NULL);
    const int keep = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    if (keep == 0) { o->flags = CELLAR_NO_STORE; }
    return keep < 0 ? -1 : 0;
}

/* Hand the value to the library. Fail with a code of the library, or with an exception. */
static cellar_err load_hand_over(cellar_load *load, load_call *x, PyObject *value)
{
    pybuf v;
    cellar_set_opts o;
    cellar_bytes texts[CELLAR_TAGS_MAX];
    PyObject *owner;
    cellar_err err = CELLAR_E_LOADER;
    buf_init(&v);
    if (load_result_options(x, value, &o, texts, &owner) == 0 &&
        value_encode(&v, value, &x->codec) == 0) {
        err = cellar_load_opts_set(load, &o);
        if (err == CELLAR_OK) { err = cellar_load_value(load, v.at, v.len); }
    }
    buf_fini(&v);
    Py_XDECREF(owner);
    return err;
}

/* Report the exception that is set as the failure of the load. */
static cellar_err load_report(cellar_load *load, uint64_t key_hash)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception)) {
        return CELLAR_E_CANCELLED; /* KeyboardInterrupt, SystemExit: another call loads next */
    }
    const int32_t number = load_keep(key_hash);
    if (number != 0) { (void)cellar_load_fail(load, number, 0, CELLAR_FAIL_FINAL); }
    return CELLAR_E_LOADER;
}

/* Run the loader of a call, in its thread; or that of a background load. A cellar_loader_fn. */
static cellar_err load_run(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    load_call *x = ctx;
    cellar_err err = CELLAR_E_LOADER;
    if (x == NULL) { return CELLAR_E_NOMEM; } /* load_retain had no memory */
    const PyGILState_STATE state = PyGILState_Ensure();
    const int background = x->begin == UINT64_MAX;
    const unsigned forks = common_forks;
    const uint64_t hash = load_hash(x->of, key, key_len);
    const int32_t failed = x->slices > 0 ? load_failed_meanwhile(x, hash) : 0;
    if (failed != 0) {
        (void)cellar_load_fail(load, failed, 0, CELLAR_FAIL_FINAL);
    } else {
        common_background = background;
        Py_CLEAR(x->value);
        x->value = PyObject_Call(x->fn, x->args, x->kwargs);
        if (forks != common_forks) {
            err = CELLAR_E_FORKED; /* the load belongs to the parent */
        } else {
            if (x->value != NULL) { err = load_hand_over(load, x, x->value); }
            if (PyErr_Occurred()) {
                Py_CLEAR(x->value);
                err = load_report(load, hash);
            }
            if (background && PyErr_Occurred()) { PyErr_WriteUnraisable(x->fn); }
        }
        common_background = 0;
    }
    PyGILState_Release(state);
    return err;
}

/* Take the references of a background load, or give them back. */
static void load_hold(const load_call *x, int take)
{
    PyObject *const held[] = { x->codec.dumps, x->codec.loads, x->fn, x->args, x->kwargs, x->tags,
                               x->store };
    for (size_t i = 0; i < sizeof held / sizeof held[0]; i++) {
        if (take) { Py_XINCREF(held[i]); } else { Py_XDECREF(held[i]); }
    }
}

/* Copy a call for a load in the background. NULL without memory. */
static void *load_retain(void *ctx)
{
    const PyGILState_STATE state = PyGILState_Ensure();
    load_call *own = PyMem_Malloc(sizeof *own);
    if (own != NULL) {
        *own = *(const load_call *)ctx;
        own->begin = UINT64_MAX;
        own->value = NULL;
        own->slices = 0;
        load_hold(own, 1);
    }
    PyGILState_Release(state);
    return own;
}

static void load_release(void *ctx)
{
    load_call *x = ctx;
    if (x == NULL) { return; }
    const PyGILState_STATE state = PyGILState_Ensure();
    common_background = 1;
    load_hold(x, 0);
    Py_XDECREF(x->value);
    PyMem_Free(x);
    common_background = 0;
    PyGILState_Release(state);
}

void load_forked(void)
{
    load_oldest = load_newest = NULL;
    load_rows = NULL;
}

/* ---- A load --------------------------------------------------------------------------------- */

/* Return the value of a key, loaded by x->fn if it is missing. */
static PyObject *load_key(cache *s, const char *key, size_t len, load_call *x, int64_t ttl_ms,
                          int64_t stale_ms)
{
    cellar_result r = cellar_result_default();
    cellar_load_opts o = cellar_load_opts_default();
    const int sliced = PyThread_get_thread_ident() == common_main_thread;
    cellar_err err;
    PyObject *value = NULL;
    o.ttl_ms = ttl_ms;
    o.jitter_pct = CELLAR_OFF;
    o.join_retries = 8; /* loads that were cancelled; a failed one is final */
    o.flags = CELLAR_LOAD_RECURSE;
    o.wait_timeout_ms = sliced ? LOAD_SLICE_MS : CELLAR_TTL_NONE;
    if (stale_ms != 0) {
        o.stale_ms = stale_ms;
        o.ctx_retain = load_retain;
        o.ctx_release = load_release;
    }
    x->of = s->root;
    x->codec = s->codec;
    load_begin(x);
    for (;;) {
        Py_BEGIN_ALLOW_THREADS
        err = cellar_get_or_load(s->c, key, len, &o, load_run, x, &r);
        Py_END_ALLOW_THREADS
        if (PyErr_Occurred()) { break; }
        if (err == CELLAR_E_TIMEOUT && sliced) {
            x->slices++;
            if (PyErr_CheckSignals() < 0) { break; }
        } else if ((err == CELLAR_OK || err == CELLAR_STALE) && x->value == NULL) {
            value = value_decode(r.value, r.value_len, &s->codec);
            if (value != NULL || PyErr_Occurred()) { break; }
            s->foreign++;
            o.flags |= CELLAR_LOAD_REFRESH; /* bytes that are none of this package: a miss */
        } else {
            break;
        }
        cellar_result_free(&r);
    }
    if (value == NULL && !PyErr_Occurred()) {
        if (err == CELLAR_OK || err == CELLAR_STALE) {
            value = Py_NewRef(x->value);
        } else if (err == CELLAR_ABSENT) {
            value = Py_NewRef(Py_None);
        } else if (err == CELLAR_E_LOADER) {
            load_raise(r.loader_err);
        } else {
            (void)common_raise(s->c, err);
        }
    }
    if (x->forks == common_forks) { load_end(x); }
    Py_CLEAR(x->value);
    cellar_result_free(&r);
    return value;
}

/* Load the value of a key: the slow part of load_get. */
__attribute__((noinline)) static PyObject *load_get_slow(cache *s, const pykey *k,
                                                         PyObject *const *a, Py_ssize_t n,
                                                         PyObject *names)
{
    cache_options o;
    if (cache_options_init(&o, n == 3 ? a[2] : NULL, a + n, names) < 0) { return NULL; }
    load_call x = { .fn = a[1], .args = PyTuple_Pack(1, a[0]), .tags = o.tags };
    PyObject *value = x.args == NULL ? NULL :
        load_key(s, k->at, k->len, &x, o.ttl_ms, o.stale_ms);
    Py_XDECREF(x.args);
    return value;
}

/* Return the value of a key, or load it: the method get_or_load of a Cache. */
static PyObject *load_get(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names)
{
    cache *s = (cache *)self;
    pykey k;
    if (cache_ready(s) < 0 || common_arguments("get_or_load", n, 2, 3) < 0) { return NULL; }
    if (key_init(&k, a[0], s->codec.raw) < 0) { return NULL; }
    PyObject *value = cache_look(s, k.at, k.len, 0);
    if (value == NULL && !PyErr_Occurred()) { value = load_get_slow(s, &k, a, n, names); }
    key_fini(&k);
    return value;
}

/* ---- Memo ----------------------------------------------------------------------------------- */

/* A memoized function. Its keys are | 0 | 'm' | prefix | 0 | arguments |. */
typedef struct memo {
    PyObject_HEAD
    PyObject   *owned;    /* the arguments: what stands below is theirs */
    cache      *cache;
    PyObject   *fn;
    const char *prefix;
    Py_ssize_t  prefix_len;
    PyObject   *key;      /* a function of the arguments; NULL: the arguments themselves */
    PyObject   *tags;     /* as in load_call */
    PyObject   *store;
    int64_t     ttl_ms;
    int64_t     stale_ms;
    uint64_t    hits;     /* calls that found a value in memory */
    uint64_t    misses;   /* all other calls */
} memo;

/* Make a memo: cache, fn, prefix, ttl, stale, key, tags, store. */
static PyObject *memo_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    memo x = { .hits = 0 };
    PyObject *of, *ttl, *stale;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "O!Oy#OOOOO", cache_type, &of, &x.fn, &x.prefix, &x.prefix_len,
                          &ttl, &stale, &x.key, &x.tags, &x.store) ||
        common_ms(ttl, "ttl", &x.ttl_ms) < 0 || common_ms(stale, "stale", &x.stale_ms) < 0) {
        return NULL;
    }
    memo *m = (memo *)common_alloc(type);
    if (m == NULL) { return NULL; }
    m->owned = Py_NewRef(args);
    m->cache = (cache *)of;
    m->fn = x.fn;
    m->prefix = x.prefix;
    m->prefix_len = x.prefix_len;
    m->key = x.key == Py_None ? NULL : x.key;
    m->tags = x.tags == Py_None ? NULL : x.tags;
    m->store = x.store == Py_None ? NULL : x.store;
    m->ttl_ms = x.ttl_ms;
    m->stale_ms = x.stale_ms;
    return (PyObject *)m;
}

static int memo_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((memo *)self)->owned);
    return 0;
}

static void memo_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    Py_XDECREF(((memo *)self)->owned);
    common_free(self);
}

/* Make the key of a call. */
static int memo_key(const memo *m, PyObject *args, PyObject *kwargs, pybuf *b)
{
    buf_init(b);
    int done = -1;
    if (buf_put(b, "\0m", 2) < 0 || buf_put(b, m->prefix, (size_t)m->prefix_len + 1) < 0) {
        return -1;
    }
    if (m->key == NULL) {
        done = key_add_arguments(b, args, kwargs);
    } else {
        PyObject *key = PyObject_Call(m->key, args, kwargs);
        pykey k;
        if (key != NULL && key_init(&k, key, 0) == 0) {
            done = buf_put(b, k.at, k.len);
            key_fini(&k);
        }
        Py_XDECREF(key);
    }
    if (done < 0) { buf_fini(b); }
    return done;
}

static PyObject *memo_call(PyObject *self, PyObject *args, PyObject *kwargs)
{
    memo *m = (memo *)self;
    pybuf b;
    if (cache_ready(m->cache) < 0 || memo_key(m, args, kwargs, &b) < 0) { return NULL; }
    PyObject *value = cache_look(m->cache, b.at, b.len, 0);
    if (value != NULL) {
        m->hits++;
    } else if (!PyErr_Occurred()) {
        load_call x = { .fn = m->fn, .args = args, .kwargs = kwargs, .tags = m->tags,
                        .store = m->store };
        m->misses++;
        value = load_key(m->cache, b.at, b.len, &x, m->ttl_ms, m->stale_ms);
    }
    buf_fini(&b);
    return value;
}

/* Return the value of a call in memory, or `missing`: args, kwargs, missing. */
static PyObject *memo_hit(PyObject *self, PyObject *const *a, Py_ssize_t n)
{
    memo *m = (memo *)self;
    pybuf b;
    if (common_arguments("_hit", n, 3, 3) < 0 || cache_ready(m->cache) < 0) { return NULL; }
    if (memo_key(m, a[0], a[1], &b) < 0) { return NULL; }
    PyObject *value = cache_look(m->cache, b.at, b.len, 0);
    buf_fini(&b);
    if (value != NULL) {
        m->hits++;
    } else if (!PyErr_Occurred()) {
        m->misses++;
        value = Py_NewRef(a[2]);
    }
    return value;
}

static PyObject *memo_make_key(PyObject *self, PyObject *args)
{
    PyObject *of, *kwargs;
    pybuf b;
    if (!PyArg_ParseTuple(args, "O!O", &PyTuple_Type, &of, &kwargs)) { return NULL; }
    if (memo_key((memo *)self, of, kwargs, &b) < 0) { return NULL; }
    PyObject *key = PyBytes_FromStringAndSize(b.at, (Py_ssize_t)b.len);
    buf_fini(&b);
    return key;
}

/* Ask for a value, or for the lease to load it: key, missing. Return (value or missing, lease or
 * None); (missing, None): another thread or worker loads it. */
static PyObject *memo_lease(PyObject *self, PyObject *args)
{
    memo *m = (memo *)self;
    cache *s = m->cache;
    const char *key;
    Py_ssize_t len;
    PyObject *missing, *value = NULL;
    cellar_load_opts o = cellar_load_opts_default();
    cellar_result r = cellar_result_default();
    cellar_lease lease;
    cellar_err err;
    if (!PyArg_ParseTuple(args, "y#O", &key, &len, &missing) || cache_ready(s) < 0) { return NULL; }
    o.ttl_ms = m->ttl_ms;
    o.stale_ms = m->stale_ms;
    o.jitter_pct = CELLAR_OFF;
    CACHE_RELEASED_BEGIN(s)
    err = cellar_lease_acquire(s->c, key, (size_t)len, &o, NULL, &lease, &r);
    CACHE_RELEASED_END
    if (err == CELLAR_OK || err == CELLAR_STALE) {
        value = value_decode(r.value, r.value_len, &s->codec);
    } else if (err < 0) {
        (void)common_raise(s->c, err);
    }
    cellar_result_free(&r);
    if (PyErr_Occurred()) { return NULL; }
    PyObject *held = !cellar_lease_held(&lease) ? Py_NewRef(Py_None) :
        PyBytes_FromStringAndSize((const char *)&lease, sizeof lease);
    return Py_BuildValue("NN", value == NULL ? Py_NewRef(missing) : value, held);
}

/* End a lease: lease, value or missing, missing, args, kwargs. Without a value give it back. */
static PyObject *memo_fulfill(PyObject *self, PyObject *args)
{
    memo *m = (memo *)self;
    cache *s = m->cache;
    load_call x = { .tags = m->tags, .store = m->store };
    PyObject *value, *missing, *owner = NULL;
    const char *bytes;
    Py_ssize_t n;
    cellar_set_opts o;
    cellar_bytes texts[CELLAR_TAGS_MAX];
    cellar_lease lease;
    pybuf v;
    if (!PyArg_ParseTuple(args, "y#OOOO", &bytes, &n, &value, &missing, &x.args, &x.kwargs) ||
        cache_ready(s) < 0) {
        return NULL;
    }
    memset(&lease, 0, sizeof lease);
    memcpy(&lease, bytes, (size_t)n == sizeof lease ? sizeof lease : 0);
    buf_init(&v);
    const int made = value == missing ? 1 :
        load_result_options(&x, value, &o, texts, &owner) < 0 ||
        value_encode(&v, value, &s->codec) < 0 ? -1 : (o.flags & CELLAR_NO_STORE) != 0;
    CACHE_RELEASED_BEGIN(s)
    if (made == 0) {
        (void)cellar_lease_fulfill(s->c, &lease, v.at, v.len, &o);
    } else {
        (void)cellar_lease_release(s->c, &lease, 0);
    }
    CACHE_RELEASED_END
    buf_fini(&v);
    Py_XDECREF(owner);
    return made < 0 ? NULL : Py_NewRef(Py_None);
}

/* Return (hits, misses), and begin them at 0 if the argument is true. */
static PyObject *memo_counts(PyObject *self, PyObject *reset)
{
    memo *m = (memo *)self;
    PyObject *out = Py_BuildValue("KK", (unsigned long long)m->hits, (unsigned long long)m->misses);
    if (reset == Py_True) { m->hits = m->misses = 0; }
    return out;
}

/* Bind a method, as a function does. */
static PyObject *memo_get(PyObject *self, PyObject *object, PyObject *type)
{
    (void)type;
    if (object == NULL || object == Py_None) { return Py_NewRef(self); }
    PyObject *types = PyImport_ImportModule("types");
    PyObject *bound = types == NULL ? NULL :
        PyObject_CallMethod(types, "MethodType", "OO", self, object);
    Py_XDECREF(types);
    return bound;
}

static PyMethodDef memo_methods[] = {
    { "_hit", COMMON_METHOD(memo_hit), METH_FASTCALL, NULL },
    { "_key", memo_make_key, METH_VARARGS, NULL },
    { "_lease", memo_lease, METH_VARARGS, NULL },
    { "_fulfill", memo_fulfill, METH_VARARGS, NULL },
    { "_counts", memo_counts, METH_O, NULL },
    { NULL, NULL, 0, NULL }
};
static PyType_Slot memo_slots[] = {
    { Py_tp_new, memo_new }, { Py_tp_dealloc, memo_dealloc }, { Py_tp_traverse, memo_traverse },
    { Py_tp_call, memo_call }, { Py_tp_methods, memo_methods },
    { Py_tp_descr_get, memo_get }, { 0, NULL }
};
static PyType_Spec memo_spec = { "cellar._cellar.Memo", sizeof(memo), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE, memo_slots };

int load_types_add(PyObject *module)
{
    static PyMethodDef get_or_load = {
        "get_or_load", COMMON_METHOD(load_get), METH_FASTCALL | METH_KEYWORDS,
        "get_or_load(key, loader, ttl=..., *, stale=..., tags=()): the value; a missing one is\n"
        "loader(key). Threads that ask for one missing key run one loader. Each of them gets what\n"
        "it returns or raises. With shared= also the workers. After 30 s a waiter runs it again."
    };
    PyObject *method = PyDescr_NewMethod(cache_type, &get_or_load);
    const int set = method == NULL ? -1 :
        PyObject_SetAttrString((PyObject *)cache_type, get_or_load.ml_name, method);
    PyTypeObject *type = common_type_add(module, "Memo", &memo_spec);
    Py_XDECREF(method);
    Py_XDECREF((PyObject *)type);
    return set < 0 || type == NULL ? -1 : 0;
}
