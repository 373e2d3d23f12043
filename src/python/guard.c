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
    GUARD_HOLD_MS = 1000,        /* as long as the link waits for an answer: no unit is lost */
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

static void guard_close(guard_handle *h)
{
    guard_handle x = *h;
    memset(h, 0, sizeof *h);
    if (x.forks == common_forks) {
        Py_BEGIN_ALLOW_THREADS
        cellar_limiter_close(x.limiter);
        if (x.cache != NULL && x.remote == x.cache->remote) {
            cellar_remote_limiter_close(x.shared);
        }
        cellar_resp_close(x.resp);
        (void)cellar_close(x.store);
        Py_END_ALLOW_THREADS
    }
    Py_XDECREF((PyObject *)x.cache);
}

static void guard_end(PyObject *capsule)
{
    guard_handle *h = PyCapsule_GetPointer(capsule, NULL);
    guard_close(h);
    PyMem_Free(h);
}

/* Make a capsule of an empty handle. */
static PyObject *guard_new(guard_handle **out)
{
    guard_handle *h = PyMem_Calloc(1, sizeof *h);
    if (h == NULL) { return PyErr_NoMemory(); }
    PyObject *capsule = PyCapsule_New(h, NULL, guard_end);
    if (capsule == NULL) { PyMem_Free(h); }
    h->forks = common_forks;
    *out = h;
    return capsule;
}

/* Find the link of an argument `cache`. NULL: of this process. Fail with -1. */
static int guard_link(PyObject *of, cache **root)
{
    *root = of == Py_None ? NULL : ((cache *)of)->root;
    if (*root != NULL && cache_ready(*root) < 0) { return -1; }
    if (*root != NULL && (*root)->remote == NULL) { *root = NULL; }
    return 0;
}

/* ---- Limiters ------------------------------------------------------------------------------- */

/* Open a limiter: cache or None, limit, seconds, burst (0: a sliding log), name. */
static PyObject *guard_limiter(PyObject *self, PyObject *args)
{
    PyObject *of;
    const char *name;
    unsigned long long limit, burst;
    double seconds;
    guard_handle *h;
    cache *root;
    cellar_err err;
    (void)self;
    if (!PyArg_ParseTuple(args, "OKdKs", &of, &limit, &seconds, &burst, &name)) { return NULL; }
    const uint64_t period_ns = seconds > 0 && seconds < 4e7 ? (uint64_t)(seconds * 1e9) : 0;
    const cellar_rule rule = burst == 0 ? cellar_rule_sliding_log(limit, period_ns) :
        cellar_rule_token_bucket(limit, period_ns, burst);
    PyObject *capsule = guard_link(of, &root) < 0 ? NULL : guard_new(&h);
    if (capsule == NULL) { return NULL; }
    if (root == NULL) {
        err = cellar_limiter_open(NULL, &rule, 1, &h->limiter);
        if (err != CELLAR_OK) { (void)common_raise(NULL, err); }
    } else {
        cellar_remote_limiter_config cfg = cellar_remote_limiter_config_default();
        cfg.name = name;
        cfg.batch = 1;
        cfg.hold_ms = GUARD_HOLD_MS;
        h->cache = (cache *)Py_NewRef((PyObject *)root);
        h->remote = root->remote;
        err = cellar_remote_limiter_open(root->remote, &rule, &cfg, &h->shared);
        if (err != CELLAR_OK) { (void)common_raise_remote(NULL, err); }
    }
    if (err != CELLAR_OK) { Py_CLEAR(capsule); }
    return capsule;
}

