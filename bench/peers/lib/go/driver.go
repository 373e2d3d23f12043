// SPDX-License-Identifier: MIT

// Package driver is the window protocol for peers in Go; README.md beside it has the commands.
// Keys are strings of 8 or 16 bytes, made before timing, one each; values are []byte.
package driver

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// Cfg says what to open; zero: no such bound. Hint: entries to expect.
type Cfg struct {
	Entries, Bytes, Hint uint64
	TTL                  time.Duration
}

// Room in entries: the bound, or a quarter more than everything that may come.
func (c Cfg) Room() int {
	if c.Entries != 0 {
		return int(c.Entries)
	}
	return int(c.Hint + c.Hint/4 + 64)
}

// Presize is the room to make at once: for what will come, or none for a store that nobody told how
// much.
func (c Cfg) Presize() int {
	if c.Hint != 0 && c.Entries != 0 {
		return int(c.Entries)
	}
	return int(c.Hint)
}

// Peer is one store; Set answers false when the value was refused.
type Peer interface {
	Get(key string) ([]byte, bool)
	Set(key string, value []byte) bool
	Del(key string)
	Count() uint64
	Accounted() uint64
	Settle()
	Close()
}

// Loader is a Peer with a single flight.
type Loader interface {
	Load(key string, f func() []byte) []byte
}

// Info names a peer. Module is looked up in the build for the version; Caps are words of: entries
// bytes ttl load.
type Info struct {
	Name, Module, Caps string
	Open               func(Cfg) Peer
}

type mix struct {
	metric string
	hot    bool
	masks  [][]uint32
}

type workload struct {
	cfg     Cfg
	keyLen  int
	prefill uint64
	keys    uint64
	hotID   uint32
	ids     [][]uint32
	lengths []uint32
	mask    uint32
	most    int
	mixes   []mix
	names   []string
}

func mix64(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func makeKey(id uint64, keyLen int) string {
	var k [16]byte
	if keyLen == 16 {
		binary.LittleEndian.PutUint64(k[:8], mix64(id+1))
		binary.LittleEndian.PutUint64(k[8:], id)
	} else {
		binary.LittleEndian.PutUint64(k[:8], id)
	}
	return string(k[:keyLen])
}

var pattern = func() []byte {
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = 0x5a
	}
	return b
}()

func makeValue(id uint64, n int) []byte {
	v := make([]byte, n)
	copy(v, pattern)
	binary.LittleEndian.PutUint64(v, id)
	v[n-1] = byte(id)
	return v
}

func verify(v []byte, id uint64, n int) bool {
	want := id
	if n == 8 {
		want = id&^(0xff<<56) | (id&0xff)<<56
	}
	return len(v) == n && binary.LittleEndian.Uint64(v) == want && v[n-1] == byte(id)
}

const slots = 64 * 40

func slot(v uint64) int {
	if v < 128 {
		return int(v)
	}
	octave := 57 - bits.LeadingZeros64(v)
	return min(octave*64+int(v>>octave), slots-1)
}

// The value that perMillion of all do not exceed: the low end of its slot.
func percentile(hist []uint64, perMillion uint64) uint64 {
	var total, seen uint64
	for _, n := range hist {
		total += n
	}
	at := uint64(0)
	for ; at < slots-1 && (seen+hist[at])*1000000 < total*perMillion; at++ {
		seen += hist[at]
	}
	if at >= 128 {
		at = (at%64 + 64) << (at/64 - 1)
	}
	return at
}

func pairs(hist []uint64) string {
	var list []string
	for k, n := range hist {
		if n > 0 {
			list = append(list, fmt.Sprintf("%d,%d", k, n))
		}
	}
	return strings.Join(list, ",")
}

func cpuNs(clock uintptr) int64 {
	var t syscall.Timespec
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&t)), 0)
	return t.Nano()
}

const threadCPU = 3

