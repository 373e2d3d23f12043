/* SPDX-License-Identifier: MIT
 *
 * consumer: the smallest program for an installed cellar; 0 when a value is read back. */
#include <cellar.h>

#include <stdio.h>
#include <string.h>

int main(void)
{
    cellar_config cfg = cellar_config_default();
    cellar *c = NULL;
    char buf[16];
    size_t len = 0;

    if (cellar_open(&cfg, &c) != CELLAR_OK) return 1;
    if (cellar_set(c, "k", 1, "value", 5, NULL) != CELLAR_OK) return 2;
    if (cellar_get(c, "k", 1, buf, sizeof buf, &len) != CELLAR_OK) return 3;
    if (len != 5 || memcmp(buf, "value", 5) != 0) return 4;
    cellar_close(c);
    printf("cellar %s\n", cellar_version());
    return 0;
}
