/* SPDX-License-Identifier: MIT
 *
 * load: get_or_load, and the type _cellar.Memo, a memoized function.
 *
 * PICTURE    call -> memory, with the GIL -> cellar_get_or_load, without it -> load_run, with it
 *            a loader that raises -> its exception into each running call of the key in load_calls
 *            -> every call that waited raises it
 * INVARIANTS A call stands in load_calls before it asks the library, and the call of a loader until
 *            its load has ended. So a call that waits for a load that fails has its exception.
 * SIGNALS    The main thread waits in slices of 50 ms and runs signal handlers between them. A
 *            load that failed between two slices left its exception: the next slice raises it.
 * LOCKING    The GIL guards the list.
 * SEE ALSO   LOADS, RECURSION and LEAVE A WAIT in cellar_load.h. */
#include "python/python.h"

#include <structmember.h>

#include "cellar_entry.h"
#include "cellar_load.h"

enum {
    LOAD_SLICE_MS = 50,
    LOAD_RAISED = 1 /* code of a load that ended with an exception */
};

/* A call that may run its loader or wait for another one. A background load has one on the heap. */
typedef struct load_call load_call;
struct load_call {
    load_call *next;     /* list of the calls that run, the newest first */
    uint64_t   key_hash; /* of the key and its namespace */
    codec      codec;    /* of the Cache */
    PyObject  *fn;       /* the loader; all four borrowed */
    PyObject  *args;
    PyObject  *kwargs;   /* NULL: none */
    PyObject  *tags;     /* a tuple; a function of value, args and kwargs that returns one, or None
                          * for a value that is not kept; None: none */
    PyObject  *owner;    /* the Cache; in the background a tuple that owns all of these */
    PyObject  *value;    /* what the loader of this call returned, owned */
    PyObject  *error;    /* what a loader of the key raised while this call ran, owned */
    int        inherited; /* 1: `error` is of a load that failed before this call began */
    int        slices;   /* waits that ended so far */
    int        background;
    int        entering; /* 1: counted in `entering` of the store */
};

static load_call *load_calls;

void load_forked(void) { load_calls = NULL; }

/* ---- Exceptions of loaders ------------------------------------------------------------------ */

/* Give a call what a loader raised. The first load that it can wait for decides. Return 1 when it
 * replaced an exception: the end of that one may have run other threads, and `x` may be gone. */
static int load_give(load_call *x, PyObject *error, int inherited)
{
    PyObject *const before = x->error;
    if (error == NULL || (before != NULL && !x->inherited)) { return 0; }
    x->error = Py_NewRef(error);
    x->inherited = inherited;
    Py_XDECREF(before);
    return before != NULL;
}

static void load_begin(load_call *x, const char *key, size_t len)
{
    x->key_hash = UINT64_C(14695981039346656037) ^ (uint64_t)(uintptr_t)((cache *)x->owner)->c;
    for (size_t i = 0; i < len; i++) { /* FNV-1a */
        x->key_hash = (x->key_hash ^ (unsigned char)key[i]) * UINT64_C(1099511628211);
    }
    for (const load_call *other = load_calls; other != NULL; other = other->next) {
        if (other->key_hash == x->key_hash) { (void)load_give(x, other->error, 1); }
    }
    x->next = load_calls;
    load_calls = x;
}

/* Note that the library has the call, or that it has returned. */
static void load_entered(load_call *x)
{
    if (x->entering) { ((cache *)x->owner)->root->entering--; }
    x->entering = 0;
}

static void load_end(const load_call *x)
{
    load_call **at = &load_calls;
    while (*at != NULL && *at != x) { at = &(*at)->next; } /* a child of a fork has an empty list */
    if (*at != NULL) { *at = x->next; }
}

/* Take the exception that is set, and end the load with it. */
static cellar_err load_failed(cellar_load *load, load_call *x)
{
    PyObject *type, *error, *trace;
    const int is_shared = PyErr_ExceptionMatches(PyExc_Exception);
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    if (trace != NULL) { (void)PyException_SetTraceback(error, trace); }
    x->inherited = 1; /* what this loader raised replaces what another one raised */
    (void)load_give(x, error, 0);
    for (load_call *other = load_calls; is_shared && other != NULL;) {
        const int replaced = other->key_hash == x->key_hash && load_give(other, error, 0);
        other = replaced ? load_calls : other->next;
    }
    PyErr_Restore(type, error, trace);
    if (x->background) { PyErr_WriteUnraisable(x->fn); } else { PyErr_Clear(); }
    if (!is_shared) { return CELLAR_E_CANCELLED; } /* KeyboardInterrupt: another call loads next */
    (void)cellar_load_fail(load, LOAD_RAISED, 0, CELLAR_FAIL_FINAL);
    return CELLAR_E_LOADER;
}

