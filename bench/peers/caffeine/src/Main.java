// SPDX-License-Identifier: MIT
//
// Driver for Caffeine (adaptive W-TinyLFU), as its wiki shows it: maximumSize or maximumWeight,
// expireAfterWrite, default executor. Its build compiles this file against 3.x and against 2.6.2.
import com.github.benmanes.caffeine.cache.Cache;
import com.github.benmanes.caffeine.cache.Caffeine;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;

public final class Main {
    private record Store(Cache<String, byte[]> c, boolean bytes) implements Driver.Peer {
        public byte[] get(String key) { return c.getIfPresent(key); }
        public void set(String key, byte[] value) { c.put(key, value); }
        public void del(String key) { c.invalidate(key); }
        public long count() { c.cleanUp(); return c.estimatedSize(); }
        public long accounted() {
            return bytes ? c.policy().eviction().get().weightedSize().getAsLong() : 0;
        }
        public void settle() { c.cleanUp(); }
        public byte[] load(String key, Supplier<byte[]> f) { return c.get(key, k -> f.get()); }
    }

    private static Driver.Peer open(Driver.Cfg cfg) {
        Caffeine<Object, Object> b = Caffeine.newBuilder();
        if (cfg.ttlMs() != 0) { b.expireAfterWrite(cfg.ttlMs(), TimeUnit.MILLISECONDS); }
        if (cfg.bytes() == 0) {
            return new Store(b.maximumSize(cfg.room()).initialCapacity(cfg.presize()).build(), false);
        }
        return new Store(b.maximumWeight(cfg.bytes())
                          .weigher((String k, byte[] v) -> k.length() + v.length).build(), true);
    }

    public static void main(String[] args) throws Exception {
        Driver.serve(new Driver.Info("caffeine", Driver.versionOf(Caffeine.class), "entries bytes ttl load",
                                     Main::open));
    }
}