/* Decide: limiter, key, cost. Return (allowed, remaining, retry_after or None for never). */
static PyObject *guard_check(PyObject *self, PyObject *args)
{
    PyObject *capsule, *key;
    unsigned long long cost;
    cellar_limiter_result r = { 0 };
    cellar_err err;
    pykey k;
    (void)self;
    if (!PyArg_ParseTuple(args, "OOK", &capsule, &key, &cost)) { return NULL; }
    guard_handle *h = PyCapsule_GetPointer(capsule, NULL);
    if (h == NULL || (h->cache != NULL && cache_ready(h->cache) < 0)) { return NULL; }
    if (key_init(&k, key, 0) < 0) { return NULL; }
    if (h->cache == NULL) {
        err = cellar_limiter_check(h->limiter, k.at, k.len, cost, &r);
    } else {
        CACHE_RELEASED_BEGIN(h->cache)
        err = cellar_remote_limiter_check(h->shared, k.at, k.len, cost, &r);
        CACHE_RELEASED_END
    }
    key_fini(&k);
    if (err < 0) { return common_raise(NULL, err); }
    return Py_BuildValue("OKN", err == CELLAR_OK ? Py_True : Py_False,
                         (unsigned long long)r.remaining, r.never ? Py_NewRef(Py_None) :
                         PyFloat_FromDouble((double)r.retry_after_ns / 1e9));
}

/* ---- Locks ---------------------------------------------------------------------------------- */

static cellar_locks *guard_table; /* locks of this process */
static unsigned guard_table_forks;

/* The handle of an owner, as bytes for Python. */
typedef struct guard_owner {
    cellar_lock        local;
    cellar_remote_lock shared;
} guard_owner;

/* Find the link of the locks, or open the table of this process. */
static int guard_locks(PyObject *of, cache **root)
{
    if (guard_link(of, root) < 0) { return -1; }
    if (*root != NULL || (guard_table != NULL && guard_table_forks == common_forks)) { return 0; }
    const cellar_err err = cellar_locks_open(NULL, &guard_table);
    guard_table_forks = common_forks;
    if (err != CELLAR_OK) { (void)common_raise(NULL, err); }
    return err == CELLAR_OK ? 0 : -1;
}

/* Try once for `wait_ms`: cache or None, key, wait_ms (0: do not wait), hold. Return (owner,
 * fence), or None: another owner holds the lock. */
static PyObject *guard_acquire(PyObject *self, PyObject *args)
{
    PyObject *of, *key, *hold;
    cellar_lock_opts o = cellar_lock_opts_default();
    guard_owner x;
    long long wait_ms;
    cellar_err err;
    cache *root;
    pykey k;
    (void)self;
    if (!PyArg_ParseTuple(args, "OOLO", &of, &key, &wait_ms, &hold) ||
        common_ms(hold, "hold", &o.hold_ms) < 0 || guard_locks(of, &root) < 0 ||
        key_init(&k, key, 0) < 0) {
        return NULL;
    }
    memset(&x, 0, sizeof x);
    o.wait_timeout_ms = wait_ms;
    o.flags = wait_ms == 0 ? CELLAR_LOCK_NO_WAIT : 0;
    if (root == NULL) {
        Py_BEGIN_ALLOW_THREADS
        err = cellar_lock_acquire(guard_table, k.at, k.len, &o, &x.local);
        Py_END_ALLOW_THREADS
    } else {
        CACHE_RELEASED_BEGIN(root)
        err = cellar_remote_lock_acquire(root->remote, k.at, k.len, &o, &x.shared);
        if (err == CELLAR_OK) { /* gets see what earlier owners wrote */
            err = cellar_remote_fence(root->remote, GUARD_HOLD_MS);
            if (err != CELLAR_OK) {
                (void)cellar_remote_lock_release(root->remote, k.at, k.len, &x.shared);
            }
        }
        CACHE_RELEASED_END
    }
    key_fini(&k);
    if (err == CELLAR_E_TIMEOUT || err == CELLAR_E_BUSY) { Py_RETURN_NONE; }
    if (err != CELLAR_OK) {
        return root == NULL ? common_raise(NULL, err) : common_raise_remote(root->remote, err);
    }
    return Py_BuildValue("y#K", (const char *)&x, (Py_ssize_t)sizeof x,
                         (unsigned long long)(root == NULL ? x.local.fence : x.shared.fence));
}