/* ---- Run a loader --------------------------------------------------------------------------- */

/* A value as the library takes it. Begin with load_result_init; release `bytes` and `owner`. */
typedef struct load_result {
    pybuf           bytes;
    cellar_set_opts o;
    cellar_bytes    texts[CELLAR_TAGS_MAX];
    PyObject       *owner; /* of the texts */
} load_result;

static int load_result_init(load_result *r, const load_call *x)
{
    const int decides = PyCallable_Check(x->tags);
    buf_init(&r->bytes);
    r->o = cellar_set_opts_default();
    r->owner = !decides ? Py_NewRef(x->tags) : PyObject_CallFunction(
        x->tags, "OOO", x->value, x->args, x->kwargs == NULL ? Py_None : x->kwargs);
    r->o.tags = r->texts;
    r->o.flags = decides && r->owner == Py_None ? CELLAR_NO_STORE : 0;
    if (r->owner == NULL || (r->owner != Py_None &&
                             cache_tags(r->owner, r->texts, &r->o.tag_count) < 0)) {
        return -1;
    }
    return value_encode(&r->bytes, x->value, &x->codec);
}

/* Hand the value to the library. Fail with a code of the library, or with an exception. */
static cellar_err load_hand_over(cellar_load *load, const load_call *x)
{
    load_result r;
    cellar_err err = load_result_init(&r, x) < 0 ? CELLAR_E_LOADER :
        cellar_load_opts_set(load, &r.o);
    if (err == CELLAR_OK) { err = cellar_load_value(load, r.bytes.at, r.bytes.len); }
    buf_fini(&r.bytes);
    Py_XDECREF(r.owner);
    return err;
}

/* Run the loader of a call, in its thread; or that of a background load. A cellar_loader_fn. */
static cellar_err load_run(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    load_call *x = ctx;
    cellar_err err = CELLAR_E_LOADER;
    (void)key, (void)key_len;
    if (x == NULL) { return CELLAR_E_NOMEM; } /* load_retain had no memory */
    if (x->background && common_has_ended()) { return CELLAR_E_CANCELLED; }
    const PyGILState_STATE state = PyGILState_Ensure(); /* ends a thread at the exit */
    load_entered(x);
    const unsigned forks = common_forks;
    const int before = common_background;
    if (x->slices > 0 && x->error != NULL && !x->inherited) { /* failed between slices */
        (void)cellar_load_fail(load, LOAD_RAISED, 0, CELLAR_FAIL_FINAL);
    } else {
        common_background = before || x->background;
        Py_CLEAR(x->error);
        Py_CLEAR(x->value);
        x->value = PyObject_Call(x->fn, x->args, x->kwargs);
        const int is_own = forks == common_forks; /* else the load belongs to the parent */
        err = !is_own ? CELLAR_E_FORKED : x->value != NULL ? load_hand_over(load, x) : err;
        if (is_own && PyErr_Occurred()) { err = load_failed(load, x); }
        common_background = before;
    }
    PyGILState_Release(state);
    return err;
}

/* Copy a call for a load in the background. NULL without memory. */
static void *load_retain(void *ctx)
{
    const load_call *x = ctx;
    const PyGILState_STATE state = PyGILState_Ensure();
    load_call *own = PyMem_Malloc(sizeof *own);
    PyObject *owner = own == NULL ? NULL :
        Py_BuildValue("OOOOO", ((cache *)x->owner)->owned, x->fn, x->args, x->tags,
                      x->kwargs == NULL ? Py_None : x->kwargs);
    if (owner != NULL) {
        *own = *x;
        own->owner = owner;
        own->value = own->error = NULL;
        own->slices = 0;
        own->background = 1;
        own->entering = 0;
        own->next = load_calls;
        load_calls = own;
    } else {
        PyMem_Free(own);
        PyErr_Clear();
    }
    PyGILState_Release(state);
    return owner == NULL ? NULL : own;
}

