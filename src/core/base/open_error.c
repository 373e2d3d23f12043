/* SPDX-License-Identifier: MIT
 *
 * open_error: the last refused open of this process.
 *
 * LOCKING    One lock of rank ERROR, taken and dropped inside each function.
 * FORK       The node is registered with the first call; a child begins without an error. */
#include "base/open_error.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/opts.h"
#include "base/sync.h"

static sync_lock base_open_error_lock; /* rank ERROR; guards base_open_error */
static cellar_error_info base_open_error;

BASE_SIZE_BEGIN

static void base_open_error_child(void *ctx)
{
    (void)ctx;
    sync_reset(&base_open_error_lock);
    base_open_error = (cellar_error_info){ .code = CELLAR_OK };
}

static base_fork_node base_open_error_node = { .child = base_open_error_child };

CELLAR_PRIVATE cellar_err base_open_fail(cellar_err code, int sys_errno, const char *format, ...)
{
    cellar_error_info e = { .code = code, .sys_errno = sys_errno };
    va_list args;
    va_start(args, format);
    (void)vsnprintf(e.text, sizeof e.text, format, args);
    va_end(args);
    (void)base_fork_register(&base_open_error_node); /* or at the next refusal */
    sync_take(ERROR, &base_open_error_lock);
    base_open_error = e;
    sync_drop(ERROR, &base_open_error_lock);
    return code;
}

CELLAR_PRIVATE cellar_err base_refuse(cellar_err code, const char *call, const char *why)
{
    return base_open_fail(code, 0, "%s: %s", call, why);
}

CELLAR_PRIVATE void base_open_error_get(cellar_error_info *out)
{
    const size_t size = out->struct_size;
    (void)base_fork_register(&base_open_error_node); /* the lock may be held at a fork */
    sync_take(ERROR, &base_open_error_lock);
    *out = base_open_error;
    sync_drop(ERROR, &base_open_error_lock);
    out->struct_size = size;
}

CELLAR_PRIVATE cellar_err base_open_opts(void *dst, size_t known, const void *src,
                                         const char *call, const char *name)
{
    const cellar_err err = src != NULL ? base_opts_in(dst, known, src) : CELLAR_OK;
    if (err == CELLAR_OK) { return err; }
    if (err == CELLAR_E_UNSUPPORTED) {
        return base_open_fail(err, 0, "%s: %s has a field that this library does not know", call,
                              name);
    }
    return base_open_fail(err, 0, "%s: struct_size of %s is wrong: start from %s_default()", call,
                          name, name);
}

BASE_SIZE_END
