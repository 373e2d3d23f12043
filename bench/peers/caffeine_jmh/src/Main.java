// SPDX-License-Identifier: MIT
//
// JMH beside the windows of Driver: the same 32 gets a call, each verified, in a JVM of its own each.
import com.github.benmanes.caffeine.cache.Cache;
import com.github.benmanes.caffeine.cache.Caffeine;
import java.util.concurrent.TimeUnit;
import java.util.function.LongSupplier;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;
import org.openjdk.jmh.runner.options.VerboseMode;

public final class Main {
    private static final int KEYS = 1_000_000, REQUESTS = 1 << 21, WINDOWS = 7, WINDOW_MS = 1000;

    private record Store(Cache<String, byte[]> c) implements Driver.Peer {
        public byte[] get(String key) { return c.getIfPresent(key); }
        public void set(String key, byte[] value) { c.put(key, value); }
        public long count() { return c.estimatedSize(); }
        public void settle() { c.cleanUp(); }
    }

    private static Driver filled() {
        return Driver.filled(new Driver.Info("caffeine", Driver.versionOf(Caffeine.class), "entries",
            cfg -> new Store(Caffeine.newBuilder().maximumSize(cfg.room()).initialCapacity(cfg.presize()).build())),
            KEYS, 100, REQUESTS);
    }

    /** For Timed: a store, and 32 gets of it a call. */
    public static LongSupplier batches() { return filled()::next; }

    private static void line(String subject, double mops) {
        System.out.printf("{\"bench\":\"jmh\",\"subject\":\"%s\",\"version\":\"%s\",\"workload\":\"even1m_16_100\","
            + "\"threads\":1,\"metric\":\"get\",\"value\":%.4g,\"unit\":\"Mops/s\",\"clock\":\"wall\",\"quick\":0}%n",
            subject, Driver.versionOf(Caffeine.class), mops);
    }

    /** Windows as cellar-bench asks for them, as long and as many as JMH's; the best, as of JMH's: what
     * the machine takes from one or the other is no part of the question. */
    private static double windows() throws Exception {
        Driver driver = filled();
        driver.measure(3000);
        double best = 0;
        for (int i = 0; i < WINDOWS; i++) { best = Math.max(best, driver.measure(WINDOW_MS)); }
        return best;
    }

    public static void main(String[] args) throws Exception {
        if (args.length == 1 && args[0].equals("windows")) {
            System.out.println(windows());
            return;
        }
        double jmh = new Runner(new OptionsBuilder().include("Timed.gets").forks(1).threads(1)
            .jvmArgs("-Xms3g", "-Xmx3g").timeUnit(TimeUnit.MICROSECONDS)
            .warmupIterations(3).warmupTime(TimeValue.seconds(1))
            .measurementIterations(WINDOWS).measurementTime(TimeValue.milliseconds(WINDOW_MS))
            .verbosity(VerboseMode.SILENT).build())
            .runSingle().getPrimaryResult().getStatistics().getMax();
        Process p = new ProcessBuilder(ProcessHandle.current().info().command().orElse("java"), "-Xms3g", "-Xmx3g",
            "-cp", System.getProperty("java.class.path"), "Main", "windows")
            .redirectError(ProcessBuilder.Redirect.INHERIT).start();
        double ours = Double.parseDouble(new String(p.getInputStream().readAllBytes()).strip());
        line("caffeine_jmh", jmh);
        line("caffeine", ours);
        System.out.printf("windows / JMH: %.3f%n", ours / jmh);
        System.exit(ours / jmh > 0.85 && ours / jmh < 1 / 0.85 ? 0 : 1);
    }
}