var usable = func() (cpus []int) {
	var set [16]uint64
	syscall.RawSyscall(syscall.SYS_SCHED_GETAFFINITY, 0, unsafe.Sizeof(set), uintptr(unsafe.Pointer(&set)))
	for i := 0; i < 1024; i++ {
		if set[i/64]>>(i%64)&1 == 1 {
			cpus = append(cpus, i)
		}
	}
	return
}()

func affinity(cpus ...int) {
	var set [16]uint64
	for _, c := range cpus {
		set[c/64] |= 1 << (c % 64)
	}
	syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(set), uintptr(unsafe.Pointer(&set)))
}

var known = " trace key value ops capacity ttl_ms threads prefill window_ms rounds min_memory subjects "

func readWorkload(wl, bin string) (*workload, error) {
	text, err := os.ReadFile(wl)
	if err != nil {
		return nil, err
	}
	word := map[string]string{"key": "16", "prefill": "all"}
	for i, line := range strings.Split(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		k, v, ok := strings.Cut(line, "=")
		k = strings.TrimSpace(k)
		if !ok || !strings.Contains(known, " "+k+" ") {
			return nil, fmt.Errorf("%s:%d: unknown key", wl, i+1)
		}
		word[k] = strings.TrimSpace(v)
	}
	w := &workload{}
	if err := w.take(bin); err != nil {
		return nil, err
	}
	w.keyLen, _ = strconv.Atoi(word["key"])
	ttl, _ := strconv.Atoi(word["ttl_ms"])
	w.cfg = Cfg{Hint: w.keys, TTL: time.Duration(ttl) * time.Millisecond}
	w.prefill = w.keys
	if word["prefill"] != "all" {
		n, _ := strconv.ParseUint(word["prefill"], 10, 64)
		w.prefill = min(n, w.keys)
	}
	if kind, n, ok := strings.Cut(word["capacity"], " "); ok {
		v, _ := strconv.ParseUint(n, 10, 64)
		if kind == "entries" {
			w.cfg.Entries = v
		} else {
			w.cfg.Bytes = v
		}
	}
	w.names = make([]string, w.keys)
	for id := range w.names {
		w.names[id] = makeKey(uint64(id), w.keyLen)
	}
	return w, nil
}

func (w *workload) take(path string) (err error) {
	defer func() {
		if recover() != nil {
			err = fmt.Errorf("%s: torn", path)
		}
	}()
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if string(b[:8]) != "CELLBTR1" {
		return fmt.Errorf("%s: no trace", path)
	}
	head := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	threads, count, mixes, lengths := int(head(1)), int(head(2)), int(head(3)), int(head(4))
	w.mask, w.keys, w.hotID = uint32(head(5)), head(6), uint32(head(7))
	at := 64
	words := func(n int) []uint32 {
		out := make([]uint32, n)
		for i := range out {
			out[i] = binary.LittleEndian.Uint32(b[at+4*i:])
		}
		at += 4 * n
		return out
	}
	for i := 0; i < mixes; i++ {
		w.mixes = append(w.mixes, mix{strings.TrimRight(string(b[at:at+16]), "\x00"),
			binary.LittleEndian.Uint64(b[at+16:]) == 1, nil})
		at += 24
	}
	for i := 0; i < threads; i++ {
		w.ids = append(w.ids, words(count))
	}
	w.lengths = words(lengths)
	for _, n := range w.lengths {
		w.most = max(w.most, int(n))
	}
	for i := range w.mixes {
		for k := 0; k < threads; k++ {
			w.mixes[i].masks = append(w.mixes[i].masks, words(count/32))
		}
	}
	return nil
}

func (w *workload) len(id uint64) int { return int(w.lengths[uint32(id)&w.mask]) }

type counts struct {
	ops, gets, hits, bad, errors uint64
	cpu, start, end              int64
	hist                         []uint64
	_                            [8]uint64
}

