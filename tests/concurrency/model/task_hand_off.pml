/* SPDX-License-Identifier: MIT
 *
 * task_hand_off: submits, workers that go to sleep, workers that take several tasks under one lock.
 *
 * PICTURE    queue -> burst of a worker (claim: tasks begun) -> end       word `work`: sleeping, woken
 * THREADS    Submitter (task_queue_add, task_wake, task_settle)
 *            Worker x 2 (task_run_next, task_burst_next, task_worker_idle)
 *            Closer (task_pool_stop); LOOK: Looker (task_bursts_recall); TIMER: Timer
 *            (task_timer_main); TWO: two submitters
 * GHOSTS     ran, ended: how often each task began and ended
 * SHOWN      Each task begins once and ends once, after it began. A look finds a run for each task
 *            that runs. No task waits while all workers sleep, and the close is heard (else an
 *            invalid end state). sleeping + woken == workers that have not counted their awakening.
 * MUTANTS    as in the code: WORD_LATE SLEEPS_UNCOUNTED CLAIM_STORED NEW_WORKER_UNLISTED BELL_LATE;
 *            of design: NO_WAKE, EARLY_UNCOUNTED (a worker that wakes early leaves its count),
 *            STOP_AFTER_BELL (the closer rings before it stops)
 * LIMITS     Sequentially consistent: words are exchanged or read under the lock. Two workers, a
 *            burst of two, three tasks. */
#ifndef NT
#define NT 3
#endif
#define NW 2
#define OVER 100
#define FREE 0
#define QUEUED 1
#define RUNNING 2
#define ENDED 3

bit mtx, stop;
byte state[NT], ran[NT], ended[NT];
byte queued, sleeping, woken, work, bell;
bool waits[NW], timer_waits;
byte asleep;                     /* ghost: workers between their two counts */
byte burst[NW * 2], burst_len[NW], claim[NW], cur[NW]; /* cur: task of the run + 1 */
bool bursting[NW];
byte finished, spare = 1;          /* spare: awakenings without a cause */

#ifdef CLAIM_STORED
#define HELD /* the mistake lies between two steps under the lock */
#else
#define HELD atomic /* one access to `claim` and one to `work` at most: nothing comes between */
#endif
inline LOCK() { atomic { mtx == 0 -> mtx = 1 } }
inline UNLOCK() { atomic { assert(sleeping + woken == asleep); mtx = 0 } }
/* Wake the threads that sleep on `work`, one of them or all. */
inline WAKE_ONE() {
  atomic { if :: waits[0] -> waits[0] = false :: waits[1] -> waits[1] = false
              :: !waits[0] && !waits[1] fi }
}
inline COUNT_WAKE() {
#ifndef NO_WAKE
  if :: sleeping > 0 -> sleeping--; woken++; w = 1 :: else fi
#else
  skip
#endif
}
inline PUT(t) { state[t] = QUEUED; queued++; COUNT_WAKE() }
inline SETTLE() { if :: w -> work++; WAKE_ONE(); w = 0 :: else fi }
inline BEGIN(t) { assert(state[t] == RUNNING && ran[t] == 0); ran[t]++ }
inline END(t) {
  atomic { assert(ran[t] == 1 && ended[t] == 0); ended[t]++; state[t] = ENDED; finished++ }
}
/* Take the first queued task out. */
inline TAKE(t) {
  t = 0;
  do :: t < NT && state[t] != QUEUED -> t++ :: else -> break od;
  assert(t < NT); state[t] = RUNNING; queued--
}
/* End what a burst has run, queue what it has not begun; under the lock. */
inline RECALL(v) {
  if :: bursting[v] ->
#ifdef CLAIM_STORED
       begun = claim[v]; claim[v] = OVER;
#else
       atomic { begun = claim[v]; claim[v] = OVER };
#endif
       bursting[v] = false;
       if :: begun >= 2 -> END(burst[2 * v]) :: else fi;
       if :: begun == 3 -> END(burst[2 * v + 1]); cur[v] = 0
          :: begun == 2 -> cur[v] = burst[2 * v + 1] + 1
          :: begun == 1 -> cur[v] = burst[2 * v] + 1; PUT(burst[2 * v + 1])
       fi;
       begun = 0
     :: else fi
}

