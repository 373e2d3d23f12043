/* SPDX-License-Identifier: MIT
 *
 * job: a background load, kept from the call that wants it until it has run.
 *
 * INVARIANTS A job has one ref of its flight, its namespace and, if the host wants it, of ctx. Each
 *            is given back exactly once. Without ctx_bytes, ctx_retain, CTX_STATIC or a loader of
 *            the namespace nothing runs in the background: ctx may be on the stack of the caller.
 * SEE ALSO   refresh.c: the queue. */
#include "cache/handle.h"
#include "loading/loading.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE bool cache_background(const cache_call *call)
{
    const cache_load_plan *p = call->p;
    if ((p->flags & (CELLAR_LOAD_NO_STORE | CELLAR_LOAD_REFRESH)) != 0) { return false; }
    if (call->namespace_loader || (p->flags & CELLAR_LOAD_CTX_STATIC) != 0) { return true; }
    return p->ctx_bytes != 0 || p->ctx_retain != NULL;
}

static size_t cache_job_bytes(const cache_load_plan *p)
{
    return sizeof(cache_job) + (p->trace != NULL ? CELLAR_LOAD_TRACE_BYTES : 0);
}

CELLAR_PRIVATE void cache_job_free(cache_store *s, cache_job *j)
{
    if (j->release != NULL) {
        sync_assert_none();
        j->release(j->ctx);
    }
    cache_namespace_release(j->namespace);
    base_free(&s->account, BASE_MOD_FLIGHT, j, cache_job_bytes(&j->p));
}

CELLAR_PRIVATE cache_job *cache_job_new(const cache_call *call)
{
    cache_store *s = call->c->store;
    const cache_load_plan *p = call->p;
    cache_job *j = base_alloc(&s->account, BASE_MOD_FLIGHT, cache_job_bytes(p), NULL);
    if (j == NULL) { return NULL; }
    if (!cache_namespace_hold(call->c)) {
        base_free(&s->account, BASE_MOD_FLIGHT, j, cache_job_bytes(p));
        return NULL;
    }
    j->f = call->f;
    j->namespace = call->c;
    j->p = *p;
    memset(j->p.fallback, 0, sizeof j->p.fallback);
    j->p.default_value = NULL;
    if (p->trace != NULL) {
        memcpy(j->trace, p->trace, CELLAR_LOAD_TRACE_BYTES);
        j->p.trace = j->trace;
    }
    j->fn = call->fn;
    j->ctx = call->ctx;
    j->seen_ms = call->early ? call->found.deadline_ms : -1;
    if (!call->namespace_loader && p->ctx_retain != NULL) {
        j->ctx = p->ctx_retain(call->ctx);
        j->release = p->ctx_release;
    } else if (!call->namespace_loader && p->ctx_bytes != 0 && call->ctx != NULL) {
        memcpy(j->copy, call->ctx, p->ctx_bytes); /* <= 256: load_plan.c */
        j->ctx = j->copy;
    }
    return j;
}

BASE_SIZE_END
