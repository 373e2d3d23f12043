// SPDX-License-Identifier: MIT
//
// A binding of YCSB (0.17 and later) to `cellar serve` or a port of a program: workloads A to F.
//
//   cellar.host, cellar.port   where it listens; 127.0.0.1, 6379
// A record is one value: for each field u16 length and name, u32 length and bytes. An update reads
// the record and writes it whole. A scan (workload E) takes keys in order from an index that this
// process keeps: all that it inserted, and at the start all that SCAN names. A cache may have evicted
// a record: then a read is NOT_FOUND, and a scan leaves it out.
package cellar.ycsb;

import java.io.*;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.concurrent.ConcurrentSkipListSet;
import site.ycsb.*;

public class CellarClient extends DB {
    private static final ConcurrentSkipListSet<String> KEYS = new ConcurrentSkipListSet<>();
    private static boolean listed;
    private Socket socket;
    private DataInputStream in;
    private OutputStream out;

    @Override public void init() throws DBException {
        Properties p = getProperties();
        try {
            socket = new Socket(p.getProperty("cellar.host", "127.0.0.1"),
                Integer.parseInt(p.getProperty("cellar.port", "6379")));
            socket.setTcpNoDelay(true);
            in = new DataInputStream(new BufferedInputStream(socket.getInputStream(), 1 << 16));
            out = new BufferedOutputStream(socket.getOutputStream(), 1 << 16);
            synchronized (KEYS) {
                if (!listed) { list(); }
                listed = true;
            }
        } catch (IOException e) {
            throw new DBException(e);
        }
    }

    @Override public void cleanup() throws DBException {
        try { socket.close(); } catch (IOException e) { throw new DBException(e); }
    }

    private void list() throws IOException {
        byte[] at = bytes("0");
        do {
            Object[] page = (Object[]) call(bytes("SCAN"), at, bytes("COUNT"), bytes("1000"));
            at = (byte[]) page[0];
            for (Object key : (Object[]) page[1]) { KEYS.add(text((byte[]) key)); }
        } while (!text(at).equals("0"));
    }

    private static byte[] bytes(String s) { return s.getBytes(StandardCharsets.UTF_8); }
    private static String text(byte[] b) { return new String(b, StandardCharsets.UTF_8); }

    private Object call(byte[]... words) throws IOException {
        out.write(bytes("*" + words.length + "\r\n"));
        for (byte[] w : words) {
            out.write(bytes("$" + w.length + "\r\n"));
            out.write(w);
            out.write(bytes("\r\n"));
        }
        out.flush();
        return answer();
    }

    private String line() throws IOException {
        StringBuilder s = new StringBuilder();
        for (int c; (c = in.readUnsignedByte()) != '\r';) { s.append((char) c); }
        in.readByte();
        return s.toString();
    }

    /** byte[] of a bulk text, Object[] of a list, String of a status or number, null of none. */
    private Object answer() throws IOException {
        String s = line(), rest = s.substring(1);
        switch (s.charAt(0)) {
        case '-': throw new IOException(rest);
        case '$':
            int n = Integer.parseInt(rest);
            if (n < 0) { return null; }
            byte[] b = new byte[n];
            in.readFully(b);
            in.readShort();
            return b;
        case '*':
            Object[] list = new Object[Math.max(0, Integer.parseInt(rest))];
            for (int i = 0; i < list.length; i++) { list[i] = answer(); }
            return list;
        default: return rest;
        }
    }

    private static byte[] pack(Map<String, byte[]> record) throws IOException {
        ByteArrayOutputStream b = new ByteArrayOutputStream();
        DataOutputStream d = new DataOutputStream(b);
        for (Map.Entry<String, byte[]> f : record.entrySet()) {
            d.writeUTF(f.getKey());
            d.writeInt(f.getValue().length);
            d.write(f.getValue());
        }
        return b.toByteArray();
    }

    private static Map<String, byte[]> unpack(byte[] value) throws IOException {
        Map<String, byte[]> record = new LinkedHashMap<>();
        DataInputStream d = new DataInputStream(new ByteArrayInputStream(value));
        while (d.available() > 0) {
            String name = d.readUTF();
            byte[] b = new byte[d.readInt()];
            d.readFully(b);
            record.put(name, b);
        }
        return record;
    }

    private static void give(Map<String, byte[]> record, Set<String> fields, Map<String, ByteIterator> to) {
        for (Map.Entry<String, byte[]> f : record.entrySet()) {
            if (fields == null || fields.contains(f.getKey())) {
                to.put(f.getKey(), new ByteArrayByteIterator(f.getValue()));
            }
        }
    }

    private Map<String, byte[]> record(String key) throws IOException {
        byte[] value = (byte[]) call(bytes("GET"), bytes(key));
        return value == null ? null : unpack(value);
    }

    private interface Work { Status run() throws IOException; }
    private static Status work(Work w) {
        try { return w.run(); } catch (IOException e) { System.err.println(e); return Status.ERROR; }
    }

    @Override public Status read(String table, String key, Set<String> fields, Map<String, ByteIterator> result) {
        return work(() -> {
            Map<String, byte[]> r = record(key);
            if (r != null) { give(r, fields, result); }
            return r != null ? Status.OK : Status.NOT_FOUND;
        });
    }

    @Override public Status scan(String table, String start, int count, Set<String> fields,
                                 Vector<HashMap<String, ByteIterator>> result) {
        return work(() -> {
            List<byte[]> words = new ArrayList<>();
            words.add(bytes("MGET"));
            for (String key : KEYS.tailSet(start)) {
                if (words.size() > count) { break; }
                words.add(bytes(key));
            }
            if (words.size() == 1) { return Status.OK; }
            for (Object value : (Object[]) call(words.toArray(new byte[0][]))) {
                if (value == null) { continue; }
                HashMap<String, ByteIterator> row = new HashMap<>();
                give(unpack((byte[]) value), fields, row);
                result.add(row);
            }
            return Status.OK;
        });
    }

    private Status put(String key, Map<String, byte[]> record, Map<String, ByteIterator> values) throws IOException {
        for (Map.Entry<String, ByteIterator> f : values.entrySet()) { record.put(f.getKey(), f.getValue().toArray()); }
        call(bytes("SET"), bytes(key), pack(record));
        return Status.OK;
    }

    @Override public Status update(String table, String key, Map<String, ByteIterator> values) {
        return work(() -> {
            Map<String, byte[]> r = record(key);
            return put(key, r != null ? r : new LinkedHashMap<>(), values);
        });
    }

    @Override public Status insert(String table, String key, Map<String, ByteIterator> values) {
        KEYS.add(key);
        return work(() -> put(key, new LinkedHashMap<>(), values));
    }

    @Override public Status delete(String table, String key) {
        KEYS.remove(key);
        return work(() -> { call(bytes("DEL"), bytes(key)); return Status.OK; });
    }
}
