/* SPDX-License-Identifier: MIT
 *
 * table: every command of the port. */
#ifndef RESP_TABLE_H
#define RESP_TABLE_H

#include "resp/command.h"

CELLAR_PRIVATE const resp_command *resp_table(uint32_t *count);

#endif
