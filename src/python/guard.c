/* SPDX-License-Identifier: MIT
 *
 * guard: functions under the classes Limiter, Lock and Server of __init__.py.
 *
 * A limiter or lock of a shared Cache is one for all its workers, else one for this process. The
 * classes open them again in a child of a fork; a server stays with its parent. Handles are
 * capsules, which close what they hold when their last reference goes. */
#include "python/python.h"

#include "cellar_limit.h"
#include "cellar_lock.h"
#include "cellar_resp.h"

enum {
    GUARD_FENCE_MS = 1000,       /* longest wait for what earlier owners of a lock wrote */
    GUARD_STORE_BYTES = 16 << 20 /* of a server, besides its shared store */
};

/* What a capsule holds. */
typedef struct guard_handle {
    cellar_limiter        *limiter;
    cellar_remote_limiter *shared; /* closed with `remote` if that is closed first */
    cache                 *cache;  /* owned; the store of `shared` */
    cellar_remote         *remote;
    cellar                *store;  /* of a server */
    cellar_resp           *resp;
    unsigned               forks;
} guard_handle;

static void guard_end(PyObject *capsule)
{
    guard_handle *h = PyCapsule_GetPointer(capsule, NULL);
    if (h->forks == common_forks) {
        const int is_shared = h->cache != NULL && h->remote == h->cache->remote;
        PyThreadState *const gil = is_shared ? cache_leave(h->cache) : PyEval_SaveThread();
        cellar_limiter_close(h->limiter);
        cellar_remote_limiter_close(is_shared ? h->shared : NULL);
        cellar_resp_close(h->resp);
        (void)cellar_close(h->store);
        if (is_shared) { cache_return(h->cache, gil); } else { PyEval_RestoreThread(gil); }
    }
    Py_XDECREF((PyObject *)h->cache);
    PyMem_Free(h);
}

/* Make a capsule of an empty handle. */
static PyObject *guard_new(guard_handle **out)
{
    guard_handle *h = *out = PyMem_Calloc(1, sizeof *h);
    if (h == NULL) { return PyErr_NoMemory(); }
    h->forks = common_forks;
    PyObject *capsule = PyCapsule_New(h, NULL, guard_end);
    if (capsule == NULL) { PyMem_Free(h); }
    return capsule;
}

/* Find the shared store of an argument `cache`. NULL: of this process. */
static int guard_store(PyObject *of, cache **out)
{
    if (of != Py_None && !PyObject_TypeCheck(of, cache_type)) {
        PyErr_SetString(PyExc_TypeError, "cellar: cache must be a Cache or None");
        return -1;
    }
    cache *root = of == Py_None ? NULL : ((cache *)of)->root;
    if (root != NULL && cache_ready(root) < 0) { return -1; }
    *out = root != NULL && root->remote != NULL ? root : NULL;
    return 0;
}

/* Return the capsule, or raise the error of the call that filled it. */
static PyObject *guard_done(PyObject *capsule, const guard_handle *h, cellar_err err)
{
    if (err == CELLAR_OK) { return capsule; }
    (void)(h->remote != NULL ? common_raise_remote(NULL, err) : common_raise(h->store, err));
    Py_DECREF(capsule);
    return NULL;
}

/* ---- Limiters ------------------------------------------------------------------------------- */

/* Open a limiter: cache or None, limit, seconds, burst (0: a sliding log), name. */
static PyObject *guard_limiter(PyObject *self, PyObject *args)
{
    cellar_remote_limiter_config cfg = cellar_remote_limiter_config_default();
    uint64_t limit, burst;
    double seconds;
    guard_handle *h;
    PyObject *of;
    cache *root;
    (void)self;
    if (!PyArg_ParseTuple(args, "OO&dO&s", &of, common_unsigned, &limit, &seconds,
                          common_unsigned, &burst, &cfg.name) ||
        guard_store(of, &root) < 0) { /* the __float__ of an argument may close it */
        return NULL;
    }
    const uint64_t period_ns = seconds > 0 && seconds < 4e7 ? (uint64_t)(seconds * 1e9) : 0;
    const cellar_rule rule = burst == 0 ? cellar_rule_sliding_log(limit, period_ns) :
        cellar_rule_token_bucket(limit, period_ns, burst);
    PyObject *capsule = guard_new(&h);
    if (capsule == NULL) { return NULL; }
    if (root == NULL) {
        return guard_done(capsule, h, cellar_limiter_open(NULL, &rule, 1, &h->limiter));
    }
    cfg.batch = 1;
    h->cache = (cache *)Py_NewRef((PyObject *)root);
    h->remote = root->remote;
    return guard_done(capsule, h, cellar_remote_limiter_open(h->remote, &rule, &cfg, &h->shared));
}