func (c *counts) work(p Peer, w *workload, m *mix, i, threads, pos int, ms int64, latency bool, base time.Time) {
	ids, masks, through := w.ids[i], m.masks[i], m.metric == "readthrough"
	buf := make([]byte, w.most)
	if latency {
		c.hist = make([]uint64, slots)
	}
	put := func(id uint64) {
		if !p.Set(w.names[id], makeValue(id, w.len(id))) {
			c.errors++
		}
	}
	at := (pos + (len(ids)/threads&^31)*i) % len(ids) &^ 31
	cpu := cpuNs(threadCPU)
	begin := time.Now()
	until := begin.Add(time.Duration(ms) * time.Millisecond)
	for {
		mask := masks[at/32]
		for k := 0; k < 32; k, mask = k+1, mask>>1 {
			id := uint64(ids[at+k])
			if m.hot {
				id = uint64(w.hotID)
			}
			if mask&1 == 1 {
				put(id)
				continue
			}
			c.gets++
			var from time.Time
			if latency {
				from = time.Now()
			}
			v, hit := p.Get(w.names[id])
			n := copy(buf, v)
			if latency {
				c.hist[slot(uint64(time.Since(from)))]++
			}
			if hit {
				c.hits++
				if len(v) != n || !verify(buf[:n], id, w.len(id)) {
					c.bad++
				}
			} else if through {
				put(id)
			}
		}
		c.ops += 32
		if at += 32; at+32 > len(ids) {
			at = 0
		}
		if !time.Now().Before(until) {
			break
		}
	}
	c.cpu = cpuNs(threadCPU) - cpu
	c.start, c.end = int64(begin.Sub(base)), int64(time.Since(base))
}

func (w *workload) window(p Peer, metric string, threads int, ms int64, pos int, latency bool) (string, error) {
	if p == nil {
		return "", fmt.Errorf("nothing is open")
	}
	var m *mix
	for i := range w.mixes {
		if w.mixes[i].metric == metric {
			m = &w.mixes[i]
		}
	}
	if m == nil || threads < 1 || threads > len(w.ids) || pos < 0 {
		return "", fmt.Errorf("no such metric in the workload, or too many threads")
	}
	all := make([]counts, threads)
	var ready, done sync.WaitGroup
	ready.Add(threads)
	done.Add(threads)
	base := time.Now()
	for i := range all {
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			affinity(usable[i%len(usable)])
			defer affinity(usable...)
			ready.Done()
			ready.Wait()
			all[i].work(p, w, m, i, threads, pos, ms, latency, base)
			done.Done()
		}()
	}
	done.Wait()
	var s counts
	s.start = 1 << 62
	hist := make([]uint64, slots)
	for i := range all {
		c := &all[i]
		s.ops, s.gets, s.hits = s.ops+c.ops, s.gets+c.gets, s.hits+c.hits
		s.bad, s.errors, s.cpu = s.bad+c.bad, s.errors+c.errors, s.cpu+c.cpu
		s.start, s.end = min(s.start, c.start), max(s.end, c.end)
		for k, n := range c.hist {
			hist[k] += n
		}
	}
	out := fmt.Sprintf(`{"ops":%d,"gets":%d,"hits":%d,"bad":%d,"errors":%d,"wall_ns":%d,"cpu_ns":%d`, s.ops,
		s.gets, s.hits, s.bad, s.errors, s.end-s.start, s.cpu)
	if latency {
		out += fmt.Sprintf(`,"hist":[%s]`, pairs(hist))
	}
	return out + "}", nil
}

func (w *workload) digest(n int) string {
	h := uint64(0xcbf29ce484222325)
	for i := 0; i < n; i++ {
		at := i % len(w.ids[0])
		id := w.ids[0][at]
		if w.mixes[0].hot {
			id = w.hotID
		}
		bit := byte(w.mixes[0].masks[0][at/32] >> (at % 32) & 1)
		for _, b := range append([]byte(makeKey(uint64(id), 16)), bit) {
			h = (h ^ uint64(b)) * 0x100000001b3
		}
	}
	return fmt.Sprintf(`{"digest":"%016x"}`, h)
}

