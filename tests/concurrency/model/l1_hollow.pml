/* SPDX-License-Identifier: MIT
 *
 * l1_hollow: a tick empties a sealed segment while a thread keeps its lane, and the thread goes on.
 *
 * PICTURE    one segment with one record; slot: 1 the record is linked here, 2 elsewhere, 0 nowhere.
 *                Emptier: hold (busy) -> record to another lane, in its window -> nothing linked: hollow
 *                Lane:    look at the bytes -> look at the slot -> copy -> slot from that version;
 *                         later: stack of emptied segments -> release
 * THREADS    Lane: one step of the cursor, then the release; two Emptiers, one after the other; a
 *            Deleter, with DEL: its victim is handed over after the window; a Pinner, with PIN; a
 *            Taker: parked, free and returned segments.
 * SHOWN      The bytes are there for a pin, a victim, the Emptier and each copy that is linked; the
 *            Lane takes bytes for gone in a hollow segment alone. The segment is released once. What
 *            is taken as charged is charged, and what was given back is not.
 * MUTANTS    as in the code: HOLLOW_PINNED HOLLOW_UNHELD HOLLOW_SEEN_LATE HOLLOW_AS_FREE
 *            STOPPED_NOT_HELD KEPT_NOT_UNDONE; and LOCK_ANY_VERSION (the copy is linked whatever
 *            happened since the look at the slot). */
#define AT(step)
mtype = { OPEN, SEALED, HOLLOW, IN_LANE, PARKED, FREE, BACK, TAKEN };
mtype seal = SEALED, where = IN_LANE;
bool bytes = true, charged = true, pin, queued, on, odd, seg;
byte slot = 1, ver, count = 1, busy;

#ifdef HOLLOW_UNHELD
#define UNHELD true
#else
#define UNHELD (busy == 0)
#endif
#ifdef HOLLOW_PINNED
#define UNPINNED true
#else
#define UNPINNED (!pin)
#endif
#define LOCK(l) atomic { !l -> l = true }
inline UNLINK(to) { slot = to; atomic { count--; queued = true }; AT(l1.seg.emptied)
  atomic { assert(!on && where == IN_LANE); on = true } }
inline WINDOW_END() { atomic { odd = false; ver++ } }

inline RELEASE() {
  LOCK(seg);
  assert(where == IN_LANE && count == 0 && !queued);
  if
#ifdef HOLLOW_AS_FREE
  :: seal == HOLLOW -> where = FREE
#else
  :: seal == HOLLOW -> where = BACK
#endif
  :: seal != HOLLOW && (busy > 0 || pin) -> where = PARKED
  :: else -> where = FREE
  fi;
  seal = OPEN; seg = false }
inline FREE_EMPTIED() {
  if :: atomic { on -> on = false }; atomic { n = count; queued = (n == 0 -> false : queued) };
        if :: n == 0 -> RELEASE() :: else fi
     :: else fi }

proctype Lane() { byte n, v; bool whole;
  if :: !bytes -> assert(seal == HOLLOW); goto later :: bytes fi;
  atomic { !odd -> v = ver; n = slot };
  if :: n != 1 -> goto later :: else fi;
  whole = bytes;                                   /* the copy */
#ifdef LOCK_ANY_VERSION
  LOCK(odd);
  if :: true ->
#else
  if :: atomic { !odd && ver == v -> odd = true } ->
#endif
     assert(whole); UNLINK(2); WINDOW_END()
#ifdef KEPT_NOT_UNDONE
  :: atomic { odd || ver != v -> assert(whole) }   /* the copy stays in the log, where it is decoded */
#elif !defined(LOCK_ANY_VERSION)
  :: odd || ver != v                               /* the copy is undone */
#endif
  fi;
later:
  n = 0; FREE_EMPTIED() }

proctype Emptier() { byte round; bool held;
  do
  :: round < 2 -> round++;
     LOCK(seg);
     held = (seal == SEALED && where == IN_LANE);
#ifndef STOPPED_NOT_HELD
     if :: held -> busy++ :: else fi;
#endif
     seg = false;
     if
     :: held ->
        assert(bytes);
        LOCK(odd);
        if :: slot == 1 -> assert(bytes); UNLINK(2) :: else fi;
        WINDOW_END();
        AT(l1.stopped.emptied)
        LOCK(seg);
#ifndef STOPPED_NOT_HELD
        busy--;
#endif
        if
        :: seal == SEALED && where == IN_LANE && count == 0 && queued && UNHELD && UNPINNED ->
#ifdef HOLLOW_SEEN_LATE
           bytes = false; seal = HOLLOW;
#else
           seal = HOLLOW; bytes = false;
#endif
           charged = false
        :: else
        fi;
        seg = false
     :: else
     fi
  :: else -> break
  od }

proctype Deleter() { bool victim;
  LOCK(odd);
  if :: slot == 1 -> busy++; UNLINK(0); victim = true :: else fi;
  WINDOW_END();
  if :: victim -> assert(bytes); busy-- :: else fi }

proctype Pinner() { byte v, n;
  atomic { !odd -> v = ver; n = slot };
  if :: n != 1 -> goto done :: else fi;
  pin = true;
  if :: atomic { !odd && ver == v -> skip }; assert(bytes); assert(bytes) :: odd || ver != v fi;
  pin = false;
done: skip }

proctype Taker() {
  do
  :: LOCK(seg);
     if
     :: where == PARKED && busy == 0 && !pin -> where = FREE
     :: where == FREE -> assert(charged); bytes = false; where = TAKEN
     :: where == BACK -> assert(!charged); charged = true; bytes = false; where = TAKEN
     :: else
     fi;
     seg = false;
     if :: where == TAKEN -> break :: where != TAKEN :: where != TAKEN -> break fi
  od }

init { byte n;
  atomic { run Lane(); run Emptier(); run Taker();
#ifdef DEL
    run Deleter();
#endif
#ifdef PIN
    run Pinner()
#endif
  };
  (_nr_pr == 1);
  FREE_EMPTIED();
  assert(count == 1 || where != IN_LANE);
  assert(busy == 0 && charged == (where != BACK)) }
