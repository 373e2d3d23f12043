/* SPDX-License-Identifier: MIT
 *
 * lease: flights without a leading thread, and callbacks of callers that got PENDING. */
#ifndef FLIGHT_LEASE_H
#define FLIGHT_LEASE_H

#include "flight/types.h"

/* Turn a flight entered as LEASE into an open lease; the ref moves to the claim. Return false if
 * the flight ended. */
CELLAR_PRIVATE bool flight_lease_open(flight_table *t, flight *f, flight_lease *out);
/* Find the flight of an open lease with its ref. Return NULL if the lease is unknown, used, taken
 * over, or of another namespace. */
CELLAR_PRIVATE flight *flight_claim(flight_table *t, const flight_lease *l, uint32_t namespace_id);
CELLAR_PRIVATE void flight_ticket_of(const flight_table *t, uint64_t hash, uint64_t sub_id,
                                     flight_lease *out);
CELLAR_PRIVATE bool flight_withdraw(flight_table *t, const flight_lease *ticket);
/* End leases past their hard time-out. Return their number. */
CELLAR_PRIVATE uint32_t flight_expire(flight_table *t, int64_t now_ms);
/* End all open leases of a dropped namespace: no caller can fulfill them. The caller first sets the
 * state, then fences, then looks for the table. A lease that begins later checks the state after it
 * has its flight. */
CELLAR_PRIVATE void flight_end_leases(flight_table *t, uint32_t namespace_id);
/* End all flights, because the store closes. */
CELLAR_PRIVATE void flight_close(flight_table *t);

#endif
