/* SPDX-License-Identifier: MIT
 *
 * fuzz/python: keys and values of the package for Python, of any bytes.
 *
 * INPUT      the bytes of a value, which are those of a key as well
 * ORACLE     no crash, no sanitizer report, no exception. An object that was read is stored as bytes
 *            which are read as an object of the same bytes.
 * USE        tests/fuzz/slow_python_fuzz.sh: seeded inputs of python_runs.c. libFuzzer:
 *            tests/fuzz/matrix_fuzz.sh. Both embed Python. */
#include "python/python.h"

#include "tests/fuzz/must.h"

const char *__asan_default_options(void);

/* Python keeps memory to its end. */
const char *__asan_default_options(void) { return "detect_leaks=0"; }

static uint64_t fuzz_objects;

/* Store an object as a value or a key, in memory that ends with its bytes. NULL: it is nested too
 * deeply to be stored. */
static char *fuzz_stored(PyObject *o, int is_key, size_t *n)
{
    const codec none = { .tag = 0 };
    pykey k;
    pybuf v;
    buf_init(&v);
    const int done = is_key ? key_init(&k, o, 0) : value_encode(&v, o, &none);
    if (done < 0) {
        FUZZ_MUST(PyErr_ExceptionMatches(PyExc_RecursionError));
        PyErr_Clear();
        buf_fini(&v);
        return NULL;
    }
    *n = is_key ? k.len : v.len;
    char *out = malloc(*n + 1);
    FUZZ_MUST(out != NULL);
    memcpy(out, is_key ? k.at : v.at, *n);
    if (is_key) { key_fini(&k); }
    buf_fini(&v);
    return out;
}

static PyObject *fuzz_read(const char *at, size_t n, int is_key)
{
    const codec none = { .tag = 0 };
    PyObject *o = is_key ? key_object(at, n, 0) : value_decode(at, n, &none);
    FUZZ_MUST(!PyErr_Occurred());
    return o;
}

static void fuzz_bytes(const char *at, size_t n, int is_key)
{
    size_t first_n, second_n;
    PyObject *o = fuzz_read(at, n, is_key);
    if (o == NULL) { return; }
    fuzz_objects++;
    char *first = fuzz_stored(o, is_key, &first_n);
    Py_DECREF(o);
    if (first == NULL) { return; }
    o = fuzz_read(first, first_n, is_key);
    FUZZ_MUST(o != NULL);
    char *second = fuzz_stored(o, is_key, &second_n);
    Py_DECREF(o);
    FUZZ_MUST(second != NULL && first_n == second_n && memcmp(first, second, first_n) == 0);
    free(first);
    free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!Py_IsInitialized()) { Py_InitializeEx(0); }
    char *exact = malloc(n + 1); /* a read past its end is found */
    FUZZ_MUST(exact != NULL);
    char *end = exact + 1;
    memcpy(end, data, n);
    fuzz_bytes(end, n, 0);
    fuzz_bytes(end, n, 1);
    free(exact);
    return 0;
}
