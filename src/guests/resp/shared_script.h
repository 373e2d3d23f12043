/* SPDX-License-Identifier: MIT
 *
 * shared_script: the scripts of the remote tier as functions on the shared store. */
#ifndef RESP_SHARED_SCRIPT_H
#define RESP_SHARED_SCRIPT_H

#include "resp/command.h"

struct script_call;

/* A script that the port knows. */
typedef struct resp_script {
    const char *sha1;    /* of the text, hexadecimal: its name for clients */
    uint32_t keys, args; /* with `run` exactly so many, with `shared` at least */
    void (*run)(resp_client *c, cellar *ns, const cellar_bytes *argv); /* of any database */
    bool (*shared)(struct script_call *x); /* of the shared store; false: the reply was written */
    uint32_t table;      /* the reply is a table of so many numbers; 0: one number */
    const char *sha256;
} resp_script;

/* Return the script of a table with a digest, in hexadecimal digits; NULL: none. */
CELLAR_PRIVATE const resp_script *resp_script_find(const resp_script *table, size_t count,
                                                   const cellar_bytes *digest, bool sha256);
CELLAR_PRIVATE const resp_script *resp_shared_script_find(const cellar_bytes *digest, bool sha256);
/* Run a script for a client of the shared store. argv: the keys, then the arguments. */
CELLAR_PRIVATE void resp_shared_script_run(resp_client *c, const resp_script *s,
                                           const cellar_bytes *argv, uint32_t keys, uint32_t args);

#endif