/* Decide: limiter, key, cost. Return (allowed, remaining, retry_after or None for never). */
static PyObject *guard_check(PyObject *self, PyObject *args)
{
    PyObject *capsule;
    uint64_t cost;
    cellar_limiter_result r = { 0 };
    cellar_err err;
    pykey k;
    (void)self;
    if (!PyArg_ParseTuple(args, "OO&O&", &capsule, common_unsigned, &cost, key_argument, &k)) {
        return NULL;
    }
    guard_handle *h = PyCapsule_GetPointer(capsule, NULL);
    if (h == NULL || (h->cache != NULL && (cache_ready(h->cache) < 0 ||
                                           h->remote != h->cache->remote))) {
        err = CELLAR_E_CLOSED; /* an open store lost its link by a close that failed */
    } else if (h->cache == NULL) {
        err = cellar_limiter_check(h->limiter, k.at, k.len, cost, &r);
    } else {
        PyThreadState *const gil = cache_leave(h->cache);
        err = cellar_remote_limiter_check(h->shared, k.at, k.len, cost, &r);
        cache_return(h->cache, gil);
    }
    key_fini(&k);
    if (err < 0) { return PyErr_Occurred() ? NULL : common_raise(NULL, err); }
    return Py_BuildValue("OkN", err == CELLAR_OK ? Py_True : Py_False, r.remaining, r.never ?
                         Py_NewRef(Py_None) : PyFloat_FromDouble((double)r.retry_after_ns / 1e9));
}

/* ---- Locks ---------------------------------------------------------------------------------- */

static cellar_locks *guard_table; /* locks of this process */
static unsigned guard_table_forks;

/* Calls of guard_lock. __init__.py has the same numbers. */
enum { LOCK_ACQUIRE, LOCK_RELEASE, LOCK_EXTEND };

/* The handle of an owner, as bytes for Python. */
typedef struct guard_owner {
    cellar_lock        local;
    cellar_remote_lock shared;
} guard_owner;

/* Find the shared store of the locks, or open the table of this process. */
static int guard_locks(PyObject *of, cache **out)
{
    if (guard_store(of, out) < 0) { return -1; }
    if (*out != NULL || (guard_table != NULL && guard_table_forks == common_forks)) { return 0; }
    const cellar_err err = cellar_locks_open(NULL, &guard_table);
    guard_table_forks = common_forks;
    return err == CELLAR_OK ? 0 : common_fail(NULL, err);
}

/* Release, extend or acquire a lock of this process. */
static cellar_err guard_lock_here(int call, const pykey *k, const cellar_lock_opts *o,
                                  cellar_lock *x)
{
    if (call == LOCK_RELEASE) { return cellar_lock_release(guard_table, x); }
    if (call == LOCK_EXTEND) { return cellar_lock_extend(guard_table, x, o->hold_ms); }
    return cellar_lock_acquire(guard_table, k->at, k->len, o, x);
}

/* Release, extend or acquire a lock of all workers. An owner reads what earlier ones wrote. */
static cellar_err guard_lock_shared(int call, cellar_remote *r, const pykey *k,
                                    const cellar_lock_opts *o, cellar_remote_lock *x)
{
    if (call == LOCK_RELEASE) { return cellar_remote_lock_release(r, k->at, k->len, x); }
    if (call == LOCK_EXTEND) { return cellar_remote_lock_extend(r, k->at, k->len, x, o->hold_ms); }
    cellar_err err = cellar_remote_lock_acquire(r, k->at, k->len, o, x);
    if (err != CELLAR_OK) { return err; }
    err = cellar_remote_fence(r, GUARD_FENCE_MS);
    if (err != CELLAR_OK) { (void)cellar_remote_lock_release(r, k->at, k->len, x); }
    return err;
}

