/* SPDX-License-Identifier: MIT
 *
 * remote_turn: callers and the I/O thread that run one link in turns (link.c of src/guests/remote).
 *
 * PICTURE    ticket -> inbox -> owner of the turn: send, choose the reader -> reader: read, wake
 * THREADS    Caller x NC (remote_ask, remote_run, remote_turn_end; Caller 0 may time out: TIMEOUT),
 *            IO (remote_round), Server (answers what was sent), Poster (POSTS: remote_post of a
 *            request without a caller; only the I/O thread may take its reply)
 * SHOWN      Each request is sent and answered, and its caller ends: else an invalid end state. A
 *            caller reads no reply to a posted request. One thread at a time has the turn.
 * MUTANTS    of design: NO_LOOK (an owner that gave the turn back does not look at the inbox),
 *            IO_NO_LOOK (nor does the I/O thread), LOOK_FIRST (the ticket of the new reader is looked
 *            at before `reader` is written), LEAVE_LATE (a caller looks at `reader` before it
 *            leaves), NO_WAKE (of the new reader), READ_ALL (a caller reads in any case), TRY_TURN (a
 *            new reader does not wait for the turn)
 * LIMITS     Sequentially consistent, as the code is. One request a thread. The link does not break,
 *            and takes all bytes. A poll of 10 ms ends only if the request has ended. */
#ifndef NC
#define NC 2
#endif
#define NT (NC + 1) /* tickets: of the callers; NC: posted */
#define NONE 9
#define IO NC
#define NEW 0
#define QUEUED 1
#define SENT 2
#define DONE 3
#define LEFT 4

byte state[NT], ends[NT];
bool inbox[NT], flying[NT], answered[NT], ended[NT];
byte reader = NONE, alone = NONE, runner = NONE, others;
#ifdef TIMEOUT
#define HELD /* a caller may leave between two steps */
#else
#define HELD atomic
#endif
bool turn, asleep, bell, watch_in;

#define TAKE(me) atomic { !turn -> turn = true; assert(runner == NONE); runner = me }
#define DROP() atomic { alone = NONE; runner = NONE; turn = false }
#define READABLE (answered[0] || answered[1] || answered[NT - 1])
#define POSTED (inbox[0] || inbox[1] || inbox[NT - 1])
#define FLYING (flying[0] || flying[1] || flying[NT - 1])
#if NC > 2
#error tickets
#endif

inline RING() { atomic { if :: asleep -> asleep = false; bell = true :: else fi } }

/* Send the inbox. Owner of the turn. */
inline SEND() {
  atomic {
    i = 0;
    do
    :: i < NT ->
       if :: inbox[i] && state[i] == QUEUED -> state[i] = SENT; flying[i] = true;
             others = others + (i == NC)
          :: else fi;
       inbox[i] = false; i++
    :: else -> break
    od; i = 0 } }

inline WAKE() {
  atomic {
    i = 0;
    do
    :: i < NT -> if :: ended[i] -> ends[i]++; ended[i] = false :: else fi; i++
    :: else -> break
    od; i = 0 } }

/* Take the replies that have come. */
inline READ(me) {
  atomic {
    i = 0;
    do
    :: i < NT ->
       if :: answered[i] ->
             answered[i] = false; flying[i] = false; assert(i != NC || me == IO);
             others = others - (i == NC);
             if :: state[i] == SENT -> state[i] = DONE; ended[i] = (i != alone) :: else fi
          :: else fi;
       i++
    :: else -> break
    od; i = 0 };
  WAKE() }

/* Make t the reader; set: it waits. */
inline SET(t) {
#ifdef LOOK_FIRST
  set = state[t] == SENT;
  if :: set -> reader = t :: else fi
#else
  reader = t;
  set = state[t] == SENT
#endif
}