func stormLen(draw, phase uint64) int {
	switch phase {
	case 0:
		octave := 3 + draw%17
		return 1<<octave + int((draw>>8)%(1<<octave))
	case 1:
		return 64 + int((draw>>8)%64)
	}
	return 1 << 20
}

func storm(info Info, bytes uint64, ms int64, threads int) string {
	p := info.Open(Cfg{Bytes: bytes, Hint: bytes / 4096})
	defer p.Close()
	var ops, refused, most atomic.Uint64
	var done sync.WaitGroup
	begin := time.Now()
	for t := 0; t < threads; t++ {
		done.Add(1)
		go func() {
			defer done.Done()
			seed := mix64(uint64(t) + 1)
			for {
				now := time.Since(begin).Milliseconds()
				if now >= ms {
					return
				}
				for i := 0; i < 16; i++ {
					seed += 0x9e3779b97f4a7c15
					draw := mix64(seed)
					id := draw >> 40
					if !p.Set(makeKey(id, 16), makeValue(id, stormLen(draw, uint64(now*3/ms)))) {
						refused.Add(1)
					}
				}
				ops.Add(16)
				if a := p.Accounted(); a > most.Load() {
					most.Store(a)
				}
			}
		}()
	}
	done.Wait()
	return fmt.Sprintf(`{"ops":%d,"refused":%d,"accounted_max":%d}`, ops.Load(), refused.Load(), most.Load())
}

func replay(info Info, path string, capacity uint64, n int, bytes bool) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	cfg := Cfg{Entries: capacity, Hint: capacity}
	if bytes {
		cfg.Entries, cfg.Bytes = 0, capacity*uint64(16+n)
	}
	p := info.Open(cfg)
	defer p.Close()
	misses, bad := 0, 0
	begin := time.Now()
	for i := 0; i+16 <= len(b); i += 16 {
		id := binary.LittleEndian.Uint64(b[i:])
		key := makeKey(id, 16)
		if v, hit := p.Get(key); !hit {
			misses++
			p.Set(key, makeValue(id, n))
		} else if !verify(v, id, n) {
			bad++
		}
		if i/16%64 == 63 {
			p.Settle()
		}
	}
	return fmt.Sprintf(`{"requests":%d,"misses":%d,"bad":%d,"wall_ns":%d}`, len(b)/16, misses, bad,
		time.Since(begin)), nil
}

func stampede(info Info, threads, rounds int, ms int64) string {
	p := info.Open(Cfg{Entries: 10000, Hint: 10000})
	defer p.Close()
	var calls, last []string
	var bad atomic.Int64
	for r := 0; r < rounds; r++ {
		var n, loaded, end atomic.Int64
		var ready, done sync.WaitGroup
		ready.Add(threads)
		done.Add(threads)
		base := time.Now()
		key := makeKey(uint64(r), 16)
		for i := 0; i < threads; i++ {
			go func() {
				ready.Done()
				ready.Wait()
				v := p.(Loader).Load(key, func() []byte {
					n.Add(1)
					time.Sleep(time.Duration(ms) * time.Millisecond)
					loaded.Store(int64(time.Since(base)))
					return []byte(key)
				})
				for t, e := int64(time.Since(base)), end.Load(); t > e && !end.CompareAndSwap(e, t); e = end.Load() {
				}
				if string(v) != key {
					bad.Add(1)
				}
				done.Done()
			}()
		}
		done.Wait()
		calls = append(calls, fmt.Sprint(n.Load()))
		last = append(last, fmt.Sprintf("%.1f", float64(max(end.Load()-loaded.Load(), 0))/1e3))
	}
	return fmt.Sprintf(`{"calls":[%s],"last_us":[%s],"bad":%d}`, strings.Join(calls, ","),
		strings.Join(last, ","), bad.Load())
}

