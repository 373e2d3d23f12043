/* SPDX-License-Identifier: MIT
 *
 * shared_script: the scripts of the remote tier as functions on the shared store. */
#ifndef RESP_SHARED_SCRIPT_H
#define RESP_SHARED_SCRIPT_H

#include "resp/command.h"

typedef struct resp_shared_script resp_shared_script;

/* Return the script of a text with this digest; NULL: none. */
CELLAR_PRIVATE const resp_shared_script *resp_shared_script_of(const unsigned char sha256[32]);
/* Return the script of a SHA-1 in hexadecimal digits; NULL: none. */
CELLAR_PRIVATE const resp_shared_script *resp_shared_script_named(const cellar_bytes *name);
/* Return that SHA-1. */
CELLAR_PRIVATE const char *resp_shared_script_name(const resp_shared_script *s);
/* Run a script for a client of the shared store. argv: the keys, then the arguments. */
CELLAR_PRIVATE void resp_shared_script_run(resp_client *c, const resp_shared_script *s,
                                           const cellar_bytes *argv, uint32_t keys, uint32_t args);

#endif
