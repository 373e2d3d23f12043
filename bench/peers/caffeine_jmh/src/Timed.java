// SPDX-License-Identifier: MIT
//
// What JMH times. It wants a package, and nothing in a package can name Driver, which has none: so the
// batches come as a function that Main makes.
package timed;

import java.util.function.LongSupplier;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;

@State(Scope.Benchmark)
public class Timed {
    private LongSupplier batch;

    @Setup
    public void fill() throws ReflectiveOperationException {
        batch = (LongSupplier) Class.forName("Main").getMethod("batches").invoke(null);
    }

    @Benchmark
    @OperationsPerInvocation(32)
    public long gets() { return batch.getAsLong(); }
}