proctype Submitter(byte t, last) { bit w;
  do
  :: t <= last -> HELD { LOCK(); PUT(t); t++; UNLOCK() }; SETTLE()
  :: else -> break
  od }

proctype Worker(byte me) { byte t, seen, begun; bit w, ends, sleeps;
next:
  HELD {
    LOCK();
    if :: bursting[me] -> RECALL(me) :: else fi; /* exhausted: all have ended */
    if :: queued == 0 || stop -> t = 0; UNLOCK(); goto idle :: else fi;
    TAKE(t); cur[me] = t + 1; burst[2 * me] = t; burst_len[me] = 1;
    if :: queued > 0 -> TAKE(t); burst[2 * me + 1] = t; burst_len[me] = 2;
                        claim[me] = 1; bursting[me] = true
       :: else fi;
    t = burst[2 * me];
    UNLOCK()
  };
begin:
  BEGIN(t);
  if :: burst_len[me] == 2 ->
       atomic { if :: claim[me] < OVER -> claim[me]++; begun = claim[me] :: else -> begun = OVER fi };
       if :: begun == 2 && t == burst[2 * me] -> begun = 0; t = burst[2 * me + 1]; goto begin
          :: begun == 3 -> begun = 0; goto next
          :: else -> begun = 0 fi
     :: else fi;
  HELD { /* the burst was recalled, or there was none: this thread ends its task */
    LOCK();
    RECALL(me);
    if :: cur[me] != 0 -> END(cur[me] - 1); cur[me] = 0 :: else fi;
    burst_len[me] = 0;
    UNLOCK()
  };
  SETTLE();
  goto next;
idle:
  HELD {
    LOCK();
    seen = work;
    ends = stop;
    if :: !stop && queued == 0 -> RECALL(0); RECALL(1) :: else fi;
    sleeps = !stop && queued == 0;
#ifndef SLEEPS_UNCOUNTED
    if :: sleeps -> sleeping++; asleep++ :: else fi;
#endif
    UNLOCK()
  };
  SETTLE();
#ifdef SLEEPS_UNCOUNTED
  if :: sleeps -> HELD { LOCK(); sleeping++; asleep++; UNLOCK() } :: else fi;
#endif
  if :: sleeps ->
#ifdef WORD_LATE
       seen = work;
#endif
       atomic { if :: work == seen -> waits[me] = true :: else fi };
       if :: !waits[me] :: atomic { spare > 0 && waits[me] -> waits[me] = false; spare-- } fi;
       HELD {
         LOCK();
         asleep--;
         if :: woken > 0 -> woken--
#ifndef EARLY_UNCOUNTED
            :: else -> sleeping--
#else
            :: else
#endif
         fi;
         UNLOCK()
       }
     :: else fi;
  seen = 0; sleeps = 0;
  if :: ends :: else -> goto next fi }

proctype Looker() { byte begun, i; bit w;
  HELD {
    LOCK();
    RECALL(0);
#ifndef NEW_WORKER_UNLISTED
    RECALL(1);
#endif
    do :: i < NT -> assert(state[i] != RUNNING || cur[0] == i + 1 || cur[1] == i + 1); i++
       :: else -> break od;
    UNLOCK()
  };
  SETTLE() }

#ifdef TIMER
proctype Timer() { byte seen;
  do
  :: seen = bell;
     if :: stop -> break :: else fi;
#ifdef BELL_LATE
     seen = bell;
#endif
     atomic { if :: bell == seen -> timer_waits = true :: else fi };
     !timer_waits
  od }
#endif

proctype Closer() {
  finished == NT ->
#ifndef STOP_AFTER_BELL
  stop = 1;
#endif
  work++; atomic { waits[0] = false; waits[1] = false };
  bell++; timer_waits = false;
#ifdef STOP_AFTER_BELL
  stop = 1
#endif
}

init { atomic {
#ifdef TWO
  run Submitter(0, NT - 2); run Submitter(NT - 1, NT - 1);
#else
  run Submitter(0, NT - 1);
#endif
#ifdef LOOK
  run Looker();
#endif
#ifdef TIMER
  run Timer();
#endif
  run Worker(0); run Worker(1); run Closer() } }
