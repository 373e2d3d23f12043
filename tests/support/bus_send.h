/* SPDX-License-Identifier: MIT
 *
 * bus_send: publish a message to a queue by its name. */
#ifndef TESTS_BUS_SEND_H
#define TESTS_BUS_SEND_H

#include "cellar_bus.h"

static inline cellar_err bus_send(cellar_pool *pool, const char *queue, const void *body, size_t len,
                                  const cellar_bus_publish_opts *o)
{
    cellar_bus_publish_opts direct = o != NULL ? *o : cellar_bus_publish_opts_default();
    direct.direct = 1;
    return cellar_bus_publish(pool, queue, body, len, &direct);
}

#endif
