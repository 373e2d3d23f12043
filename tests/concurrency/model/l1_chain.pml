/* SPDX-License-Identifier: MIT
 *
 * l1_chain: overflow buckets emptied, given back and used by another chain, under readers.
 *
 * PICTURE    primary 0 -> overflow 1 -> overflow 2, one slot each {tag, off}, keys 1 2 3 in
 *            them; the overflow buckets belong to one group (free list through off). Offset k
 *            is a record of key k.
 * THREADS    Reader(k) (get; NONE: l1_none is asked first)   Scan (l1_scan_step on this chain)   SCAN
 *            Cursor x DROPS (l1_drop + l1_chain_trim)   Setter (l1_link: l1_slot_empty)   SET
 *            Deleter (l1_remove: bucket lock only, never trims)   DEL
 *            Other (another chain of the group takes a bucket, fills it, gives it back)   OTHER
 * GHOSTS     absent[k] = callers since whose start key k was absent at some time.
 * SHOWN      Get and scan find every key that is present throughout. A bucket is in one chain or on
 *            the free list, once.
 * MUTANTS    NO_RECHECK as in the code; and TRIM_UNLOCKED (after the bucket's unlock), DEL_TRIMS
 *            (without the stripe lock), MOVE_FORGETS (the last bucket is given back with its
 *            slot), NONE_NO_CHAIN (l1_none takes the first bucket for all). */
#define NM 10
#define NP 4
#define SBN 7
#include "memory.h"
#define VER 0
#define TAG(i) (1 + (i))
#define OFF(i) (4 + (i))
#define OVF(i) (7 + (i))
#define EVEN ((mem[VER] & 1) == 0)
#ifndef DROPS
#define DROPS 1
#endif
#ifdef NO_RECHECK
#define CHANGED(v) (false)
#else
#define CHANGED(v) (mem[VER] != (v))
#endif
bool stripe, present[4], inuse[3];
byte free, absent[4], chained = 2;

inline TAKE_STRIPE(p) { atomic { DRAINED(p) && !stripe -> stripe = true } }
inline DROP_STRIPE(p) { atomic { DRAINED(p) -> stripe = false } }
inline LOCK(p, v) { AT(l1.lock) atomic { DRAINED(p) && EVEN -> v = mem[VER]; mem[VER] = v + 1 } }
inline UNLOCK(p, v) { ST(p, VER, v + 2) }
inline BEGIN(me) {
  d_step { absent[1] = (absent[1] & ~me) | (present[1] -> 0 : me);
           absent[2] = (absent[2] & ~me) | (present[2] -> 0 : me);
           absent[3] = (absent[3] & ~me) | (present[3] -> 0 : me) } }
inline GONE(k) { d_step { present[k] = false; absent[k] = 7 } }

inline OVF_TAKE(p, n) {
  n = free;
  if :: n != 0 -> free = mem[OFF(n)]; ST(p, TAG(n), 0); ST(p, OVF(n), 0);
        atomic { assert(!inuse[n]); inuse[n] = true }
     :: else
  fi }
inline OVF_GIVE(p, n) {
  ST(p, OFF(n), free); atomic { DRAINED(p) -> assert(inuse[n]); inuse[n] = false; free = n } }

/* l1_find; i 3: not found. */
inline FIND(k, i) {
  i = 0;
  do
  :: mem[TAG(i)] != 0 && mem[OFF(i)] == k -> break
  :: else -> i = mem[OVF(i)]; if :: i == 0 -> i = 3; break :: else fi
  od }
inline TRIM(p) {
  at = 0; hole = 3;
  do
  :: mem[OVF(at)] != 0 ->
     if :: hole == 3 && mem[TAG(at)] == 0 -> hole = at :: else fi;
     before = at; at = mem[OVF(at)]
  :: else -> break
  od;
  if
  :: at != 0 && (mem[TAG(at)] == 0 || hole != 3) ->
#ifndef MOVE_FORGETS
     if :: mem[TAG(at)] != 0 ->
           ST(p, OFF(hole), mem[OFF(at)]); ST(p, TAG(hole), 1); ST(p, TAG(at), 0)
        :: else
     fi;
#endif
     ST(p, OVF(before), 0); chained--; OVF_GIVE(p, at)
  :: else
  fi; at = 0; hole = 0; before = 0 }