static void load_release(void *ctx)
{
    load_call *x = ctx;
    PyGILState_STATE state;
    if (x == NULL || common_enter(&state) < 0) { return; }
    const int before = common_background;
    common_background = 1;
    load_end(x);
    Py_XDECREF(x->value);
    Py_XDECREF(x->error);
    Py_DECREF(x->owner);
    PyMem_Free(x);
    common_background = before;
    common_leave(state);
}

/* ---- A load --------------------------------------------------------------------------------- */

/* Return the options of a load. */
static cellar_load_opts load_options(const cache_options *times)
{
    cellar_load_opts o = cellar_load_opts_default();
    o.ttl_ms = times->ttl_ms;
    o.stale_ms = times->stale_ms;
    o.jitter_pct = CELLAR_OFF;
    return o;
}

/* Return the value of a load that the library did not copy, or raise its error. */
static PyObject *load_outcome(const cache *s, const load_call *x, cellar_err err, int loader_err)
{
    if (err == CELLAR_OK || err == CELLAR_STALE) { return Py_NewRef(x->value); }
    if (err == CELLAR_ABSENT) { return Py_NewRef(Py_None); }
    if (x->error != NULL && (err == CELLAR_E_LOADER || err == CELLAR_E_CANCELLED)) {
        PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(x->error)), Py_NewRef(x->error),
                      PyException_GetTraceback(x->error));
        return NULL;
    }
    return err != CELLAR_E_LOADER ? common_raise(cache_is_open(s) ? s->c : NULL, err) :
        common_raise_text(err, loader_err,
                          "cellar: the load failed in another process, or with a code");
}

/* Return the value of a key, loaded by x->fn if it is missing. */
static PyObject *load_key(cache *s, const char *key, size_t len, load_call *x,
                          const cache_options *times)
{
    cellar_result r = cellar_result_default();
    cellar_load_opts o = load_options(times);
    const int sliced = PyThread_get_thread_ident() == common_main_thread;
    PyObject *value = NULL;
    cellar_err err = CELLAR_E_CLOSED;
    o.wait_timeout_ms = sliced ? LOAD_SLICE_MS : CELLAR_TTL_NONE;
    o.join_retries = 8; /* loads that were cancelled; a failed one is final */
    o.flags = CELLAR_LOAD_RECURSE;
    o.ctx_retain = o.stale_ms == 0 ? NULL : load_retain;
    o.ctx_release = o.stale_ms == 0 ? NULL : load_release;
    x->owner = (PyObject *)s;
    x->codec = s->codec;
    load_begin(x, key, len);
    while (cache_ready(s) == 0) { /* others may close it between two slices */
        cellar *const c = s->c;
        x->entering = 1;
        s->root->entering++;
        Py_BEGIN_ALLOW_THREADS
        err = cellar_get_or_load(c, key, len, &o, load_run, x, &r);
        Py_END_ALLOW_THREADS
        load_entered(x);
        if (err == CELLAR_E_TIMEOUT && sliced) {
            x->slices++;
            if (PyErr_CheckSignals() < 0) { break; }
        } else if ((err == CELLAR_OK || err == CELLAR_STALE) && x->value == NULL) {
            value = value_decode(r.value, r.value_len, &s->codec);
            if (value != NULL || PyErr_Occurred()) { break; }
            s->foreign++;
            o.flags |= CELLAR_LOAD_REFRESH; /* bytes that are none of this package: a miss */
        } else { break; }
        cellar_result_free(&r);
    }
    load_end(x);
    if (value == NULL && !PyErr_Occurred()) { value = load_outcome(s, x, err, r.loader_err); }
    Py_CLEAR(x->value);
    Py_CLEAR(x->error);
    cellar_result_free(&r);
    return value;
}

/* Return the value of a key, or load it. */
static PyObject *load_get(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names)
{
    cache *s = (cache *)self;
    cache_options o;
    pykey k;
    if (common_arguments("get_or_load", n, 2, 3) < 0) { return NULL; }
    if (key_init(&k, a[0], s->codec.raw) < 0) { return NULL; }
    PyObject *value = cache_ready(s) < 0 ? NULL : cache_look(s, k.at, k.len, 0);
    if (value == NULL && !PyErr_Occurred() &&
        cache_options_init(&o, n == 3 ? a[2] : NULL, a + n, names) == 0) {
        load_call x = { .fn = a[1], .args = PyTuple_Pack(1, a[0]), .tags = o.tags };
        value = x.args == NULL ? NULL : load_key(s, k.at, k.len, &x, &o);
        Py_XDECREF(x.args);
    }
    key_fini(&k);
    return value;
}

