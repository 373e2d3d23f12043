/* SPDX-License-Identifier: MIT
 *
 * module: the module _cellar, and what it does after a fork and at the exit.
 *
 * LIMITS     One interpreter: initialisation in one phase keeps isolated ones out. */
#include "python/python.h"

#include <pythread.h>

/* Take the main thread and time.sleep. __init__.py calls this and the two below. */
static PyObject *module_start(PyObject *self, PyObject *args)
{
    (void)self;
    if (!PyArg_ParseTuple(args, "kO", &common_main_thread, &common_sleep)) { return NULL; }
    Py_INCREF(common_sleep);
    Py_RETURN_NONE;
}

static PyObject *module_forked(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    common_forks++;
    load_forked();
    common_main_thread = PyThread_get_thread_ident();
    Py_RETURN_NONE;
}

static PyObject *module_forks(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    return PyLong_FromUnsignedLong(common_forks);
}

static PyObject *module_exit(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    cache_close_all();
    Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
    { "_start", module_start, METH_VARARGS, NULL },
    { "_forked", module_forked, METH_NOARGS, NULL },
    { "forks", module_forks, METH_NOARGS, NULL },
    { "_exit", module_exit, METH_NOARGS, NULL },
    { NULL, NULL, 0, NULL }
};

PyMODINIT_FUNC PyInit__cellar(void);

PyMODINIT_FUNC PyInit__cellar(void)
{
    static struct PyModuleDef def = { PyModuleDef_HEAD_INIT, "cellar._cellar", NULL, -1,
                                      module_methods, NULL, NULL, NULL, NULL };
    PyObject *module = PyModule_Create(&def);
    if (module != NULL && (common_errors_add(module) < 0 || cache_types_add(module) < 0 ||
                           load_types_add(module) < 0 || guard_types_add(module) < 0)) {
        Py_CLEAR(module);
    }
    return module;
}
