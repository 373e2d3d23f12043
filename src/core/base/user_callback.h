/* SPDX-License-Identifier: MIT
 *
 * user_callback: call user code that may leave without a return. */
#ifndef BASE_USER_CALLBACK_H
#define BASE_USER_CALLBACK_H

#include "base/thread_record.h"

/* Switch cancellation off for this thread. Return the former state for base_cancel_set. */
CELLAR_PRIVATE int base_cancel_off(void);
CELLAR_PRIVATE void base_cancel_set(int state);
#define BASE_CANCEL_STAYS (-1) /* of base_run_callback: fn runs with the present cancel state */
/* Run fn(arg) with the cancel state `cancel`, and switch cancellation off after it. If the thread
 * ends inside fn (pthread_exit, deferred cancel), left(arg) runs and the call does not return. */
CELLAR_PRIVATE void base_run_callback(void (*fn)(void *), void (*left)(void *), void *arg,
                                      int cancel);

#endif
