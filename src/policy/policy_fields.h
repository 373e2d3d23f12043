/* SPDX-License-Identifier: MIT
 *
 * policy_fields: the options of a cellar_policy_rule, as words of a policy file. */
#ifndef POLICY_POLICY_FIELDS_H
#define POLICY_POLICY_FIELDS_H

#include "base/port.h"
#include "cellar.h"
#include "cellar_admin.h"

#define POLICY_FIELDS 18u

typedef struct policy_bytes {
    const char *at; /* not terminated */
    uint32_t len;
} policy_bytes;

typedef struct policy_field { /* one option of a struct */
    policy_bytes word, value; /* value: in `room`, or a text of the caller */
    bool valued;
    char room[32];
} policy_field;

/* Read option number `i` of the rule. Return false if it is not set. */
CELLAR_PRIVATE bool policy_field_read(const cellar_policy_rule *rule, unsigned i, policy_field *f);

#endif
