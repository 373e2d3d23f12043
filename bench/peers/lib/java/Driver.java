// SPDX-License-Identifier: MIT
//
// Driver: the window protocol for peers on the JVM; ../README.md has the commands.
// Keys are Strings of 8 or 16 Latin-1 characters: one object an id, made before timing and kept
// (their hash is cached in them), or with FRESH=1 in the environment a new one for each operation,
// as a program has them that reads keys from elsewhere. Values are byte[]. The threads of windows
// live as long as the process and are pinned like everybody's; the JVM has no call for it, so the
// tool taskset does it, once a thread. Where it is missing they are not.
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Function;
import java.util.function.Supplier;

public final class Driver {
    /** What to open; zero: no such bound. hint: entries to expect. */
    public record Cfg(long entries, long bytes, long hint, long ttlMs) {
        /** Room in entries: the bound, or a quarter more than everything that may come. */
        public long room() { return entries != 0 ? entries : hint + hint / 4 + 64; }
        /** Room to make at once: for what will come, or none for a store that nobody told how much. */
        public int presize() { return hint == 0 ? 16 : (int) (entries != 0 ? entries : hint); }
    }

    public interface Peer {
        byte[] get(String key);
        void set(String key, byte[] value);
        /** Only with bytes among the caps. */
        default void del(String key) { throw new UnsupportedOperationException(); }
        long count();
        default long accounted() { return 0; }
        default void settle() {}
        default byte[] load(String key, Supplier<byte[]> f) { throw new UnsupportedOperationException(); }
    }

    /** caps: words of entries bytes ttl load. */
    public record Info(String name, String version, String caps, Function<Cfg, Peer> open) {
        boolean has(String cap) { return Arrays.asList(caps.split(" ")).contains(cap); }
    }

    private static final class Wrong extends Exception {
        Wrong(String text) { super(text); }
    }

    private static final class Mix {
        String metric;
        boolean hot;
        int[][] masks;
    }

    private static final String KNOWN =
        " trace key value ops capacity ttl_ms threads prefill window_ms rounds min_memory subjects ";
    private static final boolean FRESH = "1".equals(System.getenv("FRESH"));
    private static final int SLOTS = 64 * 40;
    private static final ThreadMXBean BEAN = ManagementFactory.getThreadMXBean();

    private final Info info;
    private Peer peer;
    private Cfg cfg;
    private int keyLen, hotId, mask, most;
    private long prefill, keys;
    private int[][] ids;
    private int[] lengths;
    private Mix[] mixes = new Mix[0];
    private String[] names;

    private Driver(Info info) { this.info = info; }

    static long mix64(long x) {
        x = (x ^ x >>> 30) * 0xbf58476d1ce4e5b9L;
        x = (x ^ x >>> 27) * 0x94d049bb133111ebL;
        return x ^ x >>> 31;
    }

    static byte[] keyBytes(long id, int keyLen) {
        ByteBuffer b = ByteBuffer.allocate(keyLen).order(ByteOrder.LITTLE_ENDIAN);
        if (keyLen == 16) { b.putLong(mix64(id + 1)); }
        return b.putLong(id).array();
    }

    static String makeKey(long id, int keyLen) {
        return new String(keyBytes(id, keyLen), StandardCharsets.ISO_8859_1);
    }

    static byte[] makeValue(long id, int n) {
        byte[] v = new byte[n];
        Arrays.fill(v, (byte) 0x5a);
        for (int i = 0; i < 8; i++) { v[i] = (byte) (id >>> 8 * i); }
        v[n - 1] = (byte) id;
        return v;
    }

    static boolean verify(byte[] v, int have, long id, int n) {
        if (have != n) { return false; }
        long head = 0;
        for (int i = 7; i >= 0; i--) { head = head << 8 | v[i] & 0xff; }
        long want = n == 8 ? id & ~(0xffL << 56) | (id & 0xff) << 56 : id;
        return head == want && v[n - 1] == (byte) id;
    }

    static int slot(long v) {
        if (v < 128) { return (int) v; }
        int octave = 57 - Long.numberOfLeadingZeros(v);
        return Math.min(octave * 64 + (int) (v >>> octave), SLOTS - 1);
    }

