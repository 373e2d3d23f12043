/* SPDX-License-Identifier: MIT
 *
 * task_finish: the end of an attempt against its hard time-out, a cancel, and the reuse of its slot.
 *
 * PICTURE    one slot {state, gen, attempt, timer} <- run of a worker {task, attempt}; 2 tasks in turn
 * THREADS    Worker x 2 (task_take, task_run_end), Timer (task_hard, and task_lease_over alike)
 *            Canceller (cellar_task_cancel of the first task)
 *            Submitter (the next task as soon as the slot is free)
 * GHOSTS     begun: attempts of each task that began; ends: how often it ended; in_time: verdicts OK
 *            that counted; cancelled: the cancel returned OK
 * SHOWN      A task ends once. The verdict of an attempt that has timed out is discarded: it neither
 *            ends its task nor the next one in the slot. Attempts begin one after another, at most
 *            MAX of them, none after the end. A time-out hits only the attempt that it was set for.
 * MUTANTS    as in the code: ATTEMPT_KEPT ANY_GENERATION; of design: STATE_DECIDES (a verdict counts
 *            while the task runs), TIMER_KEPT (the end leaves the timer armed), CANCEL_RUNNING (a
 *            cancel ends a task that runs), FREED_EARLY (the end of a task frees the payload that a
 *            function still reads)
 * LIMITS     Each step is one hold of the lock of the pool. Backoff and delays have no time: RETRY is
 *            QUEUED. */
#define MAX 2
#define FREE 0
#define QUEUED 1
#define RUNNING 2

byte state, gen, attempt, timer; /* timer: the attempt it was set for + 1; 0: not armed */
bool wanted_off;                 /* TASK_CANCEL */
byte run_task[2];                /* task of the run: gen of the slot; 0: none */
byte run_of[2];                  /* ghost: gen of the payload that the function reads */
byte body[3];                    /* references to the payload of each task */
byte begun[3], ends[3], in_time[3];
bool cancelled;

inline END(g) {
  assert(g == gen && ends[g] == 0 && state != FREE);
  ends[g]++; state = FREE; wanted_off = false;
#ifndef TIMER_KEPT
  timer = 0;
#endif
  body[g]--
}
inline AGAIN() { /* the attempt failed */
  if :: wanted_off || attempt == MAX -> END(gen)
     :: else -> state = QUEUED
  fi
}

active proctype Submitter() {
  atomic { gen = 1; state = QUEUED; attempt = 0; body[1] = 1 };
  atomic { state == FREE -> gen = 2; state = QUEUED; attempt = 0; body[2] = 1 };
  state == FREE && run_of[0] == 0 && run_of[1] == 0;
  assert(ends[1] == 1 && ends[2] == 1 && body[1] == 0 && body[2] == 0);
  assert(in_time[1] <= 1 && in_time[2] <= 1);
  assert(!cancelled || in_time[1] == 0)
}

inline FINISH(me) {
  if
#ifdef STATE_DECIDES
  :: state == RUNNING ->
#else
  :: run_task[me] != 0 ->
#endif
       assert(run_task[me] == gen || state == RUNNING);
#ifndef TIMER_KEPT
       timer = 0;
#endif
       if :: good -> assert(run_of[me] == gen); in_time[gen]++; END(gen)
          :: else -> AGAIN() fi
  :: else /* late: discarded */
  fi;
  run_task[me] = 0;
#ifndef FREED_EARLY
  body[run_of[me]]--;
#endif
  run_of[me] = 0
}

active [2] proctype Worker() { byte me = _pid % 2; bool good;
  do
  :: atomic { state == QUEUED ->
       state = RUNNING; attempt++;
       assert(attempt <= MAX && ends[gen] == 0 && (gen != 1 || !cancelled));
       assert(begun[gen] == attempt - 1); begun[gen] = attempt;
       run_task[me] = gen; run_of[me] = gen;
#ifdef TIMER_KEPT
       if :: timer == 0 -> timer = attempt + 1 :: else fi;
#else
       timer = attempt + 1;
#endif
#ifndef FREED_EARLY
       body[gen]++
#endif
     };
     if :: good = true :: good = false fi;
     assert(body[run_of[me]] > 0); /* the function reads its payload */
     atomic { FINISH(me) }
  :: ends[2] == 1 -> break
  od }

active proctype Timer() { byte r;
  do
  :: atomic { timer != 0 && state == RUNNING ->
       assert(timer == attempt + 1);
       r = 0;
       if :: run_task[0] == gen -> r = 0 :: else -> r = 1 fi;
       assert(run_task[r] == gen);
#ifndef ATTEMPT_KEPT
       run_task[r] = 0;
#endif
       timer = 0;
       AGAIN() }
  :: ends[2] == 1 -> break
  od }

active proctype Canceller() {
  atomic {
    if
#ifdef ANY_GENERATION
    :: gen != 0 && state != FREE ->
#else
    :: gen == 1 && state != FREE ->
#endif
         if
         :: state == QUEUED -> assert(gen == 1); cancelled = true; END(gen)
         :: state == RUNNING ->
#ifdef CANCEL_RUNNING
              END(gen)
#else
              wanted_off = true
#endif
         fi
    :: else
    fi
  } }