const PyMethodDef load_method = {
    "get_or_load", COMMON_METHOD(load_get), METH_FASTCALL | METH_KEYWORDS,
    "get_or_load(key, loader, ttl=..., *, stale=..., tags=()): the value; a missing one is\n"
    "loader(key). Threads that ask for one missing key run one loader. Each of them gets what\n"
    "it returns or raises. With shared= also the workers. After 30 s a waiter runs it again."
};

/* ---- Memo ----------------------------------------------------------------------------------- */

/* A memoized function. Its keys are | 0 | 'm' | prefix | 0 | arguments |. */
typedef struct memo {
    PyObject_HEAD
    PyObject     *owned;  /* the arguments: what stands below is theirs */
    cache        *cache;
    PyObject     *fn;     /* what no function is, a miss returns: for coroutines */
    const char   *prefix;
    Py_ssize_t    prefix_len;
    PyObject     *key;    /* a function of the arguments; None: the arguments themselves */
    cache_options o;
    uint64_t      hits;   /* calls that found a value in memory */
    uint64_t      misses; /* all other calls */
} memo;

/* Make a memo: cache, fn, prefix, ttl, stale, key, tags. */
static PyObject *memo_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    memo *m = (memo *)PyType_GenericAlloc(type, 0);
    (void)kwargs;
    if (m != NULL && !PyArg_ParseTuple(args, "O!Oy#O&O&OO", cache_type, &m->cache, &m->fn,
                                       &m->prefix, &m->prefix_len, common_ms, &m->o.ttl_ms,
                                       common_stale, &m->o.stale_ms, &m->key, &m->o.tags)) {
        Py_CLEAR(m);
    }
    if (m != NULL) { m->owned = Py_NewRef(args); }
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
    int done = buf_put(b, "\0m", 2) < 0 ? -1 : buf_put(b, m->prefix, (size_t)m->prefix_len + 1);
    if (done == 0 && m->key == Py_None) {
        done = key_add_arguments(b, args, kwargs);
    } else if (done == 0) {
        PyObject *key = PyObject_Call(m->key, args, kwargs);
        pykey k;
        done = key == NULL || key_init(&k, key, 0) < 0 ? -1 : buf_put(b, k.at, k.len);
        if (done == 0) { key_fini(&k); }
        Py_XDECREF(key);
    }
    if (done < 0) { buf_fini(b); }
    return done;
}

static PyObject *memo_call(PyObject *self, PyObject *args, PyObject *kwargs)
{
    memo *m = (memo *)self;
    pybuf b;
    if (memo_key(m, args, kwargs, &b) < 0) { return NULL; }
    PyObject *value = cache_ready(m->cache) < 0 ? NULL : cache_look(m->cache, b.at, b.len, 0);
    if (value != NULL) {
        m->hits++;
    } else if (!PyErr_Occurred()) {
        load_call x = { .fn = m->fn, .args = args, .kwargs = kwargs, .tags = m->o.tags };
        m->misses++;
        value = PyCallable_Check(m->fn) ? load_key(m->cache, b.at, b.len, &x, &m->o) :
            Py_NewRef(m->fn);
    }
    buf_fini(&b);
    return value;
}

/* Return the key of a call. */
static PyObject *memo_make_key(PyObject *self, PyObject *args, PyObject *kwargs)
{
    pybuf b;
    if (memo_key((memo *)self, args, kwargs, &b) < 0) { return NULL; }
    PyObject *key = PyBytes_FromStringAndSize(b.at, (Py_ssize_t)b.len);
    buf_fini(&b);
    return key;
}

/* Ask for the value of a key, or for the lease to load it. Return (value or fn, lease or None); fn
 * and None: another thread or worker loads it. */