func fill(p Peer, n uint64, keyLen int, length func(uint64) int) {
	for id := uint64(0); id < n; id++ {
		p.Set(makeKey(id, keyLen), makeValue(id, length(id)))
		if id%1024 == 1023 {
			p.Settle()
		}
	}
	p.Settle()
}

func expire(info Info, count uint64, ttl, ms int64) string {
	p := info.Open(Cfg{Hint: count, TTL: time.Duration(ttl) * time.Millisecond})
	defer p.Close()
	first := time.Now()
	fill(p, count, 16, func(uint64) int { return 100 })
	if wait := time.Duration(ttl)*time.Millisecond - time.Since(first); wait > 0 {
		time.Sleep(wait)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var seed, ops, bad, again uint64
	var most int64
	hist, anew := make([]uint64, slots), make([]bool, count)
	for end := time.Now().Add(time.Duration(ms) * time.Millisecond); time.Now().Before(end); ops++ {
		seed += 0x9e3779b97f4a7c15
		draw := mix64(seed)
		id := draw % count
		key := makeKey(id, 16)
		cpu, from := cpuNs(threadCPU), time.Now()
		if draw>>56 < 13 {
			p.Set(key, makeValue(id, 100))
		} else if v, hit := p.Get(key); hit && !verify(v, id, 100) {
			bad++
		}
		hist[slot(uint64(time.Since(from)))]++
		most = max(most, cpuNs(threadCPU)-cpu)
		if draw>>56 < 13 && !anew[id] {
			anew[id] = true
			again++
		}
	}
	return fmt.Sprintf(`{"ops":%d,"bad":%d,"p999_ns":%d,"max_us":%.1f,"left":%d,"anew":%d}`, ops, bad,
		percentile(hist, 999000), float64(most)/1e3, p.Count(), again)
}

// Inserts into an empty store that was given no hint: thread CPU of each of count; then more of them
// into another one, by the wall clock.
func grow(info Info, count, more uint64) string {
	open := func(n uint64) Peer { return info.Open(Cfg{Entries: n + n/4 + 64}) }
	var refused, over uint64
	var most int64
	hist := make([]uint64, slots)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p := open(count)
	for id := uint64(0); id < count; id++ {
		key, value := makeKey(id, 16), makeValue(id, 100)
		cpu := cpuNs(threadCPU)
		if !p.Set(key, value) {
			refused++
		}
		ns := cpuNs(threadCPU) - cpu
		hist[slot(uint64(ns))]++
		most = max(most, ns)
		if ns > 1000000 {
			over++
		}
	}
	p.Close()
	p = open(more)
	defer p.Close()
	begin := time.Now()
	for id := uint64(0); id < more; id++ {
		if !p.Set(makeKey(id, 16), makeValue(id, 100)) {
			refused++
		}
	}
	return fmt.Sprintf(`{"max_ns":%d,"p9999_ns":%d,"over_1ms":%d,"wall_ns":%d,"refused":%d}`, most,
		percentile(hist, 999900), over, time.Since(begin), refused)
}

// Value lengths of the five phases of a churn, 4096 each, drawn by the bench.
const churnPhases, churnLengths = 5, 4096

// Phase after phase writes `phase` bytes (or stops after ms) with sizes of its own, one operation in
// five deletes; then all keys are read once.
func churn(info Info, path string, bytes, phase uint64, ms int64, threads int) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil || len(b) != churnPhases*churnLengths*4 {
		return "", fmt.Errorf("%s: torn, or %v", path, err)
	}
	length := func(at int, id uint64) int {
		return int(binary.LittleEndian.Uint32(b[4*(uint64(at)*churnLengths+id%churnLengths):]))
	}
	var keys [churnPhases]uint64
	for at := range keys {
		sum := uint64(0)
		for i := uint64(0); i < churnLengths; i++ {
			sum += uint64(length(at, i))
		}
		keys[at] = 4 * bytes / (sum/churnLengths + 16)
	}
	p := info.Open(Cfg{Bytes: bytes, Hint: bytes / 4096})
	defer p.Close()
	var written, most atomic.Uint64
	total, cut, begin := uint64(0), 0, time.Now()
	seeds := make([]uint64, threads)
	for t := range seeds {
		seeds[t] = mix64(uint64(t) + 1)
	}
	for at := 0; at < churnPhases; at++ {
		written.Store(0)
		begin := time.Now()
		var done sync.WaitGroup
		for t := range seeds {
			done.Add(1)
			go func() {
				defer done.Done()
				for written.Load() < phase && time.Since(begin).Milliseconds() <= ms {
					sum := 0
					for i := 0; i < 64; i++ {
						seeds[t] += 0x9e3779b97f4a7c15
						draw := mix64(seeds[t])
						id := draw % keys[at]
						key := makeKey(id, 16)
						if draw>>40&1023 < 205 {
							p.Del(key)
							continue
						}
						n := length(at, id)
						if p.Set(key, makeValue(id, n)) {
							sum += 16 + n
						}
					}
					written.Add(uint64(sum))
					if a := p.Accounted(); a > most.Load() {
						most.Store(a)
					}
				}
			}()
		}
		done.Wait()
		total += written.Load()
		if written.Load() < phase {
			cut++
		}
	}
	wall := time.Since(begin)
	p.Settle()
	held, bad := 0, 0
	for id, last := uint64(0), slices.Max(keys[:]); id < last; id++ {
		if v, hit := p.Get(makeKey(id, 16)); hit {
			held += 16 + len(v)
			if !verify(v, id, len(v)) {
				bad++
			}
		}
	}
	return fmt.Sprintf(`{"accounted_max":%d,"written":%d,"write_ns":%d,"cut":%d,"held":%d,"bad":%d}`,
		most.Load(), total, wall, cut, held, bad), nil
}