proctype Reader(byte k, me) { byte v, at, o;
  BEGIN(me);
#ifdef NONE
  v = mem[VER];
  if :: (v & 1) != 0 -> goto again :: else fi;
  /* Tags are of keys: the tag of another key is no match. */
  if :: mem[TAG(0)] != 0 && mem[OFF(0)] == k -> goto again :: else fi;
#ifndef NONE_NO_CHAIN
  if :: mem[OVF(0)] != 0 -> goto again :: else fi;
#endif
  AT(l1.none.looked)
  if :: CHANGED(v) -> goto again :: else fi;
  assert(absent[k] & me); goto done;
#endif
again:
  atomic { EVEN -> v = mem[VER] }; at = 0;
  do
  :: true ->
     if :: mem[TAG(at)] != 0 -> o = mem[OFF(at)]; AT(l1.probe.matched)
           if :: o == k -> if :: CHANGED(v) -> goto again :: else -> goto done fi :: else fi
        :: else
     fi;
     at = mem[OVF(at)];
     if :: at == 0 -> break :: else fi
  od;
  if :: CHANGED(v) -> goto again :: else fi;
  assert(absent[k] & me);
done: skip }

proctype Scan(byte me) { byte v, at, seen;
  BEGIN(me);
again:
  atomic { EVEN -> v = mem[VER] }; at = 0; seen = 0;
  do
  :: true ->
     if :: mem[TAG(at)] != 0 -> seen = seen | (1 << mem[OFF(at)]) :: else fi;
     at = mem[OVF(at)];
     if :: at == 0 -> break :: else fi
  od;
  if :: CHANGED(v) -> goto again :: else fi;
  assert((seen & 2) || (absent[1] & me)); assert((seen & 4) || (absent[2] & me));
  assert((seen & 8) || (absent[3] & me)) }

proctype Cursor(byte p) { byte v, k, i, at, hole, before, n;
  do
  :: n < DROPS -> n++;
     if :: k = 1 :: k = 2 fi;
     TAKE_STRIPE(p); LOCK(p, v); FIND(k, i);
     if :: i != 3 -> ST(p, TAG(i), 0); AT(l1.evict.unlinked) GONE(k);
           DRAINED(p);   /* l1_live_sub */
#ifdef TRIM_UNLOCKED
           UNLOCK(p, v); TRIM(p)
#else
           TRIM(p); UNLOCK(p, v)
#endif
        :: else -> UNLOCK(p, v)
     fi;
     DROP_STRIPE(p); i = 0; k = 0; v = 0
  :: else -> break
  od }

proctype Setter(byte p, k) { byte v, i, n;
  TAKE_STRIPE(p); LOCK(p, v); FIND(k, i);
  if :: i != 3 -> UNLOCK(p, v); goto out :: else fi;
  i = 0;
  do
  :: mem[TAG(i)] == 0 -> break
  :: else ->
     if :: mem[OVF(i)] != 0 -> i = mem[OVF(i)]
        :: else -> OVF_TAKE(p, n);
           if :: n == 0 -> UNLOCK(p, v); goto out :: else fi;
           ST(p, OVF(i), n); chained++; i = n; break
     fi
  od;
  ST(p, OFF(i), k); ST(p, TAG(i), 1); present[k] = true; UNLOCK(p, v);
out: DROP_STRIPE(p) }

proctype Deleter(byte p, k) { byte v, i, at, hole, before;
  LOCK(p, v); FIND(k, i);
  if :: i != 3 -> ST(p, TAG(i), 0); AT(l1.evict.unlinked) GONE(k); DRAINED(p);
#ifdef DEL_TRIMS
        TRIM(p);
#endif
     :: else
  fi;
  UNLOCK(p, v) }

proctype Other(byte p) { byte n, i;
  do
  :: i < 3 -> i++;
     TAKE_STRIPE(p); OVF_TAKE(p, n);
     if :: n != 0 -> ST(p, OFF(n), 0); ST(p, TAG(n), 1) :: else fi;
     DROP_STRIPE(p);
     if :: n != 0 -> TAKE_STRIPE(p); ST(p, TAG(n), 0); OVF_GIVE(p, n); DROP_STRIPE(p)
        :: true /* keeps it */
     fi;
     n = 0
  :: else -> break
  od }

init { atomic {
    mem[TAG(0)] = 1; mem[OFF(0)] = 1; mem[OVF(0)] = 1;
    mem[TAG(1)] = 1; mem[OFF(1)] = 2; mem[OVF(1)] = 2; mem[TAG(2)] = 1; mem[OFF(2)] = 3;
    present[1] = true; present[2] = true; present[3] = true;
    inuse[1] = true; inuse[2] = true;
    run Reader(3, 1);
#ifdef NR2
    run Reader(2, 2);
#endif
#ifdef SCAN
    run Scan(4);
#endif
    run Cursor(0);
#ifdef SET
    run Setter(1, 1);
#endif
#ifdef DEL
    run Deleter(2, 2);
#endif
#ifdef OTHER
    run Other(3)
#endif
  };
  _nr_pr == 1 + TSO;
  assert(chained == (mem[OVF(0)] != 0) + (mem[OVF(0)] != 0 && mem[OVF(mem[OVF(0)])] != 0)) }
