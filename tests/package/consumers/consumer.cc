// SPDX-License-Identifier: MIT
//
// consumer: the same as consumer.c, from C++.
#include <cellar.h>

#include <cstring>

int main()
{
    cellar_config cfg = cellar_config_default();
    cellar *c = nullptr;
    char buf[16];
    size_t len = 0;

    if (cellar_open(&cfg, &c) != CELLAR_OK) return 1;
    if (cellar_set(c, "k", 1, "value", 5, nullptr) != CELLAR_OK) return 2;
    if (cellar_get(c, "k", 1, buf, sizeof buf, &len) != CELLAR_OK) return 3;
    cellar_close(c);
    return len == 5 && std::memcmp(buf, "value", 5) == 0 ? 0 : 4;
}