// 95:5 on ids 0..count-1, rate a second; a get's time runs from when it was due, so that one which
// waited for another is not forgotten. rate 0: one after another.
func pace(p Peer, count uint64, ms, rate int64) string {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var seed, gets, bad uint64
	var ops int64
	hist := make([]uint64, slots)
	begin := time.Now()
	now := func() int64 { return int64(time.Since(begin)) }
	for {
		due := now()
		if rate != 0 {
			due = ops * 1000000000 / rate
		}
		if due >= ms*1000000 || now() >= 3*ms*1000000 {
			break
		}
		for now() < due {
		}
		seed += 0x9e3779b97f4a7c15
		draw := mix64(seed)
		id := draw % count
		key := makeKey(id, 16)
		if draw>>56 < 13 {
			p.Set(key, makeValue(id, 100))
		} else {
			v, hit := p.Get(key)
			hist[slot(uint64(now()-due))]++
			gets++
			if hit && !verify(v, id, 100) {
				bad++
			}
		}
		ops++
	}
	return fmt.Sprintf(`{"ops":%d,"gets":%d,"bad":%d,"wall_ns":%d,"hist":[%s]}`, ops, gets, bad, now(),
		pairs(hist))
}

func version(module string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == module {
				return d.Version
			}
		}
	}
	return "unknown"
}