    /** The value that perMillion of all do not exceed: the low end of its slot. */
    static long percentile(long[] hist, long perMillion) {
        long total = Arrays.stream(hist).sum(), seen = 0;
        int at = 0;
        for (; at < SLOTS - 1 && (seen + hist[at]) * 1_000_000 < total * perMillion; at++) { seen += hist[at]; }
        return at < 128 ? at : (long) (at % 64 + 64) << at / 64 - 1;
    }

    static String pairs(long[] hist) {
        List<String> list = new ArrayList<>();
        for (int k = 0; k < SLOTS; k++) { if (hist[k] > 0) { list.add(k + "," + hist[k]); } }
        return String.join(",", list);
    }

    private void read(String wl, String bin) throws Wrong, IOException {
        Map<String, String> word = new HashMap<>(Map.of("key", "16", "prefill", "all", "ttl_ms", "0",
                                                        "capacity", "none"));
        int number = 0;
        for (String line : Files.readAllLines(Path.of(wl))) {
            number++;
            line = line.split("#", 2)[0].strip();
            if (line.isEmpty()) { continue; }
            String[] kv = line.split("=", 2);
            if (kv.length < 2 || !KNOWN.contains(" " + kv[0].strip() + " ")) {
                throw new Wrong(wl + ":" + number + ": unknown key");
            }
            word.put(kv[0].strip(), kv[1].strip());
        }
        take(bin);
        keyLen = Integer.parseInt(word.get("key"));
        prefill = switch (word.get("prefill")) {
            case "all" -> keys;
            case "none" -> 0;
            default -> Math.min(keys, Long.parseLong(word.get("prefill")));
        };
        String[] bound = word.get("capacity").split(" ");
        long n = bound.length == 2 ? Long.parseLong(bound[1]) : 0;
        cfg = new Cfg(bound[0].equals("entries") ? n : 0, bound[0].equals("bytes") ? n : 0, keys,
                      Long.parseLong(word.get("ttl_ms")));
        names = new String[(int) keys];
        for (int id = 0; id < names.length; id++) { names[id] = makeKey(id, keyLen); }
    }

    private static int[] words(ByteBuffer b, int n) {
        int[] out = new int[n];
        b.asIntBuffer().get(out);
        b.position(b.position() + 4 * n);
        return out;
    }

    private void take(String bin) throws Wrong, IOException {
        ByteBuffer b = ByteBuffer.wrap(Files.readAllBytes(Path.of(bin))).order(ByteOrder.LITTLE_ENDIAN);
        try {
            if (b.getLong() != 0x31525442_4c4c4543L) { throw new Wrong(bin + ": no trace"); }
            int threads = (int) b.getLong(), count = (int) b.getLong();
            mixes = new Mix[(int) b.getLong()];
            int lengthCount = (int) b.getLong();
            mask = (int) b.getLong();
            keys = b.getLong();
            hotId = (int) b.getLong();
            for (int i = 0; i < mixes.length; i++) {
                byte[] name = new byte[16];
                b.get(name);
                mixes[i] = new Mix();
                mixes[i].metric = new String(name, StandardCharsets.ISO_8859_1).replace("\0", "");
                mixes[i].hot = b.getLong() == 1;
            }
            ids = new int[threads][];
            for (int i = 0; i < threads; i++) { ids[i] = words(b, count); }
            lengths = words(b, lengthCount);
            most = Arrays.stream(lengths).max().orElse(8);
            for (Mix m : mixes) {
                m.masks = new int[threads][];
                for (int i = 0; i < threads; i++) { m.masks[i] = words(b, count / 32); }
            }
        } catch (RuntimeException e) {
            throw new Wrong(bin + ": torn");
        }
    }

    private int len(int id) { return lengths[id & mask]; }

    private String key(int id) { return FRESH ? makeKey(id, keyLen) : names[id]; }

    private static final class Counts {
        long ops, gets, hits, bad, cpu, start, end;
        long[] hist;
    }

