/* SPDX-License-Identifier: MIT
 *
 * lock: a keyed lock with a lease: taken by one exchange, waited for in a queue, handed over, lost.
 *
 * PICTURE    one key, one record: word {fence, HELD, FROZEN}, lease_end, lease_of; a queue of two.
 * THREADS    Fast x FASTS (lock_fast, lock_tell; the fast way out, else lock_release_slow)
 *            Waiter x 2 (lock_slow: take, or wait in the queue, look, time out when TIMEOUT is set)
 *            Leaver (takes the fast way and never releases: the lease must end its ownership)
 *            Clock (0 .. END); a lease lasts 2
 * GHOSTS     owner, until: the thread that believes to own the key, and how long; last: highest
 *            fence
 * SHOWN      Never two owners by lease time. Fences rise. A thread holds a lock that was handed over
 *            and knows it. No thread waits without end (an invalid end state).
 * MUTANTS    as in the code: RELEASE_BLIND WAITERS_UNMARKED GRANTED_BEFORE_WORD GRANT_WITHOUT_WAKE
 *            TIMEOUT_OVER_GRANT UNANNOUNCED_JUDGED EXTEND_REVIVES LAST_COMES_FIRST; and of design:
 *            NO_FREEZE (a waiter looks and takes without freezing the word), TOLD_FIRST (lease_of
 *            is written before the lease)
 * LIMITS     Sequentially consistent: everything outside the stripe lock is an exchange on the
 *            word, or a field published by lease_of. One key. The simulation covers pages and
 *            floors (lock.floor_*), and which thread watches the lease after a timeout
 *            (lock.timeout_kicks_nobody). */
#define NM 1
#define NP 1
#define SBN 1
#include "memory.h"
#ifndef FASTS
#define FASTS 1
#endif
#ifndef END
#define END 4
#endif
#define NW 2

byte fence, lease_end, lease_of, now;
bool held, frozen, mtx;
byte line[NW], in_line;      /* numbers of waiters + 1, first come first */
byte event[NW];              /* bit 0 granted; kicks count in the rest, modulo 4 */
byte granted[NW];
byte arrival[NW], arrivals;  /* ghost: order of arrival in the queue */
byte owner, until, last;     /* ghosts; owner: fence */

#define OVER (lease_of == fence && lease_end <= now)
#ifdef UNANNOUNCED_JUDGED
#define LOST (lease_end <= now)
#else
#define LOST OVER
#endif

/* Become the owner: no other thread may believe to own the lock. */
inline OWN(f, end) {
  assert(owner == 0 || until <= now);
  assert(f > last);
  owner = f; until = end; last = f
}
inline LOCK() { atomic { !mtx -> mtx = true } }
inline UNLOCK() { mtx = false }
inline WAKE(i) {
#ifdef GRANT_WITHOUT_WAKE
  skip
#else
  event[i] = event[i] | 8
#endif
}
inline KICK() {
  if :: in_line > 0 -> event[line[0] - 1] = (event[line[0] - 1] & 9) | ((event[line[0] - 1] + 2) & 6);
                       WAKE(line[0] - 1)
     :: else fi
}
inline SETTLE() {
#ifdef WAITERS_UNMARKED
  frozen = false
#else
  frozen = in_line > 0
#endif
}
/* The first of the queue becomes the owner; under the stripe lock, the word frozen. */
inline HAND_OVER(i) {
  i = line[0] - 1;
  assert(in_line < 2 || arrival[i] < arrival[line[1] - 1]);
  line[0] = line[1]; line[1] = 0; in_line--;
  granted[i] = fence + 1;
#ifdef GRANTED_BEFORE_WORD
  event[i] = event[i] | 1; WAKE(i);
#endif
  lease_end = now + 2; lease_of = fence + 1;
  AT(lock.tell)
  atomic { OWN(fence + 1, lease_end); fence++; held = true; SETTLE() }
  AT(lock.settle)
  AT(lock.grant) event[i] = event[i] | 1; WAKE(i);
  KICK()
}
/* Under the stripe lock, frozen, no longer ours: pass on, or idle. */
inline PASS_ON(i) {
  if :: in_line > 0 -> HAND_OVER(i)
     :: else -> atomic { held = false; SETTLE() } fi
}

active proctype Clock() { do :: now < END -> now++ :: now == END -> break od }

