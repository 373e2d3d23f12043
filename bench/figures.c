/* SPDX-License-Identifier: MIT
 *
 * figures: the paths of a key along which figures.sh counts files, each in a function of its own.
 *
 * USE        valgrind --tool=callgrind --toggle-collect=path_get figures
 *            Each path runs once before: what follows has no first use of a thread or a table. */
#include "cellar_load.h"

void path_get(cellar *c);
void path_set(cellar *c);
void path_load(cellar *c, const char *key);

static cellar_err load(cellar_load *l, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    return cellar_load_value(l, "value", 5);
}

static void look(cellar *c)
{
    char buf[8];
    size_t len;
    (void)cellar_get(c, "k", 1, buf, sizeof buf, &len);
}
void path_get(cellar *c) { look(c); }
void path_set(cellar *c) { (void)cellar_set(c, "k", 1, "v", 1, NULL); }
void path_load(cellar *c, const char *key)
{
    cellar_result res = cellar_result_default();
    (void)cellar_get_or_load(c, key, 1, NULL, load, NULL, &res);
    cellar_result_free(&res);
}

int main(void)
{
    cellar *c;
    cellar_result res = cellar_result_default();
    if (cellar_open(NULL, &c) != CELLAR_OK) { return 1; }
    (void)cellar_set(c, "k", 1, "v", 1, NULL);
    (void)cellar_get_or_load(c, "a", 1, NULL, load, NULL, &res);
    cellar_result_free(&res);
    look(c);
    path_get(c);
    path_set(c);
    path_load(c, "b");
    return cellar_close(c) != CELLAR_OK;
}
