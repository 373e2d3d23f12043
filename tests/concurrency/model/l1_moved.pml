/* SPDX-License-Identifier: MIT
 *
 * l1_moved: a segment of small moves to main while records in it are deleted.
 *
 * PICTURE    one segment with three records; its word = {count, MOVED}; queue[q] = records that
 *            queue q counts.
 *                del:  count - 1 and a look at MOVED in one step -> queue[MOVED] - 1
 *                move: MOVED and a look at count in one step     -> both queues change by it
 * THREADS    Deleter of each record (in the windows of different buckets); one Mover (lane lock).
 * SHOWN      At the end each queue counts the records that are left in it.
 * MUTANTS    MOVED_READ_LATER (a delete looks at MOVED after its step), COUNT_READ_LATER (the move
 *            looks at the count after its step). */
#define RECORDS 3
byte count = RECORDS;
bool moved;
short queue[2];

proctype Deleter() { byte q;
#ifdef MOVED_READ_LATER
  count--;
  q = moved;
#else
  atomic { count--; q = moved };
#endif
  queue[q] = queue[q] - 1 }

proctype Mover() { byte seen;
#ifdef COUNT_READ_LATER
  moved = true;
  seen = count;
#else
  atomic { moved = true; seen = count };
#endif
  queue[0] = queue[0] - seen;
  queue[1] = queue[1] + seen }

init { byte n;
  queue[0] = RECORDS;
  atomic {
    do :: n < RECORDS -> if :: run Deleter() :: true fi; n++ :: else -> break od;
    if :: run Mover() :: true fi };
  (_nr_pr == 1);
  assert(queue[moved] == count && queue[1 - moved] == 0) }
