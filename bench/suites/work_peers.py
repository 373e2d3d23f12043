# SPDX-License-Identifier: MIT
#
# work_peers: what suite `work` is compared with. Prints one figure a line.
#
# USE        work_peers.py celery SOCKET COUNT ROUNDS     tasks a second, submit to result
#            work_peers.py apscheduler COUNT SPAN_MS      us, 99th percentile of lateness
# CELERY     redis on a unix socket is broker and result backend; a worker process of its own with
#            two prefork children, without gossip, mingle and heartbeat. A round submits all tasks,
#            then reads all results, in both ways that Celery has; the faster one counts.
import ctypes
import os
import signal
import subprocess
import sys
import time


def celery_app(socket):
    from celery import Celery
    url = "redis+socket://" + os.path.abspath(socket)
    app = Celery("work", broker=url, backend=url)
    app.conf.update(task_serializer="json", result_serializer="json", accept_content=["json"])

    @app.task(name="empty")
    def empty(n):
        return n

    return app, empty


def celery_worker(socket):
    app, _ = celery_app(socket)
    app.worker_main(["worker", "-c", "2", "-l", "ERROR", "--without-gossip", "--without-mingle",
                     "--without-heartbeat"])


def celery_round(app, task, count, at_once):
    from celery.result import ResultSet
    begin = time.perf_counter()
    results = [task.delay(i) for i in range(count)]
    if at_once:
        values = ResultSet(results, app=app).join_native(timeout=60)
    else:
        values = [r.get(timeout=60) for r in results]
    took = time.perf_counter() - begin
    if sorted(values) != list(range(count)):
        sys.exit("a result is wrong")
    return count / took


def celery_bench(socket, count, rounds):
    def end_with_parent():
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)

    worker = subprocess.Popen([sys.executable, __file__, "worker", socket],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, preexec_fn=end_with_parent)
    try:
        app, task = celery_app(socket)
        task.delay(0).get(timeout=60)
        for _ in range(rounds):
            print(max(celery_round(app, task, count, way) for way in (False, True)), flush=True)
    finally:
        worker.terminate()
        worker.wait()


def apscheduler_bench(count, span_ms):
    import datetime
    import random
    from apscheduler.schedulers.background import BackgroundScheduler
    draw = random.Random(7)
    late = []

    def run(due):
        late.append(time.time() - due)

    scheduler = BackgroundScheduler(timezone="UTC")
    scheduler.start()
    for _ in range(count):
        due = time.time() + 1 + draw.randrange(span_ms) / 1e3
        when = datetime.datetime.fromtimestamp(due, datetime.timezone.utc)
        scheduler.add_job(run, "date", [due], run_date=when, misfire_grace_time=None)
    while len(late) < count:
        time.sleep(0.05)
    scheduler.shutdown()
    print(sorted(late)[int(count * 0.99)] * 1e6)


if sys.argv[1] == "worker":
    celery_worker(sys.argv[2])
elif sys.argv[1] == "celery":
    celery_bench(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
else:
    apscheduler_bench(int(sys.argv[2]), int(sys.argv[3]))
