/* SPDX-License-Identifier: MIT
 *
 * common: errors, log lines and arguments of all types of the module.
 *
 * LOCKING    The GIL. common_log runs in threads of the library, also while a call holds the GIL
 *            and waits for that thread. It takes no GIL and hands the line to the main thread.
 * LIMITS     The main thread has room for 32 lines; further ones are lost. */
#include "python/python.h"

#include <stdatomic.h>

unsigned common_forks;
_Thread_local int common_background;
unsigned long common_main_thread;
PyObject *common_error;
PyObject *common_load_error;
static PyObject *common_logger; /* logging.getLogger("cellar"); NULL until the first line */
PyObject *common_sleep;

/* ---- Errors --------------------------------------------------------------------------------- */

PyObject *common_raise_text(PyObject *type, cellar_err err, const char *text)
{
    PyObject *message = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
    PyObject *error = message == NULL ? NULL : PyObject_CallFunctionObjArgs(type, message, NULL);
    PyObject *code = PyLong_FromLong((long)err);
    if (error != NULL && code != NULL && PyObject_SetAttrString(error, "code", code) == 0) {
        PyErr_SetObject(type, error);
    }
    Py_XDECREF(message);
    Py_XDECREF(error);
    Py_XDECREF(code);
    return NULL;
}

static PyObject *common_raise_info(cellar_err err, const cellar_error_info *info)
{
    PyObject *type = err == CELLAR_E_NOMEM ? PyExc_MemoryError :
        err == CELLAR_E_DEPTH ? PyExc_RecursionError : common_error;
    return common_raise_text(type, err, info->code == err ? info->text : cellar_strerror(err));
}

PyObject *common_raise(cellar *c, cellar_err err)
{
    cellar_error_info info = cellar_error_info_default();
    (void)cellar_last_error(c, &info);
    return common_raise_info(err, &info);
}

PyObject *common_raise_remote(const cellar_remote *r, cellar_err err)
{
    cellar_error_info info = cellar_error_info_default();
    (void)cellar_remote_last_error(r, &info);
    return common_raise_info(err, &info);
}

int common_arguments(const char *call, Py_ssize_t n, Py_ssize_t min, Py_ssize_t max)
{
    if (n >= min && n <= max) { return 0; }
    PyErr_Format(PyExc_TypeError, "%s takes %zd to %zd positional arguments (got %zd)", call, min,
                 max, n);
    return -1;
}

int common_ms(PyObject *seconds, const char *what, int64_t *ms)
{
    *ms = seconds == Py_None ? CELLAR_TTL_NONE : 0;
    if (seconds == Py_None || seconds == Py_Ellipsis) { return 0; }
    const double s = PyFloat_AsDouble(seconds);
    if (s == -1.0 && PyErr_Occurred()) { return -1; }
    if (!(s > 0)) {
        PyErr_Format(PyExc_ValueError, "cellar: %s must be above 0 s, or None for no end (got %R)",
                     what, seconds);
        return -1;
    }
    *ms = s > 9e12 ? CELLAR_TTL_NONE : s < 0.001 ? 1 : (int64_t)(s * 1000);
    return 0;
}

int common_pause(void)
{
    PyObject *done = PyObject_CallFunction(common_sleep, "d", 0.001);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* ---- Log lines ------------------------------------------------------------------------------ */

typedef struct common_line {
    atomic_flag taken; /* by a line on its way */
    int  level;
    char text[600]; /* area and text of at most 511 bytes */
} common_line;

static common_line common_lines[32]; /* as many as Python has room for calls */

/* Write one line in the main thread. */
static int common_write_line(void *ctx)
{
    static const int levels[] = { 40, 40, 30, 20, 10, 10 }; /* ERROR .. DEBUG of logging */
    common_line *line = ctx;
    if (common_logger == NULL) {
        PyObject *logging = PyImport_ImportModule("logging");
        common_logger = logging == NULL ? NULL :
            PyObject_CallMethod(logging, "getLogger", "s", "cellar");
        Py_XDECREF(logging);
    }
    PyObject *done = common_logger == NULL ? NULL :
        PyObject_CallMethod(common_logger, "log", "iss", levels[line->level], "%s", line->text);
    atomic_flag_clear(&line->taken);
    if (done == NULL) { PyErr_WriteUnraisable(NULL); }
    Py_XDECREF(done);
    return 0;
}

void common_log(cellar_log_level level, const char *area, cellar_err code, const char *text,
                void *ctx)
{
    (void)ctx;
    if (code == CELLAR_E_LOADER) { return; } /* its callers get the exception */
    size_t i = 0;
    while (i < 32 && atomic_flag_test_and_set(&common_lines[i].taken)) { i++; }
    if (i == 32) { return; }
    common_line *line = &common_lines[i];
    line->level = level > 5 ? 5 : (int)level;
    (void)PyOS_snprintf(line->text, sizeof line->text, "%s: %s%s%s", area, text,
                        code == CELLAR_OK ? "" : ": ",
                        code == CELLAR_OK ? "" : cellar_code_name(code));
    if (Py_AddPendingCall(common_write_line, line) < 0) { atomic_flag_clear(&line->taken); }
}

PyObject *common_alloc(PyTypeObject *type)
{
    return ((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
}

void common_free(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

PyTypeObject *common_type_add(PyObject *module, const char *name, PyType_Spec *spec)
{
    PyObject *type = PyType_FromSpec(spec);
    if (type == NULL || PyModule_AddObjectRef(module, name, type) < 0) { Py_CLEAR(type); }
    return (PyTypeObject *)type;
}

int common_errors_add(PyObject *module)
{
    common_error = PyErr_NewExceptionWithDoc(
        "cellar.Error", "A call of the library failed. `code` is its number in cellar.h.", NULL,
        NULL);
    common_load_error = common_error == NULL ? NULL : PyErr_NewExceptionWithDoc(
        "cellar.LoadError", "A load failed in another process, or by a code alone: `code`.",
        common_error, NULL);
    return common_load_error == NULL ||
        PyModule_AddObjectRef(module, "Error", common_error) < 0 ||
        PyModule_AddObjectRef(module, "LoadError", common_load_error) < 0 ||
        PyModule_AddStringConstant(module, "version", cellar_version()) < 0 ? -1 : 0;
}