func answer(info Info, w **workload, p *Peer, word []string) (string, error) {
	number := func(i int) int64 { n, _ := strconv.ParseInt(word[i], 10, 64); return n }
	has := func(c string) bool { return strings.Contains(" "+info.Caps+" ", " "+c+" ") }
	wrong := fmt.Errorf("not understood, or %s cannot", info.Name)
	drop := func() {
		if *p != nil {
			(*p).Close()
			*p = nil
		}
	}
	switch {
	case word[0] == "hello":
		return fmt.Sprintf(`{"peer":"%s","version":"%s","runtime":"%s","caps":"%s"}`, info.Name,
			version(info.Module), runtime.Version(), info.Caps), nil
	case word[0] == "open" && len(word) == 3:
		drop()
		fresh, err := readWorkload(word[1], word[2])
		if err != nil {
			return "", err
		}
		if fresh.cfg.Entries != 0 && !has("entries") || fresh.cfg.Bytes != 0 && !has("bytes") ||
			fresh.cfg.TTL != 0 && !has("ttl") {
			return "", wrong
		}
		*w, *p = fresh, info.Open(fresh.cfg)
		fill(*p, fresh.prefill, fresh.keyLen, fresh.len)
		return fmt.Sprintf(`{"entries":%d}`, (*p).Count()), nil
	case word[0] == "warm" && len(word) == 2 && *p != nil:
		for _, m := range (*w).mixes {
			if _, err := (*w).window(*p, m.metric, 1, number(1)/int64(len((*w).mixes)), 0, false); err != nil {
				return "", err
			}
		}
		return `{"ok":1}`, nil
	case (word[0] == "window" || word[0] == "lat") && len(word) == 5 && *w != nil:
		return (*w).window(*p, word[1], int(number(2)), number(3), int(number(4)), word[0] == "lat")
	case word[0] == "settle":
		if *p != nil {
			(*p).Settle()
		}
		debug.FreeOSMemory()
		return `{"ok":1}`, nil
	case word[0] == "mem" && *p != nil:
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return fmt.Sprintf(`{"entries":%d,"accounted":%d,"used":%d}`, (*p).Count(), (*p).Accounted(),
			m.HeapAlloc), nil
	case word[0] == "digest" && len(word) == 2 && *w != nil:
		return (*w).digest(int(number(1))), nil
	case word[0] == "fill" && (len(word) == 4 || len(word) == 5 && has("bytes")) && number(3) >= 8:
		drop()
		cfg := Cfg{Hint: uint64(number(1))}
		if len(word) == 5 {
			cfg.Bytes = uint64(number(4))
			cfg.Hint = min(cfg.Hint, cfg.Bytes/uint64(number(2)+number(3)))
		}
		*p = info.Open(cfg)
		fill(*p, uint64(number(1)), int(number(2)), func(uint64) int { return int(number(3)) })
		return fmt.Sprintf(`{"entries":%d}`, (*p).Count()), nil
	case word[0] == "storm" && len(word) == 4 && number(2) > 0 && has("bytes"):
		return storm(info, uint64(number(1)), number(2), int(number(3))), nil
	case word[0] == "replay" && len(word) == 5 && number(3) >= 8 && has("entries"):
		return replay(info, word[1], uint64(number(2)), int(number(3)), number(4) != 0)
	case word[0] == "stampede" && len(word) == 4 && has("load"):
		return stampede(info, int(number(1)), int(number(2)), number(3)), nil
	case word[0] == "expire" && len(word) == 4 && number(1) > 0 && has("ttl"):
		return expire(info, uint64(number(1)), number(2), number(3)), nil
	case word[0] == "grow" && len(word) == 3 && number(1) > 0:
		return grow(info, uint64(number(1)), uint64(number(2))), nil
	case word[0] == "churn" && len(word) == 6 && number(2) > 0 && number(5) > 0 && has("bytes"):
		return churn(info, word[1], uint64(number(2)), uint64(number(3)), number(4), int(number(5)))
	case word[0] == "pace" && len(word) == 4 && number(1) > 0 && number(3) >= 0 && *p != nil:
		return pace(*p, uint64(number(1)), number(2), number(3)), nil
	}
	return "", wrong
}

// Run answers until `quit` or the end of input.
func Run(info Info) {
	var w *workload
	var p Peer
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		word := strings.Fields(in.Text())
		if len(word) == 0 {
			word = []string{"-"}
		}
		if word[0] == "quit" {
			return
		}
		text, err := answer(info, &w, &p, word)
		if err != nil {
			text = fmt.Sprintf(`{"error":"%s"}`, strings.NewReplacer(`"`, "'", `\`, "'").Replace(err.Error()))
		}
		fmt.Println(text)
	}
}
