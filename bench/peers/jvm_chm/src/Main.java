// SPDX-License-Identifier: MIT
//
// Driver for java.util.concurrent.ConcurrentHashMap: a map, no bound, no deadlines; the JVM's limit.
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Supplier;

public final class Main {
    private record Store(ConcurrentHashMap<String, byte[]> m) implements Driver.Peer {
        public byte[] get(String key) { return m.get(key); }
        public void set(String key, byte[] value) { m.put(key, value); }
        public long count() { return m.mappingCount(); }
        public byte[] load(String key, Supplier<byte[]> f) { return m.computeIfAbsent(key, k -> f.get()); }
    }

    public static void main(String[] args) throws Exception {
        Driver.serve(new Driver.Info("jvm_chm", System.getProperty("java.version"), "load",
                                     cfg -> new Store(new ConcurrentHashMap<>(cfg.presize()))));
    }
}