    /* One batch; by itself, so that the compiler meets it often. */
    private void batch(Counts c, int[] id, int at, int bits, boolean hot, boolean through, boolean timed,
                       byte[] buf) {
        for (int k = 0; k < 32; k++, bits >>>= 1) {
            int i = hot ? hotId : id[at + k];
            if ((bits & 1) != 0) {
                peer.set(key(i), makeValue(i, len(i)));
                continue;
            }
            c.gets++;
            long from = timed ? System.nanoTime() : 0;
            byte[] v = peer.get(key(i));
            if (v != null) { System.arraycopy(v, 0, buf, 0, Math.min(v.length, buf.length)); }
            if (timed) { c.hist[slot(System.nanoTime() - from)]++; }
            if (v != null) {
                c.hits++;
                if (!verify(buf, v.length, i, len(i))) { c.bad++; }
            } else if (through) {
                peer.set(key(i), makeValue(i, len(i)));
            }
        }
    }

    private void work(Counts c, Mix m, int index, int threads, long ms, int position, long base) {
        int[] id = ids[index], masks = m.masks[index];
        byte[] buf = new byte[most];
        boolean through = m.metric.equals("readthrough"), timed = c.hist != null;
        int at = (position + (id.length / threads & ~31) * index) % id.length & ~31;
        long cpu = BEAN.getCurrentThreadCpuTime(), begin = System.nanoTime(), until = begin + ms * 1_000_000;
        do {
            batch(c, id, at, masks[at / 32], m.hot, through, timed, buf);
            c.ops += 32;
            at += 32;
            if (at + 32 > id.length) { at = 0; }
        } while (System.nanoTime() < until);
        c.cpu = BEAN.getCurrentThreadCpuTime() - cpu;
        c.start = begin - base;
        c.end = System.nanoTime() - base;
    }

    private static void run(int threads, java.util.function.IntConsumer body) throws Wrong {
        Thread[] list = new Thread[threads];
        CyclicBarrier line = new CyclicBarrier(threads);
        for (int i = 0; i < threads; i++) {
            int index = i;
            list[i] = new Thread(() -> {
                try { line.await(); } catch (Exception e) { throw new IllegalStateException(e); }
                body.accept(index);
            });
            list[i].start();
        }
        try {
            for (Thread t : list) { t.join(); }
        } catch (InterruptedException e) {
            throw new Wrong("interrupted");
        }
    }

    private static final List<ExecutorService> PINNED = new ArrayList<>();