static PyObject *memo_lease(PyObject *self, PyObject *args)
{
    memo *m = (memo *)self;
    cache *s = m->cache;
    const char *key;
    Py_ssize_t len;
    cellar_load_opts o = load_options(&m->o);
    cellar_result r = cellar_result_default();
    cellar_lease lease = { { 0 } };
    if (!PyArg_ParseTuple(args, "y#", &key, &len)) { return NULL; }
    PyObject *value = NULL;
    for (int found = 1; found && value == NULL; o.flags = CELLAR_LOAD_REFRESH) { /* as load_key */
        if (cache_ready(s) < 0) { return NULL; }
        PyThreadState *const gil = cache_leave(s);
        const cellar_err err = cellar_lease_acquire(s->c, key, (size_t)len, &o, NULL, &lease, &r);
        cache_return(s, gil);
        if (err < 0) { (void)common_raise(s->c, err); }
        found = err == CELLAR_OK || err == CELLAR_STALE;
        if (found) { value = value_decode(r.value, r.value_len, &s->codec); }
        if (err == CELLAR_ABSENT) { value = Py_NewRef(Py_None); }
        cellar_result_free(&r);
        if (PyErr_Occurred()) {
            if (!cellar_lease_held(&lease) || !cache_is_open(s)) { return NULL; }
            PyThreadState *const raised = cache_leave(s); /* by loads of the program */
            (void)cellar_lease_release(s->c, &lease, 0);
            cache_return(s, raised);
            return NULL;
        }
        s->foreign += found && value == NULL;
        found &= !cellar_lease_held(&lease);
    }
    return Py_BuildValue("Ny#", value == NULL ? Py_NewRef(m->fn) : value,
                         cellar_lease_held(&lease) ? (const char *)&lease : NULL,
                         (Py_ssize_t)sizeof lease);
}

/* Give a lease back: lease, whether the load failed. */
static PyObject *memo_release(PyObject *self, PyObject *args)
{
    cache *s = ((memo *)self)->cache;
    const char *bytes;
    Py_ssize_t n;
    int failed;
    cellar_lease lease = { { 0 } };
    if (!PyArg_ParseTuple(args, "y#p", &bytes, &n, &failed)) { return NULL; }
    memcpy(&lease, bytes, (size_t)n == sizeof lease ? sizeof lease : 0);
    if (cache_is_open(s)) {
        PyThreadState *const gil = cache_leave(s);
        (void)cellar_lease_release(s->c, &lease, failed ? LOAD_RAISED : 0);
        cache_return(s, gil);
    }
    Py_RETURN_NONE;
}

/* End a lease with a value: lease, value, args, kwargs. After an exception give it back. */
static PyObject *memo_fulfill(PyObject *self, PyObject *args)
{
    cache *s = ((memo *)self)->cache;
    load_call x = { .tags = ((memo *)self)->o.tags, .codec = s->codec };
    load_result v;
    const char *bytes;
    Py_ssize_t n;
    cellar_lease lease = { { 0 } };
    if (!PyArg_ParseTuple(args, "y#OOO", &bytes, &n, &x.value, &x.args, &x.kwargs)) { return NULL; }
    memcpy(&lease, bytes, (size_t)n == sizeof lease ? sizeof lease : 0);
    if (load_result_init(&v, &x) == 0 && cache_ready(s) == 0) {
        PyThreadState *const gil = cache_leave(s);
        const cellar_err err = (v.o.flags & CELLAR_NO_STORE) == 0 ?
            cellar_lease_fulfill(s->c, &lease, v.bytes.at, v.bytes.len, &v.o) :
            cellar_lease_release(s->c, &lease, 0);
        cache_return(s, gil);
        if (err < 0 && err != CELLAR_E_LEASE) { (void)common_raise(s->c, err); } /* E_TOOBIG */
    }
    buf_fini(&v.bytes);
    Py_XDECREF(v.owner);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef memo_methods[] = {
    { "_key", COMMON_METHOD(memo_make_key), METH_VARARGS | METH_KEYWORDS, NULL },
    { "_lease", memo_lease, METH_VARARGS, NULL },
    { "_fulfill", memo_fulfill, METH_VARARGS, NULL },
    { "_release", memo_release, METH_VARARGS, NULL },
    { NULL, NULL, 0, NULL }
};
static PyMemberDef memo_members[] = {
    { "_hits", T_ULONG, offsetof(memo, hits), 0, NULL },
    { "_misses", T_ULONG, offsetof(memo, misses), 0, NULL },
    { NULL, 0, 0, 0, NULL }
};
static PyType_Slot memo_slots[] = {
    { Py_tp_new, memo_new }, { Py_tp_dealloc, memo_dealloc }, { Py_tp_traverse, memo_traverse },
    { Py_tp_call, memo_call }, { Py_tp_methods, memo_methods },
    { Py_tp_members, memo_members }, { 0, NULL }
};
static PyType_Spec memo_spec = { "cellar._cellar.Memo", sizeof(memo), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE, memo_slots };

int load_types_add(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&memo_spec);
    return type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);
}