inline RELEASE(my, i) {
  if
  :: lease_end > now ->
    AT(lock.fast.release)
#ifdef RELEASE_BLIND
    atomic { if :: owner == my -> owner = 0 :: else fi; held = false; frozen = false; goto out }
#else
    atomic { if :: fence == my && held && !frozen -> if :: owner == my -> owner = 0 :: else fi;
                   held = false; goto out
                :: else fi }
#endif
  :: else
  fi;
  LOCK();
  if :: fence == my && held ->
        AT(lock.freeze) atomic { frozen = true; if :: owner == my -> owner = 0 :: else fi };
        PASS_ON(i)
     :: else fi;
  UNLOCK()
}

active [FASTS] proctype Fast() { byte my, i, t;
  AT(lock.fast.take)
  atomic { if :: !held && !frozen -> my = fence + 1; OWN(my, 255); fence = my; held = true
              :: else -> goto out fi };
#ifdef TOLD_FIRST
  lease_of = my;
#endif
  lease_end = now + 2;
  atomic { lease_of = my; if :: owner == my -> until = lease_end :: else fi };
#ifdef EXTEND
  LOCK();
  if :: fence == my && held ->
    frozen = true;
    t = now;
#ifdef EXTEND_REVIVES
    if :: true ->
#else
    if :: lease_end > t ->
#endif
          assert(until > t || owner != my);    /* only a valid lease is extended */
          atomic { lease_end = t + 2; if :: owner == my -> until = lease_end :: else fi }
       :: else fi;
    SETTLE()
  :: else fi;
  UNLOCK();
#endif
  RELEASE(my, i);
out: skip
}

#ifdef LEAVER
active proctype Leaver() { byte my;
  /* the clock continues until its lease ends */
  atomic { if :: now + 2 <= END && !held && !frozen ->
                 my = fence + 1; OWN(my, 255); fence = my; held = true; lease_end = now + 2
              :: else -> goto out fi };
  atomic { lease_of = my; if :: owner == my -> until = lease_end :: else fi };
out: skip
}
#endif

active [NW] proctype Waiter() { byte me = _pid % NW, my, i, seen; bool was_first;
  LOCK();
#ifndef NO_FREEZE
  frozen = true;
#endif
  if :: (!held || LOST) && in_line == 0 ->
        atomic { OWN(fence + 1, now + 2); my = fence + 1; lease_end = now + 2; lease_of = my;
                 fence = my; held = true; SETTLE() };
        UNLOCK(); goto own
     :: else
  fi;
  line[in_line] = me + 1;
#ifdef LAST_COMES_FIRST
  if :: in_line == 1 -> line[1] = line[0]; line[0] = me + 1 :: else fi;
#endif
  in_line++; arrival[me] = arrivals; arrivals++;
  SETTLE();
look:
  seen = event[me] & 7;
  was_first = line[0] == me + 1;
  UNLOCK();
  AT(lock.wait)
  /* Sleep: until the event moves with a wake-up, the lease ends (the first), or the deadline. */
  if
  :: (event[me] & 8) && (event[me] & 7) != seen
  :: was_first && (lease_end <= now || lease_of != fence)
#ifdef TIMEOUT
  :: now >= 1
#endif
  fi;
  event[me] = event[me] & 7;
#ifndef TIMEOUT_OVER_GRANT
  if :: event[me] & 1 -> my = granted[me]; goto own :: else fi;
#endif
  LOCK();
#ifdef TIMEOUT_OVER_GRANT
  if :: me == 0 && now >= 1 -> UNLOCK(); if :: event[me] & 1 -> goto gone :: else -> LOCK() fi :: else fi;
#endif
  if :: event[me] & 1 -> UNLOCK(); my = granted[me]; goto own :: else fi;
  if :: line[0] == me + 1 && (!held || LOST) ->
        HAND_OVER(i); UNLOCK(); my = granted[me]; goto own
     :: else fi;
#ifdef TIMEOUT
  if :: me == 0 && now >= 1 ->
        was_first = line[0] == me + 1;
        if :: was_first -> line[0] = line[1]; line[1] = 0 :: else -> line[1] = 0 fi;
        in_line--;
        if :: was_first -> KICK() :: else fi;
        SETTLE();
        UNLOCK(); goto gone
     :: true
  fi;
#endif
  goto look;
own:
  /* What it holds, its handle says. */
  assert(fence > my || (fence == my && held));
  RELEASE(my, i);
out: goto end;
gone: assert((event[me] & 1) == 0);          /* a lock handed over is never lost */
end: skip
}