    private static void pin(int index) {
        try {
            Path self = Files.readSymbolicLink(Path.of("/proc/thread-self"));
            List<Integer> cpus = new ArrayList<>();
            for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
                if (!line.startsWith("Cpus_allowed_list:")) { continue; }
                for (String part : line.split(":")[1].strip().split(",")) {
                    String[] ends = part.split("-");
                    int last = Integer.parseInt(ends[ends.length - 1]);
                    for (int c = Integer.parseInt(ends[0]); c <= last; c++) { cpus.add(c); }
                }
            }
            String cpu = String.valueOf(cpus.get(index % cpus.size()));
            new ProcessBuilder("taskset", "-pc", cpu, self.getFileName().toString())
                .redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.DISCARD).start().waitFor();
        } catch (IOException e) {
            return; // measured unpinned
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /* As run, on threads that stay and are pinned: thread i to the i-th CPU we may use. */
    private static void runPinned(int threads, java.util.function.IntConsumer body) throws Wrong {
        while (PINNED.size() < threads) {
            int index = PINNED.size();
            ExecutorService one = Executors.newSingleThreadExecutor(r -> {
                Thread t = new Thread(r);
                t.setDaemon(true);
                return t;
            });
            PINNED.add(one);
            one.submit(() -> pin(index));
        }
        CyclicBarrier line = new CyclicBarrier(threads);
        List<Future<?>> all = new ArrayList<>();
        for (int i = 0; i < threads; i++) {
            int index = i;
            all.add(PINNED.get(i).submit(() -> {
                try { line.await(); } catch (Exception e) { throw new IllegalStateException(e); }
                body.accept(index);
            }));
        }
        try {
            for (Future<?> f : all) { f.get(); }
        } catch (InterruptedException | ExecutionException e) {
            throw new Wrong("a thread of the window failed: " + e.getMessage());
        }
    }

    private String window(String metric, int threads, long ms, int position, boolean timed) throws Wrong {
        Mix mix = null;
        for (Mix m : mixes) { mix = m.metric.equals(metric) ? m : mix; }
        if (peer == null || mix == null || threads < 1 || threads > ids.length || position < 0) {
            throw new Wrong("nothing is open, no such metric in the workload, or too many threads");
        }
        Mix m = mix;
        Counts[] all = new Counts[threads];
        for (int i = 0; i < threads; i++) {
            all[i] = new Counts();
            all[i].hist = timed ? new long[SLOTS] : null;
        }
        long base = System.nanoTime();
        runPinned(threads, i -> work(all[i], m, i, threads, ms, position, base));
        Counts s = new Counts();
        s.start = Long.MAX_VALUE;
        s.hist = new long[SLOTS];
        for (Counts c : all) {
            s.ops += c.ops; s.gets += c.gets; s.hits += c.hits; s.bad += c.bad; s.cpu += c.cpu;
            s.start = Math.min(s.start, c.start);
            s.end = Math.max(s.end, c.end);
            for (int k = 0; timed && k < SLOTS; k++) { s.hist[k] += c.hist[k]; }
        }
        StringBuilder out = new StringBuilder(String.format(
            "{\"ops\":%d,\"gets\":%d,\"hits\":%d,\"bad\":%d,\"errors\":0,\"wall_ns\":%d,\"cpu_ns\":%d", s.ops,
            s.gets, s.hits, s.bad, s.end - s.start, s.cpu));
        if (timed) {
            out.append(",\"hist\":[").append(pairs(s.hist)).append("]");
        }
        return out.append("}").toString();
    }

    private String digest(int n) {
        long h = 0xcbf29ce484222325L;
        for (int i = 0; i < n; i++) {
            int at = i % ids[0].length;
            int id = mixes[0].hot ? hotId : ids[0][at];
            byte[] b = Arrays.copyOf(keyBytes(id, 16), 17);
            b[16] = (byte) (mixes[0].masks[0][at / 32] >>> at % 32 & 1);
            for (byte x : b) { h = (h ^ x & 0xff) * 0x100000001b3L; }
        }
        return String.format("{\"digest\":\"%016x\"}", h);
    }

    private interface Length { int of(int id); }

    private static void fill(Peer p, long n, int keyLen, Length length) {
        for (int id = 0; id < n; id++) { p.set(makeKey(id, keyLen), makeValue(id, length.of(id))); }
        p.settle();
    }

    private static int stormLen(long draw, long phase) {
        long more = draw >>> 8;
        if (phase == 0) {
            int octave = 3 + (int) Long.remainderUnsigned(draw, 17);
            return (1 << octave) + (int) (more % (1L << octave));
        }
        return phase == 1 ? 64 + (int) (more % 64) : 1 << 20;
    }

    private String storm(long bytes, long ms, int threads) throws Wrong {
        Peer p = info.open.apply(new Cfg(0, bytes, bytes / 4096, 0));
        AtomicLong ops = new AtomicLong(), most = new AtomicLong();
        long begin = System.nanoTime();
        run(threads, t -> {
            long seed = mix64(t + 1);
            for (;;) {
                long now = (System.nanoTime() - begin) / 1_000_000;
                if (now >= ms) { return; }
                for (int i = 0; i < 16; i++) {
                    seed += 0x9e3779b97f4a7c15L;
                    long draw = mix64(seed), id = draw >>> 40;
                    p.set(makeKey(id, 16), makeValue(id, stormLen(draw, now * 3 / ms)));
                }
                ops.addAndGet(16);
                most.accumulateAndGet(p.accounted(), Math::max);
            }
        });
        return String.format("{\"ops\":%d,\"refused\":0,\"accounted_max\":%d}", ops.get(), most.get());
    }

    private String replay(String path, long capacity, int len, boolean bytes) throws IOException {
        byte[] all = Files.readAllBytes(Path.of(path));
        ByteBuffer b = ByteBuffer.wrap(all).order(ByteOrder.LITTLE_ENDIAN);
        Peer p = info.open.apply(new Cfg(bytes ? 0 : capacity, bytes ? capacity * (16 + len) : 0, capacity, 0));
        long misses = 0, bad = 0, begin = System.nanoTime();
        int n = all.length / 16;
        for (int i = 0; i < n; i++) {
            long id = b.getLong(16 * i);
            String key = makeKey(id, 16);
            byte[] v = p.get(key);
            if (v == null) {
                misses++;
                p.set(key, makeValue(id, len));
            } else if (!verify(v, v.length, id, len)) {
                bad++;
            }
            if (i % 64 == 63) { p.settle(); }
        }
        return String.format("{\"requests\":%d,\"misses\":%d,\"bad\":%d,\"wall_ns\":%d}", n, misses, bad,
                             System.nanoTime() - begin);
    }

    private String stampede(int threads, int rounds, long ms) throws Wrong {
        Peer p = info.open.apply(new Cfg(10000, 0, 10000, 0));
        List<String> calls = new ArrayList<>(), last = new ArrayList<>();
        AtomicLong bad = new AtomicLong();
        for (int r = 0; r < rounds; r++) {
            AtomicLong n = new AtomicLong(), loaded = new AtomicLong(), end = new AtomicLong();
            String key = makeKey(r, 16);
            byte[] value = keyBytes(r, 16);
            long base = System.nanoTime();
            run(threads, i -> {
                byte[] v = p.load(key, () -> {
                    n.incrementAndGet();
                    try { Thread.sleep(ms); } catch (InterruptedException e) { throw new IllegalStateException(e); }
                    loaded.set(System.nanoTime() - base);
                    return value.clone();
                });
                end.accumulateAndGet(System.nanoTime() - base, Math::max);
                bad.addAndGet(Arrays.equals(v, value) ? 0 : 1);
            });
            calls.add(Long.toString(n.get()));
            last.add(String.format("%.1f", Math.max(0, end.get() - loaded.get()) / 1e3));
        }
        return "{\"calls\":[" + String.join(",", calls) + "],\"last_us\":[" + String.join(",", last) +
            "],\"bad\":" + bad + "}";
    }

    private String expire(int count, long ttlMs, long ms) throws Wrong {
        Peer p = info.open.apply(new Cfg(0, 0, count, ttlMs));
        long first = System.nanoTime();
        fill(p, count, 16, id -> 100);
        try {
            Thread.sleep(Math.max(0, ttlMs - (System.nanoTime() - first) / 1_000_000));
        } catch (InterruptedException e) {
            throw new Wrong("interrupted");
        }
        long seed = 0, ops = 0, bad = 0, most = 0, end = System.nanoTime() + ms * 1_000_000;
        long[] hist = new long[SLOTS];
        BitSet anew = new BitSet(count);
        for (; System.nanoTime() < end; ops++) {
            seed += 0x9e3779b97f4a7c15L;
            long draw = mix64(seed);
            int id = (int) Long.remainderUnsigned(draw, count);
            String key = makeKey(id, 16);
            long cpu = BEAN.getCurrentThreadCpuTime(), from = System.nanoTime();
            if (draw >>> 56 < 13) {
                p.set(key, makeValue(id, 100));
            } else {
                byte[] v = p.get(key);
                if (v != null && !verify(v, v.length, id, 100)) { bad++; }
            }
            hist[slot(System.nanoTime() - from)]++;
            most = Math.max(most, BEAN.getCurrentThreadCpuTime() - cpu);
            if (draw >>> 56 < 13) { anew.set(id); }
        }
        return String.format("{\"ops\":%d,\"bad\":%d,\"p999_ns\":%d,\"max_us\":%.1f,\"left\":%d,\"anew\":%d}", ops,
                             bad, percentile(hist, 999_000), most / 1e3, p.count(), anew.cardinality());
    }

    /* Inserts into an empty store that was given no hint: thread CPU of each of count; then more of
     * them into another one, by the wall clock. A small one before that for the compiler: the first
     * insert of a JVM loads classes for as long as a large table takes to grow. */
    private String grow(int count, int more) {
        fill(info.open.apply(new Cfg(125_064, 0, 0, 0)), 100_000, 16, id -> 100);
        Peer p = info.open.apply(new Cfg(count + count / 4 + 64, 0, 0, 0));
        long most = 0, over = 0;
        long[] hist = new long[SLOTS];
        for (int id = 0; id < count; id++) {
            String key = makeKey(id, 16);
            byte[] value = makeValue(id, 100);
            long cpu = BEAN.getCurrentThreadCpuTime();
            p.set(key, value);
            long ns = BEAN.getCurrentThreadCpuTime() - cpu;
            hist[slot(ns)]++;
            most = Math.max(most, ns);
            over += ns > 1_000_000 ? 1 : 0;
        }
        p = info.open.apply(new Cfg(more + more / 4 + 64, 0, 0, 0));
        long begin = System.nanoTime();
        for (int id = 0; id < more; id++) { p.set(makeKey(id, 16), makeValue(id, 100)); }
        return String.format("{\"max_ns\":%d,\"p9999_ns\":%d,\"over_1ms\":%d,\"wall_ns\":%d,\"refused\":0}", most,
                             percentile(hist, 999_900), over, System.nanoTime() - begin);
    }

    private static final int CHURN_PHASES = 5, CHURN_LENGTHS = 4096;

    /** One phase of a churn; its own lengths, counters for all its threads. */
    private static final class Phase {
        int[] length;
        long keys, begin;
        final AtomicLong written = new AtomicLong();

        int len(long id) { return length[(int) (id % CHURN_LENGTHS)]; }
    }

    private static Phase[] churnPlan(String path, long bytes) throws Wrong, IOException {
        ByteBuffer b = ByteBuffer.wrap(Files.readAllBytes(Path.of(path))).order(ByteOrder.LITTLE_ENDIAN);
        if (b.capacity() != 4 * CHURN_PHASES * CHURN_LENGTHS) { throw new Wrong(path + ": torn"); }
        Phase[] plan = new Phase[CHURN_PHASES];
        for (int i = 0; i < CHURN_PHASES; i++) {
            plan[i] = new Phase();
            plan[i].length = words(b, CHURN_LENGTHS);
            plan[i].keys = 4 * bytes / (Arrays.stream(plan[i].length).asLongStream().sum() / CHURN_LENGTHS + 16);
        }
        return plan;
    }

    /* Phase after phase writes `bytes` (or stops after ms) with sizes of its own, one operation in
     * five deletes; then all keys are read once. */
    private String churn(Phase[] plan, long budget, long bytes, long ms, int threads) throws Wrong {
        Peer p = info.open.apply(new Cfg(0, budget, budget / 4096, 0));
        AtomicLong most = new AtomicLong();
        long[] seeds = new long[threads];
        for (int t = 0; t < threads; t++) { seeds[t] = mix64(t + 1); }
        long total = 0, cut = 0, last = 0, held = 0, bad = 0, begin = System.nanoTime();
        for (Phase f : plan) {
            f.begin = System.nanoTime();
            run(threads, t -> {
                while (f.written.get() < bytes && System.nanoTime() - f.begin <= ms * 1_000_000) {
                    long sum = 0;
                    for (int i = 0; i < 64; i++) {
                        seeds[t] += 0x9e3779b97f4a7c15L;
                        long draw = mix64(seeds[t]), id = Long.remainderUnsigned(draw, f.keys);
                        String key = makeKey(id, 16);
                        if ((draw >>> 40 & 1023) < 205) {
                            p.del(key);
                            continue;
                        }
                        p.set(key, makeValue(id, f.len(id)));
                        sum += 16 + f.len(id);
                    }
                    f.written.addAndGet(sum);
                    most.accumulateAndGet(p.accounted(), Math::max);
                }
            });
            total += f.written.get();
            cut += f.written.get() < bytes ? 1 : 0;
            last = Math.max(last, f.keys);
        }
        long wall = System.nanoTime() - begin;
        p.settle();
        for (long id = 0; id < last; id++) {
            byte[] v = p.get(makeKey(id, 16));
            if (v != null) {
                held += 16 + v.length;
                bad += verify(v, v.length, id, v.length) ? 0 : 1;
            }
        }
        return String.format("{\"accounted_max\":%d,\"written\":%d,\"write_ns\":%d,\"cut\":%d,\"held\":%d,\"bad\":%d}",
                             most.get(), total, wall, cut, held, bad);
    }

    /* 95:5 on ids 0..count-1, rate a second; a get's time runs from when it was due, so that one which
     * waited for another is not forgotten. rate 0: one after another. */
    private String pace(int count, long ms, long rate) throws Wrong {
        if (peer == null) { throw new Wrong("nothing is open"); }
        long seed = 0, ops = 0, gets = 0, bad = 0, begin = System.nanoTime(), end = ms * 1_000_000;
        long[] hist = new long[SLOTS];
        for (;; ops++) {
            long due = rate == 0 ? System.nanoTime() - begin : ops * 1_000_000_000L / rate;
            if (due >= end || System.nanoTime() - begin >= 3 * end) { break; }
            while (System.nanoTime() - begin < due) { Thread.onSpinWait(); }
            seed += 0x9e3779b97f4a7c15L;
            long draw = mix64(seed);
            int id = (int) Long.remainderUnsigned(draw, count);
            String key = makeKey(id, 16);
            if (draw >>> 56 < 13) {
                peer.set(key, makeValue(id, 100));
            } else {
                byte[] v = peer.get(key);
                hist[slot(System.nanoTime() - begin - due)]++;
                gets++;
                if (v != null && !verify(v, v.length, id, 100)) { bad++; }
            }
        }
        return String.format("{\"ops\":%d,\"gets\":%d,\"bad\":%d,\"wall_ns\":%d,\"hist\":[%s]}", ops, gets, bad,
                             System.nanoTime() - begin, pairs(hist));
    }

    private int step;        // of a foreign timer: where its next batch begins
    private Counts steps;    // what its batches came to
    private byte[] buffer;

    /** For a foreign timer: a full store and `requests` gets of it, drawn evenly, without any file. */
    static Driver filled(Info info, int keys, int length, int requests) {
        Driver d = new Driver(info);
        d.keyLen = 16;
        d.keys = keys;
        d.lengths = new int[] { length };
        d.most = length;
        d.names = new String[keys];
        for (int id = 0; id < keys; id++) { d.names[id] = makeKey(id, 16); }
        d.ids = new int[1][requests];
        for (int i = 0; i < requests; i++) { d.ids[0][i] = (int) Long.remainderUnsigned(mix64(i + 1), keys); }
        Mix get = new Mix();
        get.metric = "get";
        get.masks = new int[1][requests / 32];
        d.mixes = new Mix[] { get };
        d.peer = info.open.apply(new Cfg(0, 0, keys, 0));
        fill(d.peer, keys, 16, id -> length);
        d.steps = new Counts();
        d.buffer = new byte[length];
        return d;
    }

    /** The next 32 of them, each verified; the hits so far. */
    long next() {
        batch(steps, ids[0], step, 0, false, false, false, buffer);
        step = step + 64 > ids[0].length ? 0 : step + 32;
        if (steps.bad != 0) { throw new IllegalStateException("a wrong value"); }
        return steps.hits;
    }

    /** A window of them as any other; million a second. */
    double measure(long ms) throws Wrong {
        Counts c = new Counts();
        runPinned(1, i -> work(c, mixes[0], 0, 1, ms, step, 0));
        step = (int) ((step + c.ops) % ids[0].length) & ~31;
        return c.ops * 1e3 / (c.end - c.start);
    }

    private void needs(String cap) throws Wrong {
        if (!info.has(cap)) { throw new Wrong(info.name + " has no " + cap); }
    }

    private String answer(String[] w) throws Wrong, IOException {
        String ok = "{\"ok\":1}";
        switch (w[0] + "/" + w.length) {
            case "hello/1":
                return String.format("{\"peer\":\"%s\",\"version\":\"%s\",\"runtime\":\"JVM %s\",\"caps\":\"%s\"}",
                                     info.name, info.version, Runtime.version(), info.caps);
            case "open/3":
                peer = null;
                read(w[1], w[2]);
                if (cfg.entries != 0) { needs("entries"); }
                if (cfg.bytes != 0) { needs("bytes"); }
                if (cfg.ttlMs != 0) { needs("ttl"); }
                Peer fresh = info.open.apply(cfg);
                fill(fresh, prefill, keyLen, this::len);
                peer = fresh;
                return "{\"entries\":" + peer.count() + "}";
            case "warm/2":
                for (int pass = 0; pass < 3; pass++) {
                    for (Mix m : mixes) {
                        window(m.metric, 1, Long.parseLong(w[1]) / 3 / mixes.length, 0, false);
                    }
                }
                return ok;
            case "window/5":
            case "lat/5":
                return window(w[1], Integer.parseInt(w[2]), Long.parseLong(w[3]), Integer.parseInt(w[4]),
                              w[0].equals("lat"));
            case "settle/1":
                if (peer != null) { peer.settle(); }
                System.gc();
                return ok;
            case "mem/1":
                if (peer == null) { throw new Wrong("nothing is open"); }
                Runtime r = Runtime.getRuntime();
                return "{\"entries\":" + peer.count() + ",\"accounted\":" + peer.accounted() +
                    ",\"used\":" + (r.totalMemory() - r.freeMemory()) + "}";
            case "digest/2":
                if (ids == null) { throw new Wrong("nothing is open"); }
                return digest(Integer.parseInt(w[1]));
            case "fill/4":
            case "fill/5":
                int value = Integer.parseInt(w[3]);
                if (value < 8) { throw new Wrong("values have 8 bytes or more"); }
                if (w.length == 5) { needs("bytes"); }
                peer = null;
                long count = Long.parseLong(w[1]), most = w.length == 5 ? Long.parseLong(w[4]) : 0;
                Peer full = info.open.apply(new Cfg(0, most, most == 0 ? count
                    : Math.min(count, most / (value + Integer.parseInt(w[2]))), 0));
                fill(full, count, Integer.parseInt(w[2]), id -> value);
                peer = full;
                return "{\"entries\":" + peer.count() + "}";
            case "storm/4":
                needs("bytes");
                return storm(Long.parseLong(w[1]), Math.max(1, Long.parseLong(w[2])), Integer.parseInt(w[3]));
            case "replay/5":
                needs("entries");
                return replay(w[1], Long.parseLong(w[2]), Math.max(8, Integer.parseInt(w[3])), !w[4].equals("0"));
            case "stampede/4":
                needs("load");
                return stampede(Integer.parseInt(w[1]), Integer.parseInt(w[2]), Long.parseLong(w[3]));
            case "expire/4":
                needs("ttl");
                return expire(Integer.parseInt(w[1]), Long.parseLong(w[2]), Long.parseLong(w[3]));
            case "grow/3":
                return grow(Integer.parseInt(w[1]), Integer.parseInt(w[2]));
            case "churn/6":
                needs("bytes");
                return churn(churnPlan(w[1], Long.parseLong(w[2])), Long.parseLong(w[2]), Long.parseLong(w[3]),
                             Long.parseLong(w[4]), Integer.parseInt(w[5]));
            case "pace/4":
                return pace(Integer.parseInt(w[1]), Long.parseLong(w[2]), Long.parseLong(w[3]));
            default:
                throw new Wrong("not understood");
        }
    }

    /** Answers until `quit` or the end of input. */
    public static void serve(Info info) throws IOException {
        Driver d = new Driver(info);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.ISO_8859_1));
        for (String line; (line = in.readLine()) != null && !line.strip().equals("quit");) {
            String out;
            try {
                out = d.answer(line.strip().split("\\s+"));
            } catch (Wrong | IOException | RuntimeException e) {
                out = "{\"error\":\"" + String.valueOf(e.getMessage()).replace('"', '\'').replace('\\', '/') + "\"}";
            }
            System.out.println(out);
            System.out.flush();
        }
    }

    /** A library's version as its jar has it. */
    public static String versionOf(Class<?> c) {
        String path = c.getProtectionDomain().getCodeSource().getLocation().getPath();
        return path.replaceFirst(".*-([0-9][^/]*)\\.jar$", "$1");
    }
}