/* Release a lock, or give it a new hold: cache or None, key, owner, hold or None. Return the
 * owner. */
static PyObject *guard_change(PyObject *self, PyObject *args)
{
    PyObject *of, *key, *hold;
    const char *owner;
    Py_ssize_t n;
    guard_owner x;
    int64_t ms = 0;
    cellar_err err;
    cache *root;
    pykey k;
    (void)self;
    if (!PyArg_ParseTuple(args, "OOy#O", &of, &key, &owner, &n, &hold) ||
        (hold != Py_None && common_ms(hold, "hold", &ms) < 0) || guard_locks(of, &root) < 0 ||
        key_init(&k, key, 0) < 0) {
        return NULL;
    }
    memset(&x, 0, sizeof x);
    memcpy(&x, owner, (size_t)n == sizeof x ? sizeof x : 0);
    if (root == NULL) {
        err = ms == 0 ? cellar_lock_release(guard_table, &x.local) :
            cellar_lock_extend(guard_table, &x.local, ms);
    } else {
        CACHE_RELEASED_BEGIN(root)
        err = ms == 0 ? cellar_remote_lock_release(root->remote, k.at, k.len, &x.shared) :
            cellar_remote_lock_extend(root->remote, k.at, k.len, &x.shared, ms);
        CACHE_RELEASED_END
    }
    key_fini(&k);
    if (err == CELLAR_OK) { return PyBytes_FromStringAndSize((const char *)&x, sizeof x); }
    return common_raise_text(common_error, err, err == CELLAR_E_LOST ?
                             "cellar: the hold ended before: another owner may have begun" :
                             cellar_strerror(err));
}

/* ---- Server --------------------------------------------------------------------------------- */

/* Start a server: unix, group, port, shared bytes, writable. */
static PyObject *guard_serve(PyObject *self, PyObject *args)
{
    cellar_config cfg = cellar_config_default();
    cellar_host_config host = cellar_host_config_default();
    cellar_resp_config o = cellar_resp_config_default();
    unsigned long long shared;
    int writable;
    guard_handle *h;
    (void)self;
    if (!PyArg_ParseTuple(args, "zzIKp", &o.unix_path, &o.unix_group, &o.port, &shared,
                          &writable)) {
        return NULL;
    }
    PyObject *capsule = guard_new(&h);
    if (capsule == NULL) { return NULL; }
    host.log = common_log;
    cfg.host = &host;
    cfg.memory_bytes = GUARD_STORE_BYTES;
    o.host = &host;
    o.shared_bytes = shared;
    o.writable = writable != 0;
    cellar_err err = cellar_open(&cfg, &h->store);
    if (err == CELLAR_OK) { err = cellar_resp_open(h->store, &o, &h->resp); }
    if (err == CELLAR_OK) { err = cellar_resp_start(h->resp); }
    if (err != CELLAR_OK) {
        (void)common_raise(h->store, err);
        Py_CLEAR(capsule);
    }
    return capsule;
}

/* Close what a capsule holds. */
static PyObject *guard_close_now(PyObject *self, PyObject *capsule)
{
    guard_handle *h = PyCapsule_GetPointer(capsule, NULL);
    (void)self;
    if (h == NULL) { return NULL; }
    guard_close(h);
    Py_RETURN_NONE;
}

static PyMethodDef guard_functions[] = {
    { "limiter", guard_limiter, METH_VARARGS, NULL },
    { "check", guard_check, METH_VARARGS, NULL },
    { "acquire", guard_acquire, METH_VARARGS, NULL },
    { "change", guard_change, METH_VARARGS, NULL },
    { "serve", guard_serve, METH_VARARGS, NULL },
    { "close", guard_close_now, METH_O, NULL },
    { NULL, NULL, 0, NULL }
};

int guard_types_add(PyObject *module)
{
    return PyModule_AddFunctions(module, guard_functions);
}