inline CHOOSE() {
  calm = others == 0; set = false;
  if
  :: reader != NONE && state[reader % NT] == SENT && (calm || reader != alone)
  :: else ->
     if :: calm && alone != NONE -> SET(alone) :: else fi;
     if
     :: set
     :: else ->
        k = 0;
        do
        :: calm && k < NC && !set -> if :: flying[k] -> SET(k); if :: set :: else -> k++ fi
                                        :: else -> k++ fi
        :: else -> break
        od;
        if :: set ->
#ifndef NO_WAKE
                     ended[k] = true
#else
                     skip
#endif
           :: else -> reader = NONE fi;
        k = 0; WAKE()
     fi
  fi;
  atomic { watch_in = reader == NONE && (watch_in || FLYING); set = false } }

proctype Caller(byte me) { byte i, k, seen; bool calm, set, mine, ready;
  atomic { state[me] = QUEUED; inbox[me] = true };
again:
  seen = ends[me];
  if :: state[me] == DONE -> goto end :: else fi;
  if
  :: reader == me ->
#ifdef TRY_TURN
     atomic { if :: !turn -> turn = true; runner = me :: else -> goto wait fi }
#else
     TAKE(me)
#endif
  :: else -> atomic { if :: !turn -> turn = true; runner = me :: else -> goto wait fi }
  fi;
give:
  HELD {
    alone = me; SEND(); CHOOSE();
    mine = reader == me; calm = others == 0;
    DROP()
  };
  if :: !calm -> RING() :: else fi;
#ifndef NO_LOOK
  if :: calm && POSTED ->
        atomic { if :: !turn -> turn = true; runner = me; goto give :: else fi }
     :: else fi;
#endif
  if :: mine :: else -> goto wait fi;
  ready = false;
  if
  :: READABLE -> ready = true
  :: state[me] != SENT
#ifdef TIMEOUT
  :: me == 0 -> goto wait
#endif
  fi;
  HELD {
    TAKE(me); alone = me;
#ifdef READ_ALL
    calm = true;
#else
    calm = others == 0;
#endif
    if :: ready && reader == me && calm -> READ(me) :: else fi
  };
  goto give;
wait:
  if :: state[me] == DONE -> goto end :: else fi;
  if
  :: ends[me] != seen -> goto again
#ifdef TIMEOUT
  :: me == 0 ->
#ifdef LEAVE_LATE
     mine = reader == me;
#endif
     atomic { if :: state[me] == DONE -> goto end
                 :: else -> state[me] = LEFT fi };
#ifndef LEAVE_LATE
     mine = reader == me;
#endif
     if :: mine ->
           TAKE(me);
leave:     SEND(); CHOOSE(); calm = others == 0; DROP();
           if :: !calm -> RING() :: else fi;
           if :: calm && POSTED ->
                 atomic { if :: !turn -> turn = true; runner = me; goto leave :: else fi }
              :: else fi
        :: else fi
#endif
  fi;
end: skip }

active proctype Io() { byte i, k; bool calm, set, now, event;
  TAKE(IO);
  do
  :: asleep = true; now = POSTED;
     DROP();
#ifndef IO_NO_LOOK
     now = now || POSTED;
#endif
end: if :: now :: bell :: watch_in && READABLE fi;
     atomic { event = watch_in && READABLE; bell = false };
     HELD {
       TAKE(IO);
       asleep = false;
       if :: event -> READ(IO) :: else fi;
       event = false; now = false; SEND(); CHOOSE()
     }
  od }

active proctype Server() {
end: do
  :: atomic { flying[0] && !answered[0] -> answered[0] = true }
  :: atomic { flying[1] && !answered[1] -> answered[1] = true }
  :: atomic { flying[NT - 1] && !answered[NT - 1] -> answered[NT - 1] = true }
  od }

#ifdef POSTS
active proctype Poster() { atomic { state[NC] = QUEUED; inbox[NC] = true }; RING() }
#endif

init { atomic { run Caller(0); run Caller(1) } }