/* Run one call: cache or None, call, ms that an acquire waits (0: none), hold, owner of the other
 * calls, key. Return (owner, fence), or None: another owner holds the lock. */
static PyObject *guard_lock(PyObject *self, PyObject *args)
{
    cellar_lock_opts o = cellar_lock_opts_default();
    guard_owner x = { .local = { 0 } };
    const char *owner;
    Py_ssize_t n;
    int call;
    PyObject *of;
    cache *root;
    pykey k;
    (void)self;
    if (!PyArg_ParseTuple(args, "OilO&y#O&", &of, &call, &o.wait_timeout_ms, common_ms, &o.hold_ms,
                          &owner, &n, key_argument, &k)) {
        return NULL;
    }
    if (guard_locks(of, &root) < 0) { /* the __float__ of an argument may close it */
        key_fini(&k);
        return NULL;
    }
    memcpy(&x, owner, (size_t)n == sizeof x ? sizeof x : 0);
    o.flags = o.wait_timeout_ms == 0 ? CELLAR_LOCK_NO_WAIT : 0;
    cellar_remote *const r = root == NULL ? NULL : root->remote;
    PyThreadState *const gil = root == NULL ? PyEval_SaveThread() : cache_leave(root);
    const cellar_err err = r == NULL ? guard_lock_here(call, &k, &o, &x.local) :
        guard_lock_shared(call, r, &k, &o, &x.shared);
    if (root == NULL) { PyEval_RestoreThread(gil); } else { cache_return(root, gil); }
    key_fini(&k);
    if (call == LOCK_ACQUIRE && (err == CELLAR_E_TIMEOUT || err == CELLAR_E_BUSY)) {
        Py_RETURN_NONE;
    }
    if (err != CELLAR_OK) {
        return r == NULL ? common_raise(NULL, err) : common_raise_remote(r, err);
    }
    return Py_BuildValue("y#k", (const char *)&x, (Py_ssize_t)sizeof x,
                         r == NULL ? x.local.fence : x.shared.fence);
}

/* ---- Server --------------------------------------------------------------------------------- */

/* Start a server: unix, group, port, shared bytes, writable. */
static PyObject *guard_serve(PyObject *self, PyObject *args)
{
    cellar_config cfg = cellar_config_default();
    cellar_host_config host = cellar_host_config_default();
    cellar_resp_config o = cellar_resp_config_default();
    int writable;
    guard_handle *h;
    (void)self;
    if (!PyArg_ParseTuple(args, "zziO&p", &o.unix_path, &o.unix_group, &o.port, common_unsigned,
                          &o.shared_bytes, &writable)) {
        return NULL;
    }
    PyObject *capsule = guard_new(&h);
    if (capsule == NULL) { return NULL; }
    host.log = common_log;
    cfg.host = o.host = &host;
    cfg.memory_bytes = GUARD_STORE_BYTES;
    o.writable = writable != 0;
    cellar_err err = cellar_open(&cfg, &h->store);
    if (err == CELLAR_OK) { err = cellar_resp_open(h->store, &o, &h->resp); }
    if (err == CELLAR_OK) { err = cellar_resp_start(h->resp); }
    return guard_done(capsule, h, err);
}

static PyMethodDef guard_functions[] = {
    { "limiter", guard_limiter, METH_VARARGS, NULL },
    { "check", guard_check, METH_VARARGS, NULL },
    { "lock", guard_lock, METH_VARARGS, NULL },
    { "serve", guard_serve, METH_VARARGS, NULL },
    { NULL, NULL, 0, NULL }
};

int guard_types_add(PyObject *module)
{
    return PyModule_AddFunctions(module, guard_functions);
}
