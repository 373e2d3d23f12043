/* SPDX-License-Identifier: MIT
 *
 * policy_lint: functions of policy_lint.c for the files above it. */
#ifndef POLICY_POLICY_LINT_H
#define POLICY_POLICY_LINT_H

#include "policy/policy_text.h"

/* Report what a correct file probably gets wrong, as warnings. */
CELLAR_PRIVATE void policy_lint(const policy_table *t, policy_diag *d);
/* Return whether each key of `later` matches `earlier`. False in doubt. */
CELLAR_PRIVATE bool policy_covers(const policy_table *t, const policy_rule *earlier,
                                  const policy_rule *later);

#endif
