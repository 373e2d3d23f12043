// SPDX-License-Identifier: MIT
//
// Driver for ristretto v2 (sampled LFU behind a TinyLFU filter). Sets are put into a buffer and may
// be dropped: a dropped one counts as a failed set.
package main

import (
	"cellar/driver"
	"github.com/dgraph-io/ristretto/v2"
)

type peer struct {
	c   *ristretto.Cache[string, []byte]
	cfg driver.Cfg
}

func open(cfg driver.Cfg) driver.Peer {
	most := int64(cfg.Room())
	if cfg.Bytes != 0 {
		most = int64(cfg.Bytes)
	}
	c, err := ristretto.NewCache(&ristretto.Config[string, []byte]{
		NumCounters:        10 * int64(max(cfg.Entries, cfg.Hint)), // ten a key, as its guide says
		MaxCost:            most,
		BufferItems:        64,
		IgnoreInternalCost: cfg.Bytes == 0,
	})
	if err != nil {
		panic(err)
	}
	return &peer{c, cfg}
}

func (p *peer) Get(key string) ([]byte, bool) { return p.c.Get(key) }
func (p *peer) Set(key string, value []byte) bool {
	cost := int64(1)
	if p.cfg.Bytes != 0 {
		cost = int64(len(key) + len(value))
	}
	return p.c.SetWithTTL(key, value, cost, p.cfg.TTL)
}
func (p *peer) Del(key string) { p.c.Del(key) }
func (p *peer) used() uint64 { return uint64(p.c.MaxCost() - p.c.RemainingCost()) }
func (p *peer) Count() uint64 {
	p.c.Wait()
	if p.cfg.Bytes != 0 {
		return 0
	}
	return p.used()
}
func (p *peer) Accounted() uint64 {
	if p.cfg.Bytes == 0 {
		return 0
	}
	return p.used()
}
func (p *peer) Settle() { p.c.Wait() }
func (p *peer) Close()  { p.c.Close() }

func main() {
	driver.Run(driver.Info{Name: "ristretto", Module: "github.com/dgraph-io/ristretto/v2",
		Caps: "entries bytes ttl", Open: open})
}
